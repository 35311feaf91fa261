//! Decides over publishes to ordinary topics: who hears them, in whose queues they wait, what is retained.

use std::sync::Arc;

use quorate_backbone::{Appended, Publication, TopicRules, WhenFull, places_taken};
use quorate_domain::{Lifetime, OrdinaryMessage, Qos, Refusal, Routed, Seq, SessionKey, UnixMs, Volume};

use super::job::storage_fault;
use super::pending::Pending;
use super::sessions::give_receipt;
use super::topics::QueueState;
use super::{Committer, fault};
use crate::clock;
use crate::metrics::Quota;
use crate::movement::Hearer;
use crate::store::{Contents, Due, QueueId, QueueValue, QueuedSize, RetainedValue, Store, StoreFault};

/// Members of a shared subscription that are asked for one message until one is there. Only sessions that have expired
/// and were not taken away yet are passed over, and each of them once.
const MEMBERS_ASKED_MAX: usize = 64;

/// A message as it is put into queues.
pub(super) struct Entry {
    /// Of its payload.
    pub(super) bytes: u64,
    /// When it is not worth delivering any more.
    pub(super) ends_at: Option<UnixMs>,
    pub(super) contents: Option<Contents>,
}

impl Committer {
    /// What becomes of a publish. An accepted one is in the batch when this returns, with its receipt if it has one.
    pub(super) fn decide_publish(
        &mut self,
        mut publication: Publication,
        pending: &mut Pending,
    ) -> Result<Appended, Refusal> {
        let when_full = WhenFull::Refuse;
        let Some(receipt) = publication.receipt.take() else {
            return self.decide_ordinary(publication, when_full, pending);
        };
        if let Some(seq) = self.received(&receipt, pending)? {
            return Ok(Appended { seq, repeated: true });
        }
        let appended = self.decide_ordinary(publication, when_full, pending)?;
        give_receipt(receipt, appended.seq, pending);
        Ok(appended)
    }

    /// The same without a receipt: routed, retained, queued.
    pub(super) fn decide_ordinary(
        &mut self,
        publication: Publication,
        when_full: WhenFull,
        pending: &mut Pending,
    ) -> Result<Appended, Refusal> {
        let Publication { topic, author, session, payload, qos, retain, properties, receipt: _ } = publication;
        let at = clock::now();
        let is_own = author.is_none();
        let message = OrdinaryMessage { at, topic, from: author, qos, retain, properties, payload };
        let routed = self.topics.router.route(&message, session.as_ref());
        let mut routed: Vec<_> =
            routed.into_iter().filter_map(|routed| self.one_who_is_there(routed, &message, pending)).collect();
        let bytes = message.payload.len() as u64;
        let full = self.without_room(&routed, bytes, pending);
        match when_full {
            _ if full.is_empty() => {}
            WhenFull::Refuse => return Err(self.refuse(Quota::Queue, "the queue of a subscriber is full")),
            WhenFull::LeaveOut => routed.retain(|routed| !is_queued(routed) || !full.contains(&*routed.key)),
        }
        for key in &full {
            tracing::warn!(session = %key, "a queue is full: a will is not put into it");
            self.metrics.wills_not_queued.inc();
        }
        let kept = places_taken(&routed).values().sum::<u64>() + u64::from(retain && bytes > 0);
        if kept > 0 && !is_own {
            self.check_disk()?;
            self.check_store(Volume { messages: kept, bytes: kept.saturating_mul(bytes) }, pending)?;
        }
        let failed = |error: StoreFault| storage_fault(&fault(&error));
        if retain {
            self.retain(&message, pending).map_err(failed)?;
            pending.sync |= !is_own;
        }
        self.enqueue(message, routed, pending).map_err(failed)?;
        Ok(Appended { seq: Seq(self.counter(pending)), repeated: false })
    }

