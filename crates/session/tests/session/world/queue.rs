//! The queue of one session as a backbone keeps it: what was routed to it, in order, and what of it is done with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_domain::*;

use super::Endpoint;

#[derive(Default)]
pub struct Queue {
    entries: BTreeMap<Seq, Queued>,
    last: Seq,
}

impl Queue {
    fn push(&mut self, manner: Manner, message: OrdinaryMessage) -> Queued {
        let seq = Seq(self.last.0 + 7);
        let queued = Queued { seq, prev: self.last, manner, message: Arc::new(message) };
        self.entries.insert(seq, queued.clone());
        self.last = seq;
        queued
    }

    pub fn page(&self, after: Seq, messages_max: usize, dequeued: &BTreeSet<Seq>) -> QueuePage {
        let waiting = self.entries.values().filter(|queued| queued.seq > after && !dequeued.contains(&queued.seq));
        let mut entries: Vec<Queued> = waiting.take(messages_max + 1).cloned().collect();
        let is_end = entries.len() <= messages_max;
        entries.truncate(messages_max);
        QueuePage { entries, is_end }
    }

    /// What waits for ever unless it is taken.
    pub fn waiting(&self, dequeued: &BTreeSet<Seq>) -> usize {
        self.entries.keys().filter(|seq| !dequeued.contains(seq)).count()
    }
}

pub fn manner(qos: Qos) -> Manner {
    Manner { qos, retain: false, identifiers: Vec::new(), share: None }
}

pub fn message(topic: &str, qos: Qos, payload: &str) -> OrdinaryMessage {
    OrdinaryMessage {
        at: UnixMs(1_700_000_000_000),
        topic: topic.to_owned(),
        from: None,
        qos,
        retain: false,
        properties: MessageProperties::default(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

impl Endpoint {
    /// Puts a message into the queue of this session and gives its live copy.
    pub fn route(&mut self, qos: Qos, topic: &str, payload: &str) -> Delivery {
        Delivery::Queued(Box::new(self.queue.push(manner(qos), message(topic, qos, payload))))
    }

    /// The same, and it arrives.
    pub fn bring(&mut self, qos: Qos, topic: &str, payload: &str) {
        let copy = self.route(qos, topic, payload);
        self.input(|session, _| session.handle_delivery(copy));
    }

    /// A message as it is routed, in whatever manner.
    pub fn bring_so(&mut self, manner: Manner, message: OrdinaryMessage) {
        let copy = Delivery::Queued(Box::new(self.queue.push(manner, message)));
        self.input(|session, _| session.handle_delivery(copy));
    }

    /// A copy at QoS 0, which no queue holds.
    pub fn bring_loose(&mut self, topic: &str, payload: &str) {
        let message = Arc::new(message(topic, Qos::AtMostOnce, payload));
        let copy = Queued { seq: Seq::ZERO, prev: Seq::ZERO, manner: manner(Qos::AtMostOnce), message };
        self.input(|session, _| session.handle_delivery(Delivery::Queued(Box::new(copy))));
    }

    /// What was heard under ordinary topics, in order.
    pub fn payloads(&self) -> Vec<String> {
        let ordinary = self.heard.iter().filter(|heard| heard.seq == Seq::ZERO);
        ordinary.map(|heard| String::from_utf8_lossy(&heard.payload).into_owned()).collect()
    }
}

/// Rules that let every party do everything with ordinary topics.
pub fn everything_open() -> Arc<AccessRules> {
    Arc::new(AccessRules::new(
        vec![AccessRule {
            permission: Permission::Allow,
            actions: vec![Action::Publish, Action::Subscribe],
            topics: vec!["#".parse().unwrap()],
            parties: vec!["*".parse().unwrap()],
        }],
        Vec::new(),
    ))
}
