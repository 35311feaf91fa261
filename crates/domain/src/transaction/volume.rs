//! How much is said in a transaction, and how much one party may say there.

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::topic::Place;
use crate::transaction::{Offer, Transaction};

/// An amount of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// How many.
    pub messages: u64,
    /// Bytes of their payloads together.
    pub bytes: u64,
}

/// How much one party may say in one transaction; its join, result and abort are not counted, so that it can always take
/// part in what it is a member of, and end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxLimits {
    /// Messages.
    pub messages_per_party_max: u64,
    /// Bytes of payloads.
    pub bytes_per_party_max: u64,
}

/// A million messages, a gibibyte: far more than a protocol says, far less than a disk holds.
impl Default for TxLimits {
    fn default() -> Self {
        Self { messages_per_party_max: 1_000_000, bytes_per_party_max: 1 << 30 }
    }
}

impl Volume {
    /// One message with so many bytes of payload.
    pub fn of_one(payload_bytes: usize) -> Volume {
        Volume { messages: 1, bytes: payload_bytes as u64 }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Volume) -> Volume {
        Volume { messages: self.messages.saturating_add(other.messages), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// What is left of it without the other.
    #[must_use]
    pub fn minus(self, other: Volume) -> Volume {
        Volume { messages: self.messages.saturating_sub(other.messages), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

impl Place {
    /// Whether what is said there counts for its party's quotas.
    pub fn is_counted(&self) -> bool {
        match self {
            Place::Broadcast { .. } | Place::Echo { .. } | Place::P2p { .. } | Place::Message { .. } => true,
            Place::Manifest | Place::State | Place::Join { .. } | Place::Result { .. } | Place::Abort { .. } => false,
        }
    }
}

impl Transaction {
    /// Whether the publisher has said so much here that this is too much.
    pub(super) fn check_volume(&self, offer: &Offer<'_>, limits: &TxLimits) -> Result<(), Refusal> {
        let party = self.charter.party_index(offer.from);
        let said = party.and_then(|index| self.progress.said.get(index)).filter(|_| offer.topic.place.is_counted());
        let Some(said) = said else { return Ok(()) };
        let after = said.plus(Volume::of_one(offer.payload.len()));
        if after.messages > limits.messages_per_party_max {
            let most = limits.messages_per_party_max;
            return Err(Refusal::QuotaExceeded(format!("a party may say {most} messages in one transaction")));
        }
        if after.bytes > limits.bytes_per_party_max {
            let most = limits.bytes_per_party_max;
            return Err(Refusal::QuotaExceeded(format!("a party may say {most} bytes in one transaction")));
        }
        Ok(())
    }
}
