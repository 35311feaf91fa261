//! Keeps the presence of parties. A coming and a going that were queued the wrong way round do not undo each other.

use quorate_backbone::StoreError;
use quorate_domain::PartyId;

use super::pending::Pending;
use super::{Committer, fault};
use crate::store::PresenceValue;

impl Committer {
    /// Writes a presence, unless a later one is there already.
    pub(super) fn decide_presence(
        &mut self,
        party: PartyId,
        value: PresenceValue,
        pending: &mut Pending,
    ) -> Result<(), StoreError> {
        let before = match pending.presences.get(&party) {
            Some(value) => Some(*value),
            None => self.shared.store().and_then(|store| store.presence(&party)).map_err(|error| fault(&error))?,
        };
        if before.is_none_or(|before| order(&before) < order(&value)) {
            pending.batch.put_presence(&party, &value);
            pending.presences.insert(party, value);
            pending.sync = true;
        }
        Ok(())
    }
}

/// Each epoch has one coming, then one going.
fn order(value: &PresenceValue) -> (u64, bool) {
    (value.epoch, !value.online)
}
