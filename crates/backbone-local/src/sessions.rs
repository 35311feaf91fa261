//! Sessions between connections: each call is a job of the committer, so that a take-over and a write of the owner
//! before it have an order.

use async_trait::async_trait;
use quorate_backbone::{SaveError, SessionStore, Start, StoreError, TakenOver};
use quorate_domain::{Agreement, CursorMoves, InflightRecord, SessionKey, SessionRecord, UnixMs, WaitingWill};

use crate::committer::{Job, Queue, Save};
use crate::reads::Reads;

/// The sessions of this backbone.
pub(crate) struct LocalSessions {
    queue: Queue,
    reads: Reads,
}

impl LocalSessions {
    pub(crate) fn new(queue: Queue, reads: Reads) -> Self {
        Self { queue, reads }
    }

    async fn keep(&self, key: &SessionKey, epoch: u64, save: Save) -> Result<(), SaveError> {
        let key = key.clone();
        self.queue.ask(|answer| Job::Save { key, epoch, save, answer }).await?
    }
}

#[async_trait]
impl SessionStore for LocalSessions {
    async fn take_over(
        &self,
        key: &SessionKey,
        start: Start,
        agreement: &Agreement,
        now: UnixMs,
    ) -> Result<TakenOver, StoreError> {
        let (key, agreement) = (key.clone(), agreement.clone());
        self.queue.ask(|answer| Job::TakeOver { key, start, agreement, now, answer }).await?
    }

    async fn save(
        &self,
        key: &SessionKey,
        epoch: u64,
        record: &SessionRecord,
        replay: &[String],
    ) -> Result<(), SaveError> {
        let save = Save::Record { record: Box::new(record.clone()), replay: replay.to_vec() };
        self.keep(key, epoch, save).await
    }

    async fn save_cursors(&self, key: &SessionKey, epoch: u64, moves: &CursorMoves) -> Result<(), SaveError> {
        self.keep(key, epoch, Save::Cursors(moves.clone())).await
    }

    async fn hold(&self, key: &SessionKey, epoch: u64, records: &[InflightRecord]) -> Result<(), SaveError> {
        self.keep(key, epoch, Save::Inflight(records.to_vec())).await
    }

    async fn release(&self, key: &SessionKey, epoch: u64, packet_ids: &[u16]) -> Result<(), SaveError> {
        self.keep(key, epoch, Save::Release(packet_ids.to_vec())).await
    }

    async fn discard_will(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError> {
        self.keep(key, epoch, Save::DiscardWill).await
    }

    async fn say_will(&self, key: &SessionKey, epoch: u64) -> Result<(), StoreError> {
        let key = key.clone();
        self.queue.ask(|answer| Job::SayWill { key, epoch, answer }).await?
    }

    async fn wills(&self) -> Result<Vec<WaitingWill>, StoreError> {
        self.reads.run(|store| store.wills()).await
    }

    async fn remove(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError> {
        self.keep(key, epoch, Save::Remove).await
    }
}
