//! What one party of the demo knows and says: FROST key generation and signing over the slots of transactions.
//!
//! No I/O here: heard messages go in ([`Party::hear`]), what is to be published comes out ([`Party::outgoing`]), and
//! the whole of [`Party`] is what the state file holds. The order of things that must not be lost is kept by the
//! caller, `visit`: hear, save, acknowledge; advance, save, publish.

mod error;
mod keygen;
mod room;
mod signing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use quorate_domain::{Manifest, PartyId, Place, Seq, Sha256, TxId, TxState, TxTopic, UnixMs};
use serde::{Deserialize, Serialize};

pub use error::CeremonyError;
use keygen::Keygen;
pub use room::{Milestone, Outgoing};
use room::{Protocol, Room, Terms};

/// The name of the key-generation protocol in manifests.
pub const KEYGEN: &str = "frost-ed25519/dkg";
/// The name of the signing protocol in manifests.
pub const SIGNING: &str = "frost-ed25519/sign";

/// A message as the broker delivered it. `from` is the broker's word about who published it.
pub struct Incoming<'a> {
    /// Where it was published.
    pub topic: &'a TxTopic,
    /// The verified publisher; `None` for the broker's own state documents.
    pub from: Option<&'a PartyId>,
    /// Its place in the log.
    pub seq: Option<Seq>,
    /// The place of the message before it that this party may hear; absent on interim state documents.
    pub prev: Option<Seq>,
    /// What was published.
    pub payload: &'a [u8],
}

/// Whether a heard message told anything new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It did.
    New,
    /// It came before (a session repeats what was not acknowledged), or it will come again.
    Repeated,
}

/// What the person behind a party agrees to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent {
    /// The only payload that may be signed, by its sum. Without it nothing is signed.
    pub payload: Option<Sha256>,
}

/// One party, in all the transactions that it takes part in. This is the state file's content.
#[derive(Serialize, Deserialize)]
pub struct Party {
    name: PartyId,
    rooms: BTreeMap<TxId, Room>,
    /// Only for the test that looks for round-2 packages in the broker's store: received ones are kept here.
    #[serde(default)]
    danger_keep_round2: bool,
}

impl Party {
    /// A party that has heard nothing yet.
    pub fn new(name: PartyId, danger_keep_round2: bool) -> Self {
        Self { name, rooms: BTreeMap::new(), danger_keep_round2 }
    }

    /// Whose state this is.
    pub fn name(&self) -> &PartyId {
        &self.name
    }

    /// Takes one delivered message in. An error means that the broker or another party broke the rules.
    pub fn hear(&mut self, message: &Incoming) -> Result<Heard, CeremonyError> {
        let tx = &message.topic.tx;
        if message.topic.place == Place::Manifest {
            self.open_room(message)?;
        }
        let Some(room) = self.rooms.get_mut(tx) else {
            // An interim state document may overtake the log; the final one is a record of it and comes in its place.
            return match message.topic.place == Place::State && message.prev.is_none() {
                true => Ok(Heard::Repeated),
                false => Err(CeremonyError::NoManifest(tx.clone())),
            };
        };
        // An interim state document is no record of the log: it names the `seq` that it was written at, and no `prev`.
        if let (Some(seq), Some(prev)) = (message.seq, message.prev) {
            if !room.is_next(seq, prev)? {
                return Ok(Heard::Repeated);
            }
            room.heard_to = seq;
        }
        room.take(&self.name, message, self.danger_keep_round2)?;
        Ok(Heard::New)
    }

    /// Does all that can be done in this transaction with what has been heard; what is to be published is then in the
    /// room's outbox, in order. Save the party before publishing any of it.
    pub fn advance(&mut self, tx: &TxId, consent: Consent) -> Result<(), CeremonyError> {
        let Some(room) = self.rooms.get(tx) else { return Ok(()) };
        if room.is_over() {
            return Ok(());
        }
        let share = match &room.terms.key_id {
            Some(key_id) => Some(self.key_share(key_id)?.clone()),
            None => None,
        };
        let name = self.name.clone();
        let room = self.rooms.get_mut(tx).expect("looked at above");
        room.advance(tx, &name, share.as_ref(), consent)
    }

    /// The next thing to publish. Call [`Party::sent`] when it has been acknowledged.
    pub fn outgoing(&self, tx: &TxId) -> Option<&Outgoing> {
        self.rooms.get(tx).and_then(|room| room.outbox.front())
    }

    /// The broker has acknowledged what [`Party::outgoing`] gave.
    pub fn sent(&mut self, tx: &TxId) {
        if let Some(room) = self.rooms.get_mut(tx) {
            room.outbox.pop_front();
        }
    }

    /// Whether this has been reached, and all that belongs to it published.
    pub fn reached(&self, tx: &TxId, milestone: Milestone) -> bool {
        self.rooms.get(tx).is_some_and(|room| room.reached(milestone))
    }

    /// What the broker last said about the transaction.
    pub fn state(&self, tx: &TxId) -> Option<TxState> {
        self.rooms.get(tx).and_then(|room| room.state)
    }

    /// This party's own result: the public key package or the signature.
    pub fn result(&self, tx: &TxId) -> Option<&[u8]> {
        self.rooms.get(tx).and_then(|room| room.results.get(&self.name)).map(|result| result.0.as_slice())
    }

    /// The Ed25519 public key that a key generation made.
    pub fn verifying_key(&self, tx: &TxId) -> Result<Vec<u8>, CeremonyError> {
        Ok(self.key_share(tx)?.public.verifying_key().serialize()?)
    }

    fn key_share(&self, tx: &TxId) -> Result<&keygen::KeyShare, CeremonyError> {
        match self.rooms.get(tx).map(|room| &room.protocol) {
            Some(Protocol::Keygen(keygen)) => keygen.share().ok_or_else(|| CeremonyError::NoKey(tx.clone())),
            _ => Err(CeremonyError::NoKey(tx.clone())),
        }
    }

    fn open_room(&mut self, message: &Incoming) -> Result<(), CeremonyError> {
        let tx = &message.topic.tx;
        let manifest_sha256 = Sha256::of(message.payload);
        if let Some(room) = self.rooms.get(tx) {
            return match room.manifest_sha256 == manifest_sha256 {
                true => Ok(()),
                false => Err(CeremonyError::Overwritten(message.topic.to_string())),
            };
        }
        let malformed = |cause: String| CeremonyError::Malformed { topic: message.topic.to_string(), cause };
        // Whether its dates still lie in the future is for the broker to say, when it is published.
        let manifest = Manifest::parse(message.payload, UnixMs(0)).map_err(|error| malformed(error.to_string()))?;
        if &manifest.tx != tx || message.from != Some(&manifest.initiator) {
            return Err(CeremonyError::NotTheAuthor(message.topic.to_string()));
        }
        let terms = Terms::from_manifest(manifest);
        if !terms.parties.contains(&self.name) {
            return Err(CeremonyError::NotAParty(tx.clone()));
        }
        let protocol = match terms.protocol.as_str() {
            KEYGEN => Protocol::Keygen(Box::<Keygen>::default()),
            SIGNING => Protocol::Signing(Box::default()),
            other => return Err(CeremonyError::UnknownProtocol(other.to_owned())),
        };
        self.rooms.insert(tx.clone(), Room::new(terms, manifest_sha256, protocol));
        Ok(())
    }
}
