//! What is to be written at once: plain data until it is written, so that it outlives a store that has to be opened
//! again, and can be looked at.

use quorate_domain::{
    InflightRecord, LogMessage, PartyId, Place, Seq, SessionKey, Slot, StoredSession, Tombstone, Transaction, TxId,
};
use rocksdb::{WriteBatch, WriteOptions};

use super::families::Family;
use super::records::{Body, ProgressRecord, encode, encode_message};
use super::{PresenceValue, Resident, SESSION_EPOCH_KEY, SessionValue, Store, StoreFault, keys};

/// Records of one kind of a session, or of a transaction, beyond which one range delete takes the place of a delete each: many range tombstones slow
/// reads, and so do very many point deletes.
const POINT_DELETES_MAX: usize = 1_000;

#[derive(Debug)]
enum Write {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Writes that happen together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How much is to be written, in bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What never changes of a transaction, and that it is one of its members' transactions.
    pub(crate) fn put_charter(&mut self, transaction: &Transaction) {
        let charter = &transaction.charter;
        self.put(Family::Transactions, keys::charter(&charter.tx), encode(charter));
        for member in charter.members() {
            self.put(Family::PartyTx, keys::party_tx(member, &charter.tx), Vec::new());
        }
    }

    /// How far a transaction has come.
    pub(crate) fn put_progress(&mut self, resident: &Resident) {
        let record = ProgressRecord { progress: resident.transaction.progress.clone(), last_at: resident.last_at };
        let tx = &resident.transaction.charter.tx;
        self.put(Family::Transactions, keys::progress(tx), encode(&record));
    }

    /// A message of the log; `addressees` are those that `Transaction::record` gave.
    pub(crate) fn put_message(
        &mut self,
        transaction: &Transaction,
        message: &LogMessage,
        addressees: &[(PartyId, Seq)],
        body: &Body,
    ) {
        // A charter has at most 65 members, so an index fits in a byte.
        let prevs = addressees
            .iter()
            .filter_map(|(party, prev)| {
                let member = transaction.charter.member_index(party)?;
                Some((u8::try_from(member).ok()?, *prev))
            })
            .collect();
        self.put(Family::Log, keys::log(&message.topic.tx, message.seq), encode_message(message, prevs, body));
    }

    pub(crate) fn put_slot(&mut self, tx: &TxId, place: &Place, slot: &Slot) {
        self.put(Family::Slots, keys::slot(tx, place), encode(slot));
    }

    /// A transaction's data key, wrapped.
    pub(crate) fn put_key(&mut self, tx: &TxId, wrapped: Vec<u8>) {
        self.put(Family::Keys, keys::transaction(tx), wrapped);
    }

    /// Takes all away that is stored of a transaction, and leaves its tombstone. Its records are numbered without gaps.
    pub(crate) fn purge(&mut self, transaction: &Transaction, slots: &[Place]) {
        let Transaction { charter, progress } = transaction;
        let tx = &charter.tx;
        self.put(Family::Tombstones, keys::transaction(tx), encode(&Tombstone::of(transaction)));
        self.delete(Family::Keys, keys::transaction(tx));
        self.delete(Family::Transactions, keys::charter(tx));
        self.delete(Family::Transactions, keys::progress(tx));
        for member in charter.members() {
            self.delete(Family::PartyTx, keys::party_tx(member, tx));
        }
        let slots = slots.iter().map(|place| keys::slot(tx, place)).collect();
        self.delete_all(Family::Slots, keys::transaction(tx), slots);
        match usize::try_from(progress.last_seq.0) {
            Ok(records) if records <= POINT_DELETES_MAX => {
                for seq in 1..=progress.last_seq.0 {
                    self.delete(Family::Log, keys::log(tx, Seq(seq)));
                }
            }
            _ => self.delete_range(Family::Log, keys::transaction(tx)),
        }
    }

    pub(crate) fn delete_cursor(&mut self, key: &SessionKey, tx: &TxId) {
        self.delete(Family::Cursors, keys::cursor(key, tx));
    }

