//! Where a party of the demo keeps its secrets between visits: one JSON file, readable by its owner alone, replaced as
//! a whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use quorate_domain::PartyId;
use zeroize::Zeroizing;

use super::ceremony::Party;

/// Nobody but the owner.
const MODE: u32 = 0o600;

/// The file of one party.
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Reads the party's state, or begins a new one.
    pub fn open(path: &Path, name: &PartyId, danger_keep_round2: bool) -> anyhow::Result<(Self, Party)> {
        let file = Self { path: path.to_owned() };
        let text = match fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((file, Party::new(name.clone(), danger_keep_round2)));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let party: Party =
            serde_json::from_slice(&text).with_context(|| format!("{} is not a state file", path.display()))?;
        anyhow::ensure!(party.name() == name, "{} is the state of {}", path.display(), party.name());
        Ok((file, party))
    }

    /// Replaces the file. When this returns, the new content survives a power cut, and the old one is gone from the
    /// folder.
    pub fn save(&self, party: &Party) -> anyhow::Result<()> {
        self.replace(party).with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn replace(&self, party: &Party) -> anyhow::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(party)?);
        let new = self.path.with_extension("json.new");
        // What a crash left behind may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_file_is_for_its_owner_alone_and_leaves_no_copy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("alice.state.json");
        let alice = PartyId::new("alice").expect("valid");
        let (file, party) = StateFile::open(&path, &alice, false).expect("a new state");
        file.save(&party).expect("written");
        file.save(&party).expect("replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, MODE);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let (_, again) = StateFile::open(&path, &alice, false).expect("read again");
        assert_eq!(again.name(), &alice);
    }

    #[test]
    fn the_state_of_another_party_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("alice.state.json");
        let (alice, bob) = (PartyId::new("alice").expect("valid"), PartyId::new("bob").expect("valid"));
        let (file, party) = StateFile::open(&path, &alice, false).expect("a new state");
        file.save(&party).expect("written");
        assert!(StateFile::open(&path, &bob, false).is_err());
    }
}
