//! Why a ceremony cannot go on. Each of these means that another party, or the broker, did what it must not.

use quorate_client::envelope::EnvelopeError;
use quorate_domain::{PartyId, Seq, TxId, TxState};

/// Why a ceremony cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// A message came before its transaction's manifest.
    #[error("a message of {0} came before its manifest")]
    NoManifest(TxId),
    /// Messages are missing: the broker named one before this that was never delivered.
    #[error("messages are missing: heard up to seq {heard_to}, and the next follows seq {prev}")]
    Missing {
        /// The last that was heard.
        heard_to: Seq,
        /// The one before the message that came.
        prev: Seq,
    },
    /// The topic names another author than the broker verified.
    #[error("{0} was published by somebody else than its topic says")]
    NotTheAuthor(String),
    /// A slot came twice with different bytes.
    #[error("{0} came twice with different bytes")]
    Overwritten(String),
    /// A payload is not what the protocol puts there.
    #[error("{topic} does not hold what it should: {cause}")]
    Malformed {
        /// Where.
        topic: String,
        /// What is wrong.
        cause: String,
    },
    /// The broker delivered a transaction that does not list this party.
    #[error("{0} does not list this party, yet it was delivered")]
    NotAParty(TxId),
    /// The manifest names a protocol that the demo does not speak.
    #[error("the protocol \"{0}\" is not known here")]
    UnknownProtocol(String),
    /// A signing transaction names no key, or one of which this party has no share.
    #[error("there is no share of the key that {0} made")]
    NoKey(TxId),
    /// A signer that was not at the key generation.
    #[error("{0} has no share of the key")]
    NotASigner(PartyId),
    /// The payload to sign is not the one that was agreed to.
    #[error("what is to be signed is not what was agreed to: nothing is signed")]
    NotAgreed,
    /// Another party's result differs from ours.
    #[error("{0} has another result")]
    OtherResult(PartyId),
    /// The transaction ended without a result.
    #[error("the transaction is {0:?}")]
    Ended(TxState),
    /// FROST refuses a package or a share.
    #[error("FROST: {0}")]
    Frost(#[from] frost_ed25519::Error),
    /// A sealed package does not open, or cannot be sealed.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    /// Something of ours cannot be written as JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}
