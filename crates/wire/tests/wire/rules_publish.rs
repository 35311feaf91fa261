//! PUBLISH and its acknowledgements.

use quorate_wire::{Ack, DecodeError, Packet, Publish, QoS, ReasonCode, Version};

use crate::peers::{BEFORE_5, Peer, SINCE_3_1_1, VERSIONS, join, packet};

fn accepted(peer: Peer, bytes: &[u8]) -> Publish {
    match peer.accepted(bytes) {
        Packet::Publish(publish) => *publish,
        other => panic!("{other:?}"),
    }
}

/// A PUBLISH of QoS 0 to `t` in 5.0 with these properties.
fn with(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &join(&[b"\0\x01t", &[properties.len() as u8], properties, b"p"]))
}

#[test]
fn flags_are_read_in_both_directions() {
    for version in VERSIONS {
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        for peer in [Peer::Client(version), Peer::Server(version)] {
            let read = accepted(peer, &packet(0x3D, &join(&[b"\0\x01t\0\x07", tail, b"p"])));
            assert_eq!((read.dup, read.qos, read.retain), (true, QoS::ExactlyOnce, true));
            assert_eq!(read.packet_id.map(u16::from), Some(7));
            let read = accepted(peer, &packet(0x30, &join(&[b"\0\x01t", tail])));
            assert_eq!((read.dup, read.qos, read.retain), (false, QoS::AtMostOnce, false));
            assert_eq!((read.packet_id, read.payload.len()), (None, 0), "MQTT5 2.2.1-2");
        }
    }
}

#[test]
fn qos_3_is_malformed() {
    for version in VERSIONS {
        for first_byte in [0x36, 0x37, 0x3E, 0x3F] {
            Peer::Client(version).malformed(&packet(first_byte, b"\0\x01t\0\x01"), "MQTT5 3.3.1-4");
        }
    }
}

#[test]
fn dup_is_zero_at_qos_0() {
    for version in SINCE_3_1_1 {
        Peer::Client(version).malformed(&packet(0x38, b"\0\x01t\0"), "MQTT5 3.3.1-2");
        Peer::Server(version).malformed(&packet(0x39, b"\0\x01t\0"), "MQTT5 3.3.1-2");
    }
    // In 3.1 it merely does not apply (MQTT3.1 2.1).
    let read = accepted(Peer::Client(Version::V3_1), &packet(0x38, b"\0\x01t"));
    assert!(!read.dup);
}

#[test]
fn the_topic_is_a_topic_name() {
    for version in VERSIONS {
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        for topic in [&b"\0\x01+"[..], b"\0\x01#", b"\0\x03a/+", b"\0\x03a#b"] {
            let bytes = packet(0x30, &join(&[topic, tail]));
            Peer::Client(version).refused(&bytes, "MQTT5 4.7.0-1", ReasonCode::TopicNameInvalid);
        }
    }
    for version in BEFORE_5 {
        let bytes = packet(0x30, b"\0\0");
        Peer::Client(version).refused(&bytes, "MQTT5 4.7.3-1", ReasonCode::TopicNameInvalid);
    }
}

#[test]
fn an_alias_may_stand_for_the_topic_in_5() {
    let client = Peer::Client(Version::V5);
    client.protocol_error(&packet(0x30, b"\0\0\0"), "MQTT5 3.3.2.1");
    let read = accepted(client, &packet(0x30, b"\0\0\x03\x23\0\x09"));
    assert_eq!((read.topic.len(), read.properties.topic_alias.map(u16::from)), (0, Some(9)));
    client.refused(&with(b"\x23\0\0"), "MQTT5 3.3.2.3.4", ReasonCode::TopicAliasInvalid);
}

#[test]
fn packet_identifiers_are_not_zero() {
    for version in VERSIONS {
        for first_byte in [0x32, 0x34, 0x3A] {
            Peer::Client(version).protocol_error(&packet(first_byte, b"\0\x01t\0\0\0"), "MQTT5 2.2.1-3");
        }
        for first_byte in [0x40, 0x50, 0x62, 0x70] {
            for peer in [Peer::Client(version), Peer::Server(version)] {
                peer.protocol_error(&[first_byte, 2, 0, 0], "MQTT5 2.2.1-3");
            }
        }
    }
}

