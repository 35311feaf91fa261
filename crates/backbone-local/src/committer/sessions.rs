//! Decides over sessions: who owns one, what of it is kept, and which of its publishes at QoS 2 are in their logs already.

use quorate_backbone::{Receipt, SaveError, Start, StoreError, TakenOver, outlives_connection, record_while_connected};
use quorate_domain::{
    Agreement, CursorMoves, Refusal, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, Subscriber, UnixMs,
};

use super::chores::{Chore, Replay, under_way};
use super::job::{Save, storage_fault};
use super::pending::Pending;
use super::{Committer, fault};
use crate::store::{QueueId, SessionValue, Store, StoreFault};

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
        let kept_queue = old_queue.filter(|_| record.is_some());
        let stored = belongings(&store, key, record.unwrap_or_default())?;
        let subscriber = Subscriber { durable: agreement.expiry != SessionExpiry::AtDisconnect, present: true };
        if kept_queue.is_some() {
            pending.topics.go_on(key, subscriber, &stored.record.subscriptions);
        } else {
            pending.batch.delete_belongings(key, &stored);
            if let Some(queue) = old_queue {
                self.give_up_queue(&store, key, queue, &stored, pending)?;
            }
            pending.topics.begin(key, subscriber, epoch);
        }
        // Said after that: what ends here does not hear it.
        self.exchange_will(&store, key, epoch, kept_queue.is_some(), agreement.will, pending)?;
        let stored = kept_queue.map(|_| stored);
        let record = record_while_connected(stored.as_ref().map(|stored| &stored.record), agreement.expiry);
        let queue = kept_queue.unwrap_or(epoch);
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
                self.dequeue(&store, key, session.queue, &moves.dequeued, pending).map_err(|error| fault(&error))?;
                self.move_cursors(key, session, &moves, pending).map_err(|error| fault(&error))?;
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
                pending.sessions.insert(key.clone());
            }
            Save::Remove => self.remove(&store, key, session.queue, pending).map_err(|error| fault(&error))?,
        }
        Ok(())
    }

    /// Takes away a session that was found to have expired. (Its will has its own time.)
    pub(super) fn end_expired(&mut self, key: &SessionKey, pending: &mut Pending) {
        let ended = self.shared.store().and_then(|store| match store.session(key)? {
            Some(session) => self.remove(&store, key, session.queue, pending),
            None => Ok(()),
        });
        if let Err(error) = ended {
            tracing::error!(session = %key, %error, "a session that has expired could not be taken away");
        }
    }

    fn remove(&self, store: &Store, key: &SessionKey, queue: QueueId, pending: &mut Pending) -> Result<(), StoreFault> {
        let stored = belongings(store, key, SessionRecord::default())?;
        self.give_up_queue(store, key, queue, &stored, pending)?;
        pending.batch.delete_belongings(key, &stored);
        pending.batch.delete_session(key);
        pending.sessions.insert(key.clone());
        pending.topics.remove(key);
        Ok(())
    }

    /// A queue is nobody's from here on. What is under way at QoS 2 ends with its session (MQTT5 4.8.2-5); the rest is
    /// taken away, or handed on, in slices.
    fn give_up_queue(
        &self,
        store: &Store,
        key: &SessionKey,
        queue: QueueId,
        stored: &StoredSession,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        self.dequeue(store, key, queue, &under_way(&stored.inflight), pending)?;
        pending.topics.chores.push(Chore::Purge { queue, of: Some(key.clone()) });
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
        pending.topics.put(key, record.clone());
        let has_shared = self.queue(key, pending).is_some_and(|state| state.is_shared);
        if record.disconnected_at.is_some() && has_shared {
            pending.topics.chores.push(Chore::HandOn { key: key.clone(), queue, after: Seq::ZERO });
        }
        let replays = replay
            .into_iter()
            .map(|filter| Chore::Replay(Replay { key: key.clone(), queue, filter, until: None, after: None }));
        let is_dropped = |chore: &Chore| {
            matches!(chore, Chore::Replay(it) if it.key == *key
                && !record.subscriptions.iter().any(|subscription| subscription.filter == it.filter))
        };
        // What was unsubscribed from meanwhile need not come, nor what is left of it after the slice in this batch.
        self.topics.chores.retain(|chore| !is_dropped(chore));
        pending.topics.chores.retain(|chore| !is_dropped(chore));
        pending.topics.chores.extend(replays);
        if before.is_some() || record.expiry != SessionExpiry::AtDisconnect {
            pending.batch.put_session(key, &SessionValue { epoch, queue, record: Some(record) });
        }
        pending.sessions.insert(key.clone());
    }

    /// What moves as a session hears on: one batch has it, or none.
    fn move_cursors(
        &mut self,
        key: &SessionKey,
        session: SessionValue,
        moves: &CursorMoves,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        for (tx, seq) in &moves.cursors {
            let is_there = match seq {
                Some(seq) => self.note_heard(&key.party, tx, *seq, pending)?,
                None => false,
            };
            // A transaction may have been purged while its session still says how far it heard it.
            pending.batch.put_cursor(key, tx, seq.filter(|_| is_there));
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

/// All that is stored of a session beside its record.
fn belongings(store: &Store, key: &SessionKey, record: SessionRecord) -> Result<StoredSession, StoreFault> {
    let (cursors, receipts, inflight) = (store.cursors(key)?, store.receipts(key)?, store.inflight(key)?);
    Ok(StoredSession { record, cursors, receipts, inflight })
}
