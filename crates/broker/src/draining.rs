//! Word that the broker drains, as every task hears it.

use tokio::sync::watch;

/// Tells when the drain has begun.
#[derive(Debug, Clone)]
pub(crate) struct Draining(watch::Receiver<bool>);

impl Draining {
    pub(crate) fn new(word: watch::Receiver<bool>) -> Self {
        Self(word)
    }

    /// Whether the drain has begun, or the broker is gone.
    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Ends when the drain begins; at once if it has, or if the broker is gone. Dropping the wait loses nothing.
    pub(crate) async fn begun(&mut self) {
        // The value that comes back borrows from the channel and must not live on in a `select!`.
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}
