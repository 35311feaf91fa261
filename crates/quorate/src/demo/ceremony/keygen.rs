//! FROST distributed key generation (frost-ed25519): round 1 to all, round 2 sealed to each, and the same public key
//! package from everyone as the result.

use std::collections::BTreeMap;

use frost_ed25519::{
    Identifier,
    keys::{
        KeyPackage, PublicKeyPackage,
        dkg::{self, round1, round2},
    },
};
use quorate_client::envelope::{EnvelopeKey, EnvelopePublicKey};
use quorate_domain::{PartyId, Place, Round, Sha256, TxId};
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use super::{
    CeremonyError, Incoming,
    room::{self, Blob, Milestone, Outgoing, Terms, insert_once, malformed},
};

const ROUND1: &str = "round1";
const ROUND2: &str = "round2";

/// What comes out: this party's share of the key, and what everyone knows of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeyShare {
    pub key: KeyPackage,
    pub public: PublicKeyPackage,
    /// The parties of the key generation: an identifier is the place in this list, plus 1.
    pub parties: Vec<PartyId>,
}

/// A key generation as one party sees it. Each secret is dropped as soon as the next step has been computed.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Keygen {
    envelope: Option<EnvelopeKey>,
    round1_secret: Option<round1::SecretPackage>,
    round1: BTreeMap<PartyId, round1::Package>,
    round2_secret: Option<round2::SecretPackage>,
    round2: BTreeMap<PartyId, round2::Package>,
    share: Option<KeyShare>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    danger_round2: Vec<Blob>,
}

/// What to publish, and the result once there is one.
pub(super) type Step = (Vec<Outgoing>, Option<Vec<u8>>);

impl Keygen {
    pub(super) fn share(&self) -> Option<&KeyShare> {
        self.share.as_ref()
    }

    pub(super) fn take_broadcast(
        &mut self,
        round: &str,
        from: &PartyId,
        message: &Incoming,
    ) -> Result<(), CeremonyError> {
        if round != ROUND1 {
            return Err(malformed(message, "there is no such round"));
        }
        let package = round1::Package::deserialize(message.payload).map_err(|error| malformed(message, error))?;
        insert_once(&mut self.round1, from, package, message)
    }

    pub(super) fn take_sealed(
        &mut self,
        from: &PartyId,
        message: &Incoming,
        danger_keep_round2: bool,
    ) -> Result<(), CeremonyError> {
        // The envelope's key is wiped once the share is computed; whatever comes after that changes nothing.
        let Some(envelope) = &self.envelope else { return Ok(()) };
        let opened = envelope.open(&message.topic.to_string(), message.payload)?;
        let package = round2::Package::deserialize(&opened).map_err(|error| malformed(message, error))?;
        if danger_keep_round2 {
            self.danger_round2.push(Blob(opened.to_vec()));
        }
        insert_once(&mut self.round2, from, package, message)
    }

    pub(super) fn advance(
        &mut self,
        tx: &TxId,
        name: &PartyId,
        terms: &Terms,
        manifest_sha256: Sha256,
        keys: &BTreeMap<PartyId, EnvelopePublicKey>,
    ) -> Result<Step, CeremonyError> {
        let mut outgoing = Vec::new();
        if self.envelope.is_none() && self.share.is_none() {
            outgoing.extend(self.begin(tx, name, terms, manifest_sha256)?);
        }
        let all = |has: &dyn Fn(&PartyId) -> bool| terms.others(name).all(has);
        if self.round1_secret.is_some() && all(&|party| self.round1.contains_key(party) && keys.contains_key(party)) {
            outgoing.extend(self.seal_shares(tx, name, terms, keys)?);
        }
        if self.round2_secret.is_some() && all(&|party| self.round2.contains_key(party)) {
            return Ok((outgoing, Some(self.finish(terms)?)));
        }
        Ok((outgoing, None))
    }

    /// Joins, and commits to a secret polynomial.
    fn begin(
        &mut self,
        tx: &TxId,
        name: &PartyId,
        terms: &Terms,
        manifest_sha256: Sha256,
    ) -> Result<[Outgoing; 2], CeremonyError> {
        let envelope = EnvelopeKey::generate();
        let join = room::join(tx, name, manifest_sha256, envelope.public())?;
        let parties = u16::try_from(terms.parties.len()).expect("a manifest lists at most 64 parties");
        let (secret, package) = dkg::part1(identifier(&terms.parties, name)?, parties, terms.threshold, OsRng)?;
        let place = Place::Broadcast { round: round(ROUND1), from: name.clone() };
        let commitment = Outgoing {
            milestone: Milestone::Round1,
            topic: room::topic(tx, place),
            payload: Blob(package.serialize()?),
        };
        self.envelope = Some(envelope);
        self.round1_secret = Some(secret);
        Ok([join, commitment])
    }

    /// Computes the others' shares and seals each to its party, for its slot alone.
    fn seal_shares(
        &mut self,
        tx: &TxId,
        name: &PartyId,
        terms: &Terms,
        keys: &BTreeMap<PartyId, EnvelopePublicKey>,
    ) -> Result<Vec<Outgoing>, CeremonyError> {
        let Some(secret) = self.round1_secret.take() else { return Ok(Vec::new()) };
        let (secret, packages) = dkg::part2(secret, &by_identifier(&terms.parties, &self.round1)?)?;
        self.round2_secret = Some(secret);
        terms
            .others(name)
            .map(|to| {
                let package = &packages[&identifier(&terms.parties, to)?];
                let place = Place::P2p { round: round(ROUND2), from: name.clone(), to: to.clone() };
                let topic = room::topic(tx, place);
                let sealed = keys[to].seal(&topic, &zeroize::Zeroizing::new(package.serialize()?))?;
                Ok(Outgoing { milestone: Milestone::Round2, topic, payload: Blob(sealed) })
            })
            .collect()
    }

    /// Adds up the share; the result is what all parties must agree on.
    fn finish(&mut self, terms: &Terms) -> Result<Vec<u8>, CeremonyError> {
        let secret = self.round2_secret.take().expect("the caller looked");
        let round1 = by_identifier(&terms.parties, &self.round1)?;
        let round2 = by_identifier(&terms.parties, &self.round2)?;
        let (key, public) = dkg::part3(&secret, &round1, &round2)?;
        let result = public.serialize()?;
        self.share = Some(KeyShare { key, public, parties: terms.parties.clone() });
        self.round2.clear();
        self.envelope = None;
        Ok(result)
    }
}

/// A party's FROST identifier: its place in the key generation's manifest, plus 1.
pub(super) fn identifier(parties: &[PartyId], name: &PartyId) -> Result<Identifier, CeremonyError> {
    let index = parties.iter().position(|party| party == name);
    let number = index.and_then(|index| u16::try_from(index + 1).ok());
    let number = number.ok_or_else(|| CeremonyError::NotASigner(name.clone()))?;
    Ok(Identifier::try_from(number)?)
}

pub(super) fn by_identifier<T: Clone>(
    parties: &[PartyId],
    map: &BTreeMap<PartyId, T>,
) -> Result<BTreeMap<Identifier, T>, CeremonyError> {
    map.iter().map(|(party, value)| Ok((identifier(parties, party)?, value.clone()))).collect()
}

pub(super) fn round(name: &str) -> Round {
    Round::new(name).expect("the names of our rounds are valid")
}
