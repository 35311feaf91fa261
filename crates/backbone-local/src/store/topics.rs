//! Ordinary topics in the store: messages and how many queues refer to them, queues, what is retained, wills.
//!
//! A queue has a number of its own, not the session's name: a session that starts anew gets another, so that what is left
//! of the old one can be taken away in slices.

use std::ops::ControlFlow;
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

/// A message that is retained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RetainedValue {
    /// Grows from one retained message to the next, whatever their topics.
    pub(crate) number: u64,
    pub(crate) message: OrdinaryMessage,
}

/// A will and the session that left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WillValue {
    pub(crate) epoch: u64,
    pub(crate) will: Will,
}

/// How far one queue is filled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueueExtent {
    /// The last place that is taken.
    pub(crate) last: Seq,
    /// Messages in it.
    pub(crate) len: u64,
    /// Whose it is, where that is noted.
    pub(crate) owner: Option<SessionKey>,
}

/// A stretch of records, in the order of their keys.
#[derive(Debug)]
pub(crate) struct Slice<T> {
    pub(crate) records: Vec<T>,
    /// There was nothing beyond it.
    pub(crate) is_end: bool,
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

    /// Notes whose queue it is, before its first place: so that what came by shared subscriptions finds its way, also
    /// when the session is gone.
    pub(crate) fn put_queue_owner(&mut self, queue: QueueId, owner: &SessionKey) {
        self.put(Family::Queue, keys::queued(queue, Seq::ZERO), encode(owner));
    }

    pub(crate) fn delete_queue_owner(&mut self, queue: QueueId) {
        self.delete(Family::Queue, keys::queued(queue, Seq::ZERO));
    }

    pub(crate) fn put_retained(&mut self, value: &RetainedValue) {
        self.put(Family::Retained, keys::retained(&value.message.topic), encode(value));
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

    /// The entries of a queue beyond a place.
    pub(crate) fn queue_slice(
        &self,
        queue: QueueId,
        after: Seq,
        limit: ReadLimit,
    ) -> Result<Slice<(Seq, QueueValue)>, StoreFault> {
        let from = keys::after(&keys::queued(queue, after));
        self.slice(Family::Queue, &from, &keys::queue_end(queue), limit, |key, value| {
            Ok((place_of_queued(key)?.1, decode("queue entry", value)?))
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
        let mut page = QueuePage { entries: Vec::new(), is_end: true };
        let Some(SessionValue { queue, .. }) = self.session(key)? else { return Ok(page) };
        let from = keys::after(&keys::queued(queue, after));
        let mut bytes = 0;
        self.each(Family::Queue, &from, &keys::queue_end(queue), |key, value| {
            let (_, seq) = place_of_queued(key)?;
            let QueueValue { prev, manner, contents } = decode("queue entry", value)?;
            let message = match self.contents(contents) {
                Ok(message) => message,
                // Taken out of the queue between the two reads.
                Err(_) if self.queued(queue, seq)?.is_none() => return Ok(ControlFlow::Continue(())),
                Err(error) => return Err(error),
            };
            bytes += message.payload.len();
            let is_full = page.entries.len() >= limit.messages || bytes > limit.bytes;
            if is_full && !page.entries.is_empty() {
                page.is_end = false;
                return Ok(ControlFlow::Break(()));
            }
            page.entries.push(Queued { seq, prev, manner, message: Arc::new(message) });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(page)
    }

    /// What is retained for a topic.
    pub(crate) fn retained(&self, topic: &str) -> Result<Option<RetainedValue>, StoreFault> {
        let value = self.get(Family::Retained, &keys::retained(topic))?;
        value.map(|value| decode("retained message", &value)).transpose()
    }

    /// What is retained for the topics that begin with `prefix` and come after `after`, in the order of the topics.
    pub(crate) fn retained_slice(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: ReadLimit,
    ) -> Result<Slice<RetainedValue>, StoreFault> {
        let from = after.map_or_else(|| keys::retained(prefix), |topic| keys::after(&keys::retained(topic)));
        self.slice(Family::Retained, &from, &keys::retained_end(prefix), limit, |_, value| {
            decode("retained message", value)
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
        self.each(Family::Queue, &[], &[], |key, value| {
            let (queue, seq) = place_of_queued(key)?;
            if extents.last().is_none_or(|(last, _)| *last != queue) {
                extents.push((queue, QueueExtent::default()));
            }
            let Some((_, extent)) = extents.last_mut() else { return Ok(ControlFlow::Break(())) };
            match seq {
                Seq::ZERO => extent.owner = Some(decode("owner of a queue", value)?),
                _ => (extent.last, extent.len) = (seq, extent.len + 1),
            }
            Ok(ControlFlow::Continue(()))
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

    /// The records from `from` to before `end`, as many as the limit allows, and at least one where there is one.
    fn slice<T>(
        &self,
        family: Family,
        from: &[u8],
        end: &[u8],
        limit: ReadLimit,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<T, StoreFault>,
    ) -> Result<Slice<T>, StoreFault> {
        let mut slice = Slice { records: Vec::new(), is_end: true };
        let mut bytes = 0;
        self.each(family, from, end, |key, value| {
            bytes += value.len();
            let is_full = slice.records.len() >= limit.messages || bytes > limit.bytes;
            if is_full && !slice.records.is_empty() {
                slice.is_end = false;
                return Ok(ControlFlow::Break(()));
            }
            slice.records.push(take(key, value)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(slice)
    }
}

fn place_of_queued(key: &[u8]) -> Result<(QueueId, Seq), StoreFault> {
    keys::place_of_queued(key).ok_or(StoreFault::Corrupt { kind: "key of a queue" })
}
