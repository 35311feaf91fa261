//! How live copies travel from the committer to the mailboxes: which lane a party is on, who has a mailbox there, and
//! what happens where a copy is lost. What carries them, rumqttd (`lanes`) or plain channels (`channels`), is behind
//! [`Carrier`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use quorate_backbone::{Fanout, Mailbox, Mailboxes};
use quorate_domain::{
    Addressed, Delivery, LogMessage, Manner, MessageProperties, OrdinaryMessage, PartyId, Place, Queued, Seq,
    SessionKey, TxId,
};
use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;

/// What the sessions that one copy names take in its header; beyond, they are named in another copy.
const HEARERS_BYTES_MAX: usize = 16 << 10;
/// Bytes of one lane that may be on their way. A live copy beyond it is dropped: the log has it.
pub(crate) const LANE_BYTES_MAX: u64 = 12 << 20;
/// The same in messages.
pub(crate) const LANE_MESSAGES_MAX: u64 = 16_384;
/// What a header holds at most beside what is counted below: ids, round, author, count.
const HEADER_FIXED_BYTES: usize = 512;
/// One addressee in a header: an id of at most 64 bytes, and a number.
const ADDRESSEE_BYTES: usize = 80;
/// What is written around each user property.
const USER_PROPERTY_BYTES: usize = 16;

/// One copy for the parties of one lane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LiveCopy {
    pub(crate) cargo: Cargo,
    /// With each addressee the message before this one that it was sent (of no meaning for a state).
    pub(crate) addressees: Vec<(PartyId, Seq)>,
}

/// What is carried.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cargo {
    Message(Arc<LogMessage>),
    State {
        tx: TxId,
        seq: Seq,
        document: Bytes,
    },
    /// Of an ordinary topic, with those who hear it.
    Ordinary {
        message: Arc<OrdinaryMessage>,
        hearers: Vec<Hearer>,
    },
}

/// A session that hears a message of an ordinary topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hearer {
    pub(crate) key: Arc<SessionKey>,
    /// Its place in the session's queue; [`Seq::ZERO`]: it is not in the queue.
    pub(crate) seq: Seq,
    pub(crate) prev: Seq,
    pub(crate) manner: Manner,
}

/// What carries copies along the lanes.
pub(crate) trait Carrier: Send + Sync {
    /// Takes a copy, or gives it back if there is no room. Never waits.
    fn carry(&self, lane: usize, copy: LiveCopy) -> Result<(), LiveCopy>;
}

/// The mailboxes of one lane, with what is counted of them.
pub(crate) struct LaneEnd {
    pub(crate) lane: usize,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) metrics: Arc<Metrics>,
}

/// All lanes.
pub(crate) struct LiveFanout {
    lanes: Vec<Arc<Mailboxes>>,
    carrier: Box<dyn Carrier>,
    metrics: Arc<Metrics>,
}

impl LiveFanout {
    /// Lanes with these mailboxes, and what carries copies to them.
    pub(crate) fn new(lanes: Vec<Arc<Mailboxes>>, carrier: Box<dyn Carrier>, metrics: Arc<Metrics>) -> Self {
        Self { lanes, carrier, metrics }
    }

    /// Sends a message that is durable on its way. Whether a party has a mailbox is looked up now, after it became
    /// durable: a session that registers after this look finds the message in the log.
    pub(crate) fn hand_message(&self, message: Arc<LogMessage>, addressees: &[(PartyId, Seq)]) {
        self.hand(Cargo::Message(message), addressees.iter().cloned());
    }

    fn hand(&self, cargo: Cargo, addressees: impl Iterator<Item = (PartyId, Seq)>) {
        let mut present: Vec<_> = addressees
            .map(|(party, prev)| (self.lane_of(&party), (party, prev)))
            .filter(|(lane, (party, _))| self.lanes[*lane].has(party))
            .collect();
        present.sort_by_key(|(lane, _)| *lane);
        for of_lane in present.chunk_by(|(one, _), (other, _)| one == other) {
            let lane = of_lane[0].0;
            let addressees = of_lane.iter().map(|(_, addressee)| addressee.clone()).collect();
            if let Err(lost) = self.carrier.carry(lane, LiveCopy { cargo: cargo.clone(), addressees }) {
                self.metrics.copies_dropped.inc();
                for (party, _) in &lost.addressees {
                    self.lanes[lane].mark_behind(party);
                }
            }
        }
    }

    /// Sends a message of an ordinary topic on its way to the sessions that are connected.
    pub(crate) fn hand_ordinary(&self, message: &Arc<OrdinaryMessage>, hearers: Vec<Hearer>) {
        let with_lanes = hearers.into_iter().map(|hearer| (self.lane_of(&hearer.key.party), hearer));
        let mut present: Vec<_> =
            with_lanes.filter(|(lane, hearer)| self.lanes[*lane].has_session(&hearer.key)).collect();
        present.sort_by_key(|(lane, _)| *lane);
        let mut present = present.into_iter().peekable();
        while let Some((lane, first)) = present.next() {
            let mut bytes = first.bytes();
            let mut hearers = vec![first];
            while let Some((_, hearer)) = present.next_if(|(next, hearer)| {
                bytes += hearer.bytes();
                *next == lane && bytes <= HEARERS_BYTES_MAX
            }) {
                hearers.push(hearer);
            }
            let cargo = Cargo::Ordinary { message: message.clone(), hearers };
            if let Err(lost) = self.carrier.carry(lane, LiveCopy { cargo, addressees: Vec::new() }) {
                self.lose_ordinary(lane, &lost);
            }
        }
    }

