//! What transactions there are and how they stand, and word of those that changed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use quorate_domain::{
    Incarnation, PartyId, Seq, Sha256, Slot, Standing, Tombstone, Transaction, TxId, TxTopic, UnixMs,
};
use tokio::sync::Notify;

use crate::StoreError;

/// How many changed transactions are remembered between two calls of [`ChangedTransactions::take`]. At the bound a mark
/// is not taken: an interim state is then not announced, and the next change of that transaction announces it. The
/// final state is a record of the log and does not come this way.
pub const CHANGED_MAX: usize = 262_144;

/// One line of a log, without the payload: for the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Where it stands.
    pub seq: Seq,
    /// When the broker took it.
    pub at: UnixMs,
    /// Its topic.
    pub topic: TxTopic,
    /// Who wrote it; `None` is the broker.
    pub from: Option<PartyId>,
    /// The length of the payload in bytes.
    pub bytes: u64,
    /// The SHA-256 of the payload.
    pub sha256: Sha256,
}

/// The transactions of a backbone.
#[async_trait]
pub trait Registry: Send + Sync {
    /// A transaction as it durably stands.
    async fn transaction(&self, tx: &TxId) -> Result<Option<Transaction>, StoreError>;

    /// The standing of a party in the transactions that list it or that it initiated, in `TxId` order, those after
    /// `after`.
    async fn standings(&self, party: &PartyId, after: Option<&TxId>, limit: usize)
    -> Result<Vec<Standing>, StoreError>;

    /// All transactions, in `TxId` order, those after `after`: for admins.
    async fn list(&self, after: Option<&TxId>, limit: usize) -> Result<Vec<TxId>, StoreError>;

    /// The written slots of a transaction, in the order of their places; at most `limit`.
    async fn slots(&self, tx: &TxId, limit: usize) -> Result<Vec<(TxTopic, Slot)>, StoreError>;

    /// The log without payloads and unfiltered; what a caller may see of it is for the caller to decide. At most `limit`
    /// entries, and fewer where the payloads to sum up are long; at least one where there is one.
    async fn journal(&self, tx: &TxId, after: Seq, limit: usize) -> Result<Vec<JournalEntry>, StoreError>;

    /// Which life of the store it is.
    fn incarnation(&self) -> Incarnation;

    /// What stays of a transaction that was purged.
    async fn tombstone(&self, tx: &TxId) -> Result<Option<Tombstone>, StoreError>;

    /// Word of transactions whose state changed. There is one taker.
    fn changed(&self) -> Arc<ChangedTransactions>;
}

/// The transactions whose state changed since they were last taken.
#[derive(Debug, Default)]
pub struct ChangedTransactions {
    marked: Mutex<HashSet<TxId>>,
    word: Notify,
}

impl ChangedTransactions {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the state of a transaction changed.
    pub fn mark(&self, tx: TxId) {
        {
            let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
            if marked.len() >= CHANGED_MAX && !marked.contains(&tx) {
                return;
            }
            marked.insert(tx);
        }
        self.word.notify_one();
    }

    /// Waits until something has changed, and takes all of it. Dropping the future loses nothing.
    pub async fn take(&self) -> Vec<TxId> {
        loop {
            // The permit that `notify_one` leaves behind makes a mark between the look and the wait wake the wait.
            let taken = std::mem::take(&mut *self.marked.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            self.word.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(n: usize) -> TxId {
        TxId::new(&format!("changed-transaction-{n}")).expect("a valid id")
    }

    #[tokio::test]
    async fn a_mark_before_the_wait_is_taken() {
        let changed = ChangedTransactions::new();
        changed.mark(tx(1));
        changed.mark(tx(1));
        assert_eq!(changed.take().await, vec![tx(1)]);
    }

    #[tokio::test]
    async fn a_mark_during_the_wait_wakes_it() {
        let changed = Arc::new(ChangedTransactions::new());
        let taker = tokio::spawn({
            let changed = changed.clone();
            async move { changed.take().await }
        });
        tokio::task::yield_now().await;
        changed.mark(tx(2));
        assert_eq!(taker.await.expect("the taker ends"), vec![tx(2)]);
    }
}
