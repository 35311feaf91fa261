//! Party patterns, as the config names groups of parties.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::party::{PARTY_ID_BYTES_MAX, PARTY_ID_OTHERS, PartyId};
use crate::serde_text::serde_as_text;

/// A party id, or one with `*` in it, each of which stands for any run of characters, also none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CnPattern(Arc<str>);

/// Why a text is no [`CnPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CnPatternError {
    /// It is empty, or longer than a party id can be.
    #[error("a party pattern of {bytes} bytes, where 1 to {PARTY_ID_BYTES_MAX} are allowed")]
    Length {
        /// The length that was found.
        bytes: usize,
    },
    /// It holds a character that no party id holds.
    #[error("a party pattern with {character:?}, where A-Z a-z 0-9 {PARTY_ID_OTHERS} and * are allowed")]
    Character {
        /// The first character that is not allowed.
        character: char,
    },
}

impl CnPattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this party is meant. Byte for byte, like party ids themselves.
    pub fn matches(&self, party: &PartyId) -> bool {
        matches_glob(self.0.as_bytes(), party.as_str().as_bytes())
    }
}

impl FromStr for CnPattern {
    type Err = CnPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > PARTY_ID_BYTES_MAX {
            return Err(CnPatternError::Length { bytes: text.len() });
        }
        let allowed = |c: char| c == '*' || c.is_ascii_alphanumeric() || PARTY_ID_OTHERS.contains(c);
        match text.chars().find(|&character| !allowed(character)) {
            Some(character) => Err(CnPatternError::Character { character }),
            None => Ok(CnPattern(text.into())),
        }
    }
}

impl fmt::Display for CnPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

serde_as_text!(CnPattern);

/// Matches greedily and comes back to the last star alone, so that the work is at most pattern x text.
fn matches_glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                last_star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(byte) if *byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else { return false };
                last_star = Some((star, taken + 1));
                at_pattern = star + 1;
                at_text = taken + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, party: &str) -> bool {
        let party = PartyId::new(party).expect("a valid id");
        pattern.parse::<CnPattern>().expect("a valid pattern").matches(&party)
    }

    #[test]
    fn a_literal_matches_itself_alone() {
        assert!(matches("alice", "alice"));
        assert!(!matches("alice", "alice2"));
        assert!(!matches("alice", "Alice"));
        assert!(!matches("alice", "alic"));
    }

    #[test]
    fn a_star_matches_any_run_of_characters() {
        assert!(matches("*", "a"));
        assert!(matches("signer-*", "signer-"));
        assert!(matches("signer-*", "signer-17"));
        assert!(!matches("signer-*", "signer"));
        assert!(matches("*.example.org", "a.b.example.org"));
        assert!(matches("a*b*c", "axbxbxc"));
        assert!(!matches("a*b*c", "axbxcx"));
        assert!(matches("a**", "a"));
    }

    #[test]
    fn texts_that_no_party_could_match_are_refused() {
        assert_eq!("".parse::<CnPattern>(), Err(CnPatternError::Length { bytes: 0 }));
        assert_eq!("a b".parse::<CnPattern>(), Err(CnPatternError::Character { character: ' ' }));
        assert_eq!("é".parse::<CnPattern>(), Err(CnPatternError::Character { character: 'é' }));
    }
}
