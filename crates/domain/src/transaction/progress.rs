//! How far a transaction has come: everything about it that changes. What changes it is in `record`, `close` and
//! `consider`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::chain::chain_start;
use crate::hash::Sha256;
use crate::ids::Seq;
use crate::party::PartyId;
use crate::time::UnixMs;
use crate::topic::TxTopic;
use crate::transaction::{Charter, Volume};

/// Most equivocations that are kept one by one; of any more only the count grows, so that a party that lies without end
/// cannot make the state document grow without end.
pub const EQUIVOCATIONS_LISTED_MAX: usize = 32;

/// How a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TxState {
    /// Not every party has joined.
    Open,
    /// Every party has joined, or none need.
    Running,
    /// Enough results are equal.
    Completed,
    /// Results differ.
    Disputed,
    /// A party, the initiator or an operator ended it. It never means that no signature exists.
    Aborted,
    /// A deadline passed. It never means that no signature exists.
    Expired,
}

/// Why a text is no [`TxState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state is open, running, completed, disputed, aborted or expired")]
pub struct TxStateError;

/// How far a transaction has come. Rewritten with every record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How it stands.
    pub state: TxState,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// The head of the log's hash chain.
    pub head: Sha256,
    /// The last record of the log.
    pub last_seq: Seq,
    /// The last record that was addressed to each member; in the order of [`Charter::members`].
    pub last_addressed: Vec<Seq>,
    /// Whether each party has joined; in the order of [`Charter::parties`].
    pub joined: Vec<bool>,
    /// The sum of each party's result; in the order of [`Charter::parties`].
    pub results: Vec<Option<Sha256>>,
    /// What each party has said that counts for its quota; in the order of [`Charter::parties`].
    pub said: Vec<Volume>,
    /// All that is in the log.
    pub stored: Volume,
    /// Whether each party has acknowledged the final state; in the order of [`Charter::parties`].
    pub heard_end: Vec<bool>,
    /// Who wrote other bytes to a written slot.
    pub equivocations: Equivocations,
    /// How often what the state document says (its `seq` and `head` apart) has changed.
    pub changed: u64,
    /// The closing record, once it is in the log.
    pub closed_at: Option<Seq>,
}

/// Attempts to write other bytes to a written slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equivocations {
    /// All attempts.
    pub count: u64,
    /// The first attempt on each slot, at most [`EQUIVOCATIONS_LISTED_MAX`].
    pub first: Vec<Equivocation>,
}

/// One attempt to write other bytes to a written slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equivocation {
    /// The slot.
    pub topic: TxTopic,
    /// Who tried, and wrote it before.
    pub party: PartyId,
    /// The record that wrote the slot.
    pub seq: Seq,
    /// When it was refused.
    pub at: UnixMs,
    /// The sum of what the slot holds.
    pub stored: Sha256,
    /// The sum of what was refused.
    pub offered: Sha256,
}

impl TxState {
    /// Whether it is final.
    pub fn is_closed(self) -> bool {
        match self {
            TxState::Open | TxState::Running => false,
            TxState::Completed | TxState::Disputed | TxState::Aborted | TxState::Expired => true,
        }
    }

    /// Whether parties may still publish.
    pub fn accepts_publishes(self) -> bool {
        !self.is_closed()
    }

    /// The word for it, as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            TxState::Open => "open",
            TxState::Running => "running",
            TxState::Completed => "completed",
            TxState::Disputed => "disputed",
            TxState::Aborted => "aborted",
            TxState::Expired => "expired",
        }
    }
}

impl fmt::Display for TxState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for TxState {
    type Err = TxStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use TxState::{Aborted, Completed, Disputed, Expired, Open, Running};
        let all = [Open, Running, Completed, Disputed, Aborted, Expired];
        all.into_iter().find(|state| state.as_str() == text).ok_or(TxStateError)
    }
}

impl Progress {
    /// Before the first record.
    pub(crate) fn of_new(charter: &Charter) -> Progress {
        Progress {
            state: TxState::Open,
            reason: None,
            head: chain_start(),
            last_seq: Seq::ZERO,
            last_addressed: vec![Seq::ZERO; charter.members().count()],
            joined: vec![false; charter.parties.len()],
            results: vec![None; charter.parties.len()],
            said: vec![Volume::default(); charter.parties.len()],
            stored: Volume::default(),
            heard_end: vec![false; charter.parties.len()],
            equivocations: Equivocations::default(),
            changed: 0,
            closed_at: None,
        }
    }
}
