//! Transactions: charters, progress, logs with their hash chains, slots, keys, what belongs to whom, tombstones.

use std::collections::HashMap;
use std::sync::Arc;

use quorate_domain::{
    LogMessage, PartyId, Place, Progress, Seq, Sha256, Slot, Tombstone, Transaction, TxId, Volume, chain_start,
    next_head,
};

use super::super::families::Family;
use super::super::records::{LogHead, decode, decode_head};
use super::super::{DataKey, StoreFault, keys};
use super::{Check, printable};

/// What the other checks need of the transactions.
#[derive(Default)]
pub(super) struct Rooms {
    /// The last record of each log.
    pub(super) heads: HashMap<TxId, Seq>,
    /// Transactions that were purged.
    pub(super) purged: u64,
}

/// What a log says by itself, to be compared with what is stored beside it.
struct Told {
    head: Sha256,
    last_seq: Seq,
    last_addressed: Vec<Seq>,
    stored: Volume,
    said: Vec<Volume>,
    slots: HashMap<Place, Slot>,
    /// Everything could be opened.
    is_whole: bool,
}

impl Check<'_> {
    pub(super) fn rooms(&mut self) -> Rooms {
        let mut rooms = Rooms::default();
        let mut sums = (Volume::default(), HashMap::new());
        self.walk(Family::Transactions, |check, key, _| {
            let Some(tx) = keys::transaction_of_charter(key) else {
                return check.progress_of_something(key);
            };
            check.report.transactions += 1;
            match check.store.transaction(&tx)? {
                None => check.find(Family::Transactions, &tx, "it has no charter"),
                Some((transaction, _)) => {
                    rooms.heads.insert(tx.clone(), transaction.progress.last_seq);
                    check.room(&tx, &transaction)?;
                    add_up(&transaction, &mut sums);
                }
            }
            Ok(())
        });
        self.strays(&rooms);
        self.walk(Family::Tombstones, |check, key, value| {
            decode::<Tombstone>("tombstone", value)?;
            rooms.purged += 1;
            if let Some(tx) = keys::transaction_of(key).filter(|tx| rooms.heads.contains_key(tx)) {
                check.find(Family::Tombstones, tx, "the transaction was purged, and is there all the same");
            }
            Ok(())
        });
        self.usage(sums);
        rooms
    }

    fn progress_of_something(&mut self, key: &[u8]) -> Result<(), StoreFault> {
        let tx = keys::transaction_of(key).ok_or(StoreFault::Corrupt { kind: "key of a transaction" })?;
        let charter = self.store.get(Family::Transactions, &keys::charter(&tx))?;
        if charter.is_none() {
            self.find(Family::Transactions, tx, "it has progress and no charter");
        }
        Ok(())
    }

    fn room(&mut self, tx: &TxId, transaction: &Transaction) -> Result<(), StoreFault> {
        let key = self.data_key(tx);
        let told = self.follow(tx, transaction, key)?;
        let progress = &transaction.progress;
        self.compare(Family::Log, tx, "the last record", &told.last_seq.0, &progress.last_seq.0);
        if told.is_whole {
            self.compare(Family::Log, tx, "the head of the hash chain", &told.head, &progress.head);
            self.slots(tx, &told)?;
            let (counted, stored) = ((told.stored, &told.said), (progress.stored, &progress.said));
            if counted != stored {
                self.find(Family::Transactions, tx, format!("it counts {stored:?}, and its log holds {counted:?}"));
            }
        } else {
            self.report.unopened += 1;
        }
        if told.last_addressed != progress.last_addressed {
            self.find(Family::Transactions, tx, "what was addressed to its members last is not what the log says");
        }
        for member in transaction.charter.members() {
            if self.store.get(Family::PartyTx, &keys::party_tx(member, tx))?.is_none() {
                self.find(Family::PartyTx, tx, format!("{member} is a member, and it is not among its transactions"));
            }
        }
        Ok(())
    }

    fn data_key(&mut self, tx: &TxId) -> Option<Arc<DataKey>> {
        match self.store.data_key(tx) {
            Ok(key) => key,
            Err(error) => {
                self.find(Family::Keys, tx, error);
                None
            }
        }
    }

    /// Reads a log from its first record to its last.
    fn follow(&mut self, tx: &TxId, transaction: &Transaction, key: Option<Arc<DataKey>>) -> Result<Told, StoreFault> {
        let charter = &transaction.charter;
        let mut told = Told {
            head: chain_start(),
            last_seq: Seq::ZERO,
            last_addressed: vec![Seq::ZERO; charter.members().count()],
            stored: Volume::default(),
            said: vec![Volume::default(); charter.parties.len()],
            slots: HashMap::new(),
            is_whole: true,
        };
        let store = self.store;
        let mut found: Vec<(Seq, String)> = Vec::new();
        let walked = store.each_of_log_checked(tx, |seq, value| {
            self.report.records += 1;
            // Not only growing: this store leaves no gaps.
            if seq.0 != told.last_seq.0 + 1 {
                found.push((seq, format!("it comes after {}", told.last_seq.0)));
            }
            told.last_seq = seq;
            let read = decode_head(value).and_then(|(head, body)| told.take(transaction, tx, seq, head, body, &key));
            match read {
                Ok(()) => self.report.chained += u64::from(told.is_whole),
                Err(error) => {
                    told.is_whole = false;
                    found.push((seq, error.to_string()));
                }
            }
        });
        for (seq, problem) in found {
            self.find(Family::Log, format!("{tx} {}", seq.0), problem);
        }
        if let Err(error) = walked {
            told.is_whole = false;
            let place = format!("{tx} after {}", told.last_seq.0);
            self.find(Family::Log, place, format!("{error}; what follows was not looked at"));
        }
        Ok(told)
    }

    fn slots(&mut self, tx: &TxId, told: &Told) -> Result<(), StoreFault> {
        let stored: HashMap<Place, Slot> = self.store.slots(tx, usize::MAX)?.into_iter().collect();
        for (place, slot) in &told.slots {
            match stored.get(place) {
                None => self.find(Family::Slots, format!("{tx} {place}"), "it is written in the log, and not taken"),
                Some(stored) if stored != slot => {
                    let problem = format!("it says {stored:?}, and the log {slot:?}");
                    self.find(Family::Slots, format!("{tx} {place}"), problem);
                }
                Some(_) => {}
            }
        }
        for place in stored.keys().filter(|place| !told.slots.contains_key(place)) {
            self.find(Family::Slots, format!("{tx} {place}"), "it is taken, and the log does not say by what");
        }
        Ok(())
    }

    fn compare<T: PartialEq + std::fmt::Display>(
        &mut self,
        family: Family,
        tx: &TxId,
        what: &str,
        log: &T,
        stored: &T,
    ) {
        if log != stored {
            self.find(family, tx, format!("{what}: the log says {log}, and the transaction {stored}"));
        }
    }

    /// What belongs to a transaction that is not there.
    fn strays(&mut self, rooms: &Rooms) {
        for family in [Family::Log, Family::Slots, Family::Keys] {
            self.walk(family, |check, key, _| {
                if family == Family::Keys && key == keys::ORDINARY_KEY {
                    return Ok(());
                }
                let tx = keys::transaction_of(key).ok_or(StoreFault::Corrupt { kind: "key" })?;
                if !rooms.heads.contains_key(&tx) {
                    check.find(family, printable(key), "it belongs to a transaction that is not there");
                }
                Ok(())
            });
        }
        self.walk(Family::PartyTx, |check, key, _| {
            let tx = keys::transaction_of_party_tx(key).ok_or(StoreFault::Corrupt { kind: "key of a party" })?;
            let party = keys::party_of(key).ok_or(StoreFault::Corrupt { kind: "key of a party" })?;
            let found = check.store.transaction(&tx)?;
            let is_member = |(transaction, _): &(Transaction, _)| transaction.charter.member_index(&party).is_some();
            if found.as_ref().is_none_or(|found| !is_member(found)) {
                check.find(Family::PartyTx, printable(key), "the party is no member of such a transaction");
            }
            Ok(())
        });
    }

    fn usage(&mut self, (log, parties): (Volume, HashMap<PartyId, Volume>)) {
        let usage = match self.store.usage() {
            Ok(usage) => usage,
            Err(error) => return self.find(Family::Usage, "", error),
        };
        if usage.log != log {
            self.find(Family::Usage, "all logs", format!("it says {:?}, and they hold {log:?}", usage.log));
        }
        let stored: HashMap<_, _> = usage.parties.into_iter().collect();
        if stored != parties {
            let differs = |party: &&PartyId| stored.get(*party) != parties.get(*party);
            let which: Vec<_> = stored.keys().chain(parties.keys()).filter(differs).map(PartyId::to_string).collect();
            self.find(Family::Usage, which.join(", "), "what was said is not what the transactions hold");
        }
    }
}

