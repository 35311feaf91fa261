//! Who is speaking. That a `PartyId` was proved by a certificate is the matter of `identity`; here is what one looks like.

use crate::identifier::{IdentifierError, Rule, identifier};

/// Why a text is no [`PartyId`].
pub type PartyIdError = IdentifierError;

/// Longest party id, in bytes: the upper bound of a common name (X.520 `ub-common-name`).
pub(crate) const PARTY_ID_BYTES_MAX: usize = 64;

/// What a party id and a party pattern may hold beside letters and digits.
pub(crate) const PARTY_ID_OTHERS: &str = "._@:-";

const PARTY_ID: Rule = Rule {
    kind: "a party id",
    bytes_min: 1,
    bytes_max: PARTY_ID_BYTES_MAX,
    others: PARTY_ID_OTHERS,
    starts_alphanumeric: true,
};

identifier! {
    /// The name of a party: the subject CN of its certificate. 1 to 64 of `A-Z a-z 0-9 . _ @ : -`, starting with a
    /// letter or digit, compared byte for byte.
    PartyId, PARTY_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn party_ids_of_the_rule_are_accepted_as_they_are() {
        for text in ["a", "alice", "0", "Alice.B_c@example.org:8-9", &"x".repeat(64)] {
            assert_eq!(PartyId::new(text).expect("a valid id").as_str(), text);
        }
    }

    #[test]
    fn party_ids_outside_the_rule_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "a party id of 0 bytes, where 1 to 64 are allowed"),
            (".alice", "a party id that starts with '.', where a letter or digit must stand"),
            ("al/ice", "a party id with '/' at byte 2, where A-Z a-z 0-9 ._@:- are allowed"),
            ("+", "a party id with '+' at byte 0, where A-Z a-z 0-9 ._@:- are allowed"),
            ("bjørn", "a party id with 'ø' at byte 2, where A-Z a-z 0-9 ._@:- are allowed"),
        ] {
            assert_eq!(PartyId::new(text).expect_err("invalid").to_string(), reason);
        }
        assert!(PartyId::new(&"x".repeat(65)).is_err());
    }

    #[test]
    fn party_ids_differ_by_case() {
        assert_ne!(PartyId::new("Alice"), PartyId::new("alice"));
    }
}
