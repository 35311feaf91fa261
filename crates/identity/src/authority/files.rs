//! The files of a certificates folder: names, modes, and no silent overwriting.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{AuthorityError, Issued};

/// Only its owner reads a key.
const KEY_MODE: u32 = 0o600;
/// Anybody may read a certificate.
const CERTIFICATE_MODE: u32 = 0o644;

/// Where a certificate and its key lie.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What of a pair is there.
pub(super) enum Presence {
    Both,
    Neither,
}

impl Pair {
    /// # Errors
    /// [`AuthorityError::Half`]: one without the other is of no use, and nobody knows which was meant.
    pub(super) fn presence(&self) -> Result<Presence, AuthorityError> {
        let half = |present: &PathBuf, missing: &PathBuf| AuthorityError::Half {
            present: present.clone(),
            missing: missing.clone(),
        };
        match (self.certificate.exists(), self.key.exists()) {
            (true, true) => Ok(Presence::Both),
            (false, false) => Ok(Presence::Neither),
            (true, false) => Err(half(&self.certificate, &self.key)),
            (false, true) => Err(half(&self.key, &self.certificate)),
        }
    }
}

pub(super) fn pair(dir: &Path, name: &str) -> Pair {
    Pair { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key.pem")) }
}

pub(super) fn create_folder(dir: &Path) -> Result<(), AuthorityError> {
    fs::create_dir_all(dir).map_err(|cause| file_error(dir, cause))
}

pub(super) fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|cause| file_error(path, cause))
}

/// Writes both files, or refuses where one of them is there.
pub(super) fn write_new(dir: &Path, name: &str, issued: &Issued) -> Result<(), AuthorityError> {
    let paths = pair(dir, name);
    for path in [&paths.certificate, &paths.key] {
        if path.exists() {
            return Err(AuthorityError::Exists(path.clone()));
        }
    }
    write_over(dir, name, issued)
}

/// Writes both files whole: a reader sees the old or the new ones, never half of one. The key comes first, so that a
/// certificate without its key is never left behind by a crash between a first pair of writes.
pub(super) fn write_over(dir: &Path, name: &str, issued: &Issued) -> Result<(), AuthorityError> {
    let paths = pair(dir, name);
    put(&paths.key, &issued.key_pem, KEY_MODE)?;
    put(&paths.certificate, &issued.certificate_pem, CERTIFICATE_MODE)
}

fn put(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let fresh = path.with_extension("pem.new");
    // What an interrupted run left behind may have another mode; `create_new` below must make the file itself.
    if let Err(cause) = fs::remove_file(&fresh)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        return Err(file_error(&fresh, cause));
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|cause| file_error(path, cause))
}

fn file_error(path: &Path, cause: std::io::Error) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), cause }
}
