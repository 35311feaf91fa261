//! The client's side of QoS 1 and 2: what it has to say to what it hears, and what it sends again when it is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_wire::*;

use super::publish;

/// Publishes that the client has under way at most: the Receive Maximum of the broker.
pub const OUTGOING_MAX: usize = 4;

/// What the client remembers of its session.
#[derive(Debug, Default)]
pub struct Client {
    /// Identifiers of deliveries at QoS 2 that it has heard and that are not released.
    heard: BTreeSet<PacketId>,
    /// What it said and has not seen completed, in the order of the identifiers.
    outgoing: BTreeMap<PacketId, Outgoing>,
    last_id: u16,
}

#[derive(Debug)]
enum Outgoing {
    Published(Box<Publish>),
    Released,
}

/// What a packet brings about.
#[derive(Debug, Default)]
pub struct Answer {
    pub packet: Option<Packet>,
    /// A delivery that the application hears.
    pub is_heard: bool,
}

impl Client {
    pub fn may_publish(&self) -> bool {
        self.outgoing.len() < OUTGOING_MAX
    }

    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.heard.is_empty()
    }

    pub fn publish(&mut self, topic: &str, qos: QoS, payload: &str) -> Packet {
        self.last_id += 1;
        let packet = publish(topic, qos, self.last_id, payload);
        let Packet::Publish(publish) = &packet else { unreachable!() };
        self.outgoing.insert(publish.packet_id.unwrap(), Outgoing::Published(publish.clone()));
        packet
    }

    /// What it says when it is back (MQTT5 4.4.0-1).
    pub fn resends(&self) -> VecDeque<Packet> {
        let resend = |(packet_id, outgoing): (&PacketId, &Outgoing)| match outgoing {
            Outgoing::Published(publish) => {
                let mut publish = publish.clone();
                publish.dup = true;
                Packet::Publish(publish)
            }
            Outgoing::Released => Packet::PubRel(success(*packet_id)),
        };
        self.outgoing.iter().map(resend).collect()
    }

    pub fn answer(&mut self, packet: &Packet) -> Answer {
        let packet = match packet {
            Packet::Publish(publish) => return self.hear(publish),
            Packet::PubRel(ack) => {
                let known = self.heard.remove(&ack.packet_id);
                assert!(!known || ack.reason_code == ReasonCode::Success, "the broker forgot {}", ack.packet_id);
                Some(Packet::PubComp(success(ack.packet_id)))
            }
            Packet::PubRec(ack) if ack.reason_code.is_error() => {
                self.outgoing.remove(&ack.packet_id);
                None
            }
            Packet::PubRec(ack) => {
                self.outgoing.insert(ack.packet_id, Outgoing::Released);
                Some(Packet::PubRel(success(ack.packet_id)))
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                self.outgoing.remove(&ack.packet_id);
                None
            }
            _ => None,
        };
        Answer { packet, is_heard: false }
    }

    fn hear(&mut self, publish: &Publish) -> Answer {
        let Some(packet_id) = publish.packet_id else { return Answer { packet: None, is_heard: true } };
        if publish.qos == QoS::AtLeastOnce {
            return Answer { packet: Some(Packet::PubAck(success(packet_id))), is_heard: true };
        }
        let is_heard = self.heard.insert(packet_id);
        // A message that is not sent again comes under an identifier that is free.
        assert!(is_heard || publish.dup, "{packet_id} names two deliveries");
        Answer { packet: Some(Packet::PubRec(success(packet_id))), is_heard }
    }
}

pub fn success(packet_id: PacketId) -> Ack {
    Ack { packet_id, reason_code: ReasonCode::Success, properties: None }
}
