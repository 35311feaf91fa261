//! The batch that is being put together: what is to be written, what the decisions of the batch already see of it, and
//! who waits for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quorate_domain::{LogMessage, PartyId, Seq, SessionKey, Slot, TxId, TxTopic};

use super::job::{Regard, Reply};
use super::topics::PendingTopics;
use super::usage::PendingUsage;
use crate::store::{Batch, PresenceValue, Resident};

/// A message, with everybody who hears it and the `Seq` that each heard before.
type LiveCopy = (Arc<LogMessage>, Vec<(PartyId, Seq)>);

/// A batch in the making.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) batch: Batch,
    /// Whether anything in it must be on the disk before it is answered.
    pub(super) sync: bool,
    /// The transactions that this batch touched, as they stand after it.
    pub(super) residents: HashMap<TxId, Resident>,
    /// Those of them whose progress is to be written: once, at the end.
    pub(super) moved: HashSet<TxId>,
    /// Those of them whose state document changed.
    pub(super) changed: HashSet<TxId>,
    /// The slots that this batch writes.
    pub(super) slots: HashMap<TxTopic, Slot>,
    /// The sessions whose owner or record this batch changes. A second decision over one waits for the next batch, so that
    /// it is taken on what is in the store.
    pub(super) sessions: HashSet<SessionKey>,
    /// The sessions of which it changes something else. Only a decision over the whole session waits for the next batch.
    pub(super) touched: HashSet<SessionKey>,
    /// The receipts that this batch gives or (`None`) forgets.
    pub(super) receipts: HashMap<(SessionKey, u16), Option<Seq>>,
    /// The last epoch that this batch gave to a session.
    pub(super) session_epoch: Option<u64>,
    /// The presences that this batch writes.
    pub(super) presences: HashMap<PartyId, PresenceValue>,
    /// The operator lets transactions begin in a restored store.
    pub(super) confirmed: bool,
    /// Live copies, in the order of the queue, hence of `Seq` in each log.
    pub(super) copies: Vec<LiveCopy>,
    /// What it changes of ordinary topics.
    pub(super) topics: PendingTopics,
    /// What it changes of how much there is.
    pub(super) usage: PendingUsage,
    /// The transactions that it takes away, with their members.
    pub(super) purged: HashMap<TxId, Vec<PartyId>>,
    /// The outcomes, in the order of the queue.
    pub(super) replies: Vec<Reply>,
}

impl Pending {
    /// Whether a job can be decided on what is in the store and in this batch.
    pub(super) fn can_decide(&self, regard: Regard<'_>) -> bool {
        match regard {
            Regard::Nothing => true,
            Regard::Owner(key) => !self.sessions.contains(key),
            Regard::Whole(key) => !self.sessions.contains(key) && !self.touched.contains(key),
        }
    }

    /// Whether nobody waits for it and nothing comes of it.
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.batch.is_empty() && self.topics.is_empty()
    }

    /// Puts what is written once a batch into the batch.
    pub(super) fn seal(&mut self) {
        for tx in &self.moved {
            if let Some(resident) = self.residents.get(tx) {
                self.batch.put_progress(resident);
            }
        }
        PendingUsage::seal(self);
        self.topics.seal(&mut self.batch);
        if let Some(counter) = self.topics.counter {
            self.batch.put_ordinary_counter(counter);
        }
        if let Some(epoch) = self.session_epoch {
            self.batch.put_session_epoch(epoch);
        }
    }
}
