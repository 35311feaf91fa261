//! Fixed header, direction, order of the first packet, integers and strings.

use bytes::BytesMut;
use quorate_wire::{Decoder, Packet, PacketType, ReasonCode, Version};

use crate::peers::{BEFORE_5, PACKET_BYTES_MAX, Peer, SINCE_3_1_1, VERSIONS, connect_bytes, field, join, packet};

const V5: Peer = Peer::Client(Version::V5);

#[test]
fn reserved_packet_types_are_malformed() {
    for version in VERSIONS {
        Peer::Client(version).malformed(b"\x00\x00", "MQTT5 2.1.2");
        Peer::Server(version).malformed(b"\x00\x00", "MQTT5 2.1.2");
    }
    Peer::NewClient.malformed(b"\x00\x00", "MQTT5 2.1.2");
    for version in BEFORE_5 {
        Peer::Client(version).malformed(b"\xF0\x00", "MQTT5 2.1.2");
        Peer::Server(version).malformed(b"\xF0\x00", "MQTT5 2.1.2");
        Peer::NewServer(version).protocol_error(b"\xD0\x00", "MQTT5 3.2.0-1");
    }
}

#[test]
fn each_side_sends_its_own_packets() {
    for version in VERSIONS {
        for first_byte in [0x20, 0x90, 0xB0, 0xD0] {
            Peer::Client(version).protocol_error(&[first_byte, 0], "MQTT5 2.1.2");
        }
        for first_byte in [0x10, 0x82, 0xA2, 0xC0] {
            Peer::Server(version).protocol_error(&[first_byte, 0], "MQTT5 2.1.2");
        }
    }
    for version in BEFORE_5 {
        Peer::Server(version).protocol_error(b"\xE0\x00", "MQTT5 2.1.2");
    }
    Peer::Server(Version::V5).accepted(b"\xE0\x00");
}

#[test]
fn a_client_begins_with_connect_and_sends_it_once() {
    for first_byte in (0x20..=0xF0).step_by(16) {
        Peer::NewClient.protocol_error(&[first_byte, 0], "MQTT5 3.1.0-1");
    }
    for version in VERSIONS {
        Peer::Client(version).protocol_error(&connect_bytes(version), "MQTT5 3.1.0-2");
    }
}

#[test]
fn a_server_begins_with_connack_and_sends_it_once() {
    for version in VERSIONS {
        Peer::NewServer(version).protocol_error(b"\xD0\x00", "MQTT5 3.2.0-1");
        Peer::Server(version).protocol_error(b"\x20\x02\x00\x00", "MQTT5 3.2.0-2");
    }
    // AUTH may come before it in 5.0, DISCONNECT may not (MQTT5 3.14.0-1).
    let server = Peer::NewServer(Version::V5);
    server.accepted(b"\xF0\x06\x18\x04\x15\x00\x01m");
    server.protocol_error(b"\xE0\x00", "MQTT5 3.2.0-1");
}

#[test]
fn reserved_header_flags_are_malformed_since_3_1_1() {
    let from_client = [0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0];
    let from_server = [0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0];
    for version in SINCE_3_1_1 {
        for (peer, first_bytes) in
            [(Peer::Client(version), &from_client[..]), (Peer::Server(version), &from_server[..])]
        {
            for good in first_bytes.iter().filter(|&&byte| byte != 0xF0 || version == Version::V5) {
                for flags in (0..16).filter(|flags| flags != &(good & 0x0F)) {
                    peer.malformed(&[good & 0xF0 | flags, 2], "MQTT5 2.1.3-1");
                }
            }
        }
        for flags in 1..16 {
            let mut connect = connect_bytes(version);
            connect[0] |= flags;
            Peer::NewClient.malformed(&connect, "MQTT5 2.1.3-1");
        }
    }
}

#[test]
fn unused_header_flags_are_ignored_in_3_1() {
    let peer = Peer::Client(Version::V3_1);
    for flags in 0..16 {
        assert_eq!(peer.accepted(&[0xC0 | flags, 0]), Packet::PingReq, "MQTT3.1 2.1");
        peer.accepted(&[0x40 | flags, 2, 0, 1]);
        let mut connect = connect_bytes(Version::V3_1);
        connect[0] |= flags;
        Peer::NewClient.accepted(&connect);
    }
    // PUBREL, SUBSCRIBE and UNSUBSCRIBE are sent at QoS 1, and may be sent again with DUP.
    for good in [0x62, 0x6A, 0x63, 0x6B] {
        peer.accepted(&[good, 2, 0, 1]);
    }
    for bad in [0x60, 0x64, 0x66, 0x68, 0x80, 0x84, 0xA0, 0xAF] {
        peer.malformed(&[bad, 2, 0, 1], "MQTT5 2.1.3-1");
    }
}

