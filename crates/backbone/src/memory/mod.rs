//! A backbone that keeps everything in memory: for tests of the rooms above, and the second runner of the suite. Nothing
//! survives it and nothing in it is bounded by a disk; it is not for service. Its `Seq` advances by [`SEQ_STEP`], so that
//! nothing comes to rely on numbers without gaps.

mod log;
mod presence;
mod sessions;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use quorate_domain::{CreationRules, Delivery, PartyId, Seq, SessionKey, TxId, UnixMs};

use crate::{Backbone, BackupName, Fanout, Health, Mailbox, Mailboxes, StoreError, TopicRules, Upkeep, UpkeepError};

/// How far apart the numbers of two neighbouring messages of a log are.
pub const SEQ_STEP: u64 = 7;

/// A new, empty backbone in memory, where transactions may be created as `rules` say, and ordinary topics are used as
/// `topics` say.
pub fn memory_backbone(rules: CreationRules, topics: TopicRules) -> Backbone {
    let mailboxes = Arc::new(Mailboxes::new());
    let presence = Arc::new(presence::MemoryPresence::new());
    let topics = Arc::new(topics::MemoryTopics::new(topics, mailboxes.clone()));
    let sessions = Arc::new(sessions::MemorySessions::new(topics.clone()));
    let log = Arc::new(log::MemoryLog::new(rules, mailboxes.clone(), presence.clone(), sessions.clone()));
    sessions.say_wills_in(&log);
    Backbone {
        log: log.clone(),
        registry: log,
        topics: Arc::new(topics::MemoryTopicsFace { topics, sessions: sessions.clone() }),
        sessions,
        presence,
        fanout: Arc::new(MemoryFanout(mailboxes)),
        health: Arc::new(AlwaysReady),
        upkeep: Arc::new(NothingToKeepUp),
    }
}

struct MemoryFanout(Arc<Mailboxes>);

impl Fanout for MemoryFanout {
    fn mailbox(&self, key: &SessionKey) -> Mailbox {
        self.0.register(key)
    }

    fn publish_state(&self, addressees: &[PartyId], tx: &TxId, seq: Seq, document: Bytes) {
        let delivery = Delivery::State { tx: tx.clone(), seq, document };
        for party in addressees {
            self.0.deliver(party, &delivery);
        }
    }
}

struct AlwaysReady;

impl Health for AlwaysReady {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Nothing of it lasts: there is nothing to back up, and nothing that was restored.
struct NothingToKeepUp;

#[async_trait]
impl Upkeep for NothingToKeepUp {
    async fn back_up(&self, _name: &BackupName) -> Result<PathBuf, UpkeepError> {
        Err(UpkeepError::NoBackups)
    }

    async fn confirm_restore(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_restore_unconfirmed(&self) -> bool {
        false
    }
}

/// The clock of this backbone; a clock before 1970 reads as 1970.
fn now() -> UnixMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use crate::suite;

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run(async || super::memory_backbone(suite::open_rules(), suite::open_topic_rules())).await;
    }
}
