//! Why a store is not opened, in words that an operator can act on.

use thiserror::Error;

use crate::Identities;

/// A backbone could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("the store's directory cannot be made: {0}")]
    Directory(#[source] std::io::Error),
    /// There is none.
    #[error("there is no store here")]
    Missing,
    /// Another process, or another part of this one, has it open.
    #[error("the store is in use by another process")]
    Locked,
    /// The disk is full: not even what was written before can be put in order.
    #[error("the disk is full: make room, then start again; nothing is lost ({0})")]
    Full(String),
    /// It may be read only, and the broker writes.
    #[error("the store cannot be written: its files or their disk are read-only, or belong to another user ({0})")]
    ReadOnly(String),
    /// A file of it is missing, or is not as it was written.
    #[error(
        "the store is damaged: {0}; nothing was changed. Look at it with `quorate check store`, and put a backup in its \
         place with `quorate store restore`"
    )]
    Damaged(String),
    /// Another fault.
    #[error("the store cannot be opened: {0}")]
    Store(String),
    /// It is sealed, and no master key was given.
    #[error("the store is sealed under the master key {found}, and none was given: set `master_key_file` in [storage]")]
    MasterKeyMissing {
        /// Which it is.
        found: String,
    },
    /// It is sealed under another master key.
    #[error("the store is sealed under the master key {found}, and the one that was given is {given}")]
    MasterKey {
        /// Which it is.
        found: String,
        /// Which was given.
        given: String,
    },
    /// A restore was begun here and did not come to its end.
    #[error("a restore of this store was begun and not finished: run `quorate store restore` again")]
    RestoreUnfinished,
    /// It was written by another version.
    #[error("the store has schema version {found}, and this program knows version {expected} only")]
    Schema {
        /// What is in the store.
        found: u32,
        /// What this program reads and writes.
        expected: u32,
    },
    /// A broker of the other kind wrote it.
    #[error(
        "the parties in the store are known by {found}, and those of this broker by {expected}; give this broker a \
         store of its own"
    )]
    Identities {
        /// What the store says.
        found: Identities,
        /// What this broker is.
        expected: Identities,
    },
    /// It was written by a later version.
    #[error("the store has a column family `{0}`, which this program does not know: a later version wrote it")]
    UnknownFamily(String),
    /// The lanes cannot be set up.
    #[error("the lanes cannot be set up: {0}")]
    Lane(String),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// It is opened outside of a Tokio runtime.
    #[error("a backbone is opened within a Tokio runtime")]
    NoRuntime,
    /// The metrics are registered already.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}
