//! Backups and what is put back from them. A backup is a checkpoint of RocksDB: hard links where the disk allows it,
//! consistent while the broker runs. A restored store is another incarnation: what was said after the backup is gone, slots
//! that were written then are open again, so every transaction that was not closed ends with the reason `restored`, and
//! none begins before the operator has confirmed.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_domain::{Closer, TxId};
use thiserror::Error;

use crate::store::{Batch, Restore, Store, StoreFault};
use crate::{LocalBackbone, LocalOptions, OpenError, Progress, Purpose, RealDisk};

/// Transactions that are looked at between two words of progress.
const PAGE: usize = 1_000;
/// What a store is called while its files are being copied.
const COPYING: &str = "restoring";

/// A backup could not be made, or not be put back.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The store, or the backup, does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is something where the backup, or the restored store, is to be.
    #[error("{0} exists already, and nothing is written over")]
    Occupied(PathBuf),
    /// A file cannot be copied.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// RocksDB, or the disk beneath it, failed.
    #[error("{0}")]
    Store(String),
    /// A transaction could not be aborted.
    #[error("transaction {tx} could not be aborted: {reason}")]
    Abort {
        /// Which.
        tx: TxId,
        /// Why.
        reason: String,
    },
}

impl From<StoreFault> for BackupError {
    fn from(fault: StoreFault) -> Self {
        BackupError::Store(fault.to_string())
    }
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The incarnation that began.
    pub incarnation: quorate_domain::Incarnation,
    /// Transactions that were looked at.
    pub transactions: u64,
    /// Those of them that were open or running, and are aborted now.
    pub aborted: u64,
}

/// Copies a store that no broker has open to `to`, which must not exist. (Of one that a broker has open, the broker makes
/// the backup.)
///
/// # Errors
/// The store does not open, or `to` cannot be written.
pub fn backup(options: &LocalOptions, to: &Path) -> Result<(), BackupError> {
    if !options.path.join("CURRENT").exists() {
        return Err(OpenError::Missing.into());
    }
    let store = Store::open(&options.path, &options.of_store())?;
    checkpoint(&store, to)
}

pub(crate) fn checkpoint(store: &Store, to: &Path) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Occupied(to.to_owned()));
    }
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|source| file(folder, source))?;
    }
    Ok(store.checkpoint(to)?)
}

/// Puts the backup `from` into the place of the store at `options.path`, which must not exist, or be what an earlier call
/// left unfinished. Within a Tokio runtime.
///
/// # Errors
/// The backup does not open, the store cannot be written, or a transaction cannot be aborted. The call can be repeated.
pub async fn restore(from: &Path, options: LocalOptions, progress: Progress<'_>) -> Result<Restored, BackupError> {
    let at = options.path.clone();
    if at.join("CURRENT").exists() {
        let store = Store::open_to_look(&at, &options.of_store())?;
        if store.restore()? != Some(Restore::Begun) {
            return Err(BackupError::Occupied(at));
        }
    } else {
        copy(from, &at, &options, progress)?;
    }
    let metrics = prometheus::Registry::new();
    let disk = Box::new(RealDisk::new(&at));
    let local = LocalBackbone::open_on(disk, options.clone(), Purpose::Restore, &metrics)?;
    let outcome = abort_open(&local, progress).await;
    local.shut_down().await;
    let restored = outcome?;
    let store = Store::open(&at, &options.of_store())?;
    let mut batch = Batch::default();
    batch.put_restore(Some(Restore::Unconfirmed));
    store.write(&batch, true)?;
    Ok(restored)
}

/// The files first come to stand beside their place, and are marked there: no broker opens a store that is copied by half
/// or not marked.
fn copy(from: &Path, to: &Path, options: &LocalOptions, progress: Progress<'_>) -> Result<(), BackupError> {
    drop(Store::open_to_look(from, &options.of_store())?);
    let beside = to.with_extension(COPYING);
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(|source| file(&beside, source))?;
    }
    if to.exists() {
        // Empty, or this fails.
        fs::remove_dir(to).map_err(|_| BackupError::Occupied(to.to_owned()))?;
    }
    fs::create_dir_all(&beside).map_err(|source| file(&beside, source))?;
    let entries = fs::read_dir(from).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let files = entries.map_err(|source| file(from, source))?;
    for (done, entry) in files.iter().enumerate() {
        progress("files copied", done as u64, files.len() as u64);
        let path = entry.path();
        if path.is_file() && entry.file_name() != "LOCK" {
            fs::copy(&path, beside.join(entry.file_name())).map_err(|source| file(&path, source))?;
        }
    }
    Store::open(&beside, &options.of_store())?.begin_restore()?;
    fs::rename(&beside, to).map_err(|source| file(to, source))
}

async fn abort_open(local: &LocalBackbone, progress: Progress<'_>) -> Result<Restored, BackupError> {
    let backbone = local.backbone();
    let incarnation = backbone.registry.incarnation();
    let mut restored = Restored { incarnation, transactions: 0, aborted: 0 };
    let read = |error: quorate_backbone::StoreError| BackupError::Store(error.to_string());
    let mut after = None;
    loop {
        let page = backbone.registry.list(after.as_ref(), PAGE).await.map_err(read)?;
        for tx in &page {
            let found = backbone.registry.transaction(tx).await.map_err(read)?;
            restored.transactions += 1;
            if found.is_some_and(|transaction| !transaction.progress.state.is_closed()) {
                let closed = backbone.log.close(tx, Closer::Restored, String::new()).await;
                closed.map_err(|refusal| BackupError::Abort { tx: tx.clone(), reason: refusal.to_string() })?;
                restored.aborted += 1;
            }
            progress("transactions looked at", restored.transactions, restored.transactions);
        }
        match page.last() {
            Some(last) => after = Some(last.clone()),
            None => return Ok(restored),
        }
    }
}

fn file(path: &Path, source: std::io::Error) -> BackupError {
    BackupError::File { path: path.to_owned(), source }
}
