//! Sessions in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_domain::{Seq, SessionKey, SessionRecord, TxId, UnixMs};

use crate::{SaveError, SessionStore, Start, StoreError, StoredSession, TakenOver, outlives_connection};

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
}

impl MemorySessions {
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
    async fn take_over(&self, key: &SessionKey, start: Start, now: UnixMs) -> Result<TakenOver, StoreError> {
        let mut sessions = self.lock();
        sessions.last_epoch += 1;
        let epoch = sessions.last_epoch;
        let held = sessions.of_key.entry(key.clone()).or_default();
        held.epoch = epoch;
        let goes_on =
            start == Start::Resume && held.record.as_ref().is_some_and(|record| outlives_connection(record, now));
        if !goes_on {
            held.record = None;
            held.cursors.clear();
        }
        if let Some(record) = &mut held.record {
            record.disconnected_at = None;
        }
        let stored = held.record.clone().map(|record| StoredSession {
            record,
            cursors: held.cursors.iter().map(|(tx, seq)| (tx.clone(), *seq)).collect(),
        });
        Ok(TakenOver { epoch, stored })
    }

    async fn save(&self, key: &SessionKey, epoch: u64, record: &SessionRecord) -> Result<(), SaveError> {
        self.lock().owned(key, epoch)?.record = Some(record.clone());
        Ok(())
    }

    async fn save_cursors(
        &self,
        key: &SessionKey,
        epoch: u64,
        cursors: &[(TxId, Option<Seq>)],
    ) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        for (tx, seq) in cursors {
            match seq {
                Some(seq) => held.cursors.insert(tx.clone(), *seq),
                None => held.cursors.remove(tx),
            };
        }
        Ok(())
    }

    async fn remove(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        sessions.owned(key, epoch)?;
        sessions.of_key.remove(key);
        Ok(())
    }
}
