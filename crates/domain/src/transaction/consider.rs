//! Whether a publish enters the log: the one order of "PUBLISH" in `docs/transactions.md`.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::hash::Sha256;
use crate::manifest::Manifest;
use crate::refusal::Refusal;
use crate::rules::CreationRules;
use crate::topic::Place;
use crate::transaction::{
    Charter, EQUIVOCATIONS_LISTED_MAX, Equivocation, Offer, Progress, Slot, Transaction, TxLimits, TxState, Verdict,
};

/// Longest join, in bytes.
pub const JOIN_BYTES_MAX: usize = 8 * 1024;
/// Longest result, in bytes.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Longest payload of any other topic of a transaction, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a join says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    manifest_sha256: Sha256,
    /// The end-to-end layer's own.
    #[serde(default, rename = "data")]
    _data: IgnoredAny,
}

impl Transaction {
    /// Judges a publish for an id that is free. Accepted, it is a transaction without a record: the caller records the
    /// manifest like any message. Whoever may create nothing gets the same answer here as in a foreign transaction.
    pub fn create(offer: &Offer<'_>, rules: &CreationRules) -> Result<Transaction, Refusal> {
        if offer.topic.place != Place::Manifest || !rules.may_initiate(offer.from) {
            return Err(Refusal::NotAuthorized);
        }
        let manifest = Manifest::parse(offer.payload, offer.now)
            .map_err(|error| Refusal::PayloadInvalid(format!("manifest: {error}")))?;
        if manifest.tx != offer.topic.tx {
            return Err(Refusal::PayloadInvalid("manifest: tx: is not the one in the topic".to_owned()));
        }
        // To create in another's name is a matter of rights, like a foreign `{from}`.
        if manifest.initiator != *offer.from || !rules.may_create(&manifest) {
            return Err(Refusal::NotAuthorized);
        }
        let charter = Charter::of(manifest, Sha256::of(offer.payload), offer.now);
        let progress = Progress::of_new(&charter);
        Ok(Transaction { charter: Arc::new(charter), progress })
    }

    /// Judges a publish. `slot` is what the topic's slot holds, pending records included; `None` where it is free or
    /// the topic is no slot.
    pub fn consider(&self, offer: &Offer<'_>, slot: Option<&Slot>, limits: &TxLimits) -> Verdict {
        let written = slot.filter(|_| offer.topic.place.is_slot());
        // The sum is taken for the slot's own author alone: nobody else makes us work before rights are checked.
        let offered = written.filter(|slot| slot.author == *offer.from).map(|_| Sha256::of(offer.payload));
        match (written, offered) {
            (Some(slot), Some(offered)) if slot.sha256 == offered => return Verdict::Repeated(slot.seq),
            _ => {}
        }
        if !self.has_rights(offer) || !self.is_its_time(&offer.topic.place) {
            return Verdict::Refuse(Refusal::NotAuthorized);
        }
        if let Some(slot) = written {
            let offered = offered.unwrap_or_else(|| Sha256::of(offer.payload));
            return Verdict::Refuse(Refusal::SlotTaken { stored: slot.sha256, offered });
        }
        let checked = self.check_payload(offer).map_err(Refusal::PayloadInvalid);
        match checked.and_then(|()| self.check_volume(offer, limits)) {
            Ok(()) => Verdict::Accept,
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    /// Remembers an attempt on a written slot, after `consider` refused it with `SlotTaken`.
    pub fn note_equivocation(&mut self, offer: &Offer<'_>, slot: &Slot) {
        let equivocations = &mut self.progress.equivocations;
        equivocations.count = equivocations.count.saturating_add(1);
        let listed = equivocations.first.iter().any(|equivocation| equivocation.topic == *offer.topic);
        if !listed && equivocations.first.len() < EQUIVOCATIONS_LISTED_MAX {
            equivocations.first.push(Equivocation {
                topic: offer.topic.clone(),
                party: offer.from.clone(),
                seq: slot.seq,
                at: offer.now,
                stored: slot.sha256,
                offered: Sha256::of(offer.payload),
            });
        }
        self.progress.changed += 1;
    }

    /// Invariant 4: `{from}` is the publisher, and a listed party; `{to}` is a listed party as well. Nobody writes the
    /// manifest of a transaction that exists, nor its state.
    fn has_rights(&self, offer: &Offer<'_>) -> bool {
        let addressee_listed = match &offer.topic.place {
            Place::P2p { to, .. } => self.charter.is_party(to),
            _ => true,
        };
        offer.topic.tx == self.charter.tx
            && offer.topic.place.author() == Some(offer.from)
            && self.charter.is_party(offer.from)
            && addressee_listed
    }

    /// Nothing after the end, and no result before the start: what is not accepted in a state is a matter of rights.
    fn is_its_time(&self, place: &Place) -> bool {
        match place {
            Place::Result { .. } => self.progress.state == TxState::Running,
            _ => self.progress.state.accepts_publishes(),
        }
    }

    fn check_payload(&self, offer: &Offer<'_>) -> Result<(), String> {
        let place = &offer.topic.place;
        let bytes = offer.payload.len();
        let bytes_max = match place {
            Place::Join { .. } => JOIN_BYTES_MAX,
            Place::Result { .. } => RESULT_BYTES_MAX,
            _ => MESSAGE_BYTES_MAX,
        };
        if bytes > bytes_max {
            return Err(format!("{bytes} bytes, where {bytes_max} are allowed"));
        }
        if bytes == 0 && place.is_slot() {
            return Err("a slot needs a payload that is not empty".to_owned());
        }
        match place {
            Place::Join { .. } => self.check_join(offer),
            _ => Ok(()),
        }
    }

    fn check_join(&self, offer: &Offer<'_>) -> Result<(), String> {
        let join: Join = serde_json::from_slice(offer.payload).map_err(|error| format!("join: {error}"))?;
        if join.manifest_sha256 != self.charter.manifest_sha256 {
            return Err("join: manifest_sha256: is not the sum of this transaction's manifest".to_owned());
        }
        Ok(())
    }
}
