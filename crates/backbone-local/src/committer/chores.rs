//! What takes longer than one batch should: retained messages for a new subscription, the queue of a session that is
//! over, what a member of a shared subscription leaves behind. It is done in slices, a few in each batch, beside what
//! waits.

use std::collections::VecDeque;

use quorate_backbone::ReadLimit;
use quorate_domain::{InflightRecord, LogName, Routed, Seq, SessionKey, Volume};

use super::Committer;
use super::ordinary::Entry;
use super::pending::Pending;
use crate::store::{Contents, QueueHead, QueueId, QueueValue, Slice, Store, StoreFault};

/// What one slice looks at.
const SLICE: ReadLimit = ReadLimit { messages: 250, bytes: 512 << 10 };
/// Slices in one batch: so many sessions can begin or end before others wait longer.
const SLICES_AT_ONCE: usize = 4;

/// Something to be done in slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chore {
    /// Puts what is retained for a filter into the queue of the session that has subscribed to it.
    Replay(Replay),
    /// Hands on what a session that is away has not acknowledged of shared subscriptions, until it is back.
    HandOn { key: SessionKey, queue: QueueId, after: Seq },
    /// Takes the queue of a session that is over away, handing on what came by shared subscriptions.
    Purge {
        queue: QueueId,
        /// Whose it was; `None`: it never held anything of a shared subscription.
        of: Option<SessionKey>,
    },
}

/// To whom a message is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// To a member that is connected: one that is away is no better than the one that has it.
    Present,
    /// To any member, since the one that has it is over.
    Anybody,
}

/// How far retained messages have been put into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replay {
    pub(super) key: SessionKey,
    /// The queue that the session had when it subscribed: another one means that it began anew.
    pub(super) queue: QueueId,
    pub(super) filter: String,
    /// The last number that was given when the subscription began to hold: what was retained later came to the session
    /// as it was published.
    pub(super) until: Option<u64>,
    /// The last topic that was looked at.
    pub(super) after: Option<String>,
}

/// Puts a chore behind the others. `now`: the last number that was given. One that would do over again what another
/// will do in any case is left out: so they are no more than there are queues and subscriptions, but for those begun.
pub(super) fn remember(mut chore: Chore, now: u64, chores: &mut VecDeque<Chore>) {
    if let Chore::Replay(Replay { until, .. }) = &mut chore {
        until.get_or_insert(now);
    }
    chores.retain(|other| !is_covered(other, &chore));
    chores.push_back(chore);
}

fn is_covered(one: &Chore, by: &Chore) -> bool {
    match (one, by) {
        (Chore::Replay(one), Chore::Replay(by)) => {
            by.after.is_none() && (&one.key, one.queue, &one.filter) == (&by.key, by.queue, &by.filter)
        }
        (Chore::HandOn { queue: one, .. }, Chore::HandOn { queue: by, after: Seq::ZERO, .. }) => one == by,
        _ => false,
    }
}

/// The places of a queue that are on their way at QoS 2: they are not handed on (MQTT5 4.8.2-4, 4.8.2-5).
pub(super) fn under_way(records: &[InflightRecord]) -> Vec<Seq> {
    let in_queue = records.iter().filter(|record| record.delivery.log == LogName::Queue);
    in_queue.map(|record| record.delivery.seq).collect()
}

impl Committer {
    /// Does a slice of each of the oldest chores. To be called on an empty batch: a chore looks at the store alone.
    pub(super) fn do_chores(&mut self, pending: &mut Pending) {
        self.do_what_is_due(pending);
        for _ in 0..SLICES_AT_ONCE {
            // A message that is handed on may be much larger than its place in the queue that was read.
            if pending.batch.bytes() >= SLICE.bytes {
                return;
            }
            let Some(chore) = self.topics.chores.pop_front() else { return };
            pending.topics.begun.push(chore.clone());
            match self.slice(chore, pending) {
                Ok(rest) => pending.topics.chores.extend(rest),
                Err(error) => tracing::error!(%error, "a chore of the store cannot go on and is given up"),
            }
        }
    }