    /// The session that was chosen for a message, if it is still there; of a shared subscription, else another member.
    /// One that has expired ends here, unless the batch has decided otherwise about it.
    ///
    /// A member that this batch ends may be chosen: the message then stands in its old queue, and goes on from there.
    pub(super) fn one_who_is_there(
        &mut self,
        mut routed: Routed,
        message: &OrdinaryMessage,
        pending: &mut Pending,
    ) -> Option<Routed> {
        for _ in 0..MEMBERS_ASKED_MAX {
            let key = routed.key.clone();
            let state = self.topics.queues.get(&*key)?;
            let is_over = state.expires_at.is_some_and(|expires_at| expires_at <= message.at)
                && !pending.sessions.contains(&*key);
            let is_gone = pending.topics.gone.contains(&*key);
            if !is_over && (!is_gone || (routed.manner.share.is_some() && is_queued(&routed))) {
                return Some(routed);
            }
            if is_over && !is_gone {
                self.end_expired(&key, pending);
            }
            let share = routed.manner.share.take()?;
            routed = self.topics.router.route_again(&share, message, &key)?;
        }
        None
    }

    /// The sessions whose queues have no room for what they are to hear, of so many bytes each.
    fn without_room(&self, routed: &[Routed], bytes: u64, pending: &Pending) -> Vec<SessionKey> {
        let places = places_taken(routed).into_iter();
        let full = places.filter(|(key, places)| !self.has_room(key, *places, bytes, pending));
        full.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the queue of a session takes so many messages more, of so many bytes each.
    pub(super) fn has_room(&self, key: &SessionKey, places: u64, bytes: u64, pending: &Pending) -> bool {
        let TopicRules { queue_messages_max, queue_bytes_max, .. } = self.topics.rules;
        self.queue(key, pending).is_none_or(|queue| {
            queue.volume.messages.saturating_add(places) <= queue_messages_max
                && queue.volume.bytes.saturating_add(places.saturating_mul(bytes)) <= queue_bytes_max
        })
    }

    /// The queue of a session as this batch leaves it.
    pub(super) fn queue(&self, key: &SessionKey, pending: &Pending) -> Option<QueueState> {
        pending.topics.queues.get(key).or_else(|| self.topics.queues.get(key)).copied()
    }

    fn counter(&self, pending: &Pending) -> u64 {
        pending.topics.counter.unwrap_or(self.topics.counter)
    }

    fn next_number(&self, pending: &mut Pending) -> u64 {
        let next = self.counter(pending) + 1;
        pending.topics.counter = Some(next);
        next
    }

    fn retain(&self, message: &OrdinaryMessage, pending: &mut Pending) -> Result<(), StoreFault> {
        let store = self.shared.store()?;
        let before = match pending.topics.retained.get(&message.topic) {
            Some(bytes) => *bytes,
            None => {
                let before = store.retained_size(&message.topic)?;
                if let Some((number, at)) = before.and_then(|before| Some((before.number, before.ends_at?))) {
                    pending.batch.delete_due(at, &Due::Retained { topic: message.topic.clone(), number });
                }
                before.map(|before| before.bytes)
            }
        };
        let after = Some(message.payload.len() as u64).filter(|bytes| *bytes > 0);
        if after.is_some() {
            let number = self.next_number(pending);
            let value = RetainedValue { number, message: message.clone() };
            pending.batch.put_retained(store.vault(), &value)?;
            if let Some(at) = message.properties.ends_at(message.at) {
                pending.batch.put_due(at, &Due::Retained { topic: message.topic.clone(), number });
            }
        } else {
            pending.batch.delete_retained(&message.topic);
        }
        self.count_retained(before, after, pending);
        pending.topics.retained.insert(message.topic.clone(), after);
        Ok(())
    }

    /// Forgets a retained message whose lifetime is over, unless the batch has another for its topic.
    pub(super) fn forget_if_over(&self, message: &OrdinaryMessage, pending: &mut Pending) -> bool {
        let is_over = message.properties.lifetime(message.at, clock::now()) == Lifetime::Over;
        if is_over && !pending.topics.retained.contains_key(&message.topic) {
            pending.batch.delete_retained(&message.topic);
            self.count_retained(Some(message.payload.len() as u64), None, pending);
            pending.topics.retained.insert(message.topic.clone(), None);
        }
        is_over
    }

    /// Puts a message into the queues of those who hear it at QoS 1 and 2, and makes the live copies.
    pub(super) fn enqueue(
        &self,
        message: OrdinaryMessage,
        routed: Vec<Routed>,
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        let holders = routed.iter().filter(|routed| is_queued(routed)).count();
        let contents = match holders {
            0 => None,
            1 => Some(Contents::Here(Box::new(message.clone()))),
            _ => {
                let id = self.next_number(pending);
                pending.batch.put_ordinary(self.shared.store()?.vault(), id, &message)?;
                refer(id, u32::try_from(holders).unwrap_or(u32::MAX), pending);
                Some(Contents::Kept(id))
            }
        };
        let ends_at = message.properties.ends_at(message.at);
        let queued = Entry { bytes: message.payload.len() as u64, ends_at, contents };
        let mut hearers = Vec::with_capacity(routed.len());
        for routed in routed {
            match &queued.contents {
                Some(_) if is_queued(&routed) => hearers.extend(self.put_into_queue(routed, &queued, pending)?),
                _ => {
                    let Routed { key, manner, .. } = routed;
                    hearers.push(Hearer { key, seq: Seq::ZERO, prev: Seq::ZERO, manner });
                }
            }
        }
        if !hearers.is_empty() {
            pending.topics.copies.push((Arc::new(message), hearers));
        }
        Ok(())
    }

    /// Puts an entry into the queue of one session. Gives the session to hear of it, if it is there to hear.
    pub(super) fn put_into_queue(
        &self,
        routed: Routed,
        entry: &Entry,
        pending: &mut Pending,
    ) -> Result<Option<Hearer>, StoreFault> {
        let Routed { key, subscriber, manner } = routed;
        let (Some(queue), Some(contents)) = (self.queue(&key, pending), entry.contents.clone()) else {
            return Ok(None);
        };
        let (seq, prev) = (Seq(self.next_number(pending)), queue.last);
        let is_shared = queue.is_shared || manner.share.is_some();
        let value = QueueValue { prev, manner, bytes: entry.bytes, ends_at: entry.ends_at, contents };
        pending.batch.put_queued(self.shared.store()?.vault(), queue.id, seq, &value)?;
        if let Some(at) = entry.ends_at {
            pending.batch.put_due(at, &Due::Queued { queue: queue.id, seq });
        }
        let more = Volume { messages: 1, bytes: entry.bytes };
        let volume = queue.volume.plus(more);
        pending.topics.queues.insert(SessionKey::clone(&key), QueueState { last: seq, volume, is_shared, ..queue });
        pending.topics.queued_more = pending.topics.queued_more.plus(more);
        pending.touched.insert(SessionKey::clone(&key));
        pending.sync |= subscriber.durable;
        let is_there = subscriber.present && !pending.topics.gone.contains(&*key);
        Ok(is_there.then_some(Hearer { key, seq, prev, manner: value.manner }))
    }

    /// Takes entries out of the queue of a session; those that are not there are passed over.
    pub(super) fn dequeue(
        &self,
        store: &Store,
        key: &SessionKey,
        queue: QueueId,
        seqs: &[Seq],
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        let mut taken = Volume::default();
        for seq in seqs {
            if let Some(size) = store.queued_size(queue, *seq)? {
                taken = taken.plus(self.take_out(store, queue, *seq, size, pending)?);
            }
        }
        if let Some(state) = self.queue(key, pending).filter(|state| state.id == queue && taken.messages > 0) {
            let volume = state.volume.minus(taken);
            pending.topics.queues.insert(key.clone(), QueueState { volume, ..state });
        }
        Ok(())
    }

    /// Takes one entry out. Gives what it took: nothing where this batch has done so already.
    pub(super) fn take_out(
        &self,
        store: &Store,
        queue: QueueId,
        seq: Seq,
        size: QueuedSize,
        pending: &mut Pending,
    ) -> Result<Volume, StoreFault> {
        if !pending.topics.dequeued.insert((queue, seq)) {
            return Ok(Volume::default());
        }
        pending.batch.delete_queued(queue, seq);
        if let Some(at) = size.ends_at {
            pending.batch.delete_due(at, &Due::Queued { queue, seq });
        }
        let taken = Volume { messages: 1, bytes: size.bytes };
        pending.topics.queued_less = pending.topics.queued_less.plus(taken);
        if let Some(id) = size.kept {
            let count = match pending.topics.references.get(&id) {
                Some(count) => *count,
                None => store.references(id)?,
            };
            refer(id, count.saturating_sub(1), pending);
        }
        Ok(taken)
    }
}

fn is_queued(routed: &Routed) -> bool {
    routed.manner.qos > Qos::AtMostOnce
}

/// So many queues refer to a message.
fn refer(id: u64, count: u32, pending: &mut Pending) {
    pending.batch.put_references(id, count);
    pending.topics.references.insert(id, count);
}
