//! What a record does to a transaction: the hash chain, who was addressed, and the edges between states.

use std::collections::HashMap;

use crate::access::may_hear;
use crate::chain::next_head;
use crate::hash::Sha256;
use crate::ids::Seq;
use crate::message::LogMessage;
use crate::party::PartyId;
use crate::topic::Place;
use crate::transaction::{Transaction, TxState, Volume};

impl Transaction {
    /// Takes in a record of the log, in `Seq` order: an accepted message, or the closing record. Gives everybody who
    /// hears it, each with the `Seq` that was addressed to it before.
    pub fn record(&mut self, message: &LogMessage) -> Vec<(PartyId, Seq)> {
        debug_assert!(message.seq > self.progress.last_seq, "records come in Seq order");
        self.progress.head = next_head(&self.progress.head, message);
        self.progress.last_seq = message.seq;
        self.count(message);
        let addressed = self.address(message);
        self.apply(message);
        addressed
    }

    /// Whether the state is final and the closing record is not in the log yet. That record is published at
    /// `tx/{tx}/state` by the broker, and its payload is the state document.
    pub fn closing_due(&self) -> bool {
        self.progress.state.is_closed() && self.progress.closed_at.is_none()
    }

    fn count(&mut self, message: &LogMessage) {
        let volume = Volume::of_one(message.payload.len());
        self.progress.stored = self.progress.stored.plus(volume);
        let party = message.from.as_ref().and_then(|author| self.charter.party_index(&author.party));
        let said = party.and_then(|index| self.progress.said.get_mut(index));
        if let Some(said) = said.filter(|_| message.topic.place.is_counted()) {
            *said = said.plus(volume);
        }
    }

    /// Notes that a party has acknowledged all up to `cursor`. Whether that changed anything: it has heard the end.
    pub fn note_heard(&mut self, party: &PartyId, cursor: Seq) -> bool {
        let is_end = self.progress.closed_at.is_some_and(|closed_at| cursor >= closed_at);
        let index = self.charter.party_index(party).filter(|_| is_end);
        let heard = index.and_then(|index| self.progress.heard_end.get_mut(index));
        heard.is_some_and(|heard| !std::mem::replace(heard, true))
    }

    /// Whether every party has acknowledged the final state.
    pub fn everybody_heard_the_end(&self) -> bool {
        self.progress.heard_end.iter().all(|heard| *heard)
    }

    fn address(&mut self, message: &LogMessage) -> Vec<(PartyId, Seq)> {
        let mut addressed = Vec::new();
        for (member, last) in self.charter.members().zip(&mut self.progress.last_addressed) {
            if may_hear(&self.charter, &message.topic.place, member) {
                addressed.push((member.clone(), std::mem::replace(last, message.seq)));
            }
        }
        addressed
    }

    fn apply(&mut self, message: &LogMessage) {
        if self.progress.state.is_closed() {
            if message.topic.place == Place::State && message.from.is_none() {
                self.progress.closed_at.get_or_insert(message.seq);
            }
            return;
        }
        match &message.topic.place {
            Place::Manifest => self.progress.changed += 1,
            Place::Join { from } => self.note_join(from),
            Place::Result { from } => self.note_result(from, Sha256::of(&message.payload)),
            Place::Abort { from } => return self.end(TxState::Aborted, Some(format!("aborted by {from}"))),
            Place::State | Place::Broadcast { .. } | Place::Echo { .. } | Place::P2p { .. } | Place::Message { .. } => {
                return;
            }
        }
        self.settle();
    }

    fn note_join(&mut self, party: &PartyId) {
        let index = self.charter.party_index(party);
        if let Some(joined) = index.and_then(|index| self.progress.joined.get_mut(index)) {
            *joined = true;
            self.progress.changed += 1;
        }
    }

    fn note_result(&mut self, party: &PartyId, sha256: Sha256) {
        let index = self.charter.party_index(party);
        if let Some(result) = index.and_then(|index| self.progress.results.get_mut(index)) {
            *result = Some(sha256);
            self.progress.changed += 1;
        }
    }

    /// Takes the edges that the joins and results so far allow.
    fn settle(&mut self) {
        let all_joined = self.progress.joined.iter().all(|joined| *joined);
        if self.progress.state == TxState::Open && (all_joined || !self.charter.require_join) {
            self.progress.state = TxState::Running;
            self.progress.changed += 1;
        }
        if self.progress.state != TxState::Running {
            return;
        }
        let mut votes: HashMap<Sha256, usize> = HashMap::new();
        for result in self.progress.results.iter().flatten() {
            *votes.entry(*result).or_default() += 1;
        }
        let most = votes.values().copied().max().unwrap_or(0);
        let missing = self.progress.results.iter().filter(|result| result.is_none()).count();
        let needed = self.charter.results_needed();
        if most >= needed {
            self.end(TxState::Completed, None);
        } else if most + missing < needed {
            self.end(TxState::Disputed, Some("results differ".to_owned()));
        }
    }

    /// The one way into a final state, which no edge leaves.
    pub(super) fn end(&mut self, state: TxState, reason: Option<String>) {
        self.progress.state = state;
        self.progress.reason = reason;
        self.progress.changed += 1;
    }
}