    /// What has its time, a slice in each batch for as long as there is more of it.
    fn do_what_is_due(&mut self, pending: &mut Pending) {
        if !std::mem::take(&mut self.is_due) {
            return;
        }
        let more = match self.do_due(pending) {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(%error, "what is due in the store cannot be taken up");
                false
            }
        };
        self.is_due = self.end_expired_sessions(pending) || more;
    }

    /// The slices of a batch that failed are to be done again.
    pub(super) fn take_chores_back(&mut self, begun: Vec<Chore>) {
        for chore in begun.into_iter().rev() {
            self.topics.chores.push_front(chore);
        }
    }

    fn slice(&mut self, chore: Chore, pending: &mut Pending) -> Result<Option<Chore>, StoreFault> {
        let store = self.shared.store()?;
        match chore {
            Chore::Replay(replay) => self.replay(&store, replay, pending),
            Chore::HandOn { key, queue, after } => self.hand_on(&store, key, queue, after, pending),
            Chore::Purge { queue, of } => self.purge(&store, queue, of, pending),
        }
    }

    fn replay(&mut self, store: &Store, replay: Replay, pending: &mut Pending) -> Result<Option<Chore>, StoreFault> {
        let Replay { key, queue, filter, until, after } = &replay;
        let Some(subscriber) = self.topics.router.subscriber(key) else { return Ok(None) };
        if !self.topics.router.subscribes(key, filter) {
            return Ok(None);
        }
        if self.queue(key, pending).is_none_or(|state| state.id != *queue) {
            return Ok(None);
        }
        let slice = match filter.contains(['+', '#']) {
            true => store.retained_slice(literal_beginning(filter), after.as_deref(), SLICE)?,
            false => Slice { records: store.retained(filter)?.into_iter().collect(), is_end: true },
        };
        let last = slice.records.last().map(|value| value.message.topic.clone());
        for value in slice.records {
            let message = value.message;
            if self.forget_if_over(&message, pending) || until.is_some_and(|until| value.number > until) {
                continue;
            }
            let Some(manner) = self.topics.router.meet_retained(key, filter, &message) else { continue };
            let bytes = message.payload.len() as u64;
            if !self.has_room(key, 1, bytes, pending) {
                tracing::warn!(session = %key, "a queue is full: what else is retained is not put into it");
                return Ok(None);
            }
            let routed = Routed { key: key.clone().into(), subscriber, manner };
            let ends_at = message.properties.ends_at(message.at);
            let entry = Entry { bytes, ends_at, contents: Some(Contents::Here(Box::new(message.clone()))) };
            let hearer = self.put_into_queue(routed, &entry, pending)?;
            pending.topics.copies.extend(hearer.map(|hearer| (message.into(), vec![hearer])));
        }
        Ok((!slice.is_end).then_some(Chore::Replay(Replay { after: last, ..replay })))
    }

    fn hand_on(
        &mut self,
        store: &Store,
        key: SessionKey,
        queue: QueueId,
        after: Seq,
        pending: &mut Pending,
    ) -> Result<Option<Chore>, StoreFault> {
        let is_away = self.topics.router.subscriber(&key).is_some_and(|subscriber| !subscriber.present);
        if !is_away || self.queue(&key, pending).is_none_or(|state| state.id != queue) {
            return Ok(None);
        }
        let under_way = under_way(&store.inflight(&key)?);
        let slice = store.queue_slice(queue, after, SLICE)?;
        let (mut last, mut is_end) = (after, slice.is_end);
        let mut handed_on = Vec::new();
        for (seq, value) in slice.records {
            if pending.batch.bytes() >= SLICE.bytes {
                is_end = false;
                break;
            }
            if !under_way.contains(&seq)
                && self.hand_on_entry(store, &key, (queue, seq), &value, Whom::Present, pending)?
            {
                handed_on.push(seq);
            }
            last = seq;
        }
        self.dequeue(store, &key, queue, &handed_on, pending)?;
        Ok((!is_end).then_some(Chore::HandOn { key, queue, after: last }))
    }

    /// Gives an entry to another member, if it came by a shared subscription and there is one. The message is written for
    /// it anew: its old entry goes by itself.
    fn hand_on_entry(
        &mut self,
        store: &Store,
        key: &SessionKey,
        place: (QueueId, Seq),
        value: &QueueValue,
        whom: Whom,
        pending: &mut Pending,
    ) -> Result<bool, StoreFault> {
        let Some(share) = value.manner.share.as_ref().filter(|_| !pending.topics.dequeued.contains(&place)) else {
            return Ok(false);
        };
        let message = store.contents(value.contents.clone())?;
        let routed = self.topics.router.route_again(share, &message, key);
        let Some(routed) = routed.and_then(|routed| self.one_who_is_there(routed, &message, pending)) else {
            return Ok(false);
        };
        if whom == Whom::Present && !routed.subscriber.present {
            return Ok(false);
        }
        if *routed.key == *key || !self.has_room(&routed.key, 1, value.bytes, pending) {
            return Ok(false);
        }
        self.enqueue(message, vec![routed], pending)?;
        Ok(true)
    }

    fn purge(
        &mut self,
        store: &Store,
        queue: QueueId,
        of: Option<SessionKey>,
        pending: &mut Pending,
    ) -> Result<Option<Chore>, StoreFault> {
        let Some(head) = store.queue_head(queue)? else { return Ok(None) };
        let slice = store.queue_slice(queue, Seq::ZERO, SLICE)?;
        let mut is_end = slice.is_end;
        let mut taken = Volume::default();
        for (seq, value) in slice.records {
            if pending.batch.bytes() >= SLICE.bytes {
                is_end = false;
                break;
            }
            if let Some(key) = &of
                && !self.hand_on_entry(store, key, (queue, seq), &value, Whom::Anybody, pending)?
                && value.manner.share.is_some()
            {
                tracing::info!(session = %key, "a message of a shared subscription is lost with its last member");
            }
            taken = taken.plus(self.take_out(store, queue, seq, value.size(), pending)?);
        }
        if is_end {
            pending.batch.delete_queue_head(queue);
            return Ok(None);
        }
        pending.batch.put_queue_head(queue, &QueueHead { volume: head.volume.minus(taken), ..head });
        Ok(Some(Chore::Purge { queue, of }))
    }
}

