//! What never changes of a transaction, taken from its manifest.

use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::ids::TxId;
use crate::manifest::{CompleteWhen, Manifest};
use crate::party::PartyId;
use crate::time::UnixMs;

/// What never changes of a transaction (invariant 6). Stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// Its id.
    pub tx: TxId,
    /// Who created it.
    pub initiator: PartyId,
    /// Who takes part, in the manifest's order.
    pub parties: Vec<PartyId>,
    /// The number of signers that suffices.
    pub threshold: u16,
    /// When it is completed.
    pub complete_when: CompleteWhen,
    /// Whether it runs only when every party has joined.
    pub require_join: bool,
    /// The protocol that the parties mean to run.
    pub protocol: String,
    /// For people.
    pub purpose: Option<String>,
    /// The key-generation transaction whose key is used.
    pub key_id: Option<TxId>,
    /// When every party must have joined.
    pub ready_by: Option<UnixMs>,
    /// How long it may run, in seconds.
    pub finish_within_s: Option<u32>,
    /// The sum of the manifest, byte for byte as it was published.
    pub manifest_sha256: Sha256,
    /// When it was created, on the broker's clock.
    pub created_at: UnixMs,
}

impl Charter {
    pub(crate) fn of(manifest: Manifest, manifest_sha256: Sha256, created_at: UnixMs) -> Charter {
        Charter {
            tx: manifest.tx,
            initiator: manifest.initiator,
            parties: manifest.parties,
            threshold: manifest.threshold,
            complete_when: manifest.complete_when,
            require_join: manifest.require_join,
            protocol: manifest.protocol,
            purpose: manifest.purpose,
            key_id: manifest.key_id,
            ready_by: manifest.ready_by,
            finish_within_s: manifest.finish_within_s,
            manifest_sha256,
            created_at,
        }
    }

    /// Whether the manifest lists this party.
    pub fn is_party(&self, party: &PartyId) -> bool {
        self.parties.contains(party)
    }

    /// Who hears anything at all: the parties, then the initiator where it is not one of them.
    pub fn members(&self) -> impl Iterator<Item = &PartyId> {
        let outsider = Some(&self.initiator).filter(|initiator| !self.is_party(initiator));
        self.parties.iter().chain(outsider)
    }

    /// The place of this party among [`members`](Self::members).
    pub fn member_index(&self, party: &PartyId) -> Option<usize> {
        self.members().position(|member| member == party)
    }

    /// The place of this party in the manifest.
    pub fn party_index(&self, party: &PartyId) -> Option<usize> {
        self.parties.iter().position(|listed| listed == party)
    }

    /// How many equal results complete it.
    pub fn results_needed(&self) -> usize {
        match self.complete_when {
            CompleteWhen::All => self.parties.len(),
            CompleteWhen::Threshold => usize::from(self.threshold),
        }
    }
}
