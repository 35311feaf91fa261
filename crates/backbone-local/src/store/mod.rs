//! What is kept: the only place that knows RocksDB. It opens the store, writes batches, and reads; what is written, and
//! whether, is the committer's to say, and it alone writes.

mod batch;
mod disk;
mod families;
mod keys;
mod log;
mod records;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod topics;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;

use quorate_domain::{InflightRecord, PartyId, Place, Seq, SessionKey, Slot, Standing, Transaction, TxId};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions};
use thiserror::Error;

pub(crate) use batch::Batch;
pub(crate) use disk::{Disk, RealDisk};
use families::Family;
pub(crate) use log::PageRequest;
pub(crate) use records::{PresenceValue, Resident, SessionValue};
use records::{ProgressRecord, decode, decode_slot};
pub(crate) use shared::SharedStore;
pub(crate) use topics::{Contents, QueueExtent, QueueId, QueueValue, RetainedValue, Slice, WillValue};

use crate::{Identities, OpenError};

/// The layout of keys and records. A store of another version is not opened.
const SCHEMA_VERSION: u32 = 3;
const SCHEMA_KEY: &[u8] = b"schema";
/// By what the parties of the store are known. A store without it was written before there was a choice: by certificates.
const IDENTITIES_KEY: &[u8] = b"identities";
const SESSION_EPOCH_KEY: &[u8] = b"session_epoch";

/// The store failed, or holds what it should not.
#[derive(Debug, Error)]
pub(crate) enum StoreFault {
    /// RocksDB, or the disk beneath it, failed.
    #[error("RocksDB: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// A record cannot be read: the disk, or a program that is not this one, changed it.
    #[error("a {kind} in the store is corrupt")]
    Corrupt {
        /// Which kind of record.
        kind: &'static str,
    },
    /// The disk did not take a file.
    #[error("the disk: {0}")]
    Disk(#[from] std::io::Error),
    /// The store could not be opened again.
    #[error("the store does not open: {0}")]
    NotOpened(#[source] OpenError),
    /// The store is being opened again after a failed write.
    #[error("the store is being opened again after a failed write")]
    Reopening,
    /// The store has been shut down.
    #[error("the store is closed")]
    Closed,
    /// Readers did not let go of the store, so that it could not be opened again.
    #[error("readers still hold the store")]
    Held,
    /// A fault that a test put here.
    #[cfg(test)]
    #[error("injected: {0}")]
    Injected(&'static str),
}

impl StoreFault {
    /// Whether it is for want of room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            // RocksDB tells in words alone which fault of the system it met.
            StoreFault::Rocks(error) => error.to_string().contains("No space left on device"),
            StoreFault::Disk(error) => matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
            #[cfg(test)]
            StoreFault::Injected(reason) => reason.contains("no space left"),
            _ => false,
        }
    }
}

/// An open store.
pub(crate) struct Store {
    db: DB,
}

impl Store {
    /// Opens the store at `path`, or makes one there, whose parties are known by `identities`.
    pub(crate) fn open(path: &Path, identities: Identities) -> Result<Self, OpenError> {
        let store = Self { db: families::open(path)? };
        let version = store.meta(SCHEMA_KEY)?;
        match version.as_deref() {
            None => store.write_marks(identities)?,
            Some(bytes) if bytes == SCHEMA_VERSION.to_be_bytes() => store.check_identities(identities)?,
            Some(bytes) => {
                let found = <[u8; 4]>::try_from(bytes).map_or(0, u32::from_be_bytes);
                return Err(OpenError::Schema { found, expected: SCHEMA_VERSION });
            }
        }
        Ok(store)
    }

    /// One batch: no crash leaves a store that is marked by half.
    fn write_marks(&self, identities: Identities) -> Result<(), OpenError> {
        let mut batch = Batch::default();
        batch.put(Family::Meta, SCHEMA_KEY.to_vec(), SCHEMA_VERSION.to_be_bytes().to_vec());
        batch.put(Family::Meta, IDENTITIES_KEY.to_vec(), identities_mark(identities).to_vec());
        self.write(&batch, true).map_err(|error| OpenError::Store(error.to_string()))
    }

