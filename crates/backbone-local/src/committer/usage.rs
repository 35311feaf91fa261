//! How much is in the store, and whether there is room for more. Everything that is refused here is told to its
//! publisher; nothing that was acknowledged is ever dropped to make room.

use std::collections::HashMap;

use quorate_domain::{PartyId, Place, Refusal, Volume};

use super::Committer;
use super::pending::Pending;
use crate::Bounds;
use crate::metrics::Quota;
use crate::store::{Store, StoreFault, Usage};

/// How much is in the store, as the last batch left it.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    log: Volume,
    retained: Volume,
    parties: HashMap<PartyId, Volume>,
    /// Why nothing is taken at the moment, whoever says it: the disk is nearly full.
    pub(super) low_disk: Option<String>,
}

/// What a batch changes of that: how much there is after it.
#[derive(Debug, Default)]
pub(super) struct PendingUsage {
    log: Option<Volume>,
    retained: Option<Volume>,
    parties: HashMap<PartyId, Volume>,
}

impl Usages {
    /// What the store says.
    pub(crate) fn load(store: &Store) -> Result<Self, StoreFault> {
        let Usage { log, retained, parties } = store.usage()?;
        Ok(Self { log, retained, parties: parties.into_iter().collect(), low_disk: None })
    }

    pub(super) fn load_again(&mut self, store: &Store) -> Result<(), StoreFault> {
        *self = Self { low_disk: self.low_disk.take(), ..Self::load(store)? };
        Ok(())
    }

    /// The batch is there.
    pub(super) fn settle(&mut self, pending: PendingUsage) {
        self.log = pending.log.unwrap_or(self.log);
        self.retained = pending.retained.unwrap_or(self.retained);
        for (party, volume) in pending.parties {
            match volume == Volume::default() {
                true => drop(self.parties.remove(&party)),
                false => drop(self.parties.insert(party, volume)),
            }
        }
    }

    /// All that is stored of logs and retained messages.
    pub(super) fn stored(&self) -> Volume {
        self.log.plus(self.retained)
    }

    /// How many topics have a retained message.
    pub(crate) fn retained_messages(&self) -> u64 {
        self.retained.messages
    }

    /// The fullest share of its quota that any party has used.
    pub(super) fn fullest_party(&self, bounds: &Bounds) -> f64 {
        self.parties.values().map(|volume| used(*volume, bounds.party)).fold(0.0, f64::max)
    }
}

/// Which share of a bound is used, by messages or by bytes, whichever is more.
pub(super) fn used(volume: Volume, most: Volume) -> f64 {
    let share = |used: u64, most: u64| used as f64 / most.max(1) as f64;
    share(volume.messages, most.messages).max(share(volume.bytes, most.bytes))
}

fn is_beyond(volume: Volume, most: Volume) -> bool {
    volume.messages > most.messages || volume.bytes > most.bytes
}

impl PendingUsage {
    /// Puts it into the batch, once.
    pub(super) fn seal(pending: &mut Pending) {
        let PendingUsage { log, retained, parties } = &pending.usage;
        if let Some(volume) = log {
            pending.batch.put_log_usage(*volume);
        }
        if let Some(volume) = retained {
            pending.batch.put_retained_usage(*volume);
        }
        for (party, volume) in parties {
            pending.batch.put_party_usage(party, *volume);
        }
    }
}

impl Committer {
    /// Whether a party may say so much more in a transaction. What ends a transaction, or joins it, finds room beside the
    /// quotas, but not on a disk that is nearly full.
    pub(super) fn check_room(
        &self,
        party: &PartyId,
        place: &Place,
        bytes: usize,
        pending: &Pending,
    ) -> Result<(), Refusal> {
        self.check_disk()?;
        let more = Volume::of_one(bytes);
        if place.is_counted() || *place == Place::Manifest {
            self.check_store(more, pending)?;
        }
        if place.is_counted() && is_beyond(self.said(party, pending).plus(more), self.bounds.party) {
            return Err(self.refuse(Quota::Party, "what this party has said in transactions fills its quota"));
        }
        Ok(())
    }

    /// Whether the disk takes more of what somebody publishes.
    pub(super) fn check_disk(&self) -> Result<(), Refusal> {
        match &self.usages.low_disk {
            Some(reason) => Err(self.refuse(Quota::Disk, reason)),
            None => Ok(()),
        }
    }

    /// Whether the store takes so much more of what somebody publishes.
    pub(super) fn check_store(&self, more: Volume, pending: &Pending) -> Result<(), Refusal> {
        if is_beyond(self.stored(pending).plus(more), self.bounds.store) {
            return Err(self.refuse(Quota::Store, "the store holds as much as it may"));
        }
        Ok(())
    }

    /// All that is stored, as this batch leaves it.
    fn stored(&self, pending: &Pending) -> Volume {
        let log = pending.usage.log.unwrap_or(self.usages.log);
        let retained = pending.usage.retained.unwrap_or(self.usages.retained);
        let queued = self.topics.queued.plus(pending.topics.queued_more).minus(pending.topics.queued_less);
        log.plus(retained).plus(queued)
    }

    pub(super) fn refuse(&self, quota: Quota, text: &str) -> Refusal {
        self.metrics.quota_refusal(quota);
        Refusal::QuotaExceeded(text.to_owned())
    }

    /// A message is in a log; it counts for this party.
    pub(super) fn count(&self, party: Option<&PartyId>, volume: Volume, pending: &mut Pending) {
        pending.usage.log = Some(pending.usage.log.unwrap_or(self.usages.log).plus(volume));
        if let Some(party) = party {
            let said = self.said(party, pending).plus(volume);
            pending.usage.parties.insert(party.clone(), said);
        }
    }

    /// The log of a transaction is gone, in which these parties said so much.
    pub(super) fn discount(&self, log: Volume, said: impl Iterator<Item = (PartyId, Volume)>, pending: &mut Pending) {
        pending.usage.log = Some(pending.usage.log.unwrap_or(self.usages.log).minus(log));
        for (party, volume) in said.filter(|(_, volume)| *volume != Volume::default()) {
            let left = self.said(&party, pending).minus(volume);
            pending.usage.parties.insert(party, left);
        }
    }

    fn said(&self, party: &PartyId, pending: &Pending) -> Volume {
        let said = pending.usage.parties.get(party).or_else(|| self.usages.parties.get(party));
        said.copied().unwrap_or_default()
    }

    /// What is retained grew or shrank.
    pub(super) fn count_retained(&self, before: Option<u64>, after: Option<u64>, pending: &mut Pending) {
        let volume = |bytes: Option<u64>| bytes.map_or(Volume::default(), |bytes| Volume { messages: 1, bytes });
        let retained = pending.usage.retained.unwrap_or(self.usages.retained);
        pending.usage.retained = Some(retained.plus(volume(after)).minus(volume(before)));
    }
}