#[test]
fn publish_properties_have_their_values_and_come_once() {
    let client = Peer::Client(Version::V5);
    let all = b"\x01\x01\x02\0\0\0\x05\x23\0\x01\x08\0\x01r\x09\0\x02\0\xFF\x26\0\0\0\0\x03\0\x01c\x26\0\x01k\0\0";
    let properties = accepted(client, &with(all)).properties;
    assert_eq!(properties.payload_format_indicator, Some(true));
    assert_eq!(properties.message_expiry_interval_s, Some(5));
    assert_eq!(properties.topic_alias.map(u16::from), Some(1));
    assert_eq!(properties.response_topic, Some("r".into()));
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"\0\xFF"[..]));
    assert_eq!(properties.content_type, Some("c".into()));
    assert_eq!(properties.user_properties.len(), 2);
    for (property, clause) in [
        (&b"\x01\x01"[..], "MQTT5 3.3.2.3.2"),
        (b"\x02\0\0\0\x05", "MQTT5 3.3.2.3.3"),
        (b"\x23\0\x01", "MQTT5 3.3.2.3.4"),
        (b"\x08\0\x01r", "MQTT5 3.3.2.3.5"),
        (b"\x09\0\0", "MQTT5 3.3.2.3.6"),
        (b"\x03\0\0", "MQTT5 3.3.2.3.9"),
    ] {
        client.accepted(&with(property));
        let error = client.decoder_refusal(&with(&join(&[property, property])));
        assert!(matches!(error, DecodeError::PropertyTwice(_)), "{error}");
        assert_eq!(error.clause(), clause);
    }
    client.protocol_error(&with(b"\x01\x02"), "MQTT5 3.3.2.3.2");
    for topic in [&b"\x08\0\x01+"[..], b"\x08\0\x03a/#"] {
        client.refused(&with(topic), "MQTT5 4.7.0-1", ReasonCode::TopicNameInvalid);
    }
    client.refused(&with(b"\x08\0\0"), "MQTT5 4.7.3-1", ReasonCode::TopicNameInvalid);
    for identifier in [0x00, 0x11, 0x12, 0x15, 0x18, 0x1F, 0x21, 0x22, 0x24, 0x27, 0x2A, 0x7F] {
        client.malformed(&with(&[identifier, 0, 0, 0, 0]), "MQTT5 2.2.2.2");
    }
}

#[test]
fn texts_in_properties_are_well_formed() {
    for identifier in [0x08, 0x03] {
        let client = Peer::Client(Version::V5);
        client.malformed(&with(&[identifier, 0, 2, b'a', 0xFF]), "MQTT5 1.5.4-1");
        client.malformed(&with(&[identifier, 0, 2, b'a', 0]), "MQTT5 1.5.4-2");
    }
}

#[test]
fn subscription_identifiers_come_from_the_server_and_may_be_several() {
    let bytes = with(b"\x0B\x01\x0B\xFF\xFF\xFF\x7F\x0B\x01");
    let read = accepted(Peer::Server(Version::V5), &bytes);
    assert_eq!(read.properties.subscription_identifiers, [1, 268_435_455, 1], "MQTT5 3.3.4-5");
    Peer::Client(Version::V5).protocol_error(&bytes, "MQTT5 3.3.4-6");
    Peer::Server(Version::V5).protocol_error(&with(b"\x0B\0"), "MQTT5 3.8.2.1.2");
}

#[test]
fn a_payload_is_all_that_is_left() {
    let payload = [0xA5; 5000];
    for version in VERSIONS {
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        let read = accepted(Peer::Client(version), &packet(0x30, &join(&[b"\0\x01t", tail, &payload])));
        assert_eq!(read.payload, payload[..]);
    }
}

fn ack_of(packet: Packet) -> Ack {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack,
        other => panic!("{other:?}"),
    }
}

#[test]
fn acknowledgements_have_three_lengths_in_5() {
    for peer in [Peer::Client(Version::V5), Peer::Server(Version::V5)] {
        for (first_byte, code) in [(0x40, 0x87), (0x50, 0x10), (0x62, 0x92), (0x70, 0x92)] {
            let ack = ack_of(peer.accepted(&[first_byte, 2, 1, 2]));
            assert_eq!((ack.packet_id.get(), ack.reason_code), (0x102, ReasonCode::Success));
            for bytes in [&[first_byte, 3, 1, 2, code][..], &[first_byte, 4, 1, 2, code, 0]] {
                let ack = ack_of(peer.accepted(bytes));
                assert_eq!((ack.reason_code.as_u8(), ack.properties), (code, None));
            }
            let body = join(&[&[1, 2, code], b"\x0B\x1F\0\x01r\x26\0\x01k\0\x01v"]);
            let ack = ack_of(peer.accepted(&packet(first_byte, &body)));
            let properties = ack.properties.expect("there are some");
            assert_eq!(properties.reason_string, Some("r".into()));
            assert_eq!(properties.user_properties, [("k".into(), "v".into())]);
            let body = join(&[&[1, 2, code], b"\x08\x1F\0\x01r\x1F\0\x01r"]);
            peer.protocol_error(&packet(first_byte, &body), "MQTT5 3.2.2.3.9");
            let body = join(&[&[1, 2, code], b"\x02\x01\x01"]);
            peer.malformed(&packet(first_byte, &body), "MQTT5 2.2.2.2");
            peer.malformed(&[first_byte, 5, 1, 2, code, 0, 0], "MQTT5 2.1.4");
            peer.malformed(&[first_byte, 4, 1, 2, code, 1], "MQTT5 2.2.2.1");
        }
    }
}

#[test]
fn acknowledgements_take_their_listed_reason_codes_only() {
    let delivery = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let release = [0x00, 0x92];
    for (first_byte, listed, clause) in [
        (0x40, &delivery[..], "MQTT5 3.4.2-1"),
        (0x50, &delivery[..], "MQTT5 3.5.2-1"),
        (0x62, &release[..], "MQTT5 3.6.2-1"),
        (0x70, &release[..], "MQTT5 3.7.2-1"),
    ] {
        for code in 0..=u8::MAX {
            let bytes = [first_byte, 3, 0, 1, code];
            match listed.contains(&code) {
                true => drop(Peer::Client(Version::V5).accepted(&bytes)),
                false => drop(Peer::Client(Version::V5).protocol_error(&bytes, clause)),
            }
        }
    }
}
