//! What has its time: closed transactions that are purged, messages that are not worth delivering any more. The times are
//! in the store (`due`), so that a restart forgets none; each round does a bounded slice.

use quorate_domain::{PartyId, Seq, SessionKey, TxId, UnixMs};

use super::Committer;
use super::chores::under_way;
use super::pending::Pending;
use crate::clock;
use crate::store::{Due, QueueId, Store, StoreFault};

/// Matters that one batch takes up.
const DUE_AT_ONCE: usize = 128;
/// What one batch of purges may write, in bytes of keys.
const PURGE_BYTES_MAX: usize = 1 << 20;
/// When a message that is over, but on its way at QoS 2, is looked at again.
const UNDER_WAY_AGAIN_MS: u64 = 60_000;

impl Committer {
    /// Takes up what is due. Whether there may be more.
    pub(super) fn do_due(&mut self, pending: &mut Pending) -> Result<bool, StoreFault> {
        let store = self.shared.store()?;
        let now = clock::now();
        let matters = store.due(now, DUE_AT_ONCE)?;
        let is_full = matters.len() >= DUE_AT_ONCE;
        for (at, due) in matters {
            if pending.batch.bytes() > PURGE_BYTES_MAX {
                return Ok(true);
            }
            pending.batch.delete_due(at, &due);
            match due {
                Due::Purge(tx) => self.purge_if_over(&store, &tx, now, pending)?,
                Due::Queued { queue, seq } => self.expire_queued(&store, queue, seq, now, pending)?,
                Due::Retained { topic, number } => self.expire_retained(&store, &topic, number, pending)?,
            }
        }
        Ok(is_full)
    }

    /// A transaction closed at `at`: when everybody has heard it, or at the latest, it is purged.
    pub(super) fn purge_later(&self, tx: &TxId, at: UnixMs, pending: &mut Pending) {
        let first = self.retention.purge_after.min(self.retention.retain_closed_for);
        pending.batch.put_due(later(at, first), &Due::Purge(tx.clone()));
    }

    /// A session has acknowledged all of a log up to `cursor`. `false`: the transaction was purged.
    pub(super) fn note_heard(
        &mut self,
        party: &PartyId,
        tx: &TxId,
        cursor: Seq,
        pending: &mut Pending,
    ) -> Result<bool, StoreFault> {
        let known = pending.residents.get(tx).or_else(|| self.cache.peek(tx));
        if known.is_some_and(|resident| !resident.transaction.progress.state.is_closed()) {
            return Ok(true);
        }
        let is_known = self.load(tx, pending)?;
        let Some(resident) = pending.residents.get_mut(tx).filter(|_| is_known) else {
            return Ok(!pending.purged.contains_key(tx) && self.shared.store()?.tombstone(tx)?.is_none());
        };
        if resident.transaction.note_heard(party, cursor) {
            if resident.transaction.everybody_heard_the_end() {
                let at = later(resident.last_at, self.retention.purge_after);
                pending.batch.put_due(at, &Due::Purge(tx.clone()));
            }
            pending.moved.insert(tx.clone());
        }
        Ok(true)
    }

    fn purge_if_over(
        &mut self,
        store: &Store,
        tx: &TxId,
        now: UnixMs,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        // Another batch may hold it changed only while this one is not begun: a due matter stands at its beginning.
        self.cache.pop(tx);
        let Some((transaction, closed_at)) = store.transaction(tx)? else { return Ok(()) };
        if !transaction.progress.state.is_closed() {
            return Ok(());
        }
        let latest = later(closed_at, self.retention.retain_closed_for);
        let earliest = later(closed_at, self.retention.purge_after);
        if now < latest && !(transaction.everybody_heard_the_end() && now >= earliest) {
            pending.batch.put_due(latest, &Due::Purge(tx.clone()));
            return Ok(());
        }
        let slots = store.slots(tx, usize::MAX)?;
        let places: Vec<_> = slots.into_iter().map(|(place, _)| place).collect();
        pending.batch.purge(&transaction, &places);
        for member in transaction.charter.members() {
            for key in store.sessions_of(member)? {
                pending.batch.delete_cursor(&key, tx);
            }
        }
        let said = transaction.charter.parties.iter().cloned().zip(transaction.progress.said.iter().copied());
        self.discount(transaction.progress.stored, said, pending);
        pending.purged.insert(tx.clone(), transaction.charter.members().cloned().collect());
        pending.sync = true;
        Ok(())
    }

    /// A message whose lifetime is over leaves its queue, unless it is on its way at QoS 2: that ends as it began.
    fn expire_queued(
        &mut self,
        store: &Store,
        queue: QueueId,
        seq: Seq,
        now: UnixMs,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        if store.queued(queue, seq)?.is_none() {
            return Ok(());
        }
        let Some(owner) = store.queue_head(queue)?.map(|head| head.owner) else { return Ok(()) };
        if under_way(&store.inflight(&owner)?).contains(&seq) {
            let again = UnixMs(now.0.saturating_add(UNDER_WAY_AGAIN_MS));
            pending.batch.put_due(again, &Due::Queued { queue, seq });
            return Ok(());
        }
        self.metrics.expired.inc();
        self.dequeue(store, &owner, queue, &[seq], pending)
    }

    fn expire_retained(
        &mut self,
        store: &Store,
        topic: &str,
        number: u64,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        let Some(value) = store.retained(topic)?.filter(|value| value.number == number) else { return Ok(()) };
        if self.forget_if_over(&value.message, pending) {
            self.metrics.expired.inc();
        }
        Ok(())
    }

    /// Sessions whose time is over, and that nothing else has asked for: a slice of them is taken away.
    pub(super) fn end_expired_sessions(&mut self, pending: &mut Pending) -> bool {
        let now = clock::now();
        let over: Vec<SessionKey> = self.topics.expired(now, DUE_AT_ONCE);
        for key in &over {
            self.end_expired(key, pending);
            self.metrics.sessions_expired.inc();
        }
        over.len() >= DUE_AT_ONCE
    }
}

fn later(at: UnixMs, by: std::time::Duration) -> UnixMs {
    UnixMs(at.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}
