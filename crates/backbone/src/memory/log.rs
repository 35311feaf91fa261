//! Logs and transactions in memory: one lock around all of them, held for one decision at a time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_domain::{
    Addressed, Closer, CreationRules, Delivery, Incarnation, LogMessage, LogPage, MessageProperties, Offer, PartyId,
    Place, Qos, Refusal, Seq, Sha256, Slot, Standing, Tombstone, Transaction, TxId, TxLimits, TxTopic, Verdict,
    may_hear,
};

use super::presence::MemoryPresence;
use super::sessions::MemorySessions;
use super::{SEQ_STEP, now};
use crate::{
    Append, Appended, ChangedTransactions, Completion, JournalEntry, Mailboxes, Presence, ReadLimit, Registry,
    StoreError, TransactionLog,
};

/// It lives as long as its process, once.
const INCARNATION: Incarnation = Incarnation(*b"in-memory-broker");

pub(super) struct MemoryLog {
    rules: CreationRules,
    rooms: Mutex<BTreeMap<TxId, Room>>,
    mailboxes: Arc<Mailboxes>,
    presence: Arc<MemoryPresence>,
    sessions: Arc<MemorySessions>,
    changed: Arc<ChangedTransactions>,
}

/// One transaction with its log.
struct Room {
    transaction: Transaction,
    slots: HashMap<TxTopic, Slot>,
    log: Vec<Entry>,
}

struct Entry {
    message: Arc<LogMessage>,
    addressees: Vec<(PartyId, Seq)>,
}

impl MemoryLog {
    pub(super) fn new(
        rules: CreationRules,
        mailboxes: Arc<Mailboxes>,
        presence: Arc<MemoryPresence>,
        sessions: Arc<MemorySessions>,
    ) -> Self {
        let changed = Arc::new(ChangedTransactions::new());
        Self { rules, rooms: Mutex::default(), mailboxes, presence, sessions, changed }
    }

    fn rooms(&self) -> MutexGuard<'_, BTreeMap<TxId, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn decide(&self, mut append: Append) -> Result<Appended, Refusal> {
        let Some(receipt) = append.receipt.take() else { return self.decide_message(append) };
        self.sessions.receive(&receipt, || self.decide_message(append))
    }

    fn decide_message(&self, append: Append) -> Result<Appended, Refusal> {
        let mut rooms = self.rooms();
        let offer = Offer { topic: &append.topic, from: &append.author.party, payload: &append.payload, now: now() };
        let tx = append.topic.tx.clone();
        let Some(room) = rooms.get_mut(&tx) else {
            if append.topic.place != Place::Manifest {
                return Err(Refusal::NotAuthorized);
            }
            let mut room =
                Room { transaction: Transaction::create(&offer, &self.rules)?, slots: HashMap::new(), log: Vec::new() };
            let seq = self.accept(&mut room, append);
            rooms.insert(tx.clone(), room);
            self.changed.mark(tx);
            return Ok(Appended { seq, repeated: false });
        };
        let slot = room.slots.get(&append.topic);
        match room.transaction.consider(&offer, slot, &TxLimits::default()) {
            Verdict::Accept => Ok(Appended { seq: self.accept(room, append), repeated: false }),
            Verdict::Repeated(seq) => Ok(Appended { seq, repeated: true }),
            Verdict::Refuse(refusal) => {
                if let (Refusal::SlotTaken { .. }, Some(slot)) = (&refusal, slot) {
                    room.transaction.note_equivocation(&offer, slot);
                    self.changed.mark(tx);
                }
                Err(refusal)
            }
        }
    }

    fn accept(&self, room: &mut Room, append: Append) -> Seq {
        let seq = room.next_seq();
        if append.topic.place.is_slot() {
            room.slots.insert(
                append.topic.clone(),
                Slot { seq, author: append.author.party.clone(), sha256: Sha256::of(&append.payload) },
            );
        }
        self.enter(
            room,
            LogMessage {
                seq,
                at: room.next_at(),
                topic: append.topic,
                from: Some(append.author),
                qos: append.qos,
                properties: append.properties,
                payload: append.payload,
            },
        );
        self.close_if_due(room);
        seq
    }

    fn close_if_due(&self, room: &mut Room) {
        if !room.transaction.closing_due() {
            return;
        }
        let document = room.transaction.state_document(INCARNATION, &|party| self.presence.is_present(party));
        let tx = room.transaction.charter.tx.clone();
        self.enter(
            room,
            LogMessage {
                seq: room.next_seq(),
                at: room.next_at(),
                topic: TxTopic { tx, place: Place::State },
                from: None,
                qos: Qos::ExactlyOnce,
                properties: MessageProperties::default(),
                payload: document.to_bytes(),
            },
        );
    }

    /// The message is in the log from here on; the live copies go out under the lock, so that they keep its order.
    fn enter(&self, room: &mut Room, message: LogMessage) {
        let before = room.transaction.progress.changed;
        let addressees = room.transaction.record(&message);
        let message = Arc::new(message);
        for (party, prev) in &addressees {
            let delivery = Delivery::Log(Addressed { message: message.clone(), prev: *prev });
            self.mailboxes.deliver(party, &delivery);
        }
        if room.transaction.progress.changed != before {
            self.changed.mark(message.topic.tx.clone());
        }
        room.log.push(Entry { message, addressees });
    }
}

