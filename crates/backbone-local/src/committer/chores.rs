//! What takes longer than one batch should: retained messages for a new subscription, the queue of a session that is
//! over, what a member of a shared subscription leaves behind. One slice goes into each batch, beside what waits.

use quorate_domain::{InflightRecord, Lifetime, LogName, Routed, Seq, SessionKey};

use super::Committer;
use super::pending::Pending;
use crate::clock;
use crate::store::{Contents, QueueId, QueueValue, Store, StoreFault};

/// Records that one slice looks at.
const SLICE: usize = 500;

/// Something to be done in slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chore {
    /// Puts what is retained for a filter into the queue of the session that has subscribed to it.
    Replay {
        key: SessionKey,
        /// The queue that the session had when it subscribed: another one means that it began anew.
        queue: QueueId,
        filter: String,
        /// The last topic that was looked at.
        after: Option<String>,
    },
    /// Hands on what a session that is away has not acknowledged of shared subscriptions, until it is back.
    HandOn { key: SessionKey, queue: QueueId, after: Seq },
    /// Takes a queue away, handing on what came by shared subscriptions.
    Purge {
        queue: QueueId,
        /// Whose it was; `None`: of a connection that ended with an earlier run.
        of: Option<SessionKey>,
        /// What was on its way at QoS 2 ends with its session (MQTT5 4.8.2-5).
        under_way: Vec<Seq>,
    },
}

/// The places of a queue that are on their way at QoS 2: they are not handed on (MQTT5 4.8.2-4).
pub(super) fn under_way(records: &[InflightRecord]) -> Vec<Seq> {
    let in_queue = records.iter().filter(|record| record.delivery.log == LogName::Queue);
    in_queue.map(|record| record.delivery.seq).collect()
}

impl Committer {
    /// Does a slice of the oldest chore; what is left of it is remembered with the batch.
    pub(super) fn do_chore(&mut self, pending: &mut Pending) {
        let Some(chore) = self.topics.chores.pop_front() else { return };
        pending.chore = Some(chore.clone());
        match self.slice(chore, pending) {
            Ok(rest) => pending.topics.chores.extend(rest),
            Err(error) => tracing::error!(%error, "a chore of the store cannot go on and is given up"),
        }
    }

    fn slice(&mut self, chore: Chore, pending: &mut Pending) -> Result<Option<Chore>, StoreFault> {
        let store = self.shared.store()?;
        match chore {
            Chore::Replay { key, queue, filter, after } => self.replay(&store, key, queue, filter, after, pending),
            Chore::HandOn { key, queue, after } => self.hand_on(&store, key, queue, after, pending),
            Chore::Purge { queue, of, under_way } => self.purge(&store, queue, of, under_way, pending),
        }
    }

    fn replay(
        &mut self,
        store: &Store,
        key: SessionKey,
        queue: QueueId,
        filter: String,
        after: Option<String>,
        pending: &mut Pending,
    ) -> Result<Option<Chore>, StoreFault> {
        if self.queue(&key, pending).is_none_or(|state| state.id != queue) {
            return Ok(None);
        }
        let found = match filter.contains(['+', '#']) {
            true => store.retained_after(literal_beginning(&filter), after.as_deref(), SLICE)?,
            false => store.retained(&filter)?.into_iter().collect(),
        };
        let next = (found.len() == SLICE).then(|| found.last().map(|message| message.topic.clone())).flatten();
        for message in found {
            if message.properties.lifetime(message.at, clock::now()) == Lifetime::Over {
                self.forget_expired(&message, pending);
                continue;
            }
            let Some(manner) = self.topics.router.meet_retained(&key, &filter, &message) else { continue };
            let Some(subscriber) = self.topics.router.subscriber(&key) else { return Ok(None) };
            let routed = Routed { key: key.clone().into(), subscriber, manner };
            if self.is_full(&routed, pending) {
                tracing::warn!(session = %key, "a queue is full: what else is retained is not put into it");
                return Ok(None);
            }
            let contents = Contents::Here(Box::new(message.clone()));
            let hearer = self.put_into_queue(routed, contents, pending);
            pending.topics.copies.extend(hearer.map(|hearer| (message.into(), vec![hearer])));
        }
        Ok(next.map(|topic| Chore::Replay { key, queue, filter, after: Some(topic) }))
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
        let is_same = self.queue(&key, pending).is_some_and(|state| state.id == queue);
        if !is_away || !is_same || pending.sessions.contains(&key) {
            return Ok(None);
        }
        let under_way = under_way(&store.inflight(&key)?);
        let entries = store.queue_entries(queue, after, SLICE)?;
        let last = entries.last().map(|(seq, _)| *seq).filter(|_| entries.len() == SLICE);
        let mut handed_on = Vec::new();
        for (seq, value) in entries {
            if self.hand_on_entry(store, &key, seq, value, &under_way, pending)? {
                handed_on.push(seq);
            }
        }
        self.dequeue(store, &key, &handed_on, pending)?;
        Ok(last.map(|after| Chore::HandOn { key, queue, after }))
    }

    /// Gives an entry to another member, if it came by a shared subscription and there is one. The message is written for
    /// it anew: its old entry goes by itself.
    fn hand_on_entry(
        &mut self,
        store: &Store,
        key: &SessionKey,
        seq: Seq,
        value: QueueValue,
        under_way: &[Seq],
        pending: &mut Pending,
    ) -> Result<bool, StoreFault> {
        let Some(share) = value.manner.share.filter(|_| !under_way.contains(&seq)) else { return Ok(false) };
        let message = store.contents(value.contents)?;
        let Some(routed) = self.topics.router.route_again(&share, &message, key) else { return Ok(false) };
        if self.queue(&routed.key, pending).is_none() || self.is_full(&routed, pending) {
            return Ok(false);
        }
        self.enqueue(message, vec![routed], pending);
        Ok(true)
    }

    fn purge(
        &mut self,
        store: &Store,
        queue: QueueId,
        of: Option<SessionKey>,
        under_way: Vec<Seq>,
        pending: &mut Pending,
    ) -> Result<Option<Chore>, StoreFault> {
        let entries = store.queue_entries(queue, Seq::ZERO, SLICE)?;
        let is_last = entries.len() < SLICE;
        for (seq, value) in entries {
            let contents = value.contents.clone();
            if let Some(key) = &of {
                self.hand_on_entry(store, key, seq, value, &under_way, pending)?;
            }
            self.take_out(store, queue, seq, &contents, pending)?;
        }
        Ok((!is_last).then_some(Chore::Purge { queue, of, under_way }))
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
    use super::*;

    #[test]
    fn every_topic_that_a_filter_matches_begins_like_it() {
        for (filter, beginning) in [("a/b", "a/b"), ("a/#", "a"), ("a/+/b", "a"), ("#", ""), ("+/a", ""), ("/#", "")] {
            assert_eq!(literal_beginning(filter), beginning);
        }
    }
}
