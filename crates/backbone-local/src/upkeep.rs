//! What an operator does to a store while it is open.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use quorate_backbone::{BackupName, SaveError, StoreError, Upkeep, UpkeepError};

use crate::committer::{Job, Queue};
use crate::restore::{BackupError, checkpoint};
use crate::store::SharedStore;

/// The upkeep of this backbone.
pub(crate) struct LocalUpkeep {
    pub(crate) shared: Arc<SharedStore>,
    pub(crate) queue: Queue,
    pub(crate) backup_folder: Option<PathBuf>,
    /// The committer takes it away.
    pub(crate) restore_unconfirmed: Arc<AtomicBool>,
}

#[async_trait]
impl Upkeep for LocalUpkeep {
    async fn back_up(&self, name: &BackupName) -> Result<PathBuf, UpkeepError> {
        let folder = self.backup_folder.as_ref().ok_or(UpkeepError::NoBackups)?;
        let (shared, to) = (self.shared.clone(), folder.join(name.as_str()));
        let made = tokio::task::spawn_blocking(move || {
            let store = shared.store()?;
            checkpoint(&store, &to).map(|()| to)
        });
        let made = made.await.map_err(|error| StoreError::Fault(format!("a backup did not end: {error}")))?;
        made.map_err(|error| match error {
            BackupError::Occupied(_) => UpkeepError::Occupied,
            other => StoreError::Fault(other.to_string()).into(),
        })
    }

    async fn confirm_restore(&self) -> Result<(), StoreError> {
        let confirmed = self.queue.ask(|answer| Job::ConfirmRestore { answer }).await?;
        confirmed.map_err(|error| match error {
            SaveError::Store(error) => error,
            SaveError::Superseded => StoreError::Closed,
        })
    }

    fn is_restore_unconfirmed(&self) -> bool {
        self.restore_unconfirmed.load(Ordering::Acquire)
    }
}
