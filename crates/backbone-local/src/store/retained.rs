//! What is retained for topics, and the wills of sessions.

use bytes::Bytes;
use quorate_backbone::ReadLimit;
use quorate_domain::{OrdinaryMessage, SessionKey, UnixMs, WaitingWill, Will};
use serde::{Deserialize, Serialize};

use super::families::Family;
use super::opening::Vault;
use super::records::{decode, encode};
use super::topics::Slice;
use super::{Batch, Store, StoreFault, keys};

/// A message that is retained.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RetainedValue {
    /// Grows from one retained message to the next, whatever their topics.
    pub(crate) number: u64,
    pub(crate) message: OrdinaryMessage,
}

#[derive(Serialize, Deserialize)]
struct StoredRetained {
    number: u64,
    /// Of the payload.
    bytes: u64,
    ends_at: Option<UnixMs>,
    /// A sealed record.
    message: Bytes,
}

/// What a retained message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetainedSize {
    /// Of its payload.
    pub(crate) bytes: u64,
    pub(crate) number: u64,
    pub(crate) ends_at: Option<UnixMs>,
}

/// A will and the session that left it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WillValue {
    pub(crate) epoch: u64,
    pub(crate) will: Will,
}

#[derive(Serialize, Deserialize)]
struct StoredWill {
    epoch: u64,
    delay_s: u32,
    /// A sealed record.
    will: Bytes,
}

impl Batch {
    pub(crate) fn put_retained(&mut self, vault: &Vault, value: &RetainedValue) -> Result<(), StoreFault> {
        let key = keys::retained(&value.message.topic);
        let stored = StoredRetained {
            number: value.number,
            bytes: value.message.payload.len() as u64,
            ends_at: value.message.properties.ends_at(value.message.at),
            message: vault.seal(value.number, Family::Retained, &key, encode(&value.message))?.into(),
        };
        self.put(Family::Retained, key, encode(&stored));
        Ok(())
    }

    pub(crate) fn delete_retained(&mut self, topic: &str) {
        self.delete(Family::Retained, keys::retained(topic));
    }

    pub(crate) fn put_will(&mut self, vault: &Vault, key: &SessionKey, value: &WillValue) -> Result<(), StoreFault> {
        let key = keys::session(key);
        let will = vault.seal(value.epoch, Family::Wills, &key, encode(&value.will))?.into();
        let stored = StoredWill { epoch: value.epoch, delay_s: value.will.delay_s, will };
        self.put(Family::Wills, key, encode(&stored));
        Ok(())
    }

    pub(crate) fn delete_will(&mut self, key: &SessionKey) {
        self.delete(Family::Wills, keys::session(key));
    }
}

impl Store {
    pub(super) fn retained_value(&self, key: &[u8], value: &[u8]) -> Result<RetainedValue, StoreFault> {
        let StoredRetained { number, message, .. } = decode("retained message", value)?;
        let message = self.vault.open(number, Family::Retained, key, &message)?;
        Ok(RetainedValue { number, message: decode("retained message", &message)? })
    }

    pub(super) fn will_value(&self, key: &[u8], value: &[u8]) -> Result<WillValue, StoreFault> {
        let StoredWill { epoch, will, .. } = decode("will", value)?;
        let will = self.vault.open(epoch, Family::Wills, key, &will)?;
        Ok(WillValue { epoch, will: decode("will", &will)? })
    }

    /// What is retained for a topic.
    pub(crate) fn retained(&self, topic: &str) -> Result<Option<RetainedValue>, StoreFault> {
        let key = keys::retained(topic);
        let value = self.get(Family::Retained, &key)?;
        value.map(|value| self.retained_value(&key, &value)).transpose()
    }

    /// What is retained for the topics that begin with `prefix` and come after `after`, in the order of the topics.
    pub(crate) fn retained_slice(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: ReadLimit,
    ) -> Result<Slice<RetainedValue>, StoreFault> {
        let from = after.map_or_else(|| keys::retained(prefix), |topic| keys::after(&keys::retained(topic)));
        self.slice(Family::Retained, &from, &keys::retained_end(prefix), limit, |key, value| {
            self.retained_value(key, value)
        })
    }

    /// The length of what is retained for a topic, its number, and when it would go by itself; without opening it.
    pub(crate) fn retained_size(&self, topic: &str) -> Result<Option<RetainedSize>, StoreFault> {
        let Some(value) = self.get(Family::Retained, &keys::retained(topic))? else { return Ok(None) };
        let StoredRetained { number, bytes, ends_at, .. } = decode("retained message", &value)?;
        Ok(Some(RetainedSize { bytes, number, ends_at }))
    }

    /// The will of a session.
    pub(crate) fn will(&self, key: &SessionKey) -> Result<Option<WillValue>, StoreFault> {
        let key = keys::session(key);
        let value = self.get(Family::Wills, &key)?;
        value.map(|value| self.will_value(&key, &value)).transpose()
    }

    /// All wills: whose, of which epoch, and how long they wait.
    pub(crate) fn wills(&self) -> Result<Vec<WaitingWill>, StoreFault> {
        self.scan(Family::Wills, &[], &[], usize::MAX, |key, value| {
            let key = keys::session_of(key).ok_or(StoreFault::Corrupt { kind: "key of a will" })?;
            let StoredWill { epoch, delay_s, .. } = decode("will", value)?;
            Ok(Some(WaitingWill { key, epoch, delay_s }))
        })
    }
}
