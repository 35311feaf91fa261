//! Who is connected. Who is there now is in memory; what outlives a restart (epoch, when a party came or went) is
//! written through the committer at each coming and going.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_backbone::{Attendance, PRESENCE_CHANGES_MAX, PartyStatus, Presence, StoreError};
use quorate_domain::{PartyId, SessionKey, UnixMs};
use tokio::sync::broadcast;

use crate::committer::{Job, Queue};
use crate::reads::Reads;
use crate::store::PresenceValue;

/// The parties that are connected, or about to be, or whose leaving is about to be written.
#[derive(Default)]
pub(crate) struct Attendances {
    attending: Mutex<Attending>,
}

#[derive(Default)]
struct Attending {
    of_party: HashMap<PartyId, Attendance>,
    /// Grows with each party that is taken out again, so that what was read from the store before is known to be old.
    departures: u64,
}

impl Attendances {
    pub(crate) fn is_present(&self, party: &PartyId) -> bool {
        self.lock().of_party.get(party).is_some_and(Attendance::is_online)
    }

    fn lock(&self) -> MutexGuard<'_, Attending> {
        self.attending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The presence of this backbone.
pub(crate) struct LocalPresence {
    attendances: Arc<Attendances>,
    queue: Queue,
    reads: Reads,
    changes: broadcast::Sender<PartyId>,
}

impl LocalPresence {
    pub(crate) fn new(attendances: Arc<Attendances>, queue: Queue, reads: Reads) -> Self {
        Self { attendances, queue, reads, changes: broadcast::channel(PRESENCE_CHANGES_MAX).0 }
    }

    /// Counts a connection in. What to write, if the party came online by it.
    async fn arrive(&self, key: &SessionKey, now: UnixMs) -> Result<Option<PresenceValue>, StoreError> {
        loop {
            let departures = {
                let mut attending = self.attendances.lock();
                if let Some(attendance) = attending.of_party.get_mut(&key.party) {
                    return Ok(attendance.arrive(&key.client_id, now).then(|| value(attendance)));
                }
                attending.departures
            };
            let stored = self.stored(&key.party).await?.unwrap_or_default();
            let mut attending = self.attendances.lock();
            // What was read may be older than what another connection of the party wrote meanwhile: look again.
            if attending.departures == departures {
                attending
                    .of_party
                    .entry(key.party.clone())
                    .or_insert_with(|| Attendance::offline(stored.epoch, stored.since, stored.last_seen));
            }
        }
    }

    async fn stored(&self, party: &PartyId) -> Result<Option<PresenceValue>, StoreError> {
        let party = party.clone();
        self.reads.run(move |store| store.presence(&party)).await
    }

    async fn write(&self, party: &PartyId, value: PresenceValue) -> Result<(), StoreError> {
        let party = party.clone();
        self.queue.ask(|answer| Job::Presence { party, value, answer }).await?
    }

    /// Lets go of a party that is offline, once that is written.
    fn forget(&self, party: &PartyId) {
        let mut attending = self.attendances.lock();
        if attending.of_party.get(party).is_some_and(|attendance| !attendance.is_online()) {
            attending.of_party.remove(party);
            attending.departures += 1;
        }
    }

    fn tell(&self, party: &PartyId) {
        // An error means that nobody watches.
        let _ = self.changes.send(party.clone());
    }
}

#[async_trait]
impl Presence for LocalPresence {
    async fn announce(&self, key: &SessionKey, now: UnixMs) -> Result<(), StoreError> {
        let Some(value) = self.arrive(key, now).await? else {
            return Ok(());
        };
        if let Err(error) = self.write(&key.party, value).await {
            // The connection will not be: nobody is to answer this arrival with a departure.
            if let Some(attendance) = self.attendances.lock().of_party.get_mut(&key.party) {
                attendance.depart(&key.client_id, now);
            }
            self.forget(&key.party);
            return Err(error);
        }
        self.tell(&key.party);
        Ok(())
    }

    async fn leave(&self, key: &SessionKey, now: UnixMs) -> Result<(), StoreError> {
        let left = {
            let mut attending = self.attendances.lock();
            let attendance = attending.of_party.get_mut(&key.party);
            attendance.and_then(|attendance| attendance.depart(&key.client_id, now).then(|| value(attendance)))
        };
        let Some(value) = left else {
            return Ok(());
        };
        self.tell(&key.party);
        self.write(&key.party, value).await?;
        self.forget(&key.party);
        Ok(())
    }

    fn seen(&self, party: &PartyId, now: UnixMs) {
        if let Some(attendance) = self.attendances.lock().of_party.get_mut(party) {
            attendance.see(now);
        }
    }

    fn is_present(&self, party: &PartyId) -> bool {
        self.attendances.is_present(party)
    }

    async fn status(&self, party: &PartyId) -> Result<Option<PartyStatus>, StoreError> {
        if let Some(status) = self.attending(party) {
            return Ok(Some(status));
        }
        let stored = self.stored(party).await?;
        // Somebody may have come while the store was read.
        Ok(self.attending(party).or_else(|| stored.map(|value| of_absent(party.clone(), value))))
    }

    async fn list(&self, after: Option<&PartyId>, limit: usize) -> Result<Vec<PartyStatus>, StoreError> {
        let after = after.cloned();
        let stored = self.reads.run(move |store| store.presences(after.as_ref(), limit)).await?;
        let told = |(party, value)| self.attending(&party).unwrap_or_else(|| of_absent(party, value));
        Ok(stored.into_iter().map(told).collect())
    }

    fn watch(&self) -> broadcast::Receiver<PartyId> {
        self.changes.subscribe()
    }
}

impl LocalPresence {
    /// What is told of a party that is in memory; one that was only just read and never came is not told of.
    fn attending(&self, party: &PartyId) -> Option<PartyStatus> {
        let attending = self.attendances.lock();
        let attendance = attending.of_party.get(party).filter(|attendance| attendance.epoch > 0)?;
        Some(attendance.status(party.clone()))
    }
}

fn value(attendance: &Attendance) -> PresenceValue {
    PresenceValue {
        epoch: attendance.epoch,
        online: attendance.is_online(),
        since: attendance.since,
        last_seen: attendance.last_seen,
    }
}

/// A party that is not here. One that is stored as online was so when the broker crashed, and was last seen then.
fn of_absent(party: PartyId, value: PresenceValue) -> PartyStatus {
    let PresenceValue { epoch, online, since, last_seen } = value;
    let since = if online { last_seen } else { since };
    PartyStatus { party, online: false, since, last_seen, epoch, sessions: 0 }
}
