//! `tx/{tx}/state`: how a transaction stands, in JSON, for its parties and its initiator.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::ids::{Seq, TxId};
use crate::incarnation::Incarnation;
use crate::party::PartyId;
use crate::time::UnixMs;
use crate::topic::{Place, TxTopic};
use crate::transaction::{Equivocation, Transaction, TxState};

/// How a transaction stands. Its JSON is the payload of `tx/{tx}/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDocument {
    /// The transaction.
    pub tx: TxId,
    /// How it stands.
    pub state: TxState,
    /// The last record of its log when this was written; of a final state, the one before the closing record.
    pub seq: Seq,
    /// Unix ms.
    pub created_at: UnixMs,
    /// The sum of the manifest, byte for byte.
    pub manifest_sha256: Sha256,
    /// Who has joined, in the manifest's order.
    pub joined: Vec<PartyId>,
    /// `join/{cn}` while it waits for joins, `result/{cn}` while it runs.
    pub waiting_for: Vec<String>,
    /// Whether enough parties are there.
    pub quorum: Quorum,
    /// Who wrote other bytes to a written slot.
    pub equivocations: EquivocationsDocument,
    /// The head of the log's hash chain at `seq`.
    pub head: Sha256,
    /// Why it stands so, where there is more to say.
    pub reason: Option<String>,
    /// Which life of the broker's store says so: another one since a party last looked means that a backup was restored.
    pub incarnation: Incarnation,
}

/// Whether enough parties are there for the meeting to be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// The number that suffices.
    pub threshold: u16,
    /// At least `threshold` parties have joined (or need not) and are present.
    pub quorate: bool,
}

/// Attempts to write other bytes to a written slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EquivocationsDocument {
    /// All attempts.
    pub count: u64,
    /// The first attempt on each slot, up to a bound.
    pub first: Vec<EquivocationDocument>,
}

/// One attempt, as all members may see it: of a `p2p` slot without the sums, which are its two parties' own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EquivocationDocument {
    /// The slot.
    pub topic: TxTopic,
    /// Who tried.
    pub party: PartyId,
    /// The record that wrote the slot.
    pub seq: Seq,
    /// When it was refused, Unix ms.
    pub at: UnixMs,
    /// The sum of what the slot holds.
    pub stored: Option<Sha256>,
    /// The sum of what was refused.
    pub offered: Option<Sha256>,
}

impl Transaction {
    /// How it stands, given who is present.
    pub fn state_document(&self, incarnation: Incarnation, is_present: &dyn Fn(&PartyId) -> bool) -> StateDocument {
        let charter = &self.charter;
        let progress = &self.progress;
        let parties = || charter.parties.iter().zip(&progress.joined);
        let here = parties().filter(|(party, joined)| (**joined || !charter.require_join) && is_present(party)).count();
        StateDocument {
            tx: charter.tx.clone(),
            state: progress.state,
            seq: progress.last_seq,
            created_at: charter.created_at,
            manifest_sha256: charter.manifest_sha256,
            joined: parties().filter(|(_, joined)| **joined).map(|(party, _)| party.clone()).collect(),
            waiting_for: self.waiting_for(),
            quorum: Quorum { threshold: charter.threshold, quorate: here >= usize::from(charter.threshold) },
            equivocations: EquivocationsDocument {
                count: progress.equivocations.count,
                first: progress.equivocations.first.iter().map(EquivocationDocument::of).collect(),
            },
            head: progress.head,
            reason: progress.reason.clone(),
            incarnation,
        }
    }

    fn waiting_for(&self) -> Vec<String> {
        let parties = self.charter.parties.iter();
        let progress = &self.progress;
        match progress.state {
            TxState::Open if self.charter.require_join => {
                let missing = parties.zip(&progress.joined).filter(|(_, joined)| !**joined);
                missing.map(|(party, _)| Place::Join { from: party.clone() }.to_string()).collect()
            }
            TxState::Running => {
                let missing = parties.zip(&progress.results).filter(|(_, result)| result.is_none());
                missing.map(|(party, _)| Place::Result { from: party.clone() }.to_string()).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl StateDocument {
    /// As it is published.
    pub fn to_bytes(&self) -> Bytes {
        // Its only failures would be a map with keys that are no strings, and a serializer of ours that fails: neither.
        serde_json::to_vec(self).expect("a state document is plain data").into()
    }
}

impl EquivocationDocument {
    fn of(equivocation: &Equivocation) -> EquivocationDocument {
        let secret = matches!(equivocation.topic.place, Place::P2p { .. });
        EquivocationDocument {
            topic: equivocation.topic.clone(),
            party: equivocation.party.clone(),
            seq: equivocation.seq,
            at: equivocation.at,
            stored: (!secret).then_some(equivocation.stored),
            offered: (!secret).then_some(equivocation.offered),
        }
    }
}
