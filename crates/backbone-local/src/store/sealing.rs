//! Encryption at rest: what parties said is sealed with AES-256-GCM before RocksDB sees it.
//!
//! A *master key*, which the operator keeps outside of the store, wraps *data keys*: one for each transaction, and one from
//! which the keys of ordinary topics are derived. Who destroys a wrapped key destroys all that it sealed. Nonces are
//! random, 96 bits (NIST SP 800-38D 8.2.2): a transaction's key seals no more than its parties may say there, a derived
//! key no more than [`BLOCK`] numbers, both far below the 2^32 that such nonces allow.
//!
//! Without a master key nothing is sealed; what was sealed cannot be read then.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::StoreFault;

const KEY_BYTES: usize = 32;
/// Names a master key, so that a wrong one is told apart from a damaged store.
const KEY_ID_BYTES: usize = 8;
/// What a tag adds.
const TAG_BYTES: usize = 16;
/// How many numbers of ordinary messages share one derived key.
const BLOCK: u64 = 1 << 20;
/// Before what is sealed, and what is not.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// Keys are never in what is derived from them for another purpose.
const ID_INFO: &[u8] = b"quorate/master-key-id/v1";
const WRAP_INFO: &[u8] = b"quorate/wrap/v1";
const ORDINARY_INFO: &[u8] = b"quorate/ordinary/v1";

/// The key that wraps all others. Its text is 64 hexadecimal digits.
#[derive(Clone)]
pub struct MasterKey {
    id: [u8; KEY_ID_BYTES],
    wrapping: Arc<LessSafeKey>,
}

/// A text is no [`MasterKey`]. (What was read is not repeated: it may be most of a key.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a master key is 64 hexadecimal digits (`quorate certs init` makes one)")]
pub struct MasterKeyError;

impl MasterKey {
    /// The text of a new one.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> std::io::Result<Zeroizing<String>> {
        Ok(Zeroizing::new(hex::encode(*random::<KEY_BYTES>().map_err(std::io::Error::other)?)))
    }

    /// What names it: 16 hexadecimal digits from which nothing of it can be computed.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }
}

impl FromStr for MasterKey {
    type Err = MasterKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), &mut *bytes).map_err(|_| MasterKeyError)?;
        let id = derive(&*bytes, &[ID_INFO]).map_err(|_| MasterKeyError)?;
        let wrapping = derive(&*bytes, &[WRAP_INFO]).and_then(|key| aead(&key)).map_err(|_| MasterKeyError)?;
        let id = id.first_chunk().copied().ok_or(MasterKeyError)?;
        Ok(MasterKey { id, wrapping: Arc::new(wrapping) })
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MasterKey({})", self.id())
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for MasterKey {}

/// A key that seals what is said in one transaction.
pub(crate) struct DataKey(LessSafeKey);

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey")
    }
}

impl DataKey {
    /// Seals `plain` into `nonce || ciphertext || tag`, bound to `aad`.
    pub(crate) fn seal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreFault> {
        let nonce = *random::<NONCE_LEN>()?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = sealed.get_mut(NONCE_LEN..).unwrap_or_default();
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), body).map_err(|_| StoreFault::Sealing)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// What was sealed with the same `aad`.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreFault> {
        let cannot = StoreFault::Corrupt { kind: "sealed record" };
        let Some((nonce, body)) = sealed.split_first_chunk::<NONCE_LEN>() else { return Err(cannot) };
        let mut plain = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(opened) = self.0.open_in_place(nonce, Aad::from(aad), &mut plain) else { return Err(cannot) };
        let length = opened.len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl MasterKey {
    /// A new data key, and how it is stored.
    pub(crate) fn new_key(&self, of: &[u8]) -> Result<(Arc<DataKey>, Vec<u8>), StoreFault> {
        let (bytes, wrapped) = self.new_secret(of)?;
        Ok((Arc::new(DataKey(aead(&bytes)?)), wrapped))
    }

    /// A data key as it was stored.
    pub(crate) fn unwrap_key(&self, of: &[u8], wrapped: &[u8]) -> Result<Arc<DataKey>, StoreFault> {
        Ok(Arc::new(DataKey(aead(&*self.unwrap_secret(of, wrapped)?)?)))
    }

    fn new_secret(&self, of: &[u8]) -> Result<(Zeroizing<[u8; KEY_BYTES]>, Vec<u8>), StoreFault> {
        let secret = random::<KEY_BYTES>()?;
        let nonce = *random::<NONCE_LEN>()?;
        let mut wrapped = nonce.to_vec();
        let mut body = secret.to_vec();
        let tag = self
            .wrapping
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(of), &mut body)
            .map_err(|_| StoreFault::Sealing)?;
        wrapped.extend_from_slice(&body);
        wrapped.extend_from_slice(tag.as_ref());
        Ok((secret, wrapped))
    }

    fn unwrap_secret(&self, of: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreFault> {
        let cannot = StoreFault::Corrupt { kind: "wrapped key" };
        let Some((nonce, body)) = wrapped.split_first_chunk::<NONCE_LEN>() else { return Err(cannot) };
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(secret) = self.wrapping.open_in_place(nonce, Aad::from(of), &mut body) else { return Err(cannot) };
        let secret = <&[u8; KEY_BYTES]>::try_from(&*secret).map_err(|_| cannot)?;
        Ok(Zeroizing::new(*secret))
    }
}

/// Seals what is kept of ordinary topics: each record under a key that is derived for its number.
pub(crate) struct OrdinarySealer {
    secret: Zeroizing<[u8; KEY_BYTES]>,
    /// The key of the block that was used last: numbers come in order.
    last: Mutex<Option<(u64, Arc<DataKey>)>>,
}

