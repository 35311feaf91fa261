//! End-to-end envelopes: bytes that only one party can open, bound to the topic that they are published on.
//!
//! HPKE (RFC 9180) in base mode with X25519-HKDF-SHA256, HKDF-SHA256 and ChaCha20-Poly1305; `info` is `quorate/v1`,
//! the associated data is the topic. On the wire: the encapsulated key (32 bytes), then the ciphertext. Base mode says
//! nothing about the sender: that is what the broker's `quorate-from` and the slot's topic are for.

use base64::{Engine, prelude::BASE64_STANDARD};
use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256, single_shot_open, single_shot_seal,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

type Kem = X25519HkdfSha256;

const INFO: &[u8] = b"quorate/v1";
/// Bytes of an X25519 key, and of the encapsulated key in front of the ciphertext.
const KEY_BYTES: usize = 32;
/// What an envelope adds to its plaintext: the encapsulated key and the tag of ChaCha20-Poly1305.
pub const OVERHEAD_BYTES: usize = KEY_BYTES + 16;

/// Why a key or an envelope is not usable. It says no more on purpose: why an opening failed helps an attacker only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a base64 text of 32 bytes that make an X25519 key.
    #[error("not an X25519 key (base64 of 32 bytes)")]
    Key,
    /// The other party's public key cannot be sealed to (it is of low order).
    #[error("this public key cannot be sealed to")]
    Seal,
    /// Not sealed to this key, not for this topic, or altered.
    #[error("the envelope does not open: wrong key, wrong topic, or altered")]
    Open,
}

/// The secret half: opens what was sealed to it. Wiped from memory when dropped; serialised as base64 (into a state
/// file that nobody else can read).
#[derive(Clone)]
pub struct EnvelopeKey(Zeroizing<[u8; KEY_BYTES]>);

/// The public half: seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopePublicKey([u8; KEY_BYTES]);

impl EnvelopeKey {
    /// A fresh key from the system's random numbers.
    pub fn generate() -> Self {
        let (secret, _) = Kem::gen_keypair();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        secret.write_exact(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The public half, to be published.
    pub fn public(&self) -> EnvelopePublicKey {
        let mut bytes = [0; KEY_BYTES];
        Kem::sk_to_pk(&self.secret()).write_exact(&mut bytes);
        EnvelopePublicKey(bytes)
    }

    /// Opens what was sealed to this key for `topic`.
    pub fn open(&self, topic: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(KEY_BYTES).ok_or(EnvelopeError::Open)?;
        let encapsulated =
            <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| EnvelopeError::Open)?;
        single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.secret(),
            &encapsulated,
            INFO,
            ciphertext,
            topic.as_bytes(),
        )
        .map(Zeroizing::new)
        .map_err(|_| EnvelopeError::Open)
    }

    fn secret(&self) -> <Kem as hpke::Kem>::PrivateKey {
        <Kem as hpke::Kem>::PrivateKey::from_bytes(self.0.as_slice()).expect("any 32 bytes are an X25519 secret")
    }
}

impl EnvelopePublicKey {
    /// Seals `plaintext` to this key, for `topic` alone.
    pub fn seal(&self, topic: &str, plaintext: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&self.0).map_err(|_| EnvelopeError::Key)?;
        let (encapsulated, ciphertext) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeS::Base,
            &public,
            INFO,
            plaintext,
            topic.as_bytes(),
        )
        .map_err(|_| EnvelopeError::Seal)?;
        let mut sealed = encapsulated.to_bytes().to_vec();
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }
}

impl std::fmt::Debug for EnvelopeKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EnvelopeKey(..)")
    }
}

impl Serialize for EnvelopeKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64_STANDARD.encode(self.0.as_slice())))
    }
}

impl<'de> Deserialize<'de> for EnvelopeKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        key_bytes(&text).map(|bytes| Self(Zeroizing::new(bytes))).map_err(de::Error::custom)
    }
}

impl Serialize for EnvelopePublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for EnvelopePublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        key_bytes(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

fn key_bytes(text: &str) -> Result<[u8; KEY_BYTES], EnvelopeError> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(text).map_err(|_| EnvelopeError::Key)?);
    bytes.as_slice().try_into().map_err(|_| EnvelopeError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "tx/0123456789abcdef/p2p/round2/alice/bob";

    #[test]
    fn only_the_right_key_and_topic_open() {
        let (key, other) = (EnvelopeKey::generate(), EnvelopeKey::generate());
        let sealed = key.public().seal(TOPIC, b"share").expect("seals");
        assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(key.open(TOPIC, &sealed).expect("opens").as_slice(), b"share");
        assert_eq!(other.open(TOPIC, &sealed), Err(EnvelopeError::Open));
        assert_eq!(key.open("tx/0123456789abcdef/p2p/round2/carol/bob", &sealed), Err(EnvelopeError::Open));
    }

    #[test]
    fn an_altered_or_truncated_envelope_does_not_open() {
        let key = EnvelopeKey::generate();
        let sealed = key.public().seal(TOPIC, b"share").expect("seals");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            // The top bit of an X25519 point is ignored by the curve, but HPKE hashes the encapsulated key.
            assert_eq!(key.open(TOPIC, &altered), Err(EnvelopeError::Open), "byte {at}");
            assert_eq!(key.open(TOPIC, &sealed[..at]), Err(EnvelopeError::Open), "{at} bytes");
        }
    }

    #[test]
    fn a_key_of_low_order_is_not_sealed_to() {
        assert_eq!(EnvelopePublicKey([0; KEY_BYTES]).seal(TOPIC, b"share"), Err(EnvelopeError::Seal));
    }

    #[test]
    fn keys_survive_serde_and_are_not_in_debug() {
        let key = EnvelopeKey::generate();
        let text = serde_json::to_string(&key).expect("serialises");
        let again: EnvelopeKey = serde_json::from_str(&text).expect("parses");
        assert_eq!(again.public(), key.public());
        let public: EnvelopePublicKey =
            serde_json::from_str(&serde_json::to_string(&key.public()).expect("serialises")).expect("parses");
        assert_eq!(public, key.public());
        assert_eq!(format!("{key:?}"), "EnvelopeKey(..)");
        assert!(serde_json::from_str::<EnvelopeKey>("\"AAAA\"").is_err());
    }
}
