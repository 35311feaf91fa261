//! What is to be done at a time: in the store, so that it is found again after a restart, in the order of the times.

use std::ops::ControlFlow;

use quorate_domain::{Seq, TxId, UnixMs};
use serde::{Deserialize, Serialize};

use super::families::Family;
use super::records::{decode, encode};
use super::{Batch, QueueId, Store, StoreFault};

/// A matter that has its time. Whether there is still anything to do is looked up when the time has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Due {
    /// A closed transaction may be purged.
    Purge(TxId),
    /// A message in a queue is not worth delivering any more.
    Queued { queue: QueueId, seq: Seq },
    /// The same of a retained message, by its topic and number.
    Retained { topic: String, number: u64 },
}

impl Batch {
    pub(crate) fn put_due(&mut self, at: UnixMs, due: &Due) {
        self.put(Family::Due, key(at, due), Vec::new());
    }

    pub(crate) fn delete_due(&mut self, at: UnixMs, due: &Due) {
        self.delete(Family::Due, key(at, due));
    }
}

impl Store {
    /// The matters whose time has come, the oldest first; at most `limit`.
    pub(crate) fn due(&self, now: UnixMs, limit: usize) -> Result<Vec<(UnixMs, Due)>, StoreFault> {
        let end = now.0.saturating_add(1).to_be_bytes();
        let mut found = Vec::new();
        self.each(Family::Due, &[], &end, |key, _| {
            if found.len() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            found.push(read(key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}

fn key(at: UnixMs, due: &Due) -> Vec<u8> {
    let mut key = at.0.to_be_bytes().to_vec();
    key.extend_from_slice(&encode(due));
    key
}

pub(super) fn read(key: &[u8]) -> Result<(UnixMs, Due), StoreFault> {
    let (at, due) = key.split_first_chunk().ok_or(StoreFault::Corrupt { kind: "time of a matter" })?;
    Ok((UnixMs(u64::from_be_bytes(*at)), decode("matter that is due", due)?))
}
