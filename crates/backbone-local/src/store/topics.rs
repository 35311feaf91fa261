//! Ordinary topics in the store: messages and how many queues refer to them, queues, what is retained, wills.
//!
//! A queue has a number of its own, not the session's name: a session that starts anew gets another, so that what is left
//! of the old one can be taken away in slices.

use std::sync::Arc;

use quorate_backbone::ReadLimit;
use quorate_domain::{Manner, OrdinaryMessage, QueuePage, Queued, Seq, SessionKey, Will};
use serde::{Deserialize, Serialize};

use super::families::Family;
use super::records::{SessionValue, decode, encode};
use super::{Batch, Store, StoreFault, keys};

/// The counter of ordinary messages and of their places in queues.
const ORDINARY_COUNTER_KEY: &[u8] = b"ordinary_counter";

/// Names a queue: the epoch with which its session began.
pub(crate) type QueueId = u64;

/// One message in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueValue {
    /// The place before it in this queue; [`Seq::ZERO`]: it was the first.
    pub(crate) prev: Seq,
    /// How it is delivered.
    pub(crate) manner: Manner,
    /// The message.
    pub(crate) contents: Contents,
}

/// Where the message of a queue entry is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Contents {
    /// In the entry: no other queue has it.
    Here(Box<OrdinaryMessage>),
    /// Among the ordinary messages, under this number.
    Kept(u64),
}

/// A will and the session that left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WillValue {
    pub(crate) epoch: u64,
    pub(crate) will: Will,
}

/// How far one queue is filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueueExtent {
    /// The last place that was given.
    pub(crate) last: Seq,
    /// Messages in it.
    pub(crate) len: u64,
}

impl Batch {
    pub(crate) fn put_ordinary_counter(&mut self, counter: u64) {
        self.put(Family::Meta, ORDINARY_COUNTER_KEY.to_vec(), encode(&counter));
    }

    pub(crate) fn put_ordinary(&mut self, id: u64, message: &OrdinaryMessage) {
        self.put(Family::Ordinary, keys::ordinary(id), encode(message));
    }

    /// How many queues refer to a message; with none it goes.
    pub(crate) fn put_references(&mut self, id: u64, count: u32) {
        if count > 0 {
            self.put(Family::Ordinary, keys::references(id), encode(&count));
        } else {
            self.delete(Family::Ordinary, keys::references(id));
            self.delete(Family::Ordinary, keys::ordinary(id));
        }
    }

    pub(crate) fn put_queued(&mut self, queue: QueueId, seq: Seq, value: &QueueValue) {
        self.put(Family::Queue, keys::queued(queue, seq), encode(value));
    }

    pub(crate) fn delete_queued(&mut self, queue: QueueId, seq: Seq) {
        self.delete(Family::Queue, keys::queued(queue, seq));
    }

    pub(crate) fn put_retained(&mut self, message: &OrdinaryMessage) {
        self.put(Family::Retained, keys::retained(&message.topic), encode(message));
    }

    pub(crate) fn delete_retained(&mut self, topic: &str) {
        self.delete(Family::Retained, keys::retained(topic));
    }

    pub(crate) fn put_will(&mut self, key: &SessionKey, value: &WillValue) {
        self.put(Family::Wills, keys::session(key), encode(value));
    }

    pub(crate) fn delete_will(&mut self, key: &SessionKey) {
        self.delete(Family::Wills, keys::session(key));
    }
}

impl Store {
    /// The last number that was given to an ordinary message or a place in a queue.
    pub(crate) fn ordinary_counter(&self) -> Result<u64, StoreFault> {
        let value = self.get(Family::Meta, ORDINARY_COUNTER_KEY)?;
        value.map_or(Ok(0), |value| decode("counter", &value))
    }

    /// How many queues refer to a message.
    pub(crate) fn references(&self, id: u64) -> Result<u32, StoreFault> {
        let value = self.get(Family::Ordinary, &keys::references(id))?;
        value.map_or(Ok(0), |value| decode("count of references", &value))
    }

    /// One entry of a queue.
    pub(crate) fn queued(&self, queue: QueueId, seq: Seq) -> Result<Option<QueueValue>, StoreFault> {
        let value = self.get(Family::Queue, &keys::queued(queue, seq))?;
        value.map(|value| decode("queue entry", &value)).transpose()
    }

    /// The entries of a queue beyond a place, at most so many.
    pub(crate) fn queue_entries(
        &self,
        queue: QueueId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, QueueValue)>, StoreFault> {
        let from = keys::after(&keys::queued(queue, after));
        self.scan(Family::Queue, &from, &keys::queue_end(queue), limit, |key, value| {
            let (_, seq) = keys::place_of_queued(key).ok_or(StoreFault::Corrupt { kind: "key of a queue" })?;
            Ok(Some((seq, decode("queue entry", value)?)))
        })
    }

