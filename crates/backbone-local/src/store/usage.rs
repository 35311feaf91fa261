//! How much is in the store, kept with what it counts, so that opening need not count.

use quorate_domain::{PartyId, Volume};

use super::families::Family;
use super::records::{decode, encode};
use super::{Batch, Store, StoreFault, keys};

/// Shorter than the key of any party, which ends with a terminator.
const LOG_KEY: &[u8] = b"L";
const RETAINED_KEY: &[u8] = b"R";

/// How much is in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The logs of all transactions.
    pub(crate) log: Volume,
    /// What is retained.
    pub(crate) retained: Volume,
    /// What each party has said in transactions that are not purged yet.
    pub(crate) parties: Vec<(PartyId, Volume)>,
}

impl Batch {
    pub(crate) fn put_log_usage(&mut self, volume: Volume) {
        self.put(Family::Usage, LOG_KEY.to_vec(), encode(&volume));
    }

    pub(crate) fn put_retained_usage(&mut self, volume: Volume) {
        self.put(Family::Usage, RETAINED_KEY.to_vec(), encode(&volume));
    }

    /// With nothing left, nothing is kept.
    pub(crate) fn put_party_usage(&mut self, party: &PartyId, volume: Volume) {
        let key = keys::party(party);
        match volume == Volume::default() {
            true => self.delete(Family::Usage, key),
            false => self.put(Family::Usage, key, encode(&volume)),
        }
    }
}

impl Store {
    pub(crate) fn usage(&self) -> Result<Usage, StoreFault> {
        let mut usage = Usage::default();
        self.scan(Family::Usage, &[], &[], usize::MAX, |key, value| {
            let volume = decode("usage", value)?;
            match key {
                LOG_KEY => usage.log = volume,
                RETAINED_KEY => usage.retained = volume,
                key => {
                    let party = keys::party_of(key).ok_or(StoreFault::Corrupt { kind: "key of usage" })?;
                    usage.parties.push((party, volume));
                }
            }
            Ok(None::<()>)
        })?;
        Ok(usage)
    }
}