    pub(crate) fn put_session(&mut self, key: &SessionKey, value: &SessionValue) {
        self.put(Family::Sessions, keys::session(key), encode(value));
    }

    pub(crate) fn put_session_epoch(&mut self, epoch: u64) {
        self.put(Family::Meta, SESSION_EPOCH_KEY.to_vec(), encode(&epoch));
    }

    pub(crate) fn put_cursor(&mut self, key: &SessionKey, tx: &TxId, seq: Option<Seq>) {
        let of = keys::cursor(key, tx);
        match seq {
            Some(seq) => self.put(Family::Cursors, of, encode(&seq)),
            None => self.delete(Family::Cursors, of),
        }
    }

    pub(crate) fn put_receipt(&mut self, key: &SessionKey, packet_id: u16, seq: Seq) {
        self.put(Family::Receipts, keys::packet(key, packet_id), encode(&seq));
    }

    pub(crate) fn delete_receipt(&mut self, key: &SessionKey, packet_id: u16) {
        self.delete(Family::Receipts, keys::packet(key, packet_id));
    }

    pub(crate) fn put_inflight(&mut self, key: &SessionKey, record: &InflightRecord) {
        self.put(Family::Inflight, keys::packet(key, record.delivery.packet_id), encode(record));
    }

    pub(crate) fn delete_inflight(&mut self, key: &SessionKey, packet_id: u16) {
        self.delete(Family::Inflight, keys::packet(key, packet_id));
    }

    pub(crate) fn delete_session(&mut self, key: &SessionKey) {
        self.delete(Family::Sessions, keys::session(key));
    }

    /// Deletes what is stored of a session beside its record, which is this.
    pub(crate) fn delete_belongings(&mut self, key: &SessionKey, stored: &StoredSession) {
        let cursors = stored.cursors.iter().map(|(tx, _)| keys::cursor(key, tx)).collect();
        self.delete_all(Family::Cursors, keys::session(key), cursors);
        let receipts = stored.receipts.iter().map(|packet_id| keys::packet(key, *packet_id)).collect();
        self.delete_all(Family::Receipts, keys::session(key), receipts);
        let inflight = stored.inflight.iter().map(|record| keys::packet(key, record.delivery.packet_id)).collect();
        self.delete_all(Family::Inflight, keys::session(key), inflight);
    }

    /// Deletes all records of one kind that begin with a prefix, whose keys are these.
    fn delete_all(&mut self, family: Family, prefix: Vec<u8>, all: Vec<Vec<u8>>) {
        if all.len() > POINT_DELETES_MAX {
            return self.delete_range(family, prefix);
        }
        for key in all {
            self.delete(family, key);
        }
    }

    /// The prefix is one or more whole texts.
    fn delete_range(&mut self, family: Family, prefix: Vec<u8>) {
        let end = keys::end_of(&prefix);
        self.bytes += prefix.len() + end.len();
        self.writes.push(Write::DeleteRange(family, prefix, end));
    }

    pub(crate) fn put_presence(&mut self, party: &PartyId, value: &PresenceValue) {
        self.put(Family::Presence, keys::party(party), encode(value));
    }

    pub(super) fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put(family, key, value));
    }

    pub(super) fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.bytes += key.len();
        self.writes.push(Write::Delete(family, key));
    }
}

impl Store {
    /// Writes a batch; with `sync`, it is on the disk when this returns.
    pub(crate) fn write(&self, batch: &Batch, sync: bool) -> Result<(), StoreFault> {
        let mut writes = WriteBatch::default();
        for write in &batch.writes {
            match write {
                Write::Put(family, key, value) => writes.put_cf(self.family(*family), key, value),
                Write::Delete(family, key) => writes.delete_cf(self.family(*family), key),
                Write::DeleteRange(family, from, end) => writes.delete_range_cf(self.family(*family), from, end),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        Ok(self.db.write_opt(writes, &options)?)
    }
}
