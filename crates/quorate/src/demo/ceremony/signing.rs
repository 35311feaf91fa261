//! FROST signing (frost-ed25519) of the manifest's payload: nonce commitments to all, signature shares to all, and the
//! signature from everyone as the result.

use std::collections::BTreeMap;

use frost_ed25519::{
    SigningPackage, aggregate,
    round1::{self, SigningCommitments, SigningNonces},
    round2::{self, SignatureShare},
};
use quorate_client::envelope::EnvelopeKey;
use quorate_domain::{PartyId, Place, Sha256, TxId};
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use super::{
    CeremonyError, Consent, Incoming,
    keygen::{KeyShare, Step, by_identifier, identifier, round},
    room::{self, Blob, Milestone, Outgoing, Terms, insert_once, malformed},
};

const COMMITMENTS: &str = "commitments";
const SHARES: &str = "shares";

/// A signing as one party sees it.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Signing {
    /// Used once. They are gone from here before the share that used them is published: a second share made with the
    /// same nonces would give the key share away.
    nonces: Option<SigningNonces>,
    commitments: BTreeMap<PartyId, SigningCommitments>,
    shares: BTreeMap<PartyId, SignatureShare>,
    is_finished: bool,
}

impl Signing {
    pub(super) fn take_broadcast(
        &mut self,
        round: &str,
        from: &PartyId,
        message: &Incoming,
    ) -> Result<(), CeremonyError> {
        match round {
            COMMITMENTS => {
                let commitments =
                    SigningCommitments::deserialize(message.payload).map_err(|error| malformed(message, error))?;
                insert_once(&mut self.commitments, from, commitments, message)
            }
            SHARES => {
                let share = SignatureShare::deserialize(message.payload).map_err(|error| malformed(message, error))?;
                insert_once(&mut self.shares, from, share, message)
            }
            _ => Err(malformed(message, "there is no such round")),
        }
    }

    pub(super) fn advance(
        &mut self,
        tx: &TxId,
        name: &PartyId,
        terms: &Terms,
        manifest_sha256: Sha256,
        share: &KeyShare,
        consent: Consent,
    ) -> Result<Step, CeremonyError> {
        let payload = terms.payload.as_ref().ok_or(CeremonyError::NotAgreed)?;
        if consent.payload != Some(Sha256::of(&payload.0)) {
            return Err(CeremonyError::NotAgreed);
        }
        let mut outgoing = Vec::new();
        if !self.commitments.contains_key(name) {
            outgoing.extend(self.begin(tx, name, manifest_sha256, share)?);
        }
        if self.nonces.is_some() && terms.parties.iter().all(|party| self.commitments.contains_key(party)) {
            outgoing.push(self.sign(tx, name, &payload.0, share)?);
        }
        if !self.is_finished && terms.parties.iter().all(|party| self.shares.contains_key(party)) {
            let package = self.package(&payload.0, share)?;
            let signature = aggregate(&package, &by_identifier(&share.parties, &self.shares)?, &share.public)?;
            self.is_finished = true;
            return Ok((outgoing, Some(signature.serialize()?)));
        }
        Ok((outgoing, None))
    }

    fn begin(
        &mut self,
        tx: &TxId,
        name: &PartyId,
        manifest_sha256: Sha256,
        share: &KeyShare,
    ) -> Result<[Outgoing; 2], CeremonyError> {
        identifier(&share.parties, name)?;
        // Nothing is sealed in a signing; the key is fresh all the same, and its secret half is forgotten at once.
        let join = room::join(tx, name, manifest_sha256, EnvelopeKey::generate().public())?;
        let (nonces, commitments) = round1::commit(share.key.signing_share(), &mut OsRng);
        let commitment = Outgoing {
            milestone: Milestone::Round1,
            topic: broadcast(tx, COMMITMENTS, name),
            payload: Blob(commitments.serialize()?),
        };
        self.nonces = Some(nonces);
        self.commitments.insert(name.clone(), commitments);
        Ok([join, commitment])
    }

    fn sign(&mut self, tx: &TxId, name: &PartyId, payload: &[u8], share: &KeyShare) -> Result<Outgoing, CeremonyError> {
        let nonces = self.nonces.take().expect("the caller looked");
        let signature_share = round2::sign(&self.package(payload, share)?, &nonces, &share.key)?;
        self.shares.insert(name.clone(), signature_share);
        Ok(Outgoing {
            milestone: Milestone::Round2,
            topic: broadcast(tx, SHARES, name),
            payload: Blob(signature_share.serialize()),
        })
    }

    fn package(&self, payload: &[u8], share: &KeyShare) -> Result<SigningPackage, CeremonyError> {
        Ok(SigningPackage::new(by_identifier(&share.parties, &self.commitments)?, payload))
    }
}

fn broadcast(tx: &TxId, name: &str, from: &PartyId) -> String {
    room::topic(tx, Place::Broadcast { round: round(name), from: from.clone() })
}
