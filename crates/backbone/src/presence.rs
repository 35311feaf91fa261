//! Who is connected. Presence is of parties, not of sessions: a party is online while at least one of its sessions is.

use std::collections::HashMap;

use async_trait::async_trait;
use quorate_domain::{PartyId, SessionKey, UnixMs};
use tokio::sync::broadcast;

use crate::StoreError;

/// How many changes a watcher of presence may be behind; beyond, it is told that it lagged and looks again.
pub const PRESENCE_CHANGES_MAX: usize = 1_024;

/// What is known of the presence of one party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartyStatus {
    /// Who.
    pub party: PartyId,
    /// Whether it is connected.
    pub online: bool,
    /// Since when it is or is not.
    pub since: UnixMs,
    /// When something was last heard from it.
    pub last_seen: UnixMs,
    /// Grows each time the party comes online; never goes back, not by a crash either.
    pub epoch: u64,
    /// How many of its sessions are connected.
    pub sessions: u32,
}

/// The presence of all parties.
#[async_trait]
pub trait Presence: Send + Sync {
    /// A session of a party is connected. When this returns, a new epoch, if this began one, is durable. Each call is
    /// answered by one [`leave`](Self::leave), so a take-over may announce before the connection before it leaves.
    async fn announce(&self, key: &SessionKey, now: UnixMs) -> Result<(), StoreError>;

    /// A connection that was announced is over.
    async fn leave(&self, key: &SessionKey, now: UnixMs) -> Result<(), StoreError>;

    /// Something was heard from a party. Kept in memory, and written when it leaves.
    fn seen(&self, party: &PartyId, now: UnixMs);

    /// Whether a party is connected.
    fn is_present(&self, party: &PartyId) -> bool;

    /// What is known of a party; `None` if it was never seen.
    async fn status(&self, party: &PartyId) -> Result<Option<PartyStatus>, StoreError>;

    /// All parties ever seen, in `PartyId` order, those after `after`.
    async fn list(&self, after: Option<&PartyId>, limit: usize) -> Result<Vec<PartyStatus>, StoreError>;

    /// Word of every party that comes or goes.
    fn watch(&self) -> broadcast::Receiver<PartyId>;
}

/// The connections of one party, counted: what every backbone keeps in memory of it. No store, no clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attendance {
    connections: HashMap<String, u32>,
    /// Grows each time the party comes online.
    pub epoch: u64,
    /// Since when the party is or is not online.
    pub since: UnixMs,
    /// When something was last heard from it.
    pub last_seen: UnixMs,
}

impl Attendance {
    /// A party that is offline, with what was stored of it.
    pub fn offline(epoch: u64, since: UnixMs, last_seen: UnixMs) -> Self {
        Self { connections: HashMap::new(), epoch, since, last_seen }
    }

    /// Whether at least one session is connected.
    pub fn is_online(&self) -> bool {
        !self.connections.is_empty()
    }

    /// A connection of the session `client_id` begins. True if the party came online by it.
    pub fn arrive(&mut self, client_id: &str, now: UnixMs) -> bool {
        let came = !self.is_online();
        *self.connections.entry(client_id.to_owned()).or_default() += 1;
        self.see(now);
        if came {
            self.epoch += 1;
            self.since = now;
        }
        came
    }

    /// A connection of the session `client_id` is over. True if the party went offline by it; false, too, where no such
    /// connection was known.
    pub fn depart(&mut self, client_id: &str, now: UnixMs) -> bool {
        let Some(count) = self.connections.get_mut(client_id) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.connections.remove(client_id);
        }
        self.see(now);
        let went = !self.is_online();
        if went {
            self.since = now;
        }
        went
    }

    /// Something was heard from the party.
    pub fn see(&mut self, now: UnixMs) {
        self.last_seen = self.last_seen.max(now);
    }

    /// What is told of the party.
    pub fn status(&self, party: PartyId) -> PartyStatus {
        PartyStatus {
            party,
            online: self.is_online(),
            since: self.since,
            last_seen: self.last_seen,
            epoch: self.epoch,
            sessions: u32::try_from(self.connections.len()).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_over_that_arrives_before_the_old_connection_departs_stays_online() {
        let mut attendance = Attendance::default();
        assert!(attendance.arrive("phone", UnixMs(1)));
        assert!(!attendance.arrive("phone", UnixMs(2)));
        assert!(!attendance.depart("phone", UnixMs(3)));
        assert!(attendance.is_online());
        assert!(attendance.depart("phone", UnixMs(4)));
        assert_eq!((attendance.epoch, attendance.since), (1, UnixMs(4)));
    }

    #[test]
    fn a_departure_of_nobody_changes_nothing() {
        let mut attendance = Attendance::default();
        assert!(!attendance.depart("phone", UnixMs(1)));
        assert_eq!(attendance, Attendance::default());
    }
}
