//! `quorate check store`: a look through a store that no broker has open.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::store::{CheckReport, Store};
use crate::{LocalOptions, OpenError, Progress};

/// The file by which RocksDB knows that a store is in use.
const LOCK: &str = "LOCK";

/// Looks through the whole store at `options.path`, which no broker may have open, and changes nothing. Without the master
/// key of a sealed store all is looked at that can be read without it.
///
/// # Errors
/// The store does not open at all.
pub fn check(options: &LocalOptions, progress: Progress<'_>) -> Result<CheckReport, OpenError> {
    // What is read while a broker writes contradicts itself. Held until the look is over.
    let _alone = lock(&options.path)?;
    let store = Store::open_to_look(&options.path, &options.of_store())?;
    Ok(store.check(progress))
}

/// Keeps brokers out. On a disk that cannot be written there is none to keep out.
fn lock(path: &Path) -> Result<Option<std::fs::File>, OpenError> {
    let file = match OpenOptions::new().write(true).open(path.join(LOCK)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        Err(error) => return Err(OpenError::Store(error.to_string())),
    };
    // The kind of lock that RocksDB takes: of the process, on the whole file.
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(OpenError::Locked),
    }
}
