//! A transaction with the little that a backbone does around it: numbers, slots, the closing record.

mod consider;
mod random;
mod states;

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::fixtures::{NOW, created, manifest_json, party, topic};
use crate::*;

#[derive(Debug, Clone)]
pub struct Room {
    pub transaction: Transaction,
    pub slots: HashMap<TxTopic, Slot>,
    pub log: Vec<LogMessage>,
    pub limits: TxLimits,
    next_seq: u64,
}

impl Room {
    /// Of alice, bob and carol with threshold 2; `fields` are set over that.
    pub fn open(fields: Value) -> Room {
        let mut manifest = manifest_json("alice", &["alice", "bob", "carol"]);
        for (field, value) in fields.as_object().expect("an object") {
            manifest[field] = value.clone();
        }
        let initiator = manifest["initiator"].as_str().expect("a string").to_owned();
        let (transaction, payload) = created(manifest);
        let mut room =
            Room { transaction, slots: HashMap::new(), log: Vec::new(), limits: TxLimits::default(), next_seq: 7 };
        room.append(topic("manifest"), Some(&party(&initiator)), payload);
        room
    }

    /// Running, since nobody needs to join.
    pub fn running() -> Room {
        Room::open(json!({ "require_join": false }))
    }

    pub fn consider(&self, from: &str, place: &str, payload: &[u8]) -> Verdict {
        let topic = topic(place);
        let payload = Bytes::copy_from_slice(payload);
        let offer = Offer { topic: &topic, from: &party(from), payload: &payload, now: NOW };
        self.transaction.consider(&offer, self.slots.get(&topic), &self.limits)
    }

    /// What a backbone does with a publish.
    pub fn publish(&mut self, from: &str, place: &str, payload: &[u8]) -> Verdict {
        let topic = topic(place);
        let payload = Bytes::copy_from_slice(payload);
        let from = party(from);
        let offer = Offer { topic: &topic, from: &from, payload: &payload, now: NOW };
        let slot = self.slots.get(&topic);
        let verdict = self.transaction.consider(&offer, slot, &self.limits);
        match (&verdict, slot) {
            (Verdict::Refuse(Refusal::SlotTaken { .. }), Some(slot)) => {
                self.transaction.note_equivocation(&offer, slot)
            }
            (Verdict::Accept, _) => {
                self.append(topic, Some(&from), payload);
                self.close_if_due();
            }
            _ => {}
        }
        verdict
    }

    pub fn join(&mut self, name: &str) -> Verdict {
        let join = json!({ "manifest_sha256": self.transaction.charter.manifest_sha256, "data": "k" });
        self.publish(name, &format!("join/{name}"), join.to_string().as_bytes())
    }

    pub fn close_if_due(&mut self) {
        if self.transaction.closing_due() {
            let document = self.document().to_bytes();
            self.append(topic("state"), None, document);
        }
    }

    /// With everybody present.
    pub fn document(&self) -> StateDocument {
        self.transaction.state_document(Incarnation([7; 16]), &|_| true)
    }

    pub fn state(&self) -> TxState {
        self.transaction.progress.state
    }

    fn append(&mut self, topic: TxTopic, from: Option<&PartyId>, payload: Bytes) {
        let seq = Seq(self.next_seq);
        self.next_seq += 7;
        if let Some(author) = from.filter(|_| topic.place.is_slot()) {
            let slot = Slot { seq, author: author.clone(), sha256: Sha256::of(&payload) };
            self.slots.insert(topic.clone(), slot);
        }
        let from = from.map(|party| Author { party: party.clone(), certificate: Sha256::of(b"certificate") });
        let (qos, properties) = (Qos::AtLeastOnce, MessageProperties::default());
        let message = LogMessage { seq, at: NOW, topic, from, qos, properties, payload };
        self.transaction.record(&message);
        self.log.push(message);
    }
}
