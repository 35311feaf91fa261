//! Decides appends and closes, each against the store *and* what the batch already holds. What the decision is, the
//! domain says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_backbone::{Append, Appended, StoreError};
use quorate_domain::{
    Closer, LogMessage, MessageProperties, Offer, PartyId, Place, Qos, Refusal, Seq, Sha256, Slot, Transaction, TxId,
    TxTopic, UnixMs, Verdict, Volume,
};

use super::job::storage_fault;
use super::pending::Pending;
use super::sessions::give_receipt;
use super::{Committer, fault};
use crate::clock;
use crate::metrics::Quota;
use crate::store::{Body, Resident, StoreFault};

impl Committer {
    /// What becomes of an append. An accepted one is in the batch when this returns, with its receipt if it has one.
    pub(super) fn decide_append(&mut self, mut append: Append, pending: &mut Pending) -> Result<Appended, Refusal> {
        let Some(receipt) = append.receipt.take() else { return self.decide_message(append, pending) };
        if let Some(seq) = self.received(&receipt, pending)? {
            return Ok(Appended { seq, repeated: true });
        }
        let appended = self.decide_message(append, pending)?;
        give_receipt(receipt, appended.seq, pending);
        Ok(appended)
    }

    fn decide_message(&mut self, append: Append, pending: &mut Pending) -> Result<Appended, Refusal> {
        let tx = append.topic.tx.clone();
        let known = self.load(&tx, pending).map_err(|error| refusal(&error))?;
        let now = clock::now();
        let offer = Offer { topic: &append.topic, from: &append.author.party, payload: &append.payload, now };
        if !known {
            if append.topic.place != Place::Manifest {
                return Err(Refusal::NotAuthorized);
            }
            return self.create(append, now, pending);
        }
        let slot = self.slot(&append.topic, pending).map_err(|error| refusal(&error))?;
        let resident = resident(pending, &tx);
        match resident.transaction.consider(&offer, slot.as_ref(), &self.bounds.transaction) {
            Verdict::Accept => {
                self.check_room(&append.author.party, &append.topic.place, append.payload.len(), pending)?;
                let seq = self.accept(append, pending).map_err(|error| refusal(&error))?;
                Ok(Appended { seq, repeated: false })
            }
            Verdict::Repeated(seq) => Ok(Appended { seq, repeated: true }),
            Verdict::Refuse(refused) => {
                if let (Refusal::SlotTaken { .. }, Some(slot)) = (&refused, slot) {
                    self.metrics.slots_refused.inc();
                    resident.transaction.note_equivocation(&offer, &slot);
                    pending.moved.insert(tx.clone());
                    pending.changed.insert(tx);
                    pending.sync = true;
                }
                if matches!(refused, Refusal::QuotaExceeded(_)) {
                    self.metrics.quota_refusal(Quota::Transaction);
                }
                Err(refused)
            }
        }
    }

    fn create(&mut self, append: Append, now: UnixMs, pending: &mut Pending) -> Result<Appended, Refusal> {
        let tx = append.topic.tx.clone();
        let offer = Offer { topic: &append.topic, from: &append.author.party, payload: &append.payload, now };
        let transaction = Transaction::create(&offer, &self.rules)?;
        let store = self.shared.store().map_err(|error| refusal(&error))?;
        // An id is used once, ever.
        if pending.purged.contains_key(&tx) || store.tombstone(&tx).map_err(|error| refusal(&error))?.is_some() {
            return Err(Refusal::NotAuthorized);
        }
        if self.restore_unconfirmed.load(Ordering::Acquire) {
            let text =
                "the store was restored from a backup; no transaction begins before the operator has confirmed it";
            return Err(Refusal::QuotaExceeded(text.to_owned()));
        }
        self.check_room(&append.author.party, &Place::Manifest, append.payload.len(), pending)?;
        let key = store.vault().new_key(&tx).map_err(|error| refusal(&error))?;
        pending.batch.put_charter(&transaction);
        let key = key.map(|(key, wrapped)| {
            pending.batch.put_key(&tx, wrapped);
            key
        });
        pending.changed.insert(tx.clone());
        pending.residents.insert(tx, Resident { transaction, last_at: now, key });
        let seq = self.accept(append, pending).map_err(|error| refusal(&error))?;
        Ok(Appended { seq, repeated: false })
    }

    /// What becomes of a close: an edge of the state, and its record.
    pub(super) fn decide_close(
        &mut self,
        tx: &TxId,
        by: Closer,
        reason: &str,
        pending: &mut Pending,
    ) -> Result<(), Refusal> {
        if !self.load(tx, pending).map_err(|error| refusal(&error))? {
            return Err(Refusal::NotAuthorized);
        }
        resident(pending, tx).transaction.close(by, reason)?;
        pending.changed.insert(tx.clone());
        self.close_if_due(tx, pending).map_err(|error| refusal(&error))
    }

