//! The manifest: what a transaction is, in its initiator's words. Who may write one is `rules`' matter; what the broker
//! keeps of it is the `Charter`.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::ids::TxId;
use crate::party::PartyId;
use crate::time::UnixMs;

/// Longest manifest, in bytes of JSON.
pub const MANIFEST_BYTES_MAX: usize = 65_536;
/// Longest `payload` of a manifest, in bytes before base64.
pub const MANIFEST_PAYLOAD_BYTES_MAX: usize = 32 * 1024;
/// Fewest parties.
pub const PARTIES_MIN: usize = 2;
/// Most parties.
pub const PARTIES_MAX: usize = 64;
/// Longest time that a transaction may give itself: 30 days.
pub const FINISH_WITHIN_S_MAX: u32 = 2_592_000;

/// A manifest, field by field as in `docs/transactions.md`. [`Manifest::parse`] is the way in: what it returns was
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The id, equal to the topic's.
    pub tx: TxId,
    /// Who creates the transaction, equal to the publisher. Need not be a party.
    pub initiator: PartyId,
    /// The protocol that the parties mean to run; opaque to the broker.
    pub protocol: String,
    /// Who takes part, in the order that the protocol relies on.
    pub parties: Vec<PartyId>,
    /// The number of signers that suffices.
    pub threshold: u16,
    /// When the transaction is completed.
    #[serde(default)]
    pub complete_when: CompleteWhen,
    /// Whether it runs only when every party has joined. Default: true.
    #[serde(default = "join_is_required")]
    pub require_join: bool,
    /// For people.
    #[serde(default)]
    pub purpose: Option<String>,
    /// What is to be signed. In JSON: base64.
    #[serde(default, with = "optional_base64")]
    pub payload: Option<Bytes>,
    /// The sum of what is to be signed; checked against `payload` where both stand.
    #[serde(default)]
    pub payload_digest: Option<Sha256>,
    /// The key-generation transaction whose key is used.
    #[serde(default)]
    pub key_id: Option<TxId>,
    /// When every party must have joined. In JSON: RFC 3339. Kept to the millisecond.
    #[serde(default, with = "optional_rfc3339")]
    pub ready_by: Option<UnixMs>,
    /// How long it may run, in seconds.
    #[serde(default)]
    pub finish_within_s: Option<u32>,
    /// Named subsets, for the protocol; the broker does not interpret them.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<PartyId>>,
    /// The place for one's own fields.
    #[serde(default)]
    pub ext: serde_json::Map<String, serde_json::Value>,
}

/// How many equal results complete a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompleteWhen {
    /// One of every party.
    #[default]
    All,
    /// As many as the threshold.
    Threshold,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest has {bytes} bytes, where {MANIFEST_BYTES_MAX} are allowed")]
    TooLarge {
        /// The length that was found.
        bytes: usize,
    },
    /// It is not the JSON that it should be.
    #[error("{field}: {reason}")]
    Json {
        /// The path of the field at which reading stopped; `.`: the document itself.
        field: String,
        /// What was wrong there.
        reason: String,
    },
    /// A field has a value that is not allowed.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// Why.
        reason: String,
    },
}

impl Manifest {
    /// Reads and checks a manifest that is published at `now`.
    pub fn parse(bytes: &[u8], now: UnixMs) -> Result<Manifest, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge { bytes: bytes.len() });
        }
        let json = |field: String, error: serde_json::Error| ManifestError::Json { field, reason: error.to_string() };
        let mut document = serde_json::Deserializer::from_slice(bytes);
        let manifest: Manifest = serde_path_to_error::deserialize(&mut document)
            .map_err(|error| json(error.path().to_string(), error.into_inner()))?;
        document.end().map_err(|error| json(".".to_owned(), error))?;
        manifest.check(now)?;
        Ok(manifest)
    }

    fn check(&self, now: UnixMs) -> Result<(), ManifestError> {
        if self.protocol.is_empty() {
            return refuse("protocol", "is empty");
        }
        self.check_parties()?;
        if self.threshold == 0 || usize::from(self.threshold) > self.parties.len() {
            return refuse(
                "threshold",
                format!("is {}, where 1 to {} are allowed", self.threshold, self.parties.len()),
            );
        }
        self.check_payload()?;
        match self.ready_by {
            Some(ready_by) if ready_by <= now => return refuse("ready_by", "does not lie in the future"),
            _ => {}
        }
        match self.finish_within_s {
            Some(seconds) if seconds == 0 || seconds > FINISH_WITHIN_S_MAX => {
                refuse("finish_within_s", format!("is {seconds}, where 1 to {FINISH_WITHIN_S_MAX} are allowed"))
            }
            _ => Ok(()),
        }
    }

    fn check_parties(&self) -> Result<(), ManifestError> {
        let count = self.parties.len();
        if !(PARTIES_MIN..=PARTIES_MAX).contains(&count) {
            let reason = format!("{count} parties, where {PARTIES_MIN} to {PARTIES_MAX} are allowed");
            return refuse("parties", reason);
        }
        // Two names that a person takes for one would let one party pass for another.
        let mut seen = HashSet::new();
        let repeated = |party: &&PartyId| !seen.insert(party.as_str().to_ascii_lowercase());
        match self.parties.iter().find(repeated) {
            Some(party) => refuse("parties", format!("{party} is listed twice, ignoring case")),
            None => Ok(()),
        }
    }

    fn check_payload(&self) -> Result<(), ManifestError> {
        let Some(payload) = &self.payload else { return Ok(()) };
        if payload.len() > MANIFEST_PAYLOAD_BYTES_MAX {
            let reason = format!("has {} bytes, where {MANIFEST_PAYLOAD_BYTES_MAX} are allowed", payload.len());
            return refuse("payload", reason);
        }
        let sum = Sha256::of(payload);
        match self.payload_digest {
            Some(digest) if digest != sum => refuse("payload_digest", format!("the sum of `payload` is {sum}")),
            _ => Ok(()),
        }
    }
}

fn refuse(field: &'static str, reason: impl Into<String>) -> Result<(), ManifestError> {
    Err(ManifestError::Field { field, reason: reason.into() })
}

fn join_is_required() -> bool {
    true
}

/// Bytes as base64 (RFC 4648 section 4, padded).
mod optional_base64 {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::{Serialize, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let decode = |text| BASE64_STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom);
        text.map(decode).transpose()
    }
}

/// A moment as RFC 3339.
mod optional_rfc3339 {
    use jiff::Timestamp;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::{Serialize, Serializer, ser};

    use crate::time::UnixMs;

    pub fn serialize<S: Serializer>(moment: &Option<UnixMs>, serializer: S) -> Result<S::Ok, S::Error> {
        let timestamp = |at: UnixMs| i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match moment {
            None => serializer.serialize_none(),
            Some(at) => timestamp(*at)
                .map(|timestamp| timestamp.to_string())
                .ok_or_else(|| ser::Error::custom("a moment after the year 9999"))?
                .serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMs>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let timestamp: Timestamp = text.parse().map_err(D::Error::custom)?;
        let at = u64::try_from(timestamp.as_millisecond()).map_err(|_| D::Error::custom("a moment before 1970"))?;
        Ok(Some(UnixMs(at)))
    }
}

#[cfg(test)]
mod tests;
