//! What an operator does to a backbone while it runs: backups, and the word that a restored store may take transactions
//! again.

use std::path::PathBuf;

use async_trait::async_trait;
use thiserror::Error;

use crate::StoreError;

/// The longest name of a backup.
pub const BACKUP_NAME_BYTES_MAX: usize = 64;

/// A backup was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UpkeepError {
    /// This backbone makes none, or was not told where to.
    #[error("this broker makes no backups: set `backup_folder` in [storage]")]
    NoBackups,
    /// The name would leave the folder of the backups.
    #[error("a backup is named with 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")]
    Name,
    /// There is a backup of this name.
    #[error("there is a backup of this name already, and nothing is written over")]
    Occupied,
    /// It could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The name of a backup, which names a folder among the backups and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupName(String);

impl BackupName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, UpkeepError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        let fits = name.len() <= BACKUP_NAME_BYTES_MAX && name.bytes().all(allowed);
        if begins && fits { Ok(Self(name.to_owned())) } else { Err(UpkeepError::Name) }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The operator's face of a backbone.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Puts all that is stored at one moment into a backup, while everything goes on. Where it is.
    async fn back_up(&self, name: &BackupName) -> Result<PathBuf, UpkeepError>;

    /// The operator knows that this store was restored from a backup, and what that means; transactions may begin.
    /// Durable when it returns; nothing changes where no restore waits for it.
    async fn confirm_restore(&self) -> Result<(), StoreError>;

    /// Whether a restore waits for that.
    fn is_restore_unconfirmed(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_folder() {
        for good in ["a", "2026-11-22", "nightly_1.tar", &"x".repeat(64)] {
            assert!(BackupName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a\\b", "../a", "a\0", "ä", &"x".repeat(65)] {
            assert_eq!(BackupName::new(bad), Err(UpkeepError::Name), "{bad}");
        }
    }
}
