//! What key generation and signing have in common: the terms, the order of the log, joins, results, the outbox.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_client::envelope::EnvelopePublicKey;
use quorate_domain::{Manifest, PartyId, Place, Seq, Sha256, TxId, TxState, TxTopic};
use serde::{Deserialize, Serialize};

use super::{
    CeremonyError, Consent, Incoming,
    keygen::{KeyShare, Keygen},
    signing::Signing,
};

/// How far a party is in a transaction. In a key generation round 1 holds the commitments and round 2 the sealed
/// shares; in a signing round 1 holds the nonce commitments and round 2 the signature shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Milestone {
    /// Joined, and the first round published.
    Round1,
    /// The second round published.
    Round2,
    /// The own result published.
    Result,
    /// The broker says that the transaction is completed.
    Completed,
}

/// Something to publish. It is stored before it is published, so that a repetition is byte for byte the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// What is reached when it has been published.
    pub milestone: Milestone,
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Blob,
}

/// Bytes that serde writes as hexadecimal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// What the manifest says that matters to the protocol.
#[derive(Serialize, Deserialize)]
pub(super) struct Terms {
    pub parties: Vec<PartyId>,
    pub threshold: u16,
    pub protocol: String,
    pub key_id: Option<TxId>,
    pub payload: Option<Blob>,
}

/// One transaction as one party knows it.
#[derive(Serialize, Deserialize)]
pub(super) struct Room {
    pub terms: Terms,
    pub manifest_sha256: Sha256,
    pub heard_to: Seq,
    pub state: Option<TxState>,
    pub joins: BTreeMap<PartyId, EnvelopePublicKey>,
    pub results: BTreeMap<PartyId, Blob>,
    pub protocol: Protocol,
    pub outbox: VecDeque<Outgoing>,
    /// Reached, though what belongs to it may still be in the outbox.
    done: BTreeSet<Milestone>,
}

/// What differs between the two.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Keygen(Box<Keygen>),
    Signing(Box<Signing>),
}

/// The payload of a join.
#[derive(Serialize, Deserialize)]
struct Join {
    manifest_sha256: Sha256,
    data: JoinData,
}

#[derive(Serialize, Deserialize)]
struct JoinData {
    x25519: EnvelopePublicKey,
}

impl Terms {
    pub(super) fn from_manifest(manifest: Manifest) -> Self {
        Self {
            parties: manifest.parties,
            threshold: manifest.threshold,
            protocol: manifest.protocol,
            key_id: manifest.key_id,
            payload: manifest.payload.map(|payload| Blob(payload.to_vec())),
        }
    }

    /// The parties other than `name`.
    pub(super) fn others<'a>(&'a self, name: &'a PartyId) -> impl Iterator<Item = &'a PartyId> {
        self.parties.iter().filter(move |party| *party != name)
    }
}

impl Room {
    pub(super) fn new(terms: Terms, manifest_sha256: Sha256, protocol: Protocol) -> Self {
        Self {
            terms,
            manifest_sha256,
            heard_to: Seq::ZERO,
            state: None,
            joins: BTreeMap::new(),
            results: BTreeMap::new(),
            protocol,
            outbox: VecDeque::new(),
            done: BTreeSet::new(),
        }
    }

