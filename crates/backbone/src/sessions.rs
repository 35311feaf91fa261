//! What is kept of a session between connections, and who owns it: each take-over gets an epoch, and an owner with an
//! older epoch cannot write any more.

use async_trait::async_trait;
use quorate_domain::{
    Agreement, CursorMoves, InflightRecord, SessionExpiry, SessionKey, SessionRecord, StoredSession, UnixMs,
    WaitingWill,
};

use crate::{SaveError, StoreError};

/// How a connection begins its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Forget what was stored (clean start).
    Clean,
    /// Go on with what was stored, unless it has expired.
    Resume,
}

/// A session that now belongs to the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenOver {
    /// What the caller shows with each write; greater than every epoch that this session had before.
    pub epoch: u64,
    /// What was stored, if there was something and it goes on.
    pub stored: Option<StoredSession>,
}

/// Sessions between connections.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Makes the caller the owner. Durable when it returns; from then on no earlier owner can write. A clean start, or a
    /// record that has expired at `now`, deletes what was stored. A session that is to outlive its connection (by its
    /// agreement) does so from here on, whether it is ever saved or not.
    ///
    /// The will of the agreement takes the place of what an earlier connection left. That one is then never said, but for
    /// one case: of a session that ends here, a will to an ordinary topic is said now (MQTT5 3.1.4-3).
    async fn take_over(
        &self,
        key: &SessionKey,
        start: Start,
        agreement: &Agreement,
        now: UnixMs,
    ) -> Result<TakenOver, StoreError>;

    /// Stores the session; durable when it returns. Of one that ends with its connection nothing is stored, but what it
    /// subscribes to of ordinary topics holds from here on. `replay`: the filters whose retained messages are put into
    /// the session's queue, before anything that is published later.
    async fn save(
        &self,
        key: &SessionKey,
        epoch: u64,
        record: &SessionRecord,
        replay: &[String],
    ) -> Result<(), SaveError>;

    /// Stores what has moved, all of it or nothing. Not synced: after a crash a session may find older cursors and hear
    /// some messages of QoS 1 again; of QoS 2 it then finds the deliveries that are not settled.
    async fn save_cursors(&self, key: &SessionKey, epoch: u64, moves: &CursorMoves) -> Result<(), SaveError>;

    /// Keeps steps of QoS 2 deliveries, each under its packet identifier; durable when it returns.
    async fn hold(&self, key: &SessionKey, epoch: u64, records: &[InflightRecord]) -> Result<(), SaveError>;

    /// Forgets receipts, so that their packet identifiers can name other publishes; durable when it returns.
    async fn release(&self, key: &SessionKey, epoch: u64, packet_ids: &[u16]) -> Result<(), SaveError>;

    /// Forgets the session's will: its client said DISCONNECT. Durable when it returns.
    async fn discard_will(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError>;

    /// Says a will, if it is still there and of this epoch, and forgets it, both in one. A will whose rights are gone by
    /// now, or whose transaction is closed, is forgotten alone. Durable when it returns.
    async fn say_will(&self, key: &SessionKey, epoch: u64) -> Result<(), StoreError>;

    /// All wills in the store, whether their sessions are connected or not: for a broker that starts.
    async fn wills(&self) -> Result<Vec<WaitingWill>, StoreError>;

    /// Deletes the session with all that was stored of it, but for its will; durable when it returns. What waited in its
    /// queue by a shared subscription goes to another member, if there is one.
    async fn remove(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError>;
}

/// Whether a stored session goes on for a connection that comes at `now`. One that lasts only as long as its connection
/// never does: the take-over itself ends that connection. One whose end was not recorded (a crash) goes on.
pub fn outlives_connection(record: &SessionRecord, now: UnixMs) -> bool {
    record.expiry != SessionExpiry::AtDisconnect && !record.is_expired(now)
}

/// What a backbone keeps of a session while it is connected, made from what was stored (if that goes on): so that a
/// session of which no end is recorded goes on as its last CONNECT said. `None`: nothing is to outlive the connection.
pub fn record_while_connected(stored: Option<&SessionRecord>, expiry: SessionExpiry) -> Option<SessionRecord> {
    if stored.is_none() && expiry == SessionExpiry::AtDisconnect {
        return None;
    }
    Some(SessionRecord { expiry, disconnected_at: None, ..stored.cloned().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(expiry: SessionExpiry, disconnected_at: Option<u64>) -> SessionRecord {
        SessionRecord { expiry, disconnected_at: disconnected_at.map(UnixMs), ..SessionRecord::default() }
    }

    #[test]
    fn expiry_counts_from_the_disconnect() {
        let kept = record(SessionExpiry::After(2), Some(1_000));
        assert!(outlives_connection(&kept, UnixMs(2_999)));
        assert!(!outlives_connection(&kept, UnixMs(3_000)));
        assert!(outlives_connection(&record(SessionExpiry::After(2), None), UnixMs(u64::MAX)));
    }

    #[test]
    fn a_connected_session_lasts_as_its_connect_says() {
        let stored = record(SessionExpiry::After(2), Some(1_000));
        let connected = record_while_connected(Some(&stored), SessionExpiry::After(9));
        assert_eq!(connected, Some(record(SessionExpiry::After(9), None)));
        assert_eq!(record_while_connected(None, SessionExpiry::Never), Some(record(SessionExpiry::Never, None)));
        assert_eq!(record_while_connected(None, SessionExpiry::AtDisconnect), None);
    }

    #[test]
    fn the_two_ends_of_expiry() {
        assert!(!outlives_connection(&record(SessionExpiry::AtDisconnect, None), UnixMs(0)));
        assert!(outlives_connection(&record(SessionExpiry::Never, Some(0)), UnixMs(u64::MAX)));
    }
}
