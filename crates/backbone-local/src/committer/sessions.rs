//! Decides over sessions: who owns one, what of it is kept, and which of its publishes at QoS 2 are in their logs already.

use quorate_backbone::{Receipt, SaveError, Start, StoreError, TakenOver, outlives_connection, record_while_connected};
use quorate_domain::{
    Agreement, CursorMoves, Refusal, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, Subscriber, UnixMs,
};

use super::chores::{Chore, under_way};
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
        agreement: Agreement,
        now: UnixMs,
        pending: &mut Pending,
    ) -> Result<TakenOver, StoreError> {
        let goes_on = |record: &SessionRecord| start == Start::Resume && outlives_connection(record, now);
        self.take_over(key, goes_on, agreement, pending).map_err(|error| fault(&error))
    }

    fn take_over(
        &mut self,
        key: &SessionKey,
        goes_on: impl FnOnce(&SessionRecord) -> bool,
        agreement: Agreement,
        pending: &mut Pending,
    ) -> Result<TakenOver, StoreFault> {
        let store = self.shared.store()?;
        let last_epoch = match pending.session_epoch {
            Some(epoch) => epoch,
            None => store.session_epoch()?,
        };
        // One counter for all sessions: an epoch of a session that was removed is never given again.
        let epoch = last_epoch + 1;
        let before = store.session(key)?;
        let old_queue = before.as_ref().map(|session| session.queue);
        let record = before.and_then(|session| session.record).filter(goes_on);
        let is_kept = record.is_some();
        let stored = belongings(&store, key, record.unwrap_or_default())?;
        if !is_kept {
            pending.batch.delete_belongings(key, &stored);
        }
        self.exchange_will(&store, key, epoch, is_kept, agreement.will, pending)?;
        let left = under_way(&stored.inflight);
        let stored = is_kept.then_some(stored);
        let record = record_while_connected(stored.as_ref().map(|stored| &stored.record), agreement.expiry);
        let subscriber = Subscriber { durable: record.is_some(), present: true };
        let queue = match (&stored, old_queue) {
            (Some(stored), Some(queue)) => {
                pending.topics.go_on(key, subscriber, &stored.record.subscriptions);
                queue
            }
            _ => {
                pending.topics.begin(key, subscriber, epoch);
                let purge = |queue| Chore::Purge { queue, of: Some(key.clone()), under_way: left };
                pending.topics.chores.extend(old_queue.map(purge));
                epoch
            }
        };
        pending.batch.put_session(key, &SessionValue { epoch, queue, record });
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
        let is_durable = session.record.is_some();
        pending.sync |= match &save {
            Save::Cursors(_) => false,
            Save::Record { record, .. } => is_durable || record.expiry != SessionExpiry::AtDisconnect,
            _ => true,
        };
        match save {
            Save::Record { record, replay } => self.keep_record(key, session, *record, replay, pending),
            Save::Cursors(moves) => {
                self.dequeue(&store, key, &moves.dequeued, pending).map_err(|error| fault(&error))?;
                move_cursors(key, session, &moves, pending);
            }
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
            Save::DiscardWill => {
                pending.batch.delete_will(key);
                pending.touched.insert(key.clone());
            }
            Save::Remove => {
                let stored = belongings(&store, key, SessionRecord::default()).map_err(|error| fault(&error))?;
                pending.batch.delete_belongings(key, &stored);
                pending.batch.delete_session(key);
                pending.sessions.insert(key.clone());
                pending.topics.remove(key);
                let under_way = under_way(&stored.inflight);
                pending.topics.chores.push(Chore::Purge { queue: session.queue, of: Some(key.clone()), under_way });
            }
        }
        Ok(())
    }

    /// A record, and what it says of ordinary topics. Of a session that ends with its connection the latter alone counts.
    fn keep_record(
        &mut self,
        key: &SessionKey,
        session: SessionValue,
        record: SessionRecord,
        replay: Vec<String>,
        pending: &mut Pending,
    ) {
        let SessionValue { epoch, queue, record: before } = session;
        let durable = before.is_some() || record.expiry != SessionExpiry::AtDisconnect;
        let is_away = record.disconnected_at.is_some();
        let subscriber = Subscriber { durable, present: !is_away };
        pending.topics.put(key, subscriber, &record.subscriptions, record.expires_at());
        if is_away && self.topics.router.shares(key) {
            pending.topics.chores.push(Chore::HandOn { key: key.clone(), queue, after: Seq::ZERO });
        }
        let replays = replay.into_iter().map(|filter| Chore::Replay { key: key.clone(), queue, filter, after: None });
        pending.topics.chores.extend(replays);
        if durable {
            pending.batch.put_session(key, &SessionValue { epoch, queue, record: Some(record) });
        }
        pending.sessions.insert(key.clone());
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
    if let SessionValue { epoch, queue, record: Some(mut record) } = session
        && !moves.backfills.is_empty()
    {
        record.move_backfills(&moves.backfills);
        pending.batch.put_session(key, &SessionValue { epoch, queue, record: Some(record) });
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