impl Told {
    fn take(
        &mut self,
        transaction: &Transaction,
        tx: &TxId,
        seq: Seq,
        head: LogHead,
        body: &[u8],
        key: &Option<Arc<DataKey>>,
    ) -> Result<(), StoreFault> {
        for (member, prev) in &head.prevs {
            let Some(last) = self.last_addressed.get_mut(usize::from(*member)) else {
                return Err(StoreFault::Corrupt { kind: "list of addressees" });
            };
            if std::mem::replace(last, seq) != *prev {
                return Err(StoreFault::Corrupt { kind: "link to the message that was addressed before" });
            }
        }
        if head.is_sealed && key.is_none() {
            self.is_whole = false;
            return Ok(());
        }
        let message = head.into_message(tx, seq, body, key.as_deref())?;
        self.chain(transaction, &message);
        Ok(())
    }

    fn chain(&mut self, transaction: &Transaction, message: &LogMessage) {
        self.head = next_head(&self.head, message);
        let volume = Volume::of_one(message.payload.len());
        self.stored = self.stored.plus(volume);
        let Some(author) = &message.from else { return };
        let place = &message.topic.place;
        let index = transaction.charter.party_index(&author.party).filter(|_| place.is_counted());
        if let Some(said) = index.and_then(|index| self.said.get_mut(index)) {
            *said = said.plus(volume);
        }
        if place.is_slot() {
            let slot = Slot { seq: message.seq, author: author.party.clone(), sha256: Sha256::of(&message.payload) };
            self.slots.insert(place.clone(), slot);
        }
    }
}

fn add_up(transaction: &Transaction, (log, parties): &mut (Volume, HashMap<PartyId, Volume>)) {
    let Progress { stored, said, .. } = &transaction.progress;
    *log = log.plus(*stored);
    for (party, said) in transaction.charter.parties.iter().zip(said) {
        if *said != Volume::default() {
            let sum = parties.entry(party.clone()).or_default();
            *sum = sum.plus(*said);
        }
    }
}
