//! `[storage]`: where the store is, how durable and how large it is, and who seals it.

use std::path::PathBuf;

use serde_spanned::Spanned;

use super::check::to_usize;
use super::checker::{Checker, Table};
use super::raw::{Field, RawStorage};
use super::{Durability, MasterKeyPlace, StorageBounds, StorageConfig, StorePlace};

/// 16 GiB: what one party may have said.
const PARTY_BYTES_MAX: u64 = 16 << 30;
/// 256 MiB: enough for RocksDB to put away all that is in memory, and to merge what was deleted.
const DISK_FREE_MIN_BYTES: u64 = 256 << 20;
/// No disk is larger, and sums stay within 64 bits.
const BYTES_MAX: u64 = 1 << 50;
const MESSAGES_MAX: u64 = 1_000_000_000_000;

pub(super) fn storage(checker: &mut Checker<'_>, raw: Option<Spanned<RawStorage>>) -> Option<StorageConfig> {
    let table = Table::new("storage", raw.as_ref().map(Spanned::span));
    let raw = raw.map(Spanned::into_inner).unwrap_or_default();
    let place = store_place(checker, &table, raw.path, raw.temporary);
    let choices = [("fsync", Durability::Fsync), ("os", Durability::Os)];
    let durability = checker.choice(&table, "durability", raw.durability, &choices);
    let master_key = master_key(checker, &table, raw.master_key_file, raw.master_key_env);
    let backup_folder = raw.backup_folder.and_then(|field| checker.path(&table, "backup_folder", Some(field)));
    let mut number = |key, field, default, range| checker.number(&table, key, field, default, range);
    let queue_max = number("queue_max", raw.queue_max, 4_096, 1..=1_000_000);
    let batch_max = number("batch_max", raw.batch_max, 1_024, 1..=100_000);
    let bounds = StorageBounds {
        messages_max: unbounded(number("messages_max", raw.messages_max, 0, 0..=MESSAGES_MAX)),
        bytes_max: unbounded(number("bytes_max", raw.bytes_max, 0, 0..=BYTES_MAX)),
        party_messages_max: number("party_messages_max", raw.party_messages_max, 10_000_000, 1..=MESSAGES_MAX),
        party_bytes_max: number("party_bytes_max", raw.party_bytes_max, PARTY_BYTES_MAX, 1..=BYTES_MAX),
        disk_free_min_bytes: number("disk_free_min_bytes", raw.disk_free_min_bytes, DISK_FREE_MIN_BYTES, 0..=BYTES_MAX),
    };
    Some(StorageConfig {
        place: place?,
        durability: durability?,
        queue_max: to_usize(queue_max),
        batch_max: to_usize(batch_max),
        bounds,
        master_key,
        backup_folder,
    })
}

fn unbounded(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}

/// A folder that is named, or one of the broker's own; never both, so that nobody takes the one for the other.
fn store_place(
    checker: &mut Checker<'_>,
    table: &Table,
    path: Option<Field<String>>,
    temporary: Option<Field<bool>>,
) -> Option<StorePlace> {
    let written = temporary.is_some();
    let temporary = checker.optional(table, "temporary", temporary);
    match (path, temporary) {
        (Some(_), Some((true, span))) => {
            let message = "not beside a path: a temporary store is made in a fresh folder, and deleted";
            checker.problem(table.key("temporary"), Some(span), message);
            None
        }
        (None, Some((true, _))) => Some(StorePlace::Temporary),
        // What is wrong with `temporary` is told already; perhaps it was meant.
        (None, None) if written => None,
        (path, _) => checker.path(table, "path", path).map(|path: PathBuf| StorePlace::Folder(path)),
    }
}

/// At most one place: a key in two of them would be changed in one.
fn master_key(
    checker: &mut Checker<'_>,
    table: &Table,
    file: Option<Field<String>>,
    variable: Option<Field<String>>,
) -> Option<MasterKeyPlace> {
    let variable = checker.optional(table, "master_key_env", variable);
    match (file, variable) {
        (Some(_), Some((_, span))) => {
            checker.problem(table.key("master_key_env"), Some(span), "not beside master_key_file: one place is enough");
            None
        }
        (Some(file), None) => checker.path(table, "master_key_file", Some(file)).map(MasterKeyPlace::File),
        (None, Some((name, span))) if name.is_empty() || name.contains(['=', '\0']) => {
            checker.problem(table.key("master_key_env"), Some(span), format!("{name:?} names no variable"));
            None
        }
        (None, Some((name, _))) => Some(MasterKeyPlace::Environment(name)),
        (None, None) => None,
    }
}