    /// Those who find the message in their queues are told to look there; for the others it is lost (QoS 0).
    fn lose_ordinary(&self, lane: usize, lost: &LiveCopy) {
        self.metrics.copies_dropped.inc();
        let Cargo::Ordinary { hearers, .. } = &lost.cargo else { return };
        for hearer in hearers {
            match hearer.seq {
                Seq::ZERO => self.metrics.deliveries_dropped.inc(),
                _ => self.lanes[lane].mark_session_behind(&hearer.key),
            }
        }
    }

    /// Whether a session has a mailbox.
    pub(crate) fn is_connected(&self, key: &SessionKey) -> bool {
        self.lanes[self.lane_of(&key.party)].has_session(key)
    }

    /// A transaction is gone: those of its members who are connected need not keep a place for it. Straight into their
    /// mailboxes, since nothing comes after it; where there is no room, they find out as they look for what they missed.
    pub(crate) fn tell_purged(&self, tx: &TxId, members: &[PartyId]) {
        for party in members {
            self.lanes[self.lane_of(party)].deliver(party, &Delivery::Purged(tx.clone()));
        }
    }

    /// Something was kept of which nobody was told.
    pub(crate) fn mark_all_behind(&self) {
        for mailboxes in &self.lanes {
            mailboxes.mark_all_behind();
        }
    }

    /// All sessions of a party are on one lane. The hash has fixed keys; that a party may choose its name to share a lane
    /// costs it and its neighbours nothing but evenness.
    fn lane_of(&self, party: &PartyId) -> usize {
        let mut hasher = DefaultHasher::new();
        party.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.lanes.len() as u64).expect("less than the number of lanes")
    }
}

impl Fanout for LiveFanout {
    fn mailbox(&self, key: &SessionKey) -> Mailbox {
        self.lanes[self.lane_of(&key.party)].register(key)
    }

    fn publish_state(&self, addressees: &[PartyId], tx: &TxId, seq: Seq, document: Bytes) {
        let cargo = Cargo::State { tx: tx.clone(), seq, document };
        self.hand(cargo, addressees.iter().map(|party| (party.clone(), Seq::ZERO)));
    }
}

impl LaneEnd {
    /// Puts a copy into the mailboxes of its addressees.
    pub(crate) fn deliver(&self, copy: &LiveCopy) {
        let mut lost = 0;
        if let Cargo::Ordinary { message, hearers } = &copy.cargo {
            for hearer in hearers {
                let lost_here = self.mailboxes.deliver_to(&hearer.key, hearer.delivery(message));
                if hearer.seq == Seq::ZERO {
                    self.metrics.deliveries_dropped.inc_by(lost_here as u64);
                }
                lost += lost_here;
            }
        }
        for (party, prev) in &copy.addressees {
            let delivery = match &copy.cargo {
                Cargo::Ordinary { .. } => continue,
                Cargo::Message(message) => Delivery::Log(Addressed { message: message.clone(), prev: *prev }),
                Cargo::State { tx, seq, document } => {
                    Delivery::State { tx: tx.clone(), seq: *seq, document: document.clone() }
                }
            };
            lost += self.mailboxes.deliver(party, &delivery);
        }
        if lost > 0 {
            self.metrics.mailbox_overflows.inc_by(lost as u64);
        }
    }

    /// Something was lost, and it is not known for whom.
    pub(crate) fn mark_all_behind(&self) {
        self.metrics.lane_gaps.inc();
        self.mailboxes.mark_all_behind();
    }
}

impl LiveCopy {
    /// What this copy counts for in the bound of its lane, in bytes: its payload, its header, and as much again for the
    /// topic that weighs what the header weighs (see `lanes::header`).
    pub(crate) fn weight(&self) -> u64 {
        let payload = match &self.cargo {
            Cargo::Message(message) => message.payload.len(),
            Cargo::State { document, .. } => document.len(),
            Cargo::Ordinary { message, .. } => message.payload.len(),
        };
        (payload + 2 * self.header_bytes()) as u64
    }

    /// All but the payload, in bytes: never less than it takes when it is written.
    pub(crate) fn header_bytes(&self) -> usize {
        let of_message = match &self.cargo {
            Cargo::Message(message) => properties_bytes(&message.properties) + free_form_bytes(&message.topic.place),
            Cargo::State { .. } => 0,
            Cargo::Ordinary { message, hearers } => {
                let of_hearers = hearers.iter().map(Hearer::bytes).sum::<usize>();
                properties_bytes(&message.properties) + message.topic.len() + of_hearers
            }
        };
        HEADER_FIXED_BYTES + ADDRESSEE_BYTES * self.addressees.len() + of_message
    }
}

impl Hearer {
    fn delivery(&self, message: &Arc<OrdinaryMessage>) -> Delivery {
        let Hearer { seq, prev, manner, .. } = self.clone();
        Delivery::Queued(Box::new(Queued { seq, prev, manner, message: message.clone() }))
    }

    /// What it takes in a header at most.
    fn bytes(&self) -> usize {
        let share = self.manner.share.as_ref().map_or(0, |share| share.group.len() + share.filter.len());
        ADDRESSEE_BYTES + self.key.client_id.len() + 5 * self.manner.identifiers.len() + share + 32
    }
}

fn properties_bytes(properties: &MessageProperties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let user = properties.user_properties.iter().map(|(name, value)| name.len() + value.len() + USER_PROPERTY_BYTES);
    text(&properties.content_type)
        + text(&properties.response_topic)
        + properties.correlation_data.as_ref().map_or(0, Bytes::len)
        + user.sum::<usize>()
}

fn free_form_bytes(place: &Place) -> usize {
    match place {
        Place::Message { rest, .. } => rest.len(),
        _ => 0,
    }
}
