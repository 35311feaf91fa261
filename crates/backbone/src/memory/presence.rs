//! Presence in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_domain::{PartyId, SessionKey, UnixMs};
use tokio::sync::broadcast;

use crate::{Attendance, PRESENCE_CHANGES_MAX, PartyStatus, Presence, StoreError};

pub(super) struct MemoryPresence {
    parties: Mutex<BTreeMap<PartyId, Attendance>>,
    changes: broadcast::Sender<PartyId>,
}

impl MemoryPresence {
    pub(super) fn new() -> Self {
        Self { parties: Mutex::default(), changes: broadcast::channel(PRESENCE_CHANGES_MAX).0 }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartyId, Attendance>> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, party: &PartyId) {
        // An error means that nobody watches.
        let _ = self.changes.send(party.clone());
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn announce(&self, key: &SessionKey, now: UnixMs) -> Result<(), StoreError> {
        let came = self.lock().entry(key.party.clone()).or_default().arrive(&key.client_id, now);
        if came {
            self.tell(&key.party);
        }
        Ok(())
    }

    async fn leave(&self, key: &SessionKey, now: UnixMs) -> Result<(), StoreError> {
        let went = self.lock().get_mut(&key.party).is_some_and(|attendance| attendance.depart(&key.client_id, now));
        if went {
            self.tell(&key.party);
        }
        Ok(())
    }

    fn seen(&self, party: &PartyId, now: UnixMs) {
        if let Some(attendance) = self.lock().get_mut(party) {
            attendance.see(now);
        }
    }

    fn is_present(&self, party: &PartyId) -> bool {
        self.lock().get(party).is_some_and(Attendance::is_online)
    }

    async fn status(&self, party: &PartyId) -> Result<Option<PartyStatus>, StoreError> {
        Ok(self.lock().get(party).map(|attendance| attendance.status(party.clone())))
    }

    async fn list(&self, after: Option<&PartyId>, limit: usize) -> Result<Vec<PartyStatus>, StoreError> {
        Ok(self
            .lock()
            .range::<PartyId, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
            .take(limit)
            .map(|(party, attendance)| attendance.status(party.clone()))
            .collect())
    }

    fn watch(&self) -> broadcast::Receiver<PartyId> {
        self.changes.subscribe()
    }
}
