//! What is kept of a session between connections, and who owns it: each take-over gets an epoch, and an owner with an
//! older epoch cannot write any more.

use async_trait::async_trait;
use quorate_domain::{Seq, SessionExpiry, SessionKey, SessionRecord, TxId, UnixMs};

use crate::{SaveError, StoreError};

/// How a connection begins its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Forget what was stored (clean start).
    Clean,
    /// Go on with what was stored, unless it has expired.
    Resume,
}

/// A session as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSession {
    /// The session itself.
    pub record: SessionRecord,
    /// How far it is through each log.
    pub cursors: Vec<(TxId, Seq)>,
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
    /// record that has expired at `now`, deletes what was stored.
    async fn take_over(&self, key: &SessionKey, start: Start, now: UnixMs) -> Result<TakenOver, StoreError>;

    /// Stores the session; durable when it returns.
    async fn save(&self, key: &SessionKey, epoch: u64, record: &SessionRecord) -> Result<(), SaveError>;

    /// Stores cursors (`None` deletes one). Not synced: after a crash a session may find older ones and hear some
    /// messages again.
    async fn save_cursors(
        &self,
        key: &SessionKey,
        epoch: u64,
        cursors: &[(TxId, Option<Seq>)],
    ) -> Result<(), SaveError>;

    /// Deletes the session with all that was stored of it; durable when it returns.
    async fn remove(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError>;
}

/// Whether a stored session goes on for a connection that comes at `now`. One that lasts only as long as its connection
/// never does: the take-over itself ends that connection. One whose end was not recorded (a crash) goes on.
pub fn outlives_connection(record: &SessionRecord, now: UnixMs) -> bool {
    record.expiry != SessionExpiry::AtDisconnect && !record.is_expired(now)
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
    fn the_two_ends_of_expiry() {
        assert!(!outlives_connection(&record(SessionExpiry::AtDisconnect, None), UnixMs(0)));
        assert!(outlives_connection(&record(SessionExpiry::Never, Some(0)), UnixMs(u64::MAX)));
    }
}
