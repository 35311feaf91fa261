//! SHA-256 sums and how they are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest;

use crate::serde_text;

const PREFIX: &str = "sha256:";

/// A SHA-256 sum. Its text is `sha256:` and 64 hexadecimal digits; in binary encodings it is its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// Why a text is no [`Sha256`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Sha256Error {
    /// It does not start with `sha256:`.
    #[error("a SHA-256 sum is written `sha256:` and 64 hexadecimal digits; the prefix is missing")]
    Prefix,
    /// What follows the prefix is not 64 hexadecimal digits.
    #[error("a SHA-256 sum is written `sha256:` and 64 hexadecimal digits; the digits are not")]
    Digits,
}

impl Sha256 {
    /// The sum of these bytes.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(PREFIX).ok_or(Sha256Error::Prefix)?;
        let mut sum = [0; 32];
        hex::decode_to_slice(digits, &mut sum).map_err(|_| Sha256Error::Digits)?;
        Ok(Sha256(sum))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            serde_text::deserialize(deserializer)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Sha256)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn sums_are_written_with_their_algorithm() {
        assert_eq!(Sha256::of(b"").to_string(), OF_NOTHING);
        assert_eq!(OF_NOTHING.parse(), Ok(Sha256::of(b"")));
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(OF_NOTHING[7..].parse::<Sha256>(), Err(Sha256Error::Prefix));
        assert_eq!(OF_NOTHING[..70].parse::<Sha256>(), Err(Sha256Error::Digits));
        assert_eq!(format!("{OF_NOTHING}0").parse::<Sha256>(), Err(Sha256Error::Digits));
        assert_eq!(OF_NOTHING.replace('e', "g").parse::<Sha256>(), Err(Sha256Error::Digits));
    }

    #[test]
    fn json_has_the_text_and_postcard_the_bytes() {
        let sum = Sha256::of(b"x");
        assert_eq!(serde_json::to_string(&sum).expect("serialises"), format!("\"{sum}\""));
        assert_eq!(postcard::to_stdvec(&sum).expect("serialises"), sum.0);
        assert_eq!(postcard::from_bytes::<Sha256>(&sum.0).expect("deserialises"), sum);
    }
}