impl OrdinarySealer {
    /// A new one, and how it is stored.
    pub(crate) fn generate(master: &MasterKey, of: &[u8]) -> Result<(Self, Vec<u8>), StoreFault> {
        let (secret, wrapped) = master.new_secret(of)?;
        Ok((Self { secret, last: Mutex::default() }, wrapped))
    }

    /// One as it was stored.
    pub(crate) fn unwrap(master: &MasterKey, of: &[u8], wrapped: &[u8]) -> Result<Self, StoreFault> {
        Ok(Self { secret: master.unwrap_secret(of, wrapped)?, last: Mutex::default() })
    }

    fn key(&self, number: u64) -> Result<Arc<DataKey>, StoreFault> {
        let block = number / BLOCK;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = last.as_ref().filter(|(of, _)| *of == block) {
            return Ok(key.clone());
        }
        let key = Arc::new(DataKey(aead(&*derive(&*self.secret, &[ORDINARY_INFO, &block.to_be_bytes()])?)?));
        *last = Some((block, key.clone()));
        Ok(key)
    }
}

/// What is put under a key of the store: sealed where there is a sealer, and marked as what it is.
pub(crate) fn seal_record(
    sealer: Option<&OrdinarySealer>,
    number: u64,
    aad: &[u8],
    plain: Vec<u8>,
) -> Result<Vec<u8>, StoreFault> {
    let (mark, body) = match sealer {
        Some(sealer) => (SEALED, sealer.key(number)?.seal(aad, &plain)?),
        None => (PLAIN, plain),
    };
    let mut record = Vec::with_capacity(1 + body.len());
    record.push(mark);
    record.extend_from_slice(&body);
    Ok(record)
}

/// What [`seal_record`] was given.
pub(crate) fn open_record(
    sealer: Option<&OrdinarySealer>,
    number: u64,
    aad: &[u8],
    record: &[u8],
) -> Result<Vec<u8>, StoreFault> {
    match (record.split_first(), sealer) {
        (Some((&PLAIN, body)), _) => Ok(body.to_vec()),
        (Some((&SEALED, body)), Some(sealer)) => sealer.key(number)?.open(aad, body),
        (Some((&SEALED, _)), None) => Err(StoreFault::Sealed),
        _ => Err(StoreFault::Corrupt { kind: "sealed record" }),
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, StoreFault> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::fill(&mut *bytes).map_err(|_| StoreFault::Sealing)?;
    Ok(bytes)
}

fn aead(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, StoreFault> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| StoreFault::Sealing)
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// HKDF-SHA-256 (RFC 5869) without a salt: the secret is uniformly random.
fn derive(secret: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreFault> {
    let prk: Prk = Salt::new(HKDF_SHA256, &[]).extract(secret);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let filled = prk.expand(info, KeyLength).and_then(|okm| okm.fill(&mut *key));
    if filled.is_err() {
        key.zeroize();
        return Err(StoreFault::Sealing);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::generate().expect("random bytes").parse().expect("a key")
    }

    #[test]
    fn what_is_sealed_opens_under_its_own_key_and_place_alone() {
        let master = master();
        let (key, wrapped) = master.new_key(b"one").expect("a key");
        let sealed = key.seal(b"place", b"payload").expect("sealed");
        assert!(!sealed.windows(7).any(|window| window == b"payload"));
        let again = master.unwrap_key(b"one", &wrapped).expect("unwrapped");
        assert_eq!(again.open(b"place", &sealed).expect("opened"), b"payload");
        assert!(again.open(b"other place", &sealed).is_err());
        assert!(master.unwrap_key(b"two", &wrapped).is_err(), "a wrapped key is bound to its transaction");
        assert!(self::master().unwrap_key(b"one", &wrapped).is_err(), "and to its master key");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(again.open(b"place", &changed).is_err(), "byte {at}");
            assert!(again.open(b"place", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn two_seals_of_one_text_differ() {
        let (key, _) = master().new_key(b"one").expect("a key");
        assert_ne!(key.seal(b"place", b"text").expect("sealed"), key.seal(b"place", b"text").expect("sealed"));
    }

    #[test]
    fn ordinary_records_open_by_their_number() {
        let master = master();
        let (sealer, wrapped) = OrdinarySealer::generate(&master, b"ordinary").expect("a sealer");
        let again = OrdinarySealer::unwrap(&master, b"ordinary", &wrapped).expect("unwrapped");
        for number in [0, 1, BLOCK, 7 * BLOCK + 3] {
            let record = seal_record(Some(&sealer), number, b"place", b"text".to_vec()).expect("sealed");
            assert_eq!(open_record(Some(&again), number, b"place", &record).expect("opened"), b"text");
            assert!(open_record(Some(&again), number + BLOCK, b"place", &record).is_err(), "another block");
            assert!(matches!(open_record(None, number, b"place", &record), Err(StoreFault::Sealed)));
        }
        let plain = seal_record(None, 0, b"place", b"text".to_vec()).expect("marked");
        assert_eq!(open_record(Some(&again), 0, b"place", &plain).expect("as it is"), b"text");
        assert!(open_record(Some(&again), 0, b"place", &[]).is_err());
    }

    #[test]
    fn a_master_key_is_read_from_its_text_and_never_shown() {
        let text = MasterKey::generate().expect("random bytes");
        let key: MasterKey = format!("{}\n", *text).parse().expect("a key");
        assert_eq!(Ok(&key), text.parse().as_ref());
        assert!(!format!("{key:?}").contains(&text[..8]));
        for wrong in ["", "abc", &text[2..], &format!("{}00", *text), &"g".repeat(64)] {
            assert_eq!(wrong.parse::<MasterKey>(), Err(MasterKeyError));
        }
    }
}
