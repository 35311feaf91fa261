//! How live copies reach connected sessions. What is lost on this way is in the log; what matters is that the loss is
//! noticed, which is the work of [`Mailbox`].

use bytes::Bytes;
use quorate_domain::{PartyId, Seq, SessionKey, TxId};

use crate::Mailbox;

/// The moving half of a backbone. Messages of the log enter it from the backbone's own side, once they are durable and
/// in the order of their `Seq`; nobody else can put them there (invariants 1 and 2).
pub trait Fanout: Send + Sync {
    /// Registers a mailbox for a session; dropping the mailbox unregisters it. Register *before* reading the heads of
    /// the logs: then a message is either in what is read or in the mailbox.
    fn mailbox(&self, key: &SessionKey) -> Mailbox;

    /// Hands an interim state document to the connected sessions of `addressees`. Never waits; where a copy is lost, the
    /// sessions concerned are marked behind.
    fn publish_state(&self, addressees: &[PartyId], tx: &TxId, seq: Seq, document: Bytes);
}
