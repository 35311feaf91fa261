//! The traits behind which messages are kept and moved, and the suite that every backbone must pass.
//!
//! This room says what a backbone owes the rest of the house: that an append is durable before it is answered, that a
//! slot is written once, that a log can be read again from any place, and that whoever is connected hears of new
//! messages without asking. How that is done is left to the implementations: [`memory`] for tests,
//! `quorate-backbone-local` for one machine. What may be done is left to `quorate-domain`: a backbone asks it and obeys.

mod error;
mod fanout;
mod health;
mod log;
mod mailbox;
pub mod memory;
mod presence;
mod registry;
mod sessions;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod topics;
mod upkeep;

use std::sync::Arc;

pub use error::{SaveError, StoreError};
pub use fanout::Fanout;
pub use health::Health;
pub use log::{Append, Appended, Completed, Completion, ReadLimit, Receipt, TransactionLog};
pub use mailbox::{MAILBOX_CAPACITY, Mailbox, MailboxSender, Mailboxes, mailbox};
pub use presence::{Attendance, PRESENCE_CHANGES_MAX, PartyStatus, Presence};
pub use registry::{CHANGED_MAX, ChangedTransactions, JournalEntry, Registry};
pub use sessions::{SessionStore, Start, TakenOver, outlives_connection, record_while_connected};
pub use topics::{Publication, TopicCounts, TopicRules, Topics, WhenFull, places_taken};
pub use upkeep::{BACKUP_NAME_BYTES_MAX, BackupName, Upkeep, UpkeepError};

/// One backbone as the rest of the house sees it: its faces, each behind its trait.
#[derive(Clone)]
pub struct Backbone {
    /// Where messages are appended, read and closed.
    pub log: Arc<dyn TransactionLog>,
    /// What is published to ordinary topics, and what waits there.
    pub topics: Arc<dyn Topics>,
    /// What transactions there are and how they stand.
    pub registry: Arc<dyn Registry>,
    /// What is kept of sessions between connections.
    pub sessions: Arc<dyn SessionStore>,
    /// Who is connected.
    pub presence: Arc<dyn Presence>,
    /// How live copies reach the sessions that are connected.
    pub fanout: Arc<dyn Fanout>,
    /// Whether messages can be taken at all.
    pub health: Arc<dyn Health>,
    /// What an operator does to it while it runs.
    pub upkeep: Arc<dyn Upkeep>,
}
