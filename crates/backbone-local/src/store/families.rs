//! The column families, and the options with which RocksDB is opened.

use std::collections::BTreeSet;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    DEFAULT_COLUMN_FAMILY_NAME, Options,
};

use super::opening::of_rocks;
use crate::OpenError;

/// What is read again and again: one cache for all families.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Bits a key in the filters that answer "this slot is free" without a read of the disk: 1% false positives.
const FILTER_BITS: f64 = 10.0;
/// Written but not yet sorted, of the log; the other families hold little.
const LOG_BUFFER_BYTES: usize = 32 << 20;
const OTHER_BUFFER_BYTES: usize = 8 << 20;
/// All write buffers together; beyond, the largest is written out.
const ALL_BUFFERS_BYTES: usize = 128 << 20;
/// The write-ahead log; beyond, the families that keep its oldest part alive are written out. Bounds the time to open.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// RocksDB's own log files: it would keep a thousand.
const INFO_LOG_FILES: usize = 4;
const INFO_LOG_BYTES: usize = 4 << 20;
/// A file is merged soon that has so many deletions in a row of so many records, or this share of deletions altogether.
const DELETIONS_WINDOW: usize = 10_000;
const DELETIONS_MAX: usize = 5_000;
const DELETIONS_SHARE: f64 = 0.5;
/// Threads that write out and merge.
const BACKGROUND_JOBS: i32 = 2;

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Schema version, last session epoch.
    Meta,
    /// (tx): charter and progress.
    Transactions,
    /// (tx, seq): message.
    Log,
    /// (tx, place): seq, author and SHA-256.
    Slots,
    /// (party, tx): nothing; the key says it.
    PartyTx,
    /// (party, client id): epoch and record.
    Sessions,
    /// (party, client id, tx): seq.
    Cursors,
    /// (party, client id, packet id): seq of a publish at QoS 2.
    Receipts,
    /// (party, client id, packet id): a delivery at QoS 2 and its step.
    Inflight,
    /// (party): epoch, last seen.
    Presence,
    /// (id): message of ordinary topics that several queues hold, and how many refer to it.
    Ordinary,
    /// (queue, seq): message or reference, and how it is delivered.
    Queue,
    /// (topic): message.
    Retained,
    /// (party, client id): what is said when the session's connection breaks.
    Wills,
    /// (tx): its data key, wrapped. Apart from all else, so that a key that is deleted is soon in no file any more.
    Keys,
    /// (tx): what stays of a purged transaction.
    Tombstones,
    /// (time, matter): what is to be done when, found again after a restart.
    Due,
    /// (party): how much of the log it said; and the same for all of the store.
    Usage,
}

impl Family {
    pub(super) const ALL: [Family; 18] = [
        Family::Meta,
        Family::Transactions,
        Family::Log,
        Family::Slots,
        Family::PartyTx,
        Family::Sessions,
        Family::Cursors,
        Family::Receipts,
        Family::Inflight,
        Family::Presence,
        Family::Ordinary,
        Family::Queue,
        Family::Retained,
        Family::Wills,
        Family::Keys,
        Family::Tombstones,
        Family::Due,
        Family::Usage,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Transactions => "transactions",
            Family::Log => "log",
            Family::Slots => "slots",
            Family::PartyTx => "party_tx",
            Family::Sessions => "sessions",
            Family::Cursors => "cursors",
            Family::Receipts => "receipts",
            Family::Inflight => "inflight",
            Family::Presence => "presence",
            Family::Ordinary => "ordinary",
            Family::Queue => "queue",
            Family::Retained => "retained",
            Family::Wills => "wills",
            Family::Keys => "keys",
            Family::Tombstones => "tombstones",
            Family::Due => "due",
            Family::Usage => "usage",
        }
    }

    fn options(self, cache: &Cache) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_bloom_filter(FILTER_BITS, false);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(DBCompressionType::Lz4);
        // What was deleted takes room until it is merged; nothing else would merge a family that nobody writes to.
        options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_MAX, DELETIONS_SHARE);
        match self {
            Family::Log => options.set_write_buffer_size(LOG_BUFFER_BYTES),
            _ => options.set_write_buffer_size(OTHER_BUFFER_BYTES),
        }
        options
    }
}

/// For what a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To be written; it is made where it is missing.
    Write,
    /// To be looked at, and left as it is.
    Look,
}

/// Opens the database with all families, making those that are missing.
pub(super) fn open(path: &Path, access: Access) -> Result<DB, OpenError> {
    let options = database_options();
    if access == Access::Look && !path.join("CURRENT").exists() {
        return Err(OpenError::Missing);
    }
    refuse_unknown_families(&options, path)?;
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let families =
        Family::ALL.into_iter().map(|family| ColumnFamilyDescriptor::new(family.name(), family.options(&cache)));
    match access {
        Access::Write => DB::open_cf_descriptors(&options, path, families),
        Access::Look => DB::open_cf_descriptors_read_only(&options, path, families, false),
    }
    .map_err(|error| of_rocks(&error))
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(ALL_BUFFERS_BYTES);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    // A torn last record was never acknowledged: stop before it. (`AbsoluteConsistency` would refuse to open then.)
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // What was synced and then went missing or short is noticed all the same.
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// A family that this version does not know was made by a later one, which may rely on it.
fn refuse_unknown_families(options: &Options, path: &Path) -> Result<(), OpenError> {
    if !path.join("CURRENT").exists() {
        return Ok(());
    }
    let known: BTreeSet<_> = Family::ALL.into_iter().map(Family::name).chain([DEFAULT_COLUMN_FAMILY_NAME]).collect();
    let found = DB::list_cf(options, path).map_err(|error| of_rocks(&error))?;
    match found.into_iter().find(|name| !known.contains(name.as_str())) {
        Some(name) => Err(OpenError::UnknownFamily(name)),
        None => Ok(()),
    }
}
