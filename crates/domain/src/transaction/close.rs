//! Ending a transaction from outside. A party ends it with its `abort` slot instead.

use crate::party::PartyId;
use crate::refusal::Refusal;
use crate::transaction::{Transaction, TxState};

/// Longest reason, in bytes. A longer one is refused.
pub const REASON_BYTES_MAX: usize = 256;

/// Who closes, and in which capacity. That an admin is one is the caller's to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Closer {
    /// The initiator, who may while the transaction is open.
    Initiator(PartyId),
    /// An operator, who may at any time.
    Admin(PartyId),
    /// The store was restored from a backup: slots that were written after it would be open again.
    Restored,
}

impl Transaction {
    /// Ends the transaction as aborted. The caller then appends the closing record.
    pub fn close(&mut self, by: Closer, reason: &str) -> Result<(), Refusal> {
        let allowed = match &by {
            Closer::Initiator(party) => *party == self.charter.initiator && self.progress.state == TxState::Open,
            Closer::Admin(_) | Closer::Restored => !self.progress.state.is_closed(),
        };
        if !allowed {
            return Err(Refusal::NotAuthorized);
        }
        if reason.len() > REASON_BYTES_MAX {
            let bytes = reason.len();
            return Err(Refusal::PayloadInvalid(format!(
                "reason: {bytes} bytes, where {REASON_BYTES_MAX} are allowed"
            )));
        }
        let who = match &by {
            Closer::Initiator(party) => format!("closed by its initiator {party}"),
            Closer::Admin(party) => format!("closed by the operator {party}"),
            Closer::Restored => "restored".to_owned(),
        };
        let reason = if reason.is_empty() { who } else { format!("{who}: {reason}") };
        self.end(TxState::Aborted, Some(reason));
        Ok(())
    }
}