impl Room {
    fn head(&self) -> Seq {
        self.log.last().map_or(Seq::ZERO, |entry| entry.message.seq)
    }

    fn next_seq(&self) -> Seq {
        Seq(self.head().0 + SEQ_STEP)
    }

    fn next_at(&self) -> quorate_domain::UnixMs {
        let last = self.log.last().map(|entry| entry.message.at);
        now().max(last.unwrap_or_default())
    }

    fn read(&self, reader: &PartyId, after: Seq, limit: ReadLimit) -> LogPage {
        let head = self.head();
        let mut page = LogPage { messages: Vec::new(), scanned_to: head, head };
        let mut bytes = 0;
        let mut looked_at = after;
        for entry in self.log.iter().filter(|entry| entry.message.seq > after) {
            if may_hear(&self.transaction.charter, &entry.message.topic.place, reader) {
                bytes += entry.message.payload.len();
                let full = page.messages.len() >= limit.messages.max(1) || bytes > limit.bytes;
                if full && !page.messages.is_empty() {
                    page.scanned_to = looked_at;
                    return page;
                }
                page.messages.push(entry.addressed_to(reader));
            }
            looked_at = entry.message.seq;
        }
        page
    }
}

impl Entry {
    fn addressed_to(&self, reader: &PartyId) -> Addressed {
        let prev = self.addressees.iter().find(|(party, _)| party == reader).map_or(Seq::ZERO, |(_, prev)| *prev);
        Addressed { message: self.message.clone(), prev }
    }
}

#[async_trait]
impl TransactionLog for MemoryLog {
    async fn submit(&self, append: Append, completion: Completion) -> Result<(), StoreError> {
        let outcome = self.decide(append);
        completion.complete(outcome);
        Ok(())
    }

    async fn read(&self, tx: &TxId, reader: &PartyId, after: Seq, limit: ReadLimit) -> Result<LogPage, StoreError> {
        let rooms = self.rooms();
        let listed = rooms.get(tx).filter(|room| room.transaction.standing(reader).is_some());
        Ok(listed.map_or_else(
            || LogPage { messages: Vec::new(), scanned_to: after, head: after },
            |room| room.read(reader, after, limit),
        ))
    }

    async fn close(&self, tx: &TxId, by: Closer, reason: String) -> Result<(), Refusal> {
        let mut rooms = self.rooms();
        let room = rooms.get_mut(tx).ok_or(Refusal::NotAuthorized)?;
        room.transaction.close(by, &reason)?;
        self.changed.mark(tx.clone());
        self.close_if_due(room);
        Ok(())
    }
}

#[async_trait]
impl Registry for MemoryLog {
    async fn transaction(&self, tx: &TxId) -> Result<Option<Transaction>, StoreError> {
        Ok(self.rooms().get(tx).map(|room| room.transaction.clone()))
    }

    async fn standings(
        &self,
        party: &PartyId,
        after: Option<&TxId>,
        limit: usize,
    ) -> Result<Vec<Standing>, StoreError> {
        let rooms = self.rooms();
        Ok(rooms
            .range::<TxId, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
            .filter_map(|(_, room)| room.transaction.standing(party))
            .take(limit)
            .collect())
    }

    async fn list(&self, after: Option<&TxId>, limit: usize) -> Result<Vec<TxId>, StoreError> {
        let rooms = self.rooms();
        Ok(rooms
            .range::<TxId, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
            .map(|(tx, _)| tx.clone())
            .take(limit)
            .collect())
    }

    async fn slots(&self, tx: &TxId, limit: usize) -> Result<Vec<(TxTopic, Slot)>, StoreError> {
        let rooms = self.rooms();
        let Some(room) = rooms.get(tx) else {
            return Ok(Vec::new());
        };
        let mut slots: Vec<_> = room.slots.iter().map(|(topic, slot)| (topic.clone(), slot.clone())).collect();
        slots.sort_by_key(|(topic, _)| topic.to_string());
        slots.truncate(limit);
        Ok(slots)
    }

    async fn journal(&self, tx: &TxId, after: Seq, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        let rooms = self.rooms();
        let log = rooms.get(tx).map_or(&[][..], |room| &room.log);
        Ok(log
            .iter()
            .filter(|entry| entry.message.seq > after)
            .take(limit)
            .map(|entry| JournalEntry {
                seq: entry.message.seq,
                at: entry.message.at,
                topic: entry.message.topic.clone(),
                from: entry.message.from.as_ref().map(|author| author.party.clone()),
                bytes: entry.message.payload.len() as u64,
                sha256: Sha256::of(&entry.message.payload),
            })
            .collect())
    }

    fn incarnation(&self) -> Incarnation {
        INCARNATION
    }

    async fn tombstone(&self, _tx: &TxId) -> Result<Option<Tombstone>, StoreError> {
        // Nothing is ever purged here: it ends with its process.
        Ok(None)
    }

    fn changed(&self) -> Arc<ChangedTransactions> {
        self.changed.clone()
    }
}
