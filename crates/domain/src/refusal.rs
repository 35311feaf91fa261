//! The refusals that a publisher is told, one variant a row of the table in `docs/transactions.md`. Which reason code
//! of which protocol version each becomes is `session`'s to say.

use crate::hash::Sha256;

/// Why a publish (or a subscription, or a close) is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rights, unknown transaction, closed transaction: they look the same on purpose.
    #[error("not authorized")]
    NotAuthorized,
    /// The slot holds other bytes.
    #[error("slot-taken")]
    SlotTaken {
        /// The sum of what it holds.
        stored: Sha256,
        /// The sum of what was offered.
        offered: Sha256,
    },
    /// The topic is malformed under `tx/` or `party/`.
    #[error("topic invalid: {0}")]
    TopicInvalid(String),
    /// The manifest or join is invalid, a slot is offered nothing, or a payload is too large for its place.
    #[error("payload invalid: {0}")]
    PayloadInvalid(String),
    /// A slot needs QoS 1 or 2.
    #[error("a slot needs QoS 1 or 2")]
    QosTooLow,
    /// `$share` over `tx/` or `party/`.
    #[error("nothing is shared under `tx/` and `party/`")]
    SharedNotSupported,
    /// What this broker does not do (yet).
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A quota is used up, or the disk is full.
    #[error("quota exceeded: {0}")]
    QuotaExceeded(String),
    /// Another connection took the session over; this one's publishes with a receipt count no more.
    #[error("the session was taken over by another connection")]
    Superseded,
    /// The store failed; whether the message was kept is unknown. To be tried again.
    #[error("storage fault: {0}")]
    StorageFault(String),
}
