//! How a backbone fails: its own faults, kept apart from refusals, which are `quorate_domain::Refusal`.

use thiserror::Error;

/// The backbone could not do what was asked; the asker did nothing wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The backbone has shut down; nothing will be answered any more.
    #[error("the store is closed")]
    Closed,
    /// The store failed; whether a write took place is unknown. The text is for the operator, not for a peer.
    #[error("the store failed: {0}")]
    Fault(String),
    /// The disk is full: nothing was tried, and what is stored can be read.
    #[error("the disk is full")]
    Full,
}

/// What was to be kept of a session was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SaveError {
    /// Another connection has taken this session over; this one must not write any more.
    #[error("the session was taken over by another connection")]
    Superseded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
