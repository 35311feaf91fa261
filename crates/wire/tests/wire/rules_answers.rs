//! PINGREQ, PINGRESP, DISCONNECT, AUTH.

use quorate_wire::{Disconnect, Packet, ReasonCode, Version};

use crate::peers::{Peer, VERSIONS, join, packet};

const CLIENT: Peer = Peer::Client(Version::V5);
const SERVER: Peer = Peer::Server(Version::V5);

fn disconnect(peer: Peer, bytes: &[u8]) -> Disconnect {
    match peer.accepted(bytes) {
        Packet::Disconnect(disconnect) => *disconnect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pings_are_two_bytes() {
    for version in VERSIONS {
        assert_eq!(Peer::Client(version).accepted(b"\xC0\x00"), Packet::PingReq, "MQTT5 3.12");
        assert_eq!(Peer::Server(version).accepted(b"\xD0\x00"), Packet::PingResp, "MQTT5 3.13");
    }
}

#[test]
fn disconnect_has_three_lengths_in_5() {
    for version in VERSIONS {
        let read = disconnect(Peer::Client(version), b"\xE0\x00");
        assert_eq!(read.reason_code, ReasonCode::Success, "MQTT5 3.14.2.1");
    }
    let read = disconnect(CLIENT, b"\xE0\x01\x04");
    assert_eq!(read.reason_code, ReasonCode::DisconnectWithWill);
    let read = disconnect(CLIENT, b"\xE0\x02\x04\x00");
    assert_eq!(read.reason_code, ReasonCode::DisconnectWithWill);
    let read = disconnect(SERVER, &packet(0xE0, b"\x9D\x13\x1F\0\x01r\x26\0\x01k\0\x01v\x1C\0\x05other"));
    assert_eq!(read.reason_code, ReasonCode::ServerMoved);
    assert_eq!((read.reason_string, read.server_reference), (Some("r".into()), Some("other".into())));
    CLIENT.malformed(b"\xE0\x03\x00\x00\x00", "MQTT5 2.1.4");
    CLIENT.malformed(b"\xE0\x02\x00\x01", "MQTT5 2.2.2.1");
}

#[test]
fn disconnect_takes_the_codes_of_its_sender_only() {
    let by_client = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    let by_server = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
        0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    for (peer, listed) in [(CLIENT, &by_client[..]), (SERVER, &by_server[..])] {
        for code in 0..=u8::MAX {
            let bytes = [0xE0, 1, code];
            match listed.contains(&code) {
                true => drop(peer.accepted(&bytes)),
                false => drop(peer.protocol_error(&bytes, "MQTT5 3.14.2-1")),
            }
        }
    }
}

#[test]
fn disconnect_properties_come_once_and_expiry_from_the_client() {
    let with = |list: &[u8]| packet(0xE0, &join(&[&[0, list.len() as u8], list]));
    let read = disconnect(CLIENT, &with(b"\x11\0\0\0\x05"));
    assert_eq!(read.session_expiry_interval_s, Some(5));
    SERVER.protocol_error(&with(b"\x11\0\0\0\x05"), "MQTT5 3.14.2-2");
    for (property, clause) in [
        (&b"\x11\0\0\0\x05"[..], "MQTT5 3.1.2.11.2"),
        (b"\x1F\0\x01r", "MQTT5 3.2.2.3.9"),
        (b"\x1C\0\x01s", "MQTT5 3.2.2.3.16"),
    ] {
        CLIENT.protocol_error(&with(&join(&[property, property])), clause);
    }
    CLIENT.malformed(&with(b"\x15\0\x01m"), "MQTT5 2.2.2.2");
}

#[test]
fn auth_has_the_codes_of_its_sender_and_a_method() {
    for code in 0..=u8::MAX {
        let bytes = [0xF0, 6, code, 4, 0x15, 0, 1, b'm'];
        match code {
            0x18 | 0x19 => drop(CLIENT.accepted(&bytes)),
            _ => drop(CLIENT.protocol_error(&bytes, "MQTT5 3.15.2-1")),
        }
        match code {
            0x00 | 0x18 => drop(SERVER.accepted(&bytes)),
            _ => drop(SERVER.protocol_error(&bytes, "MQTT5 3.15.2-1")),
        }
    }
    // Success without properties may be empty (MQTT5 3.15.2.1), and a client may not say it.
    SERVER.accepted(b"\xF0\x00");
    CLIENT.protocol_error(b"\xF0\x00", "MQTT5 3.15.2-1");
    CLIENT.protocol_error(b"\xF0\x02\x18\x00", "MQTT5 3.15.2.2.2");
    SERVER.protocol_error(&packet(0xF0, b"\x00\x03\x16\0\0"), "MQTT5 3.15.2.2.2");
    // A code needs the property length behind it here, unlike DISCONNECT's.
    CLIENT.malformed(b"\xF0\x01\x18", "MQTT5 2.1.4");
}

#[test]
fn auth_properties_come_once() {
    let with = |list: &[u8]| packet(0xF0, &join(&[&[0x18, list.len() as u8], list]));
    let method = b"\x15\0\x01m";
    let all = join(&[method, b"\x16\0\x02\0\xFF\x1F\0\x01r\x26\0\x01k\0\x01v"]);
    let Packet::Auth(read) = CLIENT.accepted(&with(&all)) else {
        panic!("an AUTH");
    };
    assert_eq!(read.authentication_method, Some("m".into()));
    assert_eq!(read.authentication_data.as_deref(), Some(&b"\0\xFF"[..]));
    for (property, clause) in [
        (&b""[..], "MQTT5 3.1.2.11.9"),
        (b"\x16\0\0\x16\0\0", "MQTT5 3.1.2.11.10"),
        (b"\x1F\0\x01r\x1F\0\x01r", "MQTT5 3.2.2.3.9"),
    ] {
        let list = match property.is_empty() {
            true => join(&[method, method]),
            false => join(&[method, property]),
        };
        CLIENT.protocol_error(&with(&list), clause);
    }
    CLIENT.malformed(&with(&join(&[method, b"\x1C\0\x01s"])), "MQTT5 2.2.2.2");
}
