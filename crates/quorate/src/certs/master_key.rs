//! The file with the master key, under which the broker seals what it stores.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use quorate_backbone_local::MasterKey;
use quorate_identity::authority::Outcome;

/// Its name in a certificates folder.
pub const FILE: &str = "master.key";
/// The owner's alone.
const MODE: u32 = 0o600;

/// Makes the file where it is missing. One that is there is never replaced: whatever it sealed would be lost.
pub fn keep_or_make(dir: &Path) -> anyhow::Result<Outcome> {
    let path = dir.join(FILE);
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Outcome::Kept),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be written", path.display())),
    };
    let key = MasterKey::generate().context("a master key cannot be made")?;
    let written = writeln!(file, "{}", *key).and_then(|()| file.sync_all());
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(Outcome::Created)
}
