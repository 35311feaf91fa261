//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use quorate_wire::{Packet, QoS, RetainHandling, Subscribe, Version, check_filter};

use crate::peers::{BEFORE_5, Peer, VERSIONS, join, packet};

fn properties(version: Version) -> &'static [u8] {
    match version {
        Version::V5 => b"\0",
        Version::V3_1 | Version::V3_1_1 => b"",
    }
}

fn subscribe(version: Version, filters: &[u8]) -> Vec<u8> {
    packet(0x82, &join(&[b"\0\x01", properties(version), filters]))
}

fn accepted(version: Version, bytes: &[u8]) -> Subscribe {
    match Peer::Client(version).accepted(bytes) {
        Packet::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?}"),
    }
}

#[test]
fn subscribe_and_unsubscribe_name_a_filter() {
    for version in VERSIONS {
        let client = Peer::Client(version);
        client.protocol_error(&subscribe(version, b""), "MQTT5 3.8.3-2");
        client.protocol_error(&packet(0xA2, &join(&[b"\0\x01", properties(version)])), "MQTT5 3.10.3-2");
        client.protocol_error(&packet(0x82, &join(&[b"\0\0", properties(version), b"\0\x01t\0"])), "MQTT5 2.2.1-3");
        client.protocol_error(&packet(0xA2, &join(&[b"\0\0", properties(version), b"\0\x01t"])), "MQTT5 2.2.1-3");
    }
}

#[test]
fn filters_are_read_whatever_their_syntax() {
    for version in VERSIONS {
        let read = accepted(version, &subscribe(version, b"\0\x01t\x01\0\0\x00\0\x02a#\x02\0\x07$share/\0"));
        let filters: Vec<&str> = read.filters.iter().map(|entry| entry.filter.as_ref()).collect();
        assert_eq!(filters, ["t", "", "a#", "$share/"]);
        let bad: Vec<bool> = filters.iter().map(|filter| check_filter(filter).is_err()).collect();
        assert_eq!(bad, [false, true, true, true], "one bad filter fails alone (MQTT5 3.9.3-2)");
        assert_eq!(read.filters[0].qos, QoS::AtLeastOnce);
        assert_eq!(read.filters[2].qos, QoS::ExactlyOnce);

        let bytes = packet(0xA2, &join(&[b"\0\x01", properties(version), b"\0\x01t\0\0"]));
        let Packet::Unsubscribe(read) = Peer::Client(version).accepted(&bytes) else {
            panic!("an UNSUBSCRIBE");
        };
        assert_eq!(read.filters, ["t", ""]);
    }
}

#[test]
fn subscription_options_are_read_in_5() {
    let read = accepted(Version::V5, &subscribe(Version::V5, b"\0\x01t\x2E"));
    let entry = &read.filters[0];
    assert_eq!(entry.qos, QoS::ExactlyOnce);
    assert!(entry.no_local && entry.retain_as_published);
    assert_eq!(entry.retain_handling, RetainHandling::DoNotSend);
}

#[test]
fn qos_3_is_refused_in_a_subscription() {
    for version in VERSIONS {
        Peer::Client(version).protocol_error(&subscribe(version, b"\0\x01t\x03"), "MQTT5 3.8.3.1");
    }
    Peer::Client(Version::V5).protocol_error(&subscribe(Version::V5, b"\0\x01t\x30"), "MQTT5 3.8.3.1");
}

#[test]
fn reserved_option_bits_are_malformed_since_3_1_1() {
    for bit in [0x40, 0x80, 0xC0] {
        Peer::Client(Version::V5).malformed(&subscribe(Version::V5, &[0, 1, b't', bit]), "MQTT5 3.8.3-5");
    }
    for bit in 2..8 {
        let filters = [0, 1, b't', 1 << bit];
        Peer::Client(Version::V3_1_1).malformed(&subscribe(Version::V3_1_1, &filters), "MQTT5 3.8.3-5");
        // These bits have no use yet (MQTT3.1 3.8).
        let read = accepted(Version::V3_1, &subscribe(Version::V3_1, &filters));
        assert!(!read.filters[0].no_local);
    }
}

