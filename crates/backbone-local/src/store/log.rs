//! Reading logs: pages for a reader, and the journal.

use std::sync::Arc;

use quorate_backbone::{JournalEntry, ReadLimit};
use quorate_domain::{Addressed, LogPage, PartyId, Seq, Sha256, TxId, may_hear};
use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::families::Family;
use super::records::decode_head;
use super::{Store, StoreFault, keys};

/// Records that one page looks at, also when it finds nothing for its reader: the page then ends early and says how far
/// it came. Bounds how long a read holds a thread.
const PAGE_SCAN_MAX: usize = 10_000;
/// The same in bytes.
const PAGE_SCAN_BYTES_MAX: usize = 32 << 20;

/// What is to be read of a log.
pub(crate) struct PageRequest<'a> {
    pub(crate) tx: &'a TxId,
    pub(crate) reader: &'a PartyId,
    pub(crate) after: Seq,
    pub(crate) limit: ReadLimit,
}

impl Store {
    /// What a reader may hear of a log after a place.
    pub(crate) fn page(&self, request: &PageRequest<'_>) -> Result<LogPage, StoreFault> {
        let PageRequest { tx, reader, after, limit } = *request;
        let found = self.transaction(tx)?;
        let listed = found
            .as_ref()
            .map(|(transaction, _)| transaction)
            .and_then(|transaction| Some((transaction, transaction.charter.member_index(reader)?)));
        let Some((transaction, member)) = listed else {
            // Nobody can tell a transaction that does not exist from one that does not list them.
            return Ok(LogPage { messages: Vec::new(), scanned_to: after, head: after });
        };
        let key = self.data_key(tx)?;
        // The head first: what is written while this reads is for the next page.
        let head = transaction.progress.last_seq;
        let mut page = LogPage { messages: Vec::new(), scanned_to: head, head };
        let (mut bytes, mut scanned, mut scanned_bytes) = (0, 0, 0);
        let mut looked_at = after;
        let end = self.each_of_log(tx, after, head, |seq, value| {
            if scanned >= PAGE_SCAN_MAX || scanned_bytes >= PAGE_SCAN_BYTES_MAX {
                return Ok(Scan::Stop);
            }
            scanned += 1;
            scanned_bytes += value.len();
            let (log_head, body) = decode_head(value)?;
            if may_hear(&transaction.charter, &log_head.place, reader) {
                let full = page.messages.len() >= limit.messages || bytes + body.len() > limit.bytes;
                if full && !page.messages.is_empty() {
                    return Ok(Scan::Stop);
                }
                bytes += body.len();
                let prev = log_head.prev_of(member);
                let message = Arc::new(log_head.into_message(tx, seq, body, key.as_deref())?);
                page.messages.push(Addressed { message, prev });
            }
            looked_at = seq;
            Ok(Scan::Go)
        })?;
        if end == Scan::Stop {
            page.scanned_to = looked_at;
        }
        Ok(page)
    }

    /// The log without payloads, unfiltered.
    pub(crate) fn journal(&self, tx: &TxId, after: Seq, limit: usize) -> Result<Vec<JournalEntry>, StoreFault> {
        let key = self.data_key(tx)?;
        let mut entries = Vec::new();
        let mut scanned_bytes = 0;
        self.each_of_log(tx, after, Seq(u64::MAX), |seq, value| {
            if entries.len() >= limit || scanned_bytes >= PAGE_SCAN_BYTES_MAX {
                return Ok(Scan::Stop);
            }
            scanned_bytes += value.len();
            let (head, body) = decode_head(value)?;
            let message = head.into_message(tx, seq, body, key.as_deref())?;
            entries.push(JournalEntry {
                seq,
                at: message.at,
                topic: message.topic,
                from: message.from.map(|author| author.party),
                bytes: message.payload.len() as u64,
                sha256: Sha256::of(&message.payload),
            });
            Ok(Scan::Go)
        })?;
        Ok(entries)
    }

    /// Shows the records of a log after `after` up to `to`, until `look` has enough.
    pub(super) fn each_of_log(
        &self,
        tx: &TxId,
        after: Seq,
        to: Seq,
        mut look: impl FnMut(Seq, &[u8]) -> Result<Scan, StoreFault>,
    ) -> Result<Scan, StoreFault> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::after(&keys::log(tx, to)));
        let from = keys::after(&keys::log(tx, after));
        let mode = IteratorMode::From(&from, Direction::Forward);
        for record in self.db.iterator_cf_opt(self.family(Family::Log), options, mode) {
            let (key, value) = record?;
            let seq = keys::seq_of_log(&key).ok_or(StoreFault::Corrupt { kind: "key of a log" })?;
            if look(seq, &value)? == Scan::Stop {
                return Ok(Scan::Stop);
            }
        }
        Ok(Scan::Go)
    }
}

/// Whether to look at the next record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    Go,
    Stop,
}
