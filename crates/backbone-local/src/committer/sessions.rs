//! Decides over sessions: who owns one, what of it is kept, and which of its publishes at QoS 2 are in their logs already.

use quorate_backbone::{Receipt, SaveError, Start, StoreError, TakenOver, outlives_connection, record_while_connected};
use quorate_domain::{CursorMoves, Refusal, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, UnixMs};

use super::job::{Save, storage_fault};
use super::pending::Pending;
use super::{Committer, fault};
use crate::store::{SessionValue, Store, StoreFault};

impl Committer {
    /// Gives a session to a new owner.
    pub(super) fn decide_take_over(
        &mut self,
        key: &SessionKey,
        start: Start,
        expiry: SessionExpiry,
        now: UnixMs,
        pending: &mut Pending,
    ) -> Result<TakenOver, StoreError> {
        let goes_on = |record: &SessionRecord| start == Start::Resume && outlives_connection(record, now);
        self.take_over(key, goes_on, expiry, pending).map_err(|error| fault(&error))
    }

    fn take_over(
        &mut self,
        key: &SessionKey,
        goes_on: impl FnOnce(&SessionRecord) -> bool,
        expiry: SessionExpiry,
        pending: &mut Pending,
    ) -> Result<TakenOver, StoreFault> {
        let store = self.shared.store()?;
        let last_epoch = match pending.session_epoch {
            Some(epoch) => epoch,
            None => store.session_epoch()?,
        };
        // One counter for all sessions: an epoch of a session that was removed is never given again.
        let epoch = last_epoch + 1;
        let record = store.session(key)?.and_then(|session| session.record).filter(goes_on);
        let is_kept = record.is_some();
        let stored = belongings(&store, key, record.unwrap_or_default())?;
        if !is_kept {
            pending.batch.delete_belongings(key, &stored);
        }
        let stored = is_kept.then_some(stored);
        let record = record_while_connected(stored.as_ref().map(|stored| &stored.record), expiry);
        pending.batch.put_session(key, &SessionValue { epoch, record });
        pending.session_epoch = Some(epoch);
        pending.sessions.insert(key.clone());
        pending.sync = true;
        Ok(TakenOver { epoch, stored })
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
        let session = store.session(key).map_err(|error| fault(&error))?;
        let session = session.filter(|session| session.epoch == epoch).ok_or(SaveError::Superseded)?;
        // Cursors alone can wait for the next sync: they are no promise.
        pending.sync |= !matches!(save, Save::Cursors(_));
        match save {
            Save::Record(record) => {
                pending.batch.put_session(key, &SessionValue { epoch, record: Some(*record) });
                pending.sessions.insert(key.clone());
            }
            Save::Cursors(moves) => move_cursors(key, session, &moves, pending),
            Save::Inflight(records) => {
                for record in &records {
                    pending.batch.put_inflight(key, record);
                }
                pending.touched.insert(key.clone());
            }
            Save::Release(packet_ids) => {
                for packet_id in packet_ids {
                    pending.batch.delete_receipt(key, packet_id);
                    pending.receipts.insert((key.clone(), packet_id), None);
                }
                pending.touched.insert(key.clone());
            }
            Save::Remove => {
                let stored = belongings(&store, key, SessionRecord::default()).map_err(|error| fault(&error))?;
                pending.batch.delete_belongings(key, &stored);
                pending.batch.delete_session(key);
                pending.sessions.insert(key.clone());
            }
        }
        Ok(())
    }

    /// Where a publish is in its log already, if its receipt says so, and if it is the session's owner who publishes.
    pub(super) fn received(&self, receipt: &Receipt, pending: &Pending) -> Result<Option<Seq>, Refusal> {
        let refusal = |error: StoreFault| storage_fault(&fault(&error));
        let store = self.shared.store().map_err(refusal)?;
        let session = store.session(&receipt.session).map_err(refusal)?;
        if session.is_none_or(|session| session.epoch != receipt.epoch) {
            return Err(Refusal::Superseded);
        }
        match pending.receipts.get(&(receipt.session.clone(), receipt.packet_id)) {
            Some(seq) => Ok(*seq),
            None => store.receipt(&receipt.session, receipt.packet_id).map_err(refusal),
        }
    }
}

/// Remembers a publish, in the batch that appends it.
pub(super) fn give_receipt(receipt: Receipt, seq: Seq, pending: &mut Pending) {
    let Receipt { session, packet_id, .. } = receipt;
    pending.batch.put_receipt(&session, packet_id, seq);
    pending.touched.insert(session.clone());
    pending.receipts.insert((session, packet_id), Some(seq));
    pending.sync = true;
}

/// What moves as a session hears on: one batch has it, or none.
fn move_cursors(key: &SessionKey, session: SessionValue, moves: &CursorMoves, pending: &mut Pending) {
    for (tx, seq) in &moves.cursors {
        pending.batch.put_cursor(key, tx, *seq);
    }
    if let SessionValue { epoch, record: Some(mut record) } = session
        && !moves.backfills.is_empty()
    {
        record.move_backfills(&moves.backfills);
        pending.batch.put_session(key, &SessionValue { epoch, record: Some(record) });
        pending.sessions.insert(key.clone());
    }
    for packet_id in &moves.settled {
        pending.batch.delete_inflight(key, *packet_id);
    }
    pending.touched.insert(key.clone());
}

/// All that is stored of a session beside its record.
fn belongings(store: &Store, key: &SessionKey, record: SessionRecord) -> Result<StoredSession, StoreFault> {
    let (cursors, receipts, inflight) = (store.cursors(key)?, store.receipts(key)?, store.inflight(key)?);
    Ok(StoredSession { record, cursors, receipts, inflight })
}