    /// Whether this message is the next of the log; `false` when it came before.
    pub(super) fn is_next(&self, seq: Seq, prev: Seq) -> Result<bool, CeremonyError> {
        if seq <= self.heard_to {
            return Ok(false);
        }
        match prev > self.heard_to {
            true => Err(CeremonyError::Missing { heard_to: self.heard_to, prev }),
            false => Ok(true),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.is_some_and(|state| state.is_closed())
    }

    pub(super) fn reached(&self, milestone: Milestone) -> bool {
        match milestone {
            Milestone::Completed => self.state == Some(TxState::Completed),
            _ => self.done.contains(&milestone) && !self.outbox.iter().any(|outgoing| outgoing.milestone == milestone),
        }
    }

    /// Takes in what was said in this room.
    pub(super) fn take(
        &mut self,
        name: &PartyId,
        message: &Incoming,
        danger_keep_round2: bool,
    ) -> Result<(), CeremonyError> {
        let place = &message.topic.place;
        // Invariant 4 on this side: the broker verified the publisher, and the topic must say the same.
        if place.author().is_some() && place.author() != message.from {
            return Err(CeremonyError::NotTheAuthor(message.topic.to_string()));
        }
        if place.author() == Some(name) {
            return Ok(());
        }
        match place {
            Place::Manifest | Place::Echo { .. } | Place::Message { .. } => Ok(()),
            Place::State => self.take_state(message),
            Place::Join { from } => self.take_join(from, message),
            Place::Result { from } => self.take_result(name, from, message),
            Place::Abort { .. } => Err(CeremonyError::Ended(TxState::Aborted)),
            Place::Broadcast { round, from } => match &mut self.protocol {
                Protocol::Keygen(keygen) => keygen.take_broadcast(round.as_str(), from, message),
                Protocol::Signing(signing) => signing.take_broadcast(round.as_str(), from, message),
            },
            Place::P2p { from, .. } => match &mut self.protocol {
                Protocol::Keygen(keygen) => keygen.take_sealed(from, message, danger_keep_round2),
                Protocol::Signing(_) => Ok(()),
            },
        }
    }

    /// Does what can be done with what has been heard.
    pub(super) fn advance(
        &mut self,
        tx: &TxId,
        name: &PartyId,
        share: Option<&KeyShare>,
        consent: Consent,
    ) -> Result<(), CeremonyError> {
        let (outgoing, result) = match &mut self.protocol {
            Protocol::Keygen(keygen) => keygen.advance(tx, name, &self.terms, self.manifest_sha256, &self.joins)?,
            Protocol::Signing(signing) => {
                let share = share.ok_or_else(|| CeremonyError::NoKey(tx.clone()))?;
                signing.advance(tx, name, &self.terms, self.manifest_sha256, share, consent)?
            }
        };
        self.done.extend(outgoing.iter().map(|outgoing| outgoing.milestone));
        self.outbox.extend(outgoing);
        if let Some(result) = result {
            if let Some((party, _)) = self.results.iter().find(|(_, other)| other.0 != result) {
                return Err(CeremonyError::OtherResult(party.clone()));
            }
            let topic = topic(tx, Place::Result { from: name.clone() });
            self.outbox.push_back(Outgoing { milestone: Milestone::Result, topic, payload: Blob(result.clone()) });
            self.done.insert(Milestone::Result);
            self.results.insert(name.clone(), Blob(result));
        }
        Ok(())
    }

    fn take_state(&mut self, message: &Incoming) -> Result<(), CeremonyError> {
        #[derive(Deserialize)]
        struct Document {
            state: TxState,
        }
        if self.is_over() {
            return Ok(());
        }
        let document: Document = parse(message)?;
        self.state = Some(document.state);
        match document.state {
            TxState::Open | TxState::Running | TxState::Completed => Ok(()),
            ended => Err(CeremonyError::Ended(ended)),
        }
    }

    fn take_join(&mut self, from: &PartyId, message: &Incoming) -> Result<(), CeremonyError> {
        let join: Join = parse(message)?;
        if join.manifest_sha256 != self.manifest_sha256 {
            let cause = "it joins another manifest".to_owned();
            return Err(CeremonyError::Malformed { topic: message.topic.to_string(), cause });
        }
        insert_once(&mut self.joins, from, join.data.x25519, message)
    }

    fn take_result(&mut self, name: &PartyId, from: &PartyId, message: &Incoming) -> Result<(), CeremonyError> {
        if self.results.get(name).is_some_and(|own| own.0 != message.payload) {
            return Err(CeremonyError::OtherResult(from.clone()));
        }
        insert_once(&mut self.results, from, Blob(message.payload.to_vec()), message)
    }
}

/// The join of `name`, with the key that messages to it are sealed to.
pub(super) fn join(
    tx: &TxId,
    name: &PartyId,
    manifest_sha256: Sha256,
    x25519: EnvelopePublicKey,
) -> Result<Outgoing, CeremonyError> {
    Ok(Outgoing {
        milestone: Milestone::Round1,
        topic: topic(tx, Place::Join { from: name.clone() }),
        payload: Blob(serde_json::to_vec(&Join { manifest_sha256, data: JoinData { x25519 } })?),
    })
}

/// A topic of this transaction as text.
pub(super) fn topic(tx: &TxId, place: Place) -> String {
    TxTopic { tx: tx.clone(), place }.to_string()
}

/// Slots never change: the same again is fine, anything else is not.
pub(super) fn insert_once<T: PartialEq>(
    map: &mut BTreeMap<PartyId, T>,
    from: &PartyId,
    value: T,
    message: &Incoming,
) -> Result<(), CeremonyError> {
    match map.get(from) {
        Some(before) if *before != value => Err(CeremonyError::Overwritten(message.topic.to_string())),
        Some(_) => Ok(()),
        None => {
            map.insert(from.clone(), value);
            Ok(())
        }
    }
}

pub(super) fn malformed(message: &Incoming, cause: impl ToString) -> CeremonyError {
    CeremonyError::Malformed { topic: message.topic.to_string(), cause: cause.to_string() }
}

fn parse<T: serde::de::DeserializeOwned>(message: &Incoming) -> Result<T, CeremonyError> {
    serde_json::from_slice(message.payload).map_err(|error| malformed(message, error))
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}