    fn check_identities(&self, expected: Identities) -> Result<(), OpenError> {
        let mark = self.meta(IDENTITIES_KEY)?;
        let known = [Identities::Certificates, Identities::DangerAnonymous];
        let found = match &mark {
            None => Some(Identities::Certificates),
            Some(mark) => known.into_iter().find(|&identities| identities_mark(identities) == &mark[..]),
        };
        match found {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(OpenError::Identities { found, expected }),
            None => Err(OpenError::Store("its mark of identities is not one that this program knows".to_owned())),
        }
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        self.get(Family::Meta, key).map_err(|error| OpenError::Store(error.to_string()))
    }

    /// A whole transaction.
    pub(crate) fn resident(&self, tx: &TxId) -> Result<Option<Resident>, StoreFault> {
        let Some(charter) = self.get(Family::Transactions, &keys::charter(tx))? else {
            return Ok(None);
        };
        let Some(progress) = self.get(Family::Transactions, &keys::progress(tx))? else {
            return Err(StoreFault::Corrupt { kind: "transaction" });
        };
        let ProgressRecord { progress, last_at } = decode("progress", &progress)?;
        let charter = decode("charter", &charter)?;
        Ok(Some(Resident { transaction: Transaction { charter, progress }, last_at }))
    }

    /// A written slot.
    pub(crate) fn slot(&self, tx: &TxId, place: &Place) -> Result<Option<Slot>, StoreFault> {
        let value = self.get(Family::Slots, &keys::slot(tx, place))?;
        value.map(|value| decode_slot(&value)).transpose()
    }

    /// The written slots of a transaction.
    pub(crate) fn slots(&self, tx: &TxId, limit: usize) -> Result<Vec<(Place, Slot)>, StoreFault> {
        let prefix = keys::transaction(tx);
        self.scan(Family::Slots, &prefix, &keys::end_of(&prefix), limit, |key, value| {
            let place = keys::place_of_slot(key).ok_or(StoreFault::Corrupt { kind: "key of a slot" })?;
            Ok(Some((place, decode_slot(value)?)))
        })
    }

    /// All transactions, those after `after`.
    pub(crate) fn list(&self, after: Option<&TxId>, limit: usize) -> Result<Vec<TxId>, StoreFault> {
        let from = after.map_or_else(Vec::new, |tx| keys::end_of(&keys::transaction(tx)));
        self.scan(Family::Transactions, &from, &[], limit, |key, _| Ok(keys::transaction_of_charter(key)))
    }

    /// How a party stands in its transactions, those after `after`.
    pub(crate) fn standings(
        &self,
        party: &PartyId,
        after: Option<&TxId>,
        limit: usize,
    ) -> Result<Vec<Standing>, StoreFault> {
        let prefix = keys::party(party);
        let from = after.map_or_else(|| prefix.clone(), |tx| keys::after(&keys::party_tx(party, tx)));
        self.scan(Family::PartyTx, &from, &keys::end_of(&prefix), limit, |key, _| {
            let tx = keys::transaction_of_party_tx(key).ok_or(StoreFault::Corrupt { kind: "key of a party" })?;
            let resident = self.resident(&tx)?;
            Ok(resident.and_then(|resident| resident.transaction.standing(party)))
        })
    }

    /// A session, if anything is kept of it.
    pub(crate) fn session(&self, key: &SessionKey) -> Result<Option<SessionValue>, StoreFault> {
        let value = self.get(Family::Sessions, &keys::session(key))?;
        value.map(|value| decode("session", &value)).transpose()
    }

    /// The cursors of a session.
    pub(crate) fn cursors(&self, key: &SessionKey) -> Result<Vec<(TxId, Seq)>, StoreFault> {
        let prefix = keys::session(key);
        self.scan(Family::Cursors, &prefix, &keys::end_of(&prefix), usize::MAX, |key, value| {
            let tx = keys::transaction_of_cursor(key).ok_or(StoreFault::Corrupt { kind: "key of a cursor" })?;
            Ok(Some((tx, decode("cursor", value)?)))
        })
    }

