//! What is kept: the only place that knows RocksDB. It opens the store, writes batches, and reads; what is written, and
//! whether, is the committer's to say, and it alone writes.

mod batch;
mod check;
mod disk;
mod due;
mod families;
mod keys;
mod log;
mod opening;
mod records;
mod retained;
mod sealing;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod topics;
mod usage;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use quorate_domain::{
    Incarnation, InflightRecord, PartyId, Place, Seq, SessionKey, Slot, Standing, Tombstone, Transaction, TxId, UnixMs,
};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties;
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, Direction, FlushOptions, IteratorMode, ReadOptions,
};
use thiserror::Error;

pub(crate) use batch::Batch;
pub use check::{CheckReport, Finding};
pub(crate) use disk::{Disk, RealDisk};
pub(crate) use due::Due;
use families::Family;
pub(crate) use log::PageRequest;
pub(crate) use opening::{Restore, StoreOptions, Vault};
pub(crate) use records::{Body, PresenceValue, Resident, SessionValue};
use records::{ProgressRecord, decode, decode_slot};
pub(crate) use retained::{RetainedValue, WillValue};
pub(crate) use sealing::DataKey;
pub use sealing::{MasterKey, MasterKeyError};
pub(crate) use shared::SharedStore;
pub(crate) use topics::{Contents, QueueHead, QueueId, QueueValue, QueuedSize, Slice};
pub(crate) use usage::Usage;

use crate::OpenError;

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
    /// What is to be read is sealed, and its key is not there.
    #[error("what is to be read is sealed, and its key is not in the store, or no master key was given")]
    Sealed,
    /// The system gave no random bytes, or refused to seal.
    #[error("nothing can be sealed: the system gives no random bytes")]
    Sealing,
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

/// A key and its value.
type Record = (Box<[u8]>, Box<[u8]>);

/// An open store.
pub(crate) struct Store {
    db: DB,
    vault: Arc<Vault>,
    incarnation: Incarnation,
}

impl Store {
    /// What opens and seals.
    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// A whole transaction, with the key that seals what is said in it.
    pub(crate) fn resident(&self, tx: &TxId) -> Result<Option<Resident>, StoreFault> {
        let Some((transaction, last_at)) = self.transaction(tx)? else { return Ok(None) };
        let key = self.data_key(tx)?;
        Ok(Some(Resident { transaction, last_at, key }))
    }

    /// A transaction as it stands, and the time of its last message.
    pub(crate) fn transaction(&self, tx: &TxId) -> Result<Option<(Transaction, UnixMs)>, StoreFault> {
        let Some(charter) = self.get(Family::Transactions, &keys::charter(tx))? else {
            return Ok(None);
        };
        let Some(progress) = self.get(Family::Transactions, &keys::progress(tx))? else {
            return Err(StoreFault::Corrupt { kind: "transaction" });
        };
        let ProgressRecord { progress, last_at } = decode("progress", &progress)?;
        let charter = decode("charter", &charter)?;
        Ok(Some((Transaction { charter, progress }, last_at)))
    }

    /// The key of a transaction; none: nothing is sealed in it, or it cannot be opened.
    pub(crate) fn data_key(&self, tx: &TxId) -> Result<Option<Arc<DataKey>>, StoreFault> {
        let Some(master) = &self.vault.master else { return Ok(None) };
        let of = keys::transaction(tx);
        let wrapped = self.get(Family::Keys, &of)?;
        wrapped.map(|wrapped| master.unwrap_key(&of, &wrapped)).transpose()
    }

    /// What stays of a purged transaction.
    pub(crate) fn tombstone(&self, tx: &TxId) -> Result<Option<Tombstone>, StoreFault> {
        let value = self.get(Family::Tombstones, &keys::transaction(tx))?;
        value.map(|value| decode("tombstone", &value)).transpose()
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
            let found = self.transaction(&tx)?;
            Ok(found.and_then(|(transaction, _)| transaction.standing(party)))
        })
    }

    /// A session, if anything is kept of it.
    pub(crate) fn session(&self, key: &SessionKey) -> Result<Option<SessionValue>, StoreFault> {
        let value = self.get(Family::Sessions, &keys::session(key))?;
        value.map(|value| decode("session", &value)).transpose()
    }

    /// The sessions of which something is kept for a party.
    pub(crate) fn sessions_of(&self, party: &PartyId) -> Result<Vec<SessionKey>, StoreFault> {
        let prefix = keys::party(party);
        self.scan(Family::Sessions, &prefix, &keys::end_of(&prefix), usize::MAX, |key, _| {
            keys::session_of(key).map(Some).ok_or(StoreFault::Corrupt { kind: "key of a session" })
        })
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

    /// Bytes that RocksDB holds in memory, of what it keeps to a bound: the block cache, and what is not written out yet.
    pub(crate) fn memory(&self) -> Result<(u64, u64), StoreFault> {
        let mut buffers = 0;
        for family in Family::ALL {
            let name = properties::CUR_SIZE_ALL_MEM_TABLES;
            buffers += self.db.property_int_value_cf(self.family(family), name)?.unwrap_or(0);
        }
        // One cache for all families: each tells the same.
        let cache = self.db.property_int_value_cf(self.family(Family::Meta), properties::BLOCK_CACHE_USAGE)?;
        Ok((cache.unwrap_or(0), buffers))
    }

    /// Writes out what is in memory, so that no log of writes holds what was deleted, and merges the wrapped keys: one that
    /// was deleted is then in no file of the store.
    pub(crate) fn sweep(&self) -> Result<(), StoreFault> {
        let families: Vec<_> = Family::ALL.into_iter().map(|family| self.family(family)).collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&families, &options)?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        let (from, to) = (None::<&[u8]>, None::<&[u8]>);
        self.db.compact_range_cf_opt(self.family(Family::Keys), from, to, &options);
        Ok(())
    }

    /// Puts all that is in the store now into a folder that does not exist yet.
    pub(crate) fn checkpoint(&self, to: &Path) -> Result<(), StoreFault> {
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(to)?)
    }

    /// Shows every record of a family, each block read from the disk and compared with its checksum.
    fn each_checked(&self, family: Family, look: impl FnMut(&[u8], &[u8])) -> Result<(), StoreFault> {
        self.each_between_checked(family, &[], look)
    }

    /// The same of one log.
    fn each_of_log_checked(&self, tx: &TxId, mut look: impl FnMut(Seq, &[u8])) -> Result<(), StoreFault> {
        let mut unknown = Ok(());
        self.each_between_checked(Family::Log, &keys::transaction(tx), |key, value| match keys::seq_of_log(key) {
            Some(seq) => look(seq, value),
            None => unknown = Err(StoreFault::Corrupt { kind: "key of a log" }),
        })?;
        unknown
    }

    fn each_between_checked(
        &self,
        family: Family,
        prefix: &[u8],
        mut look: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreFault> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false);
        if !prefix.is_empty() {
            options.set_iterate_upper_bound(keys::end_of(prefix));
        }
        let mode = IteratorMode::From(prefix, Direction::Forward);
        for record in self.db.iterator_cf_opt(self.family(family), options, mode) {
            let (key, value) = record?;
            look(&key, &value);
        }
        Ok(())
    }

    /// The first record from `from` on.
    fn first(&self, family: Family, from: &[u8]) -> Result<Option<Record>, StoreFault> {
        let mode = IteratorMode::From(from, Direction::Forward);
        let mut records = self.db.iterator_cf_opt(self.family(family), ReadOptions::default(), mode);
        Ok(records.next().transpose()?)
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