    /// The message of an entry.
    pub(crate) fn contents(&self, contents: Contents) -> Result<OrdinaryMessage, StoreFault> {
        match contents {
            Contents::Here(message) => Ok(*message),
            Contents::Kept(id) => {
                let value = self.get(Family::Ordinary, &keys::ordinary(id))?;
                decode("ordinary message", &value.ok_or(StoreFault::Corrupt { kind: "reference to a message" })?)
            }
        }
    }

    /// What waits for a session beyond a place.
    pub(crate) fn queue_page(&self, key: &SessionKey, after: Seq, limit: ReadLimit) -> Result<QueuePage, StoreFault> {
        let Some(SessionValue { queue, .. }) = self.session(key)? else {
            return Ok(QueuePage { entries: Vec::new(), is_end: true });
        };
        // One more than fits tells whether it is the end.
        let found = self.queue_entries(queue, after, limit.messages.saturating_add(1))?;
        let mut page = QueuePage { entries: Vec::new(), is_end: true };
        let mut bytes = 0;
        for (seq, QueueValue { prev, manner, contents }) in found {
            let message = match self.contents(contents) {
                Ok(message) => message,
                // Taken out of the queue between the two reads.
                Err(_) if self.queued(queue, seq)?.is_none() => continue,
                Err(error) => return Err(error),
            };
            bytes += message.payload.len();
            let is_full = page.entries.len() >= limit.messages || bytes > limit.bytes;
            if is_full && !page.entries.is_empty() {
                page.is_end = false;
                break;
            }
            page.entries.push(Queued { seq, prev, manner, message: Arc::new(message) });
        }
        Ok(page)
    }

    /// What is retained for a topic.
    pub(crate) fn retained(&self, topic: &str) -> Result<Option<OrdinaryMessage>, StoreFault> {
        let value = self.get(Family::Retained, &keys::retained(topic))?;
        value.map(|value| decode("retained message", &value)).transpose()
    }

    /// What is retained for the topics that begin with `prefix` and come after `after`, in the order of the topics.
    pub(crate) fn retained_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<OrdinaryMessage>, StoreFault> {
        let from = after.map_or_else(|| keys::retained(prefix), |topic| keys::after(&keys::retained(topic)));
        self.scan(Family::Retained, &from, &keys::retained_end(prefix), limit, |_, value| {
            decode("retained message", value).map(Some)
        })
    }

    /// How many topics have a retained message.
    pub(crate) fn count_retained(&self) -> Result<u64, StoreFault> {
        let mut count = 0;
        self.scan(Family::Retained, &[], &[], usize::MAX, |_, _| {
            count += 1;
            Ok(None::<()>)
        })?;
        Ok(count)
    }

    /// All queues and how far they are filled.
    pub(crate) fn queue_extents(&self) -> Result<Vec<(QueueId, QueueExtent)>, StoreFault> {
        let mut extents: Vec<(QueueId, QueueExtent)> = Vec::new();
        self.scan(Family::Queue, &[], &[], usize::MAX, |key, _| {
            let (queue, seq) = keys::place_of_queued(key).ok_or(StoreFault::Corrupt { kind: "key of a queue" })?;
            match extents.last_mut().filter(|(last, _)| *last == queue) {
                Some((_, extent)) => *extent = QueueExtent { last: seq, len: extent.len + 1 },
                None => extents.push((queue, QueueExtent { last: seq, len: 1 })),
            }
            Ok(None::<()>)
        })?;
        Ok(extents)
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Result<Vec<(SessionKey, SessionValue)>, StoreFault> {
        self.scan(Family::Sessions, &[], &[], usize::MAX, |key, value| {
            let key = keys::session_of(key).ok_or(StoreFault::Corrupt { kind: "key of a session" })?;
            Ok(Some((key, decode("session", value)?)))
        })
    }

    /// The will of a session.
    pub(crate) fn will(&self, key: &SessionKey) -> Result<Option<WillValue>, StoreFault> {
        let value = self.get(Family::Wills, &keys::session(key))?;
        value.map(|value| decode("will", &value)).transpose()
    }

    /// All wills.
    pub(crate) fn wills(&self) -> Result<Vec<(SessionKey, WillValue)>, StoreFault> {
        self.scan(Family::Wills, &[], &[], usize::MAX, |key, value| {
            let key = keys::session_of(key).ok_or(StoreFault::Corrupt { kind: "key of a will" })?;
            Ok(Some((key, decode("will", value)?)))
        })
    }
}
