//! A message as it arrives, with what the broker says about it.

use bytes::Bytes;
use quorate_domain::{PartyId, Seq, Sha256, UnixMs};
use quorate_wire::{PacketId, Publish, QoS};

/// One delivered message. `from`, `certificate`, `seq`, `prev` and `at` are the broker's word (it refuses publishes
/// that carry such properties), and are absent in MQTT 3.x, on state documents and on ordinary topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS of this delivery.
    pub qos: QoS,
    /// Present when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// Whether it may have come before.
    pub dup: bool,
    /// Whether it was retained for its topic before this subscription was made.
    pub retain: bool,
    /// The verified CN of the publisher (`quorate-from`).
    pub from: Option<PartyId>,
    /// SHA-256 of the publisher's certificate (`quorate-cert`).
    pub certificate: Option<Sha256>,
    /// Its place in the transaction's log (`quorate-seq`).
    pub seq: Option<Seq>,
    /// The place of the message before it that this party may hear (`quorate-prev`).
    pub prev: Option<Seq>,
    /// When the broker took it (`quorate-at`).
    pub at: Option<UnixMs>,
    /// All user properties, in order, the broker's among them.
    pub user_properties: Vec<(String, String)>,
    /// Which connection it came over: packet identifiers mean nothing on another.
    pub(crate) connection: u64,
}

impl Message {
    pub(crate) fn from_publish(publish: Publish, connection: u64) -> Self {
        let user_properties: Vec<(String, String)> = publish
            .properties
            .user_properties
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let property =
            |name: &str| user_properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let number = |name: &str| property(name).and_then(|value| value.parse::<u64>().ok());
        Self {
            from: property("quorate-from").and_then(|value| PartyId::new(value).ok()),
            certificate: property("quorate-cert").and_then(|value| value.parse().ok()),
            seq: number("quorate-seq").map(Seq),
            prev: number("quorate-prev").map(Seq),
            at: number("quorate-at").map(UnixMs),
            topic: publish.topic.to_string(),
            payload: publish.payload,
            qos: publish.qos,
            packet_id: publish.packet_id,
            dup: publish.dup,
            retain: publish.retain,
            user_properties,
            connection,
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_wire::PublishProperties;

    use super::*;

    fn publish(user_properties: &[(&'static str, &'static str)]) -> Publish {
        let user_properties = user_properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "tx/0123456789abcdef/join/alice".into(),
            packet_id: PacketId::new(7),
            properties: PublishProperties { user_properties, ..PublishProperties::default() },
            payload: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn the_brokers_properties_are_typed() {
        let message = Message::from_publish(
            publish(&[("quorate-from", "alice"), ("quorate-seq", "14"), ("quorate-prev", "7"), ("quorate-at", "99")]),
            1,
        );
        assert_eq!(message.from, PartyId::new("alice").ok());
        assert_eq!((message.seq, message.prev, message.at), (Some(Seq(14)), Some(Seq(7)), Some(UnixMs(99))));
        assert_eq!(message.certificate, None);
        assert_eq!(message.user_properties.len(), 4);
    }

    #[test]
    fn a_property_that_does_not_parse_is_absent() {
        let message = Message::from_publish(publish(&[("quorate-from", "-"), ("quorate-seq", "-1")]), 1);
        assert_eq!((message.from, message.seq), (None, None));
    }
}
