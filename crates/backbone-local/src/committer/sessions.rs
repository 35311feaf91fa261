//! Decides over sessions: who owns one, and what of it is kept.

use quorate_backbone::{SaveError, Start, StoreError, StoredSession, TakenOver, outlives_connection};
use quorate_domain::{SessionKey, UnixMs};

use super::job::Save;
use super::pending::Pending;
use super::{Committer, fault};
use crate::store::{SessionValue, StoreFault};

impl Committer {
    /// Gives a session to a new owner.
    pub(super) fn decide_take_over(
        &mut self,
        key: &SessionKey,
        start: Start,
        now: UnixMs,
        pending: &mut Pending,
    ) -> Result<TakenOver, StoreError> {
        self.take_over(key, start, now, pending).map_err(|error| fault(&error))
    }

    fn take_over(
        &mut self,
        key: &SessionKey,
        start: Start,
        now: UnixMs,
        pending: &mut Pending,
    ) -> Result<TakenOver, StoreFault> {
        let store = self.shared.store()?;
        let last_epoch = match pending.session_epoch {
            Some(epoch) => epoch,
            None => store.session_epoch()?,
        };
        let before = store.session(key)?.unwrap_or_default();
        let cursors = store.cursors(key)?;
        // One counter for all sessions: an epoch of a session that was removed is never given again.
        let epoch = last_epoch + 1;
        let mut record = before.record.filter(|record| start == Start::Resume && outlives_connection(record, now));
        if let Some(record) = &mut record {
            // Connected from now on: should the broker be killed, the session has not been away since then.
            record.disconnected_at = None;
        }
        if record.is_none() {
            pending.batch.delete_cursors(key, &cursors);
        }
        pending.batch.put_session(key, &SessionValue { epoch, record: record.clone() });
        pending.session_epoch = Some(epoch);
        pending.sessions.insert(key.clone());
        pending.sync = true;
        Ok(TakenOver { epoch, stored: record.map(|record| StoredSession { record, cursors }) })
    }

    /// Keeps something of a session, if it is its owner who asks.
    pub(super) fn decide_save(
        &mut self,
        key: &SessionKey,
        epoch: u64,
        save: Save,
        pending: &mut Pending,
    ) -> Result<(), SaveError> {
        let store = self.shared.store().map_err(|error| fault(&error))?;
        let owned = store.session(key).map_err(|error| fault(&error))?;
        if owned.is_none_or(|session| session.epoch != epoch) {
            return Err(SaveError::Superseded);
        }
        match save {
            Save::Record(record) => {
                pending.batch.put_session(key, &SessionValue { epoch, record: Some(*record) });
                pending.sync = true;
            }
            Save::Cursors(cursors) => {
                for (tx, seq) in &cursors {
                    pending.batch.put_cursor(key, tx, *seq);
                }
            }
            Save::Remove => {
                let cursors = store.cursors(key).map_err(|error| fault(&error))?;
                pending.batch.delete_cursors(key, &cursors);
                pending.batch.delete_session(key);
                pending.sync = true;
            }
        }
        pending.sessions.insert(key.clone());
        Ok(())
    }
}
