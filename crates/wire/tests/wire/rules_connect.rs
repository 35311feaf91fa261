//! CONNECT and what answers it.

use bytes::{Bytes, BytesMut};
use quorate_wire::{
    ByteString, ConnAck, ConnAckProperties, Connect, DecodeError, Decoder, Packet, QoS, ReasonCode, Version, encode,
};

use crate::peers::{BEFORE_5, PACKET_BYTES_MAX, Peer, SINCE_3_1_1, VERSIONS, field, join, packet};

const CLEAN: u8 = 0x02;

/// A CONNECT with these flags, and after the client identifier `c` these fields.
fn connect(version: Version, flags: u8, fields: &[u8]) -> Vec<u8> {
    connect_with(version, flags, b"", b"c", fields)
}

fn connect_with(version: Version, flags: u8, properties: &[u8], client_id: &[u8], fields: &[u8]) -> Vec<u8> {
    let name: &[u8] = match version {
        Version::V3_1 => b"\0\x06MQIsdp\x03",
        Version::V3_1_1 => b"\0\x04MQTT\x04",
        Version::V5 => b"\0\x04MQTT\x05",
    };
    let properties = match version {
        Version::V5 => join(&[&[properties.len() as u8], properties]),
        _ => Vec::new(),
    };
    packet(0x10, &join(&[name, &[flags, 0, 60], &properties, &field(client_id), fields]))
}

