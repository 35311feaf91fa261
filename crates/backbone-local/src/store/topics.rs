//! Ordinary topics in the store: messages and how many queues refer to them, and the queues. (What is retained, and wills:
//! `retained`.)
//!
//! A queue has a number of its own, not the session's name: a session that starts anew gets another, so that what is left
//! of the old one can be taken away in slices.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use quorate_backbone::ReadLimit;
use quorate_domain::{Manner, OrdinaryMessage, QueuePage, Queued, Seq, SessionKey, UnixMs, Volume};
use serde::{Deserialize, Serialize};

use super::families::Family;
use super::opening::Vault;
use super::records::{SessionValue, decode, encode};
use super::sealing::{open_record, seal_record};
use super::{Batch, Store, StoreFault, keys};

/// The counter of ordinary messages and of their places in queues.
const ORDINARY_COUNTER_KEY: &[u8] = b"ordinary_counter";

/// Names a queue: the epoch with which its session began.
pub(crate) type QueueId = u64;

/// One message in a queue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueueValue {
    /// The place before it in this queue; [`Seq::ZERO`]: it was the first.
    pub(crate) prev: Seq,
    /// How it is delivered.
    pub(crate) manner: Manner,
    /// Bytes of the payload.
    pub(crate) bytes: u64,
    /// When it is not worth delivering any more.
    pub(crate) ends_at: Option<UnixMs>,
    /// The message.
    pub(crate) contents: Contents,
}

/// What an entry takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueuedSize {
    /// Of its payload.
    pub(crate) bytes: u64,
    /// The number of its message, where several queues may have it.
    pub(crate) kept: Option<u64>,
    /// When it would go by itself: that is written down, too.
    pub(crate) ends_at: Option<UnixMs>,
}

impl QueueValue {
    pub(crate) fn size(&self) -> QueuedSize {
        let kept = match &self.contents {
            Contents::Here(_) => None,
            Contents::Kept(id) => Some(*id),
        };
        QueuedSize { bytes: self.bytes, kept, ends_at: self.ends_at }
    }
}

/// Where the message of a queue entry is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Contents {
    /// In the entry: no other queue has it.
    Here(Box<OrdinaryMessage>),
    /// Among the ordinary messages, under this number.
    Kept(u64),
}

/// A queue entry as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    prev: Seq,
    manner: Manner,
    bytes: u64,
    ends_at: Option<UnixMs>,
    contents: StoredContents,
}

#[derive(Serialize, Deserialize)]
enum StoredContents {
    /// A sealed record.
    Here(Bytes),
    Kept(u64),
}

/// What is known of a queue as a whole; it stands before its first place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueHead {
    /// Whose it is, or was.
    pub(crate) owner: SessionKey,
    /// The last place that was given.
    pub(crate) last: Seq,
    /// What is in it.
    pub(crate) volume: Volume,
    /// It has held something of a shared subscription.
    pub(crate) is_shared: bool,
}

impl Vault {
    pub(super) fn seal(&self, number: u64, family: Family, key: &[u8], plain: Vec<u8>) -> Result<Vec<u8>, StoreFault> {
        seal_record(self.ordinary.as_ref(), number, &bound_to(family, key), plain)
    }

    pub(super) fn open(&self, number: u64, family: Family, key: &[u8], record: &[u8]) -> Result<Vec<u8>, StoreFault> {
        open_record(self.ordinary.as_ref(), number, &bound_to(family, key), record)
    }
}

