//! Sessions in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_domain::{
    CursorMoves, InflightRecord, Refusal, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, TxId, UnixMs,
};

use crate::{
    Appended, Receipt, SaveError, SessionStore, Start, StoreError, TakenOver, outlives_connection,
    record_while_connected,
};

#[derive(Default)]
pub(super) struct MemorySessions {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    last_epoch: u64,
    of_key: HashMap<SessionKey, Held>,
}

#[derive(Default)]
struct Held {
    epoch: u64,
    record: Option<SessionRecord>,
    cursors: BTreeMap<TxId, Seq>,
    receipts: BTreeMap<u16, Seq>,
    inflight: BTreeMap<u16, InflightRecord>,
}

impl MemorySessions {
    /// Decides over a publish with a receipt: once received, it is not decided again. The lock is held meanwhile, so that
    /// no take-over comes in between.
    pub(super) fn receive(
        &self,
        receipt: &Receipt,
        decide: impl FnOnce() -> Result<Appended, Refusal>,
    ) -> Result<Appended, Refusal> {
        let mut sessions = self.lock();
        let held = sessions.owned(&receipt.session, receipt.epoch).map_err(|_| Refusal::Superseded)?;
        if let Some(seq) = held.receipts.get(&receipt.packet_id) {
            return Ok(Appended { seq: *seq, repeated: true });
        }
        let appended = decide()?;
        held.receipts.insert(receipt.packet_id, appended.seq);
        Ok(appended)
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn owned(&mut self, key: &SessionKey, epoch: u64) -> Result<&mut Held, SaveError> {
        self.of_key.get_mut(key).filter(|held| held.epoch == epoch).ok_or(SaveError::Superseded)
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn take_over(
        &self,
        key: &SessionKey,
        start: Start,
        expiry: SessionExpiry,
        now: UnixMs,
    ) -> Result<TakenOver, StoreError> {
        let mut sessions = self.lock();
        sessions.last_epoch += 1;
        let epoch = sessions.last_epoch;
        let held = sessions.of_key.entry(key.clone()).or_default();
        held.epoch = epoch;
        let goes_on =
            start == Start::Resume && held.record.as_ref().is_some_and(|record| outlives_connection(record, now));
        if !goes_on {
            *held = Held { epoch, ..Held::default() };
        }
        let stored = held.record.clone().map(|record| StoredSession {
            record,
            cursors: held.cursors.iter().map(|(tx, seq)| (tx.clone(), *seq)).collect(),
            receipts: held.receipts.keys().copied().collect(),
            inflight: held.inflight.values().cloned().collect(),
        });
        held.record = record_while_connected(held.record.as_ref(), expiry);
        Ok(TakenOver { epoch, stored })
    }

    async fn save(&self, key: &SessionKey, epoch: u64, record: &SessionRecord) -> Result<(), SaveError> {
        self.lock().owned(key, epoch)?.record = Some(record.clone());
        Ok(())
    }

    async fn save_cursors(&self, key: &SessionKey, epoch: u64, moves: &CursorMoves) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        for (tx, seq) in &moves.cursors {
            match seq {
                Some(seq) => held.cursors.insert(tx.clone(), *seq),
                None => held.cursors.remove(tx),
            };
        }
        if let Some(record) = &mut held.record {
            record.move_backfills(&moves.backfills);
        }
        held.inflight.retain(|packet_id, _| !moves.settled.contains(packet_id));
        Ok(())
    }

    async fn hold(&self, key: &SessionKey, epoch: u64, records: &[InflightRecord]) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        held.inflight.extend(records.iter().map(|record| (record.delivery.packet_id, record.clone())));
        Ok(())
    }

    async fn release(&self, key: &SessionKey, epoch: u64, packet_ids: &[u16]) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        held.receipts.retain(|packet_id, _| !packet_ids.contains(packet_id));
        Ok(())
    }

    async fn remove(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        sessions.owned(key, epoch)?;
        sessions.of_key.remove(key);
        Ok(())
    }
}
