//! The identifiers inside a transaction: which transaction, which round, which place in the log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identifier::{IdentifierError, Rule, identifier};

/// Why a text is no [`TxId`].
pub type TxIdError = IdentifierError;
/// Why a text is no [`Round`].
pub type RoundError = IdentifierError;

const TX_ID: Rule =
    Rule { kind: "a transaction id", bytes_min: 16, bytes_max: 64, others: "_-", starts_alphanumeric: false };
const ROUND: Rule = Rule { kind: "a round", bytes_min: 1, bytes_max: 32, others: "._-", starts_alphanumeric: false };

identifier! {
    /// The id of a transaction, chosen by its initiator at random: 16 to 64 of `A-Z a-z 0-9 _ -`.
    TxId, TX_ID
}

identifier! {
    /// The name of a protocol round within a transaction: 1 to 32 of `A-Z a-z 0-9 . _ -`.
    Round, ROUND
}

/// A place in the log of one transaction. Strictly grows; gaps mean nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first message.
    pub const ZERO: Seq = Seq(0);
}

impl fmt::Display for Seq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_ids_have_16_to_64_characters() {
        assert!(TxId::new(&"a".repeat(15)).is_err());
        assert!(TxId::new(&"a".repeat(16)).is_ok());
        assert!(TxId::new(&"-".repeat(64)).is_ok());
        assert!(TxId::new(&"a".repeat(65)).is_err());
        assert!(TxId::new("01JD3W8QK7V9N2M4.X").is_err());
    }

    #[test]
    fn rounds_have_1_to_32_characters() {
        assert!(Round::new("").is_err());
        assert!(Round::new("1").is_ok());
        assert!(Round::new("round-1.b_c").is_ok());
        assert!(Round::new(&"r".repeat(33)).is_err());
        assert!(Round::new("r+").is_err());
    }
}