/// To what a sealed record is bound: its family and key.
fn bound_to(family: Family, key: &[u8]) -> Vec<u8> {
    [family.name().as_bytes(), b"\0", key].concat()
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

    pub(crate) fn put_ordinary(&mut self, vault: &Vault, id: u64, message: &OrdinaryMessage) -> Result<(), StoreFault> {
        let key = keys::ordinary(id);
        let record = vault.seal(id, Family::Ordinary, &key, encode(message))?;
        self.put(Family::Ordinary, key, record);
        Ok(())
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

    pub(crate) fn put_queued(
        &mut self,
        vault: &Vault,
        queue: QueueId,
        seq: Seq,
        value: &QueueValue,
    ) -> Result<(), StoreFault> {
        let key = keys::queued(queue, seq);
        let QueueValue { prev, manner, bytes, ends_at, contents } = value;
        let contents = match contents {
            Contents::Here(message) => {
                StoredContents::Here(vault.seal(seq.0, Family::Queue, &key, encode(message))?.into())
            }
            Contents::Kept(id) => StoredContents::Kept(*id),
        };
        let entry = StoredEntry { prev: *prev, manner: manner.clone(), bytes: *bytes, ends_at: *ends_at, contents };
        self.put(Family::Queue, key, encode(&entry));
        Ok(())
    }

    pub(crate) fn delete_queued(&mut self, queue: QueueId, seq: Seq) {
        self.delete(Family::Queue, keys::queued(queue, seq));
    }

    pub(crate) fn put_queue_head(&mut self, queue: QueueId, head: &QueueHead) {
        self.put(Family::Queue, keys::queued(queue, Seq::ZERO), encode(head));
    }

    pub(crate) fn delete_queue_head(&mut self, queue: QueueId) {
        self.delete(Family::Queue, keys::queued(queue, Seq::ZERO));
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
        let key = keys::queued(queue, seq);
        let value = self.get(Family::Queue, &key)?;
        value.map(|value| self.queue_value(&key, &value)).transpose()
    }

    pub(super) fn queue_value(&self, key: &[u8], value: &[u8]) -> Result<QueueValue, StoreFault> {
        let StoredEntry { prev, manner, bytes, ends_at, contents } = decode("queue entry", value)?;
        let (_, seq) = place_of_queued(key)?;
        let contents = match contents {
            StoredContents::Here(record) => {
                let message = decode("queued message", &self.vault.open(seq.0, Family::Queue, key, &record)?)?;
                Contents::Here(Box::new(message))
            }
            StoredContents::Kept(id) => Contents::Kept(id),
        };
        Ok(QueueValue { prev, manner, bytes, ends_at, contents })
    }

    /// What is known of a queue as a whole; nothing where it never held anything.
    pub(crate) fn queue_head(&self, queue: QueueId) -> Result<Option<QueueHead>, StoreFault> {
        let value = self.get(Family::Queue, &keys::queued(queue, Seq::ZERO))?;
        value.map(|value| decode("head of a queue", &value)).transpose()
    }

    /// What one entry of a queue takes, without opening it.
    pub(crate) fn queued_size(&self, queue: QueueId, seq: Seq) -> Result<Option<QueuedSize>, StoreFault> {
        let Some(value) = self.get(Family::Queue, &keys::queued(queue, seq))? else { return Ok(None) };
        let entry: StoredEntry = decode("queue entry", &value)?;
        let kept = match entry.contents {
            StoredContents::Here(_) => None,
            StoredContents::Kept(id) => Some(id),
        };
        Ok(Some(QueuedSize { bytes: entry.bytes, kept, ends_at: entry.ends_at }))
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
            Ok((place_of_queued(key)?.1, self.queue_value(key, value)?))
        })
    }

    /// The message of an entry.
    pub(crate) fn contents(&self, contents: Contents) -> Result<OrdinaryMessage, StoreFault> {
        match contents {
            Contents::Here(message) => Ok(*message),
            Contents::Kept(id) => {
                let key = keys::ordinary(id);
                let record = self.get(Family::Ordinary, &key)?;
                let record = record.ok_or(StoreFault::Corrupt { kind: "reference to a message" })?;
                self.ordinary_value(id, &key, &record)
            }
        }
    }

    pub(super) fn ordinary_value(&self, id: u64, key: &[u8], record: &[u8]) -> Result<OrdinaryMessage, StoreFault> {
        decode("ordinary message", &self.vault.open(id, Family::Ordinary, key, record)?)
    }

    /// What waits for a session beyond a place.
    pub(crate) fn queue_page(&self, key: &SessionKey, after: Seq, limit: ReadLimit) -> Result<QueuePage, StoreFault> {
        let mut page = QueuePage { entries: Vec::new(), is_end: true };
        let Some(SessionValue { queue, .. }) = self.session(key)? else { return Ok(page) };
        let from = keys::after(&keys::queued(queue, after));
        let mut bytes = 0;
        self.each(Family::Queue, &from, &keys::queue_end(queue), |key, value| {
            let (_, seq) = place_of_queued(key)?;
            let QueueValue { prev, manner, contents, .. } = self.queue_value(key, value)?;
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

    /// All queues that ever held anything.
    pub(crate) fn queue_heads(&self) -> Result<Vec<(QueueId, QueueHead)>, StoreFault> {
        let mut heads = Vec::new();
        let mut from = Vec::new();
        // A look at each head alone: what is between two of them is not read.
        while let Some((key, value)) = self.first(Family::Queue, &from)? {
            let (queue, seq) = place_of_queued(&key)?;
            if seq == Seq::ZERO {
                heads.push((queue, decode("head of a queue", &value)?));
            }
            from = keys::queue_end(queue);
        }
        Ok(heads)
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Result<Vec<(SessionKey, SessionValue)>, StoreFault> {
        self.scan(Family::Sessions, &[], &[], usize::MAX, |key, value| {
            let key = keys::session_of(key).ok_or(StoreFault::Corrupt { kind: "key of a session" })?;
            Ok(Some((key, decode("session", value)?)))
        })
    }

    /// The records from `from` to before `end`, as many as the limit allows, and at least one where there is one.
    pub(super) fn slice<T>(
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

pub(super) fn place_of_queued(key: &[u8]) -> Result<(QueueId, Seq), StoreFault> {
    keys::place_of_queued(key).ok_or(StoreFault::Corrupt { kind: "key of a queue" })
}