    /// The receipt of one publish of a session.
    pub(crate) fn receipt(&self, key: &SessionKey, packet_id: u16) -> Result<Option<Seq>, StoreFault> {
        let value = self.get(Family::Receipts, &keys::packet(key, packet_id))?;
        value.map(|value| decode("receipt", &value)).transpose()
    }

    /// The packet identifiers of all receipts of a session, in order.
    pub(crate) fn receipts(&self, key: &SessionKey) -> Result<Vec<u16>, StoreFault> {
        let prefix = keys::session(key);
        self.scan(Family::Receipts, &prefix, &keys::end_of(&prefix), usize::MAX, |key, _| {
            keys::packet_id_of(key).map(Some).ok_or(StoreFault::Corrupt { kind: "key of a receipt" })
        })
    }

    /// The deliveries of a session at QoS 2, in the order of their packet identifiers.
    pub(crate) fn inflight(&self, key: &SessionKey) -> Result<Vec<InflightRecord>, StoreFault> {
        let prefix = keys::session(key);
        self.scan(Family::Inflight, &prefix, &keys::end_of(&prefix), usize::MAX, |_, value| {
            decode("delivery", value).map(Some)
        })
    }

    /// The last epoch that was given to a session.
    pub(crate) fn session_epoch(&self) -> Result<u64, StoreFault> {
        let value = self.get(Family::Meta, SESSION_EPOCH_KEY)?;
        value.map_or(Ok(0), |value| decode("session epoch", &value))
    }

    /// What is kept of the presence of a party.
    pub(crate) fn presence(&self, party: &PartyId) -> Result<Option<PresenceValue>, StoreFault> {
        let value = self.get(Family::Presence, &keys::party(party))?;
        value.map(|value| decode("presence", &value)).transpose()
    }

    /// The presence of all parties, those after `after`.
    pub(crate) fn presences(
        &self,
        after: Option<&PartyId>,
        limit: usize,
    ) -> Result<Vec<(PartyId, PresenceValue)>, StoreFault> {
        let from = after.map_or_else(Vec::new, |party| keys::after(&keys::party(party)));
        self.scan(Family::Presence, &from, &[], limit, |key, value| {
            let party = keys::party_of(key).ok_or(StoreFault::Corrupt { kind: "key of a party" })?;
            Ok(Some((party, decode("presence", value)?)))
        })
    }

    /// Writes what a shutdown leaves in the log's buffers.
    pub(crate) fn flush(&self) -> Result<(), StoreFault> {
        Ok(self.db.flush_wal(true)?)
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every family was opened with the store")
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFault> {
        Ok(self.db.get_cf(self.family(family), key)?)
    }

    /// Reads the records from `from` to before `end` (empty: to the last), until `limit` were taken. `take` gives `None`
    /// for a record to pass over.
    fn scan<T>(
        &self,
        family: Family,
        from: &[u8],
        end: &[u8],
        limit: usize,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, StoreFault>,
    ) -> Result<Vec<T>, StoreFault> {
        let mut taken = Vec::new();
        self.each(family, from, end, |key, value| {
            if taken.len() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            taken.extend(take(key, value)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(taken)
    }

    /// Shows the records from `from` to before `end` (empty: to the last), until `look` has enough.
    fn each(
        &self,
        family: Family,
        from: &[u8],
        end: &[u8],
        mut look: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreFault>,
    ) -> Result<(), StoreFault> {
        let mut options = ReadOptions::default();
        if !end.is_empty() {
            options.set_iterate_upper_bound(end.to_vec());
        }
        let mode = IteratorMode::From(from, Direction::Forward);
        for record in self.db.iterator_cf_opt(self.family(family), options, mode) {
            let (key, value) = record?;
            if look(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn identities_mark(identities: Identities) -> &'static [u8] {
    match identities {
        Identities::Certificates => b"certificates",
        Identities::DangerAnonymous => b"danger_anonymous",
    }
}
