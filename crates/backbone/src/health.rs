//! Whether a backbone can take messages: what `/readyz` asks.

/// The state of health of a backbone.
pub trait Health: Send + Sync {
    /// `Ok` while appends can be acknowledged, else why they cannot, for an operator to read.
    fn ready(&self) -> Result<(), String>;
}