#[test]
fn no_local_is_not_for_shared_subscriptions() {
    let client = Peer::Client(Version::V5);
    client.protocol_error(&subscribe(Version::V5, b"\0\x0A$share/g/t\x04"), "MQTT5 3.8.3-4");
    client.accepted(&subscribe(Version::V5, b"\0\x0A$share/g/t\x00"));
    client.accepted(&subscribe(Version::V5, b"\0\x0B$shared/g/t\x04"));
}

#[test]
fn a_subscription_identifier_comes_once_and_is_not_zero() {
    let with = |list: &[u8]| packet(0x82, &join(&[b"\0\x01", &[list.len() as u8], list, b"\0\x01t\0"]));
    let read = accepted(Version::V5, &with(b"\x0B\xFF\xFF\xFF\x7F\x26\0\x01k\0\x01v"));
    assert_eq!(read.subscription_identifier, Some(268_435_455));
    assert_eq!(read.user_properties, [("k".into(), "v".into())]);
    let client = Peer::Client(Version::V5);
    client.protocol_error(&with(b"\x0B\x01\x0B\x01"), "MQTT5 3.8.2.1.2");
    client.protocol_error(&with(b"\x0B\x00"), "MQTT5 3.8.2.1.2");
    client.malformed(&with(b"\x0B\xFF\xFF\xFF\xFF\x7F"), "MQTT5 1.5.5");
    client.malformed(&with(b"\x1F\0\x01r"), "MQTT5 2.2.2.2");
    let unsubscribe = packet(0xA2, b"\0\x01\x02\x0B\x01\0\x01t");
    client.malformed(&unsubscribe, "MQTT5 2.2.2.2");
}

#[test]
fn suback_takes_the_codes_of_its_version_only() {
    let listed_5 = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    for version in VERSIONS {
        let listed: &[u8] = match version {
            Version::V5 => &listed_5,
            Version::V3_1_1 => &[0x00, 0x01, 0x02, 0x80],
            Version::V3_1 => &[0x00, 0x01, 0x02],
        };
        for code in 0..=u8::MAX {
            let bytes = packet(0x90, &join(&[b"\0\x01", properties(version), &[0, code]]));
            match listed.contains(&code) {
                true => drop(Peer::Server(version).accepted(&bytes)),
                false => drop(Peer::Server(version).protocol_error(&bytes, "MQTT5 3.9.3-2")),
            }
        }
        let none = packet(0x90, &join(&[b"\0\x01", properties(version)]));
        Peer::Server(version).malformed(&none, "MQTT5 3.9.3-1");
        let zero = packet(0x90, &join(&[b"\0\0", properties(version), b"\0"]));
        Peer::Server(version).protocol_error(&zero, "MQTT5 2.2.1-3");
    }
}

#[test]
fn unsuback_has_codes_in_5_only() {
    let listed = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    let server = Peer::Server(Version::V5);
    for code in 0..=u8::MAX {
        let bytes = [0xB0, 4, 0, 1, 0, code];
        match listed.contains(&code) {
            true => drop(server.accepted(&bytes)),
            false => drop(server.protocol_error(&bytes, "MQTT5 3.11.3-2")),
        }
    }
    server.malformed(&[0xB0, 3, 0, 1, 0], "MQTT5 3.11.3-1");
    for version in BEFORE_5 {
        let Packet::UnsubAck(read) = Peer::Server(version).accepted(&[0xB0, 2, 0, 1]) else {
            panic!("an UNSUBACK");
        };
        assert_eq!(read.reason_codes, []);
    }
}

#[test]
fn answers_carry_a_reason_string_once_and_user_properties() {
    for first_byte in [0x90, 0xB0] {
        let with = |list: &[u8]| packet(first_byte, &join(&[b"\0\x01", &[list.len() as u8], list, b"\0"]));
        let server = Peer::Server(Version::V5);
        server.accepted(&with(b"\x1F\0\x01r\x26\0\0\0\0\x26\0\0\0\0"));
        server.protocol_error(&with(b"\x1F\0\x01r\x1F\0\x01r"), "MQTT5 3.2.2.3.9");
        server.malformed(&with(b"\x0B\x01"), "MQTT5 2.2.2.2");
    }
}