/// The part of a filter before its first wildcard, with which every topic begins that it matches. (`a/#` matches `a` as
/// well.)
fn literal_beginning(filter: &str) -> &str {
    let wildcard = filter.find(['+', '#']).unwrap_or(filter.len());
    filter[..wildcard].trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use quorate_domain::PartyId;

    use super::*;

    fn replay(filter: &str, after: Option<&str>) -> Chore {
        let party = PartyId::new("alice").expect("a valid party");
        let key = SessionKey { party, client_id: "one".to_owned() };
        let (filter, after) = (filter.to_owned(), after.map(str::to_owned));
        Chore::Replay(Replay { key, queue: 1, filter, until: None, after })
    }

    #[test]
    fn every_topic_that_a_filter_matches_begins_like_it() {
        for (filter, beginning) in [("a/b", "a/b"), ("a/#", "a"), ("a/+/b", "a"), ("#", ""), ("+/a", ""), ("/#", "")] {
            assert_eq!(literal_beginning(filter), beginning);
        }
    }

    #[test]
    fn who_subscribes_again_and_again_leaves_one_chore() {
        let mut chores = VecDeque::new();
        for now in 1..=5 {
            remember(replay("a/#", None), now, &mut chores);
            remember(replay("b/#", None), now, &mut chores);
        }
        let untils: Vec<_> =
            chores.iter().map(|chore| matches!(chore, Chore::Replay(it) if it.until == Some(5))).collect();
        assert_eq!(untils, [true, true]);
        // What is left of one that has begun does not take the place of one that begins.
        remember(replay("a/#", Some("a/b")), 6, &mut chores);
        assert_eq!(chores.len(), 3);
    }
}
