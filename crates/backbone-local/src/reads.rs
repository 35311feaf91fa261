//! Reads of the store: in a bounded pool of blocking threads, never on the workers that serve connections.

use std::sync::Arc;

use async_trait::async_trait;
use quorate_backbone::{
    Append, ChangedTransactions, Completion, JournalEntry, ReadLimit, Registry, StoreError, TransactionLog,
};
use quorate_domain::{
    Closer, Incarnation, LogPage, PartyId, Refusal, Seq, Slot, Standing, Tombstone, Transaction, TxId, TxTopic,
};
use tokio::sync::Semaphore;

use crate::committer::{Job, Queue, fault};
use crate::store::{PageRequest, SharedStore, Store, StoreFault};

/// Reads at one time. More would wait for the same disk; the rest waits its turn here, without a thread.
const READS_MAX: usize = 16;

/// The way to read the store.
#[derive(Clone)]
pub(crate) struct Reads {
    shared: Arc<SharedStore>,
    turns: Arc<Semaphore>,
}

impl Reads {
    pub(crate) fn new(shared: Arc<SharedStore>) -> Self {
        Self { shared, turns: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Runs a read on a blocking thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let shared = self.shared.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            shared.store().and_then(|store| read(&store))
        });
        let outcome = reading.await.map_err(|error| StoreError::Fault(format!("a read did not end: {error}")))?;
        outcome.map_err(|error| {
            if !matches!(error, StoreFault::Reopening | StoreFault::Closed) {
                tracing::error!(%error, "a read of the store failed");
            }
            fault(&error)
        })
    }
}

/// Logs and transactions: reads here, writes through the committer.
pub(crate) struct LocalLog {
    pub(crate) queue: Queue,
    pub(crate) reads: Reads,
    pub(crate) changed: Arc<ChangedTransactions>,
    pub(crate) incarnation: Incarnation,
}

#[async_trait]
impl TransactionLog for LocalLog {
    async fn submit(&self, append: Append, completion: Completion) -> Result<(), StoreError> {
        self.queue.append(append, completion).await
    }

    async fn read(&self, tx: &TxId, reader: &PartyId, after: Seq, limit: ReadLimit) -> Result<LogPage, StoreError> {
        let (tx, reader) = (tx.clone(), reader.clone());
        self.reads.run(move |store| store.page(&PageRequest { tx: &tx, reader: &reader, after, limit })).await
    }

    async fn close(&self, tx: &TxId, by: Closer, reason: String) -> Result<(), Refusal> {
        let tx = tx.clone();
        let answered = self.queue.ask(|answer| Job::Close { tx, by, reason, answer }).await;
        answered.map_err(|error| Refusal::StorageFault(error.to_string()))?
    }
}

#[async_trait]
impl Registry for LocalLog {
    async fn transaction(&self, tx: &TxId) -> Result<Option<Transaction>, StoreError> {
        let tx = tx.clone();
        let found = self.reads.run(move |store| store.transaction(&tx)).await?;
        Ok(found.map(|(transaction, _)| transaction))
    }

    async fn standings(
        &self,
        party: &PartyId,
        after: Option<&TxId>,
        limit: usize,
    ) -> Result<Vec<Standing>, StoreError> {
        let (party, after) = (party.clone(), after.cloned());
        self.reads.run(move |store| store.standings(&party, after.as_ref(), limit)).await
    }

    async fn list(&self, after: Option<&TxId>, limit: usize) -> Result<Vec<TxId>, StoreError> {
        let after = after.cloned();
        self.reads.run(move |store| store.list(after.as_ref(), limit)).await
    }

    async fn slots(&self, tx: &TxId, limit: usize) -> Result<Vec<(TxTopic, Slot)>, StoreError> {
        let of = tx.clone();
        let slots = self.reads.run(move |store| store.slots(&of, limit)).await?;
        Ok(slots.into_iter().map(|(place, slot)| (TxTopic { tx: tx.clone(), place }, slot)).collect())
    }

    async fn journal(&self, tx: &TxId, after: Seq, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        let tx = tx.clone();
        self.reads.run(move |store| store.journal(&tx, after, limit)).await
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn tombstone(&self, tx: &TxId) -> Result<Option<Tombstone>, StoreError> {
        let tx = tx.clone();
        self.reads.run(move |store| store.tombstone(&tx)).await
    }

    fn changed(&self) -> Arc<ChangedTransactions> {
        self.changed.clone()
    }
}