#[test]
fn a_remaining_length_has_at_most_four_bytes() {
    for version in VERSIONS {
        Peer::Client(version).malformed(b"\x30\x80\x80\x80\x80", "MQTT5 1.5.5");
        Peer::Client(version).malformed(b"\x30\xFF\xFF\xFF\xFF\x7F", "MQTT5 1.5.5");
    }
    Peer::NewClient.malformed(b"\x10\x80\x80\x80\x80", "MQTT5 1.5.5");
}

#[test]
fn a_remaining_length_is_minimal_in_5_only() {
    V5.malformed(b"\xC0\x80\x00", "MQTT5 1.5.5-1");
    V5.malformed(b"\x40\x82\x00\x00\x01", "MQTT5 1.5.5-1");
    for version in BEFORE_5 {
        Peer::Client(version).accepted(b"\xC0\x80\x00");
        Peer::Client(version).accepted(b"\x40\x82\x80\x00\x00\x01");
    }
    for version in VERSIONS {
        let mut connect = connect_bytes(version);
        let length = connect[1];
        connect.splice(1..2, [length | 0x80, 0x00]);
        match version {
            Version::V5 => drop(Peer::NewClient.malformed(&connect, "MQTT5 1.5.5-1")),
            _ => drop(Peer::NewClient.accepted(&connect)),
        }
    }
}

#[test]
fn other_variable_byte_integers_are_minimal_and_short() {
    // Property length, property identifier, subscription identifier.
    V5.malformed(&packet(0x30, b"\x00\x01t\x80\x00"), "MQTT5 1.5.5-1");
    V5.malformed(&packet(0x30, b"\x00\x01t\x03\x81\x00\x01"), "MQTT5 1.5.5-1");
    V5.malformed(&packet(0x82, b"\x00\x01\x03\x0B\x81\x00\x00\x01t\x00"), "MQTT5 1.5.5-1");
    V5.malformed(&packet(0x30, b"\x00\x01t\x80\x80\x80\x80\x01"), "MQTT5 1.5.5");
    V5.malformed(&packet(0x30, b"\x00\x01t\x80"), "MQTT5 2.1.4");
}

#[test]
fn packets_of_fixed_size_are_refused_from_their_header() {
    for version in VERSIONS {
        let error = Peer::Client(version).malformed(b"\xC0\x01", "MQTT5 2.1.4");
        assert_eq!(error.to_string(), "PINGREQ with a remaining length of 1");
        Peer::Server(version).malformed(b"\xD0\x05", "MQTT5 2.1.4");
        for first_byte in [0x40, 0x50, 0x62, 0x70] {
            Peer::Client(version).malformed(&[first_byte, 0], "MQTT5 2.1.4");
            Peer::Client(version).malformed(&[first_byte, 1], "MQTT5 2.1.4");
        }
    }
    for version in BEFORE_5 {
        for first_byte in [0x40, 0x50, 0x62, 0x70] {
            Peer::Client(version).malformed(&[first_byte, 3], "MQTT5 2.1.4");
        }
        Peer::Client(version).malformed(b"\xE0\x01", "MQTT5 2.1.4");
        Peer::Server(version).malformed(b"\xB0\x03", "MQTT5 2.1.4");
        Peer::NewServer(version).malformed(b"\x20\x03", "MQTT5 2.1.4");
        Peer::NewServer(version).malformed(b"\x20\x01", "MQTT5 2.1.4");
    }
    Peer::NewServer(Version::V5).malformed(b"\x20\x02", "MQTT5 2.1.4");
}

#[test]
fn a_packet_above_the_limit_is_refused_from_its_header() {
    let limit = 100;
    for peer in [Peer::NewClient, Peer::Client(Version::V5), Peer::Server(Version::V3_1_1)] {
        let first_byte = if peer == Peer::NewClient { 0x10 } else { 0x30 };
        // 98 bytes after a header of 2 are taken; a header that announces 99 is not.
        let mut fitting = BytesMut::from(&[first_byte, 98][..]);
        assert_eq!(peer.decoder(limit).decode(&mut fitting), Ok(None));
        for header in [&[first_byte, 99][..], &[first_byte, 0xFF, 0xFF, 0xFF, 0x7F]] {
            let mut buffer = BytesMut::from(header);
            let capacity = buffer.capacity();
            let error = peer.decoder(limit).decode(&mut buffer).expect_err("too large");
            assert_eq!(error.clause(), "MQTT5 3.1.2.11.4");
            assert_eq!(error.reason_code(), ReasonCode::PacketTooLarge);
            assert_eq!(buffer.capacity(), capacity, "nothing is reserved for it");
        }
    }
}