fn accepted(bytes: &[u8]) -> Connect {
    match Peer::NewClient.accepted(bytes) {
        Packet::Connect(connect) => *connect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_connect_is_read_in_every_version() {
    for version in VERSIONS {
        let will_properties: &[u8] = if version == Version::V5 { b"\x05\x18\0\0\0\x07" } else { b"" };
        let fields = join(&[will_properties, b"\0\x01w", b"\0\x02\0\xFF", b"\0\x01u", b"\0\x02\xFF\0"]);
        let read = accepted(&connect(version, 0xF6 & !0x10 | 0x08, &fields));
        assert_eq!(read.version, version);
        assert_eq!((read.clean_start, read.keep_alive_s), (true, 60));
        assert_eq!(read.client_id, "c");
        let will = read.will.expect("the flag is set");
        assert_eq!((will.topic.as_ref() as &str, &will.payload[..]), ("w", &b"\0\xFF"[..]));
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
        assert_eq!(will.delay_interval_s, (version == Version::V5).then_some(7));
        assert_eq!(read.username, Some(ByteString::from_static("u")));
        assert_eq!(read.password, Some(Bytes::from_static(b"\xFF\0")), "a password is binary (MQTT5 3.1.3.6)");
    }
}

#[test]
fn the_protocol_name_is_exact() {
    for name in [&b"\0\x04MQTt\x04"[..], b"\0\x06MQISDP\x03", b"\0\x00\x04", b"\0\x05MQTT \x04", b"\0\x03MQT\x04"] {
        let bytes = packet(0x10, &join(&[name, &[CLEAN, 0, 60, 0, 1, b'c']]));
        let error = Peer::NewClient.refused(&bytes, "MQTT5 3.1.2-1", ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(error.answer(), None, "it may be no MQTT client at all");
    }
    Peer::NewClient.malformed(&packet(0x10, b"\0\x04MQT"), "MQTT5 2.1.4");
}

#[test]
fn an_unsupported_version_is_answered_in_the_shape_that_it_reads() {
    for (name, level, shape) in [
        (&b"\0\x04MQTT"[..], 0, Version::V3_1_1),
        (b"\0\x04MQTT", 3, Version::V3_1_1),
        (b"\0\x04MQTT", 6, Version::V5),
        (b"\0\x04MQTT", 0x7F, Version::V5),
        // Bridges of mosquitto set the highest bit, and try again without it.
        (b"\0\x04MQTT", 0x84, Version::V3_1_1),
        (b"\0\x04MQTT", 0x85, Version::V5),
        (b"\0\x06MQIsdp", 0x83, Version::V3_1),
        (b"\0\x06MQIsdp", 4, Version::V3_1),
        (b"\0\x06MQIsdp", 5, Version::V3_1),
    ] {
        // What follows the level is not read: a later version may have anything there.
        let bytes = packet(0x10, &join(&[name, &[level], b"\xFF\xFF"]));
        let error = Peer::NewClient.refused(&bytes, "MQTT5 3.1.2-2", ReasonCode::UnsupportedProtocolVersion);
        let connack = Packet::ConnAck(Box::new(ConnAck {
            session_present: false,
            reason_code: ReasonCode::UnsupportedProtocolVersion,
            properties: ConnAckProperties::default(),
        }));
        let mut expected = BytesMut::new();
        encode(&connack, shape, &mut expected).expect("a sound packet");
        assert_eq!(error.answer(), Some(expected.freeze()), "MQTT3.1.1 3.1.2-2, level {level}");
    }
}

#[test]
fn the_reserved_flag_is_zero_since_3_1_1() {
    for version in SINCE_3_1_1 {
        Peer::NewClient.malformed(&connect(version, CLEAN | 1, b""), "MQTT5 3.1.2-3");
    }
    accepted(&connect(Version::V3_1, CLEAN | 1, b""));
}

#[test]
fn a_will_that_is_not_there_has_no_qos_and_no_retain() {
    for version in SINCE_3_1_1 {
        for qos in [0x08, 0x10, 0x18] {
            Peer::NewClient.malformed(&connect(version, CLEAN | qos, b""), "MQTT5 3.1.2-11");
        }
        Peer::NewClient.malformed(&connect(version, CLEAN | 0x20, b""), "MQTT5 3.1.2-13");
    }
    // Disregarded (MQTT3.1 3.1).
    assert_eq!(accepted(&connect(Version::V3_1, CLEAN | 0x38, b"")).will, None);
}

#[test]
fn a_will_has_a_qos_below_3() {
    for version in VERSIONS {
        Peer::NewClient.malformed(&connect(version, CLEAN | 0x1C, b"\0\x01w\0\0"), "MQTT5 3.1.2-12");
    }
}

#[test]
fn a_will_has_a_topic_name() {
    for version in VERSIONS {
        let properties: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        for (topic, clause) in [(&b""[..], "MQTT5 4.7.3-1"), (b"a/+", "MQTT5 4.7.0-1"), (b"#", "MQTT5 4.7.0-1")] {
            let bytes = connect(version, CLEAN | 4, &join(&[properties, &field(topic), b"\0\0"]));
            Peer::NewClient.refused(&bytes, clause, ReasonCode::TopicNameInvalid);
        }
        let bytes = connect(version, CLEAN | 4, &join(&[properties, b"\0\x01\xFF\0\0"]));
        Peer::NewClient.malformed(&bytes, "MQTT5 1.5.4-1");
        let bytes = connect(version, CLEAN | 4, &join(&[properties, b"\0\x01w\0\x05abc"]));
        Peer::NewClient.malformed(&bytes, "MQTT5 2.1.4");
    }
}

#[test]
fn a_password_alone_is_legal_in_5_only() {
    for version in BEFORE_5 {
        Peer::NewClient.malformed(&connect(version, CLEAN | 0x40, b"\0\x01p"), "MQTT3.1.1 3.1.2-22");
    }
    let read = accepted(&connect(Version::V5, CLEAN | 0x40, b"\0\x01p"));
    assert_eq!((read.username, read.password), (None, Some(Bytes::from_static(b"p"))));
}

#[test]
fn a_missing_user_name_or_password_is_valid_in_3_1_only() {
    // The remaining length outranks the User Name flag (MQTT3.1 3.1).
    let read = accepted(&connect(Version::V3_1, CLEAN | 0xC0, b""));
    assert_eq!((read.username, read.password), (None, None));
    let read = accepted(&connect(Version::V3_1, CLEAN | 0xC0, b"\0\x01u"));
    assert_eq!((read.username, read.password), (Some("u".into()), None));
    Peer::NewClient.malformed(&connect(Version::V3_1, CLEAN | 0xC0, b"\0"), "MQTT5 2.1.4");
    for version in SINCE_3_1_1 {
        Peer::NewClient.malformed(&connect(version, CLEAN | 0x80, b""), "MQTT5 2.1.4");
        Peer::NewClient.malformed(&connect(version, CLEAN | 0xC0, b"\0\x01u"), "MQTT5 2.1.4");
    }
}

#[test]
fn a_user_name_is_text() {
    for version in VERSIONS {
        Peer::NewClient.malformed(&connect(version, CLEAN | 0x80, b"\0\x01\xFF"), "MQTT5 1.5.4-1");
        Peer::NewClient.malformed(&connect(version, CLEAN | 0x80, b"\0\x01\0"), "MQTT5 1.5.4-2");
    }
}

#[test]
fn an_empty_client_identifier_needs_a_server_that_may_assign_one() {
    let without = |version, flags| connect_with(version, flags, b"", b"", b"");
    accepted(&without(Version::V5, 0));
    accepted(&without(Version::V5, CLEAN));
    accepted(&without(Version::V3_1_1, CLEAN));
    for (version, flags) in [(Version::V3_1_1, 0), (Version::V3_1, 0), (Version::V3_1, CLEAN)] {
        let bytes = without(version, flags);
        let error = Peer::NewClient.refused(&bytes, "MQTT3.1.1 3.1.3-8", ReasonCode::ClientIdentifierNotValid);
        assert_eq!(error.answer(), Some(Bytes::from_static(b"\x20\x02\x00\x02")), "MQTT3.1.1 3.1.3-8");
    }
}

#[test]
fn a_long_client_identifier_is_read() {
    for version in VERSIONS {
        let read = accepted(&connect_with(version, CLEAN, b"", &[b'x'; 300], b""));
        assert_eq!(read.client_id.len(), 300);
    }
    Peer::NewClient.malformed(&connect_with(Version::V5, CLEAN, b"", b"\xFF", b""), "MQTT5 1.5.4-1");
}

#[test]
fn a_client_identifier_is_text() {
    for version in VERSIONS {
        Peer::NewClient.malformed(&connect_with(version, CLEAN, b"", b"\xFF", b""), "MQTT5 1.5.4-1");
        Peer::NewClient.malformed(&connect_with(version, CLEAN, b"", b"c\0", b""), "MQTT5 1.5.4-2");
    }
}

#[test]
fn nothing_follows_the_last_field() {
    for version in VERSIONS {
        let error = Peer::NewClient.malformed(&connect(version, CLEAN, b"\0"), "MQTT5 2.1.4");
        assert!(matches!(error, DecodeError::TrailingBytes(_)), "{error}");
    }
}

#[test]
fn connect_properties_have_their_values_and_come_once() {
    let with = |properties: &[u8]| connect_with(Version::V5, CLEAN, properties, b"c", b"");
    let all = b"\x11\0\0\0\x01\x21\0\x02\x27\0\0\0\x03\x22\0\0\x19\x01\x17\x00\x26\0\x01k\0\x01v\x26\0\x01k\0\0\x15\0\x01m\x16\0\x01\0";
    let properties = accepted(&with(all)).properties;
    assert_eq!(properties.session_expiry_interval_s, Some(1));
    assert_eq!(properties.receive_maximum.map(u16::from), Some(2));
    assert_eq!(properties.maximum_packet_size, Some(3));
    assert_eq!(properties.topic_alias_maximum, Some(0));
    assert_eq!(properties.request_response_information, Some(true));
    assert_eq!(properties.request_problem_information, Some(false));
    assert_eq!(properties.user_properties, [("k".into(), "v".into()), ("k".into(), "".into())]);
    assert_eq!(properties.authentication_method, Some("m".into()));
    assert_eq!(properties.authentication_data, Some(Bytes::from_static(b"\0")));

    for (twice, clause) in [
        (&b"\x11\0\0\0\x01\x11\0\0\0\x01"[..], "MQTT5 3.1.2.11.2"),
        (b"\x21\0\x01\x21\0\x01", "MQTT5 3.1.2.11.3"),
        (b"\x27\0\0\0\x01\x27\0\0\0\x01", "MQTT5 3.1.2.11.4"),
        (b"\x22\0\x01\x22\0\x01", "MQTT5 3.1.2.11.5"),
        (b"\x19\0\x19\0", "MQTT5 3.1.2.11.6"),
        (b"\x17\0\x17\0", "MQTT5 3.1.2.11.7"),
        (b"\x15\0\x01m\x15\0\x01m", "MQTT5 3.1.2.11.9"),
        (b"\x15\0\x01m\x16\0\0\x16\0\0", "MQTT5 3.1.2.11.10"),
    ] {
        Peer::NewClient.protocol_error(&with(twice), clause);
    }
    for (value, clause) in [
        (&b"\x21\0\0"[..], "MQTT5 3.1.2.11.3"),
        (b"\x27\0\0\0\0", "MQTT5 3.1.2.11.4"),
        (b"\x19\x02", "MQTT5 3.1.2.11.6"),
        (b"\x17\xFF", "MQTT5 3.1.2.11.7"),
        (b"\x16\0\0", "MQTT5 3.1.2.11.10"),
    ] {
        Peer::NewClient.protocol_error(&with(value), clause);
    }
}

#[test]
fn connect_and_will_carry_their_own_properties_only() {
    let allowed = [0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
    for identifier in (0..=0x7F).filter(|identifier| !allowed.contains(identifier)) {
        let bytes = connect_with(Version::V5, CLEAN, &[identifier, 0, 0, 0, 0], b"c", b"");
        Peer::NewClient.malformed(&bytes, "MQTT5 2.2.2.2");
    }
    let allowed = [0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
    for identifier in (0..=0x7F).filter(|identifier| !allowed.contains(identifier)) {
        let will = [5, identifier, 0, 0, 0, 0, 0, 1, b'w', 0, 0];
        Peer::NewClient.malformed(&connect(Version::V5, CLEAN | 4, &will), "MQTT5 2.2.2.2");
    }
    let twice = connect(Version::V5, CLEAN | 4, b"\x0A\x18\0\0\0\x01\x18\0\0\0\x01\0\x01w\0\0");
    Peer::NewClient.protocol_error(&twice, "MQTT5 3.1.3.2.2");
}

#[test]
fn the_version_is_known_from_the_connect_on() {
    for version in VERSIONS {
        let mut decoder = Decoder::server(PACKET_BYTES_MAX);
        assert_eq!(decoder.version(), None);
        let mut buffer = BytesMut::from(&connect(version, CLEAN, b"")[..]);
        assert!(matches!(decoder.decode(&mut buffer), Ok(Some(Packet::Connect(_)))));
        assert_eq!(decoder.version(), Some(version));
    }
}

#[test]
fn connack_flags_and_codes_are_judged() {
    for version in SINCE_3_1_1 {
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        let server = Peer::NewServer(version);
        server.malformed(&packet(0x20, &join(&[b"\x02\0", tail])), "MQTT5 3.2.2-1");
        server.malformed(&packet(0x20, &join(&[b"\x81\0", tail])), "MQTT5 3.2.2-1");
        let refusal = if version == Version::V5 { 0x87 } else { 5 };
        server.protocol_error(&packet(0x20, &join(&[&[1, refusal], tail])), "MQTT5 3.2.2-6");
        server.protocol_error(&packet(0x20, &join(&[&[0, 0x06], tail])), "MQTT5 3.2.2-8");
    }
    // 3.1 does not use the first byte (MQTT3.1 3.2).
    let Packet::ConnAck(connack) = Peer::NewServer(Version::V3_1).accepted(b"\x20\x02\xFF\x05") else {
        panic!("a CONNACK");
    };
    assert_eq!((connack.session_present, connack.reason_code), (false, ReasonCode::NotAuthorized));
}

#[test]
fn connack_takes_the_listed_reason_codes_only() {
    let listed = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
        0x9B, 0x9C, 0x9D, 0x9F,
    ];
    for code in 0..=u8::MAX {
        let bytes = [0x20, 3, 0, code, 0];
        match listed.contains(&code) {
            true => drop(Peer::NewServer(Version::V5).accepted(&bytes)),
            false => drop(Peer::NewServer(Version::V5).protocol_error(&bytes, "MQTT5 3.2.2-8")),
        }
    }
}

#[test]
fn connack_properties_have_their_values_and_come_once() {
    let server = Peer::NewServer(Version::V5);
    let with = |properties: &[u8]| packet(0x20, &join(&[&[0, 0, properties.len() as u8], properties]));
    for (property, clause) in [
        (&b"\x11\0\0\0\x01"[..], "MQTT5 3.1.2.11.2"),
        (b"\x21\0\x01", "MQTT5 3.1.2.11.3"),
        (b"\x24\x01", "MQTT5 3.2.2.3.4"),
        (b"\x25\x00", "MQTT5 3.2.2.3.5"),
        (b"\x27\0\0\0\x01", "MQTT5 3.1.2.11.4"),
        (b"\x12\0\x01c", "MQTT5 3.2.2.3.7"),
        (b"\x22\0\x01", "MQTT5 3.1.2.11.5"),
        (b"\x1F\0\x01r", "MQTT5 3.2.2.3.9"),
        (b"\x28\x01", "MQTT5 3.2.2.3.11"),
        (b"\x29\x01", "MQTT5 3.2.2.3.12"),
        (b"\x2A\x01", "MQTT5 3.2.2.3.13"),
        (b"\x13\0\x01", "MQTT5 3.2.2.3.14"),
        (b"\x1A\0\x01i", "MQTT5 3.2.2.3.15"),
        (b"\x1C\0\x01s", "MQTT5 3.2.2.3.16"),
        (b"\x15\0\x01m", "MQTT5 3.1.2.11.9"),
    ] {
        server.accepted(&with(property));
        server.protocol_error(&with(&join(&[property, property])), clause);
    }
    server.accepted(&with(b"\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v"));
    for (value, clause) in [
        (&b"\x21\0\0"[..], "MQTT5 3.1.2.11.3"),
        (b"\x24\x02", "MQTT5 3.2.2.3.4"),
        (b"\x25\x02", "MQTT5 3.2.2.3.5"),
        (b"\x27\0\0\0\0", "MQTT5 3.1.2.11.4"),
        (b"\x28\x02", "MQTT5 3.2.2.3.11"),
        (b"\x29\x02", "MQTT5 3.2.2.3.12"),
        (b"\x2A\x02", "MQTT5 3.2.2.3.13"),
        (b"\x16\0\0", "MQTT5 3.1.2.11.10"),
    ] {
        server.protocol_error(&with(value), clause);
    }
    for identifier in [0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x17, 0x18, 0x19, 0x23, 0x2B] {
        server.malformed(&with(&[identifier, 0, 0, 0, 0]), "MQTT5 2.2.2.2");
    }
}
