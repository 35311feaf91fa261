//! Decides over publishes to ordinary topics: who hears them, in whose queues they wait, what is retained.

use std::sync::Arc;

use quorate_backbone::{Appended, Publication, WhenFull, places_taken};
use quorate_domain::{Lifetime, OrdinaryMessage, Qos, Refusal, Routed, Seq, SessionKey};

use super::job::storage_fault;
use super::pending::Pending;
use super::sessions::give_receipt;
use super::topics::QueueState;
use super::{Committer, fault};
use crate::clock;
use crate::movement::Hearer;
use crate::store::{Contents, QueueId, QueueValue, RetainedValue, Store, StoreFault};

/// Members of a shared subscription that are asked for one message until one is there. Only sessions that have expired
/// and were not taken away yet are passed over, and each of them once.
const MEMBERS_ASKED_MAX: usize = 64;

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
        let full = self.without_room(&routed, pending);
        match when_full {
            _ if full.is_empty() => {}
            WhenFull::Refuse => return Err(Refusal::QuotaExceeded("the queue of a subscriber is full".to_owned())),
            WhenFull::LeaveOut => routed.retain(|routed| !is_queued(routed) || !full.contains(&*routed.key)),
        }
        for key in &full {
            tracing::warn!(session = %key, "a queue is full: a will is not put into it");
            self.metrics.wills_not_queued.inc();
        }
        if retain {
            self.retain(&message, pending).map_err(|error| storage_fault(&fault(&error)))?;
            pending.sync |= !is_own;
        }
        self.enqueue(message, routed, pending);
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

    /// The sessions whose queues have no room for what they are to hear.
    fn without_room(&self, routed: &[Routed], pending: &Pending) -> Vec<SessionKey> {
        let places = places_taken(routed).into_iter();
        places.filter(|(key, places)| !self.has_room(key, *places, pending)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether the queue of a session takes so many messages more.
    pub(super) fn has_room(&self, key: &SessionKey, places: u64, pending: &Pending) -> bool {
        let max = self.topics.rules.queue_messages_max;
        self.queue(key, pending).is_none_or(|queue| queue.len.saturating_add(places) <= max)
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
        let was_retained = match pending.topics.retained.get(&message.topic) {
            Some(is_retained) => *is_retained,
            None => self.shared.store()?.retained(&message.topic)?.is_some(),
        };
        let is_retained = !message.payload.is_empty();
        if is_retained {
            let number = self.next_number(pending);
            pending.batch.put_retained(&RetainedValue { number, message: message.clone() });
        } else {
            pending.batch.delete_retained(&message.topic);
        }
        pending.topics.retained_more += i64::from(is_retained) - i64::from(was_retained);
        pending.topics.retained.insert(message.topic.clone(), is_retained);
        Ok(())
    }

    /// Forgets a retained message whose lifetime is over, unless the batch has another for its topic.
    pub(super) fn forget_if_over(&self, message: &OrdinaryMessage, pending: &mut Pending) -> bool {
        let is_over = message.properties.lifetime(message.at, clock::now()) == Lifetime::Over;
        if is_over && !pending.topics.retained.contains_key(&message.topic) {
            pending.batch.delete_retained(&message.topic);
            pending.topics.retained_more -= 1;
            pending.topics.retained.insert(message.topic.clone(), false);
        }
        is_over
    }

    /// Puts a message into the queues of those who hear it at QoS 1 and 2, and makes the live copies.
    pub(super) fn enqueue(&self, message: OrdinaryMessage, routed: Vec<Routed>, pending: &mut Pending) {
        let holders = routed.iter().filter(|routed| is_queued(routed)).count();
        let contents = match holders {
            0 => None,
            1 => Some(Contents::Here(Box::new(message.clone()))),
            _ => {
                let id = self.next_number(pending);
                pending.batch.put_ordinary(id, &message);
                refer(id, u32::try_from(holders).unwrap_or(u32::MAX), pending);
                Some(Contents::Kept(id))
            }
        };
        let mut hearers = Vec::with_capacity(routed.len());
        for routed in routed {
            match &contents {
                Some(contents) if is_queued(&routed) => {
                    hearers.extend(self.put_into_queue(routed, contents.clone(), pending));
                }
                _ => {
                    let Routed { key, manner, .. } = routed;
                    hearers.push(Hearer { key, seq: Seq::ZERO, prev: Seq::ZERO, manner });
                }
            }
        }
        if !hearers.is_empty() {
            pending.topics.copies.push((Arc::new(message), hearers));
        }
    }

    /// One entry. Gives the session to hear of it, if it is there to hear.
    pub(super) fn put_into_queue(&self, routed: Routed, contents: Contents, pending: &mut Pending) -> Option<Hearer> {
        let Routed { key, subscriber, manner } = routed;
        let mut queue = self.queue(&key, pending)?;
        let (seq, prev) = (Seq(self.next_number(pending)), queue.last);
        if manner.share.is_some() && !queue.is_owned {
            pending.batch.put_queue_owner(queue.id, &key);
            queue.is_owned = true;
        }
        let value = QueueValue { prev, manner, contents };
        pending.batch.put_queued(queue.id, seq, &value);
        pending.topics.queues.insert(SessionKey::clone(&key), QueueState { last: seq, len: queue.len + 1, ..queue });
        pending.topics.queued_more += 1;
        pending.touched.insert(SessionKey::clone(&key));
        pending.sync |= subscriber.durable;
        let is_there = subscriber.present && !pending.topics.gone.contains(&*key);
        is_there.then_some(Hearer { key, seq, prev, manner: value.manner })
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
        let mut taken = 0;
        for seq in seqs {
            if let Some(value) = store.queued(queue, *seq)? {
                taken += u64::from(self.take_out(store, queue, *seq, &value.contents, pending)?);
            }
        }
        if let Some(state) = self.queue(key, pending).filter(|state| state.id == queue && taken > 0) {
            let len = state.len.saturating_sub(taken);
            pending.topics.queues.insert(key.clone(), QueueState { len, ..state });
        }
        Ok(())
    }

    /// Takes one entry out. `false`: this batch has done so already.
    pub(super) fn take_out(
        &self,
        store: &Store,
        queue: QueueId,
        seq: Seq,
        contents: &Contents,
        pending: &mut Pending,
    ) -> Result<bool, StoreFault> {
        if !pending.topics.dequeued.insert((queue, seq)) {
            return Ok(false);
        }
        pending.batch.delete_queued(queue, seq);
        pending.topics.queued_more -= 1;
        if let Contents::Kept(id) = contents {
            let count = match pending.topics.references.get(id) {
                Some(count) => *count,
                None => store.references(*id)?,
            };
            refer(*id, count.saturating_sub(1), pending);
        }
        Ok(true)
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