    /// Brings a transaction into the batch; false if there is none.
    pub(super) fn load(&mut self, tx: &TxId, pending: &mut Pending) -> Result<bool, StoreFault> {
        if pending.residents.contains_key(tx) {
            return Ok(true);
        }
        if pending.purged.contains_key(tx) {
            return Ok(false);
        }
        // Taken out of the cache while the batch changes it; a batch that fails empties the cache anyway.
        let resident = match self.cache.pop(tx) {
            Some(resident) => Some(resident),
            None => self.shared.store()?.resident(tx)?,
        };
        let known = resident.is_some();
        if let Some(resident) = resident {
            pending.residents.insert(tx.clone(), resident);
        }
        Ok(known)
    }

    fn slot(&self, topic: &TxTopic, pending: &Pending) -> Result<Option<Slot>, StoreFault> {
        if !topic.place.is_slot() {
            return Ok(None);
        }
        match pending.slots.get(topic) {
            Some(slot) => Ok(Some(slot.clone())),
            None => self.shared.store()?.slot(&topic.tx, &topic.place),
        }
    }

    fn accept(&mut self, append: Append, pending: &mut Pending) -> Result<Seq, StoreFault> {
        let tx = append.topic.tx.clone();
        let (seq, at) = next_place(resident(pending, &tx));
        if append.topic.place.is_slot() {
            let slot = Slot { seq, author: append.author.party.clone(), sha256: Sha256::of(&append.payload) };
            pending.batch.put_slot(&tx, &append.topic.place, &slot);
            pending.slots.insert(append.topic.clone(), slot);
        }
        let message = LogMessage {
            seq,
            at,
            topic: append.topic,
            from: Some(append.author),
            qos: append.qos,
            properties: append.properties,
            payload: append.payload,
        };
        self.enter(message, pending)?;
        self.close_if_due(&tx, pending)?;
        Ok(seq)
    }

    /// Appends the closing record where one is due: in the same batch as what ended the transaction.
    fn close_if_due(&mut self, tx: &TxId, pending: &mut Pending) -> Result<(), StoreFault> {
        let incarnation = self.shared.store()?.incarnation();
        let resident = resident(pending, tx);
        if !resident.transaction.closing_due() {
            return Ok(());
        }
        let presence = &self.presence;
        let is_present = |party: &PartyId| presence.is_present(party);
        let payload = resident.transaction.state_document(incarnation, &is_present).to_bytes();
        let (seq, at) = next_place(resident);
        let topic = TxTopic { tx: tx.clone(), place: Place::State };
        let (qos, properties) = (Qos::ExactlyOnce, MessageProperties::default());
        self.enter(LogMessage { seq, at, topic, from: None, qos, properties, payload }, pending)?;
        self.purge_later(tx, at, pending);
        Ok(())
    }

    /// The message is in the log of the batch from here on. What can fail is done before anything is changed.
    fn enter(&mut self, message: LogMessage, pending: &mut Pending) -> Result<(), StoreFault> {
        let LogMessage { seq, topic: TxTopic { tx, place }, properties, payload, .. } = &message;
        let resident = pending.residents.get_mut(tx).expect("loaded before it is decided over");
        let body = Body::of(resident.key.as_deref(), tx, *seq, place, properties, payload)?;
        let (tx, bytes) = (tx.clone(), payload.len());
        let before = resident.transaction.progress.changed;
        let addressees = resident.transaction.record(&message);
        resident.last_at = message.at;
        if resident.transaction.progress.changed != before {
            pending.changed.insert(tx.clone());
        }
        pending.batch.put_message(&resident.transaction, &message, &addressees, &body);
        let counted = message.from.as_ref().map(|author| &author.party).filter(|_| message.topic.place.is_counted());
        self.count(counted, Volume::of_one(bytes), pending);
        pending.moved.insert(tx);
        pending.sync = true;
        pending.copies.push((Arc::new(message), addressees));
        Ok(())
    }
}

/// A transaction that has been loaded into the batch.
fn resident<'a>(pending: &'a mut Pending, tx: &TxId) -> &'a mut Resident {
    pending.residents.get_mut(tx).expect("loaded before it is decided over")
}

/// The next place in a log: its number, and a time not before the one before it.
fn next_place(resident: &Resident) -> (Seq, UnixMs) {
    (Seq(resident.transaction.progress.last_seq.0 + 1), clock::now().max(resident.last_at))
}

/// A failed read, as a publisher is told it.
fn refusal(error: &StoreFault) -> Refusal {
    let told: StoreError = fault(error);
    storage_fault(&told)
}
