//! One transaction: what never changes of it ([`Charter`]), how far it has come ([`Progress`]), and the decisions over
//! it. A transaction decides and is recorded here; that a record is durable before anybody acts on it is the backbone's.
//!
//! The order of calls for a publish: `create` (the id is free) or `consider`; then, only if that was accepted, `record`
//! with the message as it enters the log; then, while `closing_due`, the closing record and `record` once more.

mod charter;
mod close;
mod consider;
mod progress;
mod record;
mod state_document;
mod tombstone;
mod volume;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::ids::Seq;
use crate::message::Standing;
use crate::party::PartyId;
use crate::refusal::Refusal;
use crate::time::UnixMs;
use crate::topic::TxTopic;

pub use charter::Charter;
pub use close::{Closer, REASON_BYTES_MAX};
pub use consider::{JOIN_BYTES_MAX, MESSAGE_BYTES_MAX, RESULT_BYTES_MAX};
pub use progress::{EQUIVOCATIONS_LISTED_MAX, Equivocation, Equivocations, Progress, TxState, TxStateError};
pub use state_document::{EquivocationDocument, EquivocationsDocument, Quorum, StateDocument};
pub use tombstone::Tombstone;
pub use volume::{TxLimits, Volume};

/// A closed room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What never changes.
    pub charter: Arc<Charter>,
    /// How far it has come.
    pub progress: Progress,
}

/// A publish that asks to enter the log.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Where.
    pub topic: &'a TxTopic,
    /// The publisher, proved by its certificate.
    pub from: &'a PartyId,
    /// What it says.
    pub payload: &'a Bytes,
    /// When it is decided.
    pub now: UnixMs,
}

/// What is written in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The record that wrote it.
    pub seq: Seq,
    /// Who wrote it.
    pub author: PartyId,
    /// The sum of its payload.
    pub sha256: Sha256,
}

/// The answer to an [`Offer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It enters the log.
    Accept,
    /// It is in the log already: acknowledged again, stored once.
    Repeated(Seq),
    /// It changes nothing.
    Refuse(Refusal),
}

impl Transaction {
    /// Where this party stands; `None`: it is no member, and hears nothing.
    pub fn standing(&self, party: &PartyId) -> Option<Standing> {
        let member = self.charter.member_index(party)?;
        Some(Standing {
            tx: self.charter.tx.clone(),
            state: self.progress.state,
            last_addressed: self.progress.last_addressed.get(member).copied().unwrap_or(Seq::ZERO),
            head: self.progress.last_seq,
        })
    }
}

#[cfg(test)]
mod tests;