#[test]
fn an_announced_body_reserves_nothing() {
    let mut buffer = BytesMut::with_capacity(16);
    buffer.extend_from_slice(b"\x30\x80\x80\x20");
    let capacity = buffer.capacity();
    assert_eq!(V5.decoder(PACKET_BYTES_MAX).decode(&mut buffer), Ok(None));
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn strings_are_well_formed_utf_8() {
    let ill_formed: [&[u8]; 9] = [
        b"\xED\xA0\x80",     // U+D800
        b"\xED\xBF\xBF",     // U+DFFF
        b"\xC0\x80",         // U+0000 in two bytes, as Java writes it
        b"\xC0\xAF",         // overlong '/'
        b"\xE0\x80\xAF",     // overlong '/'
        b"\xF4\x90\x80\x80", // above U+10FFFF
        b"\x80",             // a continuation alone
        b"\xE2\x82",         // a character cut short
        b"a\xFF",
    ];
    for text in ill_formed {
        let topic = field(text);
        for version in VERSIONS {
            let peer = Peer::Client(version);
            let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
            peer.malformed(&packet(0x30, &join(&[&topic, tail])), "MQTT5 1.5.4-1");
            peer.malformed(&packet(0x82, &join(&[b"\0\x01", tail, &topic, b"\0"])), "MQTT5 1.5.4-1");
            peer.malformed(&packet(0xA2, &join(&[b"\0\x01", tail, &topic])), "MQTT5 1.5.4-1");
        }
        // Both halves of a user property (MQTT5 1.5.7-1).
        for pair in [join(&[&topic, b"\0\x01v"]), join(&[b"\0\x01k", &topic])] {
            let properties = join(&[&[pair.len() as u8 + 1, 0x26], &pair]);
            V5.malformed(&packet(0x30, &join(&[b"\0\x01t", &properties])), "MQTT5 1.5.4-1");
        }
    }
}

#[test]
fn strings_have_no_null_character() {
    for version in VERSIONS {
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        let peer = Peer::Client(version);
        peer.malformed(&packet(0x30, &join(&[b"\0\x02t\0", tail])), "MQTT5 1.5.4-2");
        peer.malformed(&packet(0xA2, &join(&[b"\0\x01", tail, b"\0\x01\0"])), "MQTT5 1.5.4-2");
    }
    V5.malformed(&packet(0x30, b"\0\x01t\x07\x26\0\x01\0\0\x01v"), "MQTT5 1.5.4-2");
}

#[test]
fn other_characters_are_kept_as_they_are() {
    // A byte order mark at the start, control characters, a non-character (MQTT5 1.5.4-3).
    let topic = "\u{feff}a\u{feff}\u{1}\u{9f}\u{ffff}\u{10fffe}";
    for version in VERSIONS {
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        let bytes = packet(0x30, &join(&[&field(topic.as_bytes()), tail, b"x"]));
        let Packet::Publish(publish) = Peer::Client(version).accepted(&bytes) else {
            panic!("a PUBLISH");
        };
        assert_eq!(publish.topic, topic, "MQTT5 1.5.4-3");
        assert_eq!(&publish.payload[..], b"x");
    }
}

#[test]
fn fields_end_within_their_packet() {
    for version in VERSIONS {
        let peer = Peer::Client(version);
        peer.malformed(&packet(0x30, b"\0\x09t"), "MQTT5 2.1.4");
        peer.malformed(&packet(0x32, b"\0\x01t\0"), "MQTT5 2.1.4");
        let tail: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        peer.malformed(&packet(0x82, &join(&[b"\0\x01", tail, b"\0"])), "MQTT5 2.1.4");
        peer.malformed(&packet(0x82, &join(&[b"\0\x01", tail, b"\0\x01t"])), "MQTT5 2.1.4");
        peer.malformed(&packet(0xA2, &join(&[b"\0\x01", tail, b"\0\x02t"])), "MQTT5 2.1.4");
    }
    V5.malformed(&packet(0x30, b"\0\x01t\x02\x01"), "MQTT5 2.2.2.1");
    // A value that ends beyond the property list, though within the packet.
    V5.malformed(&packet(0x30, b"\0\x01t\x02\x02\0\0\0\x01"), "MQTT5 2.1.4");
}

#[test]
fn a_failed_connection_stays_failed() {
    let mut decoder = Decoder::server(PACKET_BYTES_MAX);
    let mut buffer = BytesMut::from(&b"\xC0\x00"[..]);
    let error = decoder.decode(&mut buffer).expect_err("no CONNECT");
    let mut buffer = BytesMut::from(&connect_bytes(Version::V5)[..]);
    assert_eq!(decoder.decode(&mut buffer), Err(error));
    assert_eq!(decoder.version(), None);
}

#[test]
fn errors_name_the_packet() {
    let error = Peer::Client(Version::V3_1_1).malformed(b"\xE1\x00", "MQTT5 2.1.3-1");
    assert_eq!(error.to_string(), "DISCONNECT with flags 0b0001");
    assert_eq!(PacketType::UnsubAck.to_string(), "UNSUBACK");
}
