//! Other codecs beside ours, over generated packets and packets with bytes changed. Where they differ, the difference is
//! listed below with an example and the clause that decides it; any other difference fails.

use std::collections::{BTreeMap, HashSet};
use std::mem::{Discriminant, discriminant};

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quorate_wire::{DecodeError, Packet, Version};

use crate::checks::{encoded, place_of};
use crate::generators::{first_packets, packets, peers};
use crate::oracles::Oracle::{self, MqttProto, RmqttCodec};
use crate::oracles::Verdict;
use crate::peers::{PACKET_BYTES_MAX, Peer, packet};

/// How many packets each test compares.
const PACKETS: usize = 30_000;

const BOTH: &[Oracle] = &[MqttProto, RmqttCodec];
const C31: Peer = Peer::Client(Version::V3_1);
const C311: Peer = Peer::Client(Version::V3_1_1);
const C5: Peer = Peer::Client(Version::V5);
const S31: Peer = Peer::Server(Version::V3_1);
const S311: Peer = Peer::Server(Version::V3_1_1);
const S5: Peer = Peer::Server(Version::V5);
const NEW: Peer = Peer::NewClient;

/// One known difference: who differs, an example, and the clause by which we are right. Where we refuse, the clause is
/// the one that our error names.
struct Known {
    oracles: &'static [Oracle],
    peers: &'static [Peer],
    bytes: &'static [u8],
    clause: &'static str,
}

const fn known(
    oracles: &'static [Oracle],
    peers: &'static [Peer],
    bytes: &'static [u8],
    clause: &'static str,
) -> Known {
    Known { oracles, peers, bytes, clause }
}

/// They take what the standard forbids.
const THEY_ARE_LAX: &[Known] = &[
    known(BOTH, &[C311, S5], b"\x38\x04\0\x01t\0", "MQTT5 3.3.1-2"),
    known(BOTH, &[C31, C311, C5], b"\xC0\x01\0", "MQTT5 2.1.4"),
    known(BOTH, &[NEW], b"\x10\x0E\0\x04MQTT\x04\x02\0\x3C\0\x01c\0", "MQTT5 2.1.4"),
    known(BOTH, &[NEW], b"\x10\x0F\0\x04MQTT\x05\x02\0\x3C\0\0\x01c\0", "MQTT5 2.1.4"),
    known(BOTH, &[NEW], b"\x10\x10\0\x06MQIsdp\x03\x02\0\x3C\0\x01c\0", "MQTT5 2.1.4"),
    known(BOTH, &[S31, S311], b"\x90\x02\0\x01", "MQTT5 3.9.3-1"),
    known(BOTH, &[S5], b"\x90\x03\0\x01\0", "MQTT5 3.9.3-1"),
    // The fixed sizes of 3.x are not looked at.
    known(&[MqttProto], &[C31, C311], b"\x40\x03\0\x01\0", "MQTT5 2.1.4"),
    known(BOTH, &[Peer::NewServer(Version::V3_1_1)], b"\x20\x03\0\0\0", "MQTT5 2.1.4"),
    known(BOTH, &[Peer::NewServer(Version::V3_1_1)], b"\x20\x02\x01\x05", "MQTT5 3.2.2-6"),
    known(BOTH, &[Peer::NewServer(Version::V5)], b"\x20\x03\x01\x87\0", "MQTT5 3.2.2-6"),
    // 0x80 in 3.1, which would read as "granted".
    known(BOTH, &[S31], b"\x90\x03\0\x01\x80", "MQTT5 3.9.3-2"),
    known(&[RmqttCodec], &[Peer::NewServer(Version::V3_1_1)], b"\x20\x02\0\x06", "MQTT5 3.2.2-8"),
    // They do not know who sends: a server's codes from a client, a client's property from a server.
    known(BOTH, &[C5], b"\xE0\x01\x9D", "MQTT5 3.14.2-1"),
    known(BOTH, &[S5], b"\xE0\x07\0\x05\x11\0\0\0\x05", "MQTT5 3.14.2-2"),
    known(BOTH, &[C5], b"\x30\x06\0\x01t\x02\x0B\x01", "MQTT5 3.3.4-6"),
    known(BOTH, &[C5], b"\xF0\x06\x00\x04\x15\0\x01m", "MQTT5 3.15.2-1"),
    known(BOTH, &[C5], b"\x30\x03\0\0\0", "MQTT5 3.3.2.1"),
    known(BOTH, &[C5], b"\x82\x10\0\x01\0\0\x0A$share/g/t\x04", "MQTT5 3.8.3-4"),
    // Topic names.
    known(&[MqttProto], &[C31, C311], b"\x30\x03\0\0p", "MQTT5 4.7.3-1"),
    known(BOTH, &[C5], b"\x30\x07\0\x01t\x03\x08\0\0", "MQTT5 4.7.3-1"),
    known(&[RmqttCodec], &[C31, C311], b"\x30\x03\0\x01+", "MQTT5 4.7.0-1"),
    known(&[RmqttCodec], &[C5], b"\x30\x04\0\x01+\0", "MQTT5 4.7.0-1"),
    // U+0000: mqtt-proto looks for it in topics only, rmqtt-codec never.
    known(BOTH, &[NEW], b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01\0", "MQTT5 1.5.4-2"),
    known(BOTH, &[NEW], b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01\0", "MQTT5 1.5.4-2"),
    known(BOTH, &[C5], b"\x30\x0B\0\x01t\x07\x26\0\x01\0\0\x01v", "MQTT5 1.5.4-2"),
    known(&[RmqttCodec], &[C31, C311], b"\x30\x03\0\x01\0", "MQTT5 1.5.4-2"),
    // CONNECT.
    known(&[MqttProto], &[NEW], b"\x10\x0C\0\x04MQTT\x04\x00\0\x3C\0\0", "MQTT3.1.1 3.1.3-8"),
    known(BOTH, &[NEW], b"\x10\x0E\0\x06MQIsdp\x03\x02\0\x3C\0\0", "MQTT3.1.1 3.1.3-8"),
    known(BOTH, &[NEW], b"\x10\x10\0\x04MQTT\x04\x42\0\x3C\0\x01c\0\x01p", "MQTT3.1.1 3.1.2-22"),
    known(BOTH, &[NEW], b"\x10\x12\0\x06MQIsdp\x03\x42\0\x3C\0\x01c\0\x01p", "MQTT3.1.1 3.1.2-22"),
    known(&[RmqttCodec], &[NEW], b"\x10\x0E\0\x04MQTT\x05\x0A\0\x3C\0\0\x01c", "MQTT5 3.1.2-11"),
    known(BOTH, &[NEW], b"\x10\x0E\0\x04MQTT\x05\x22\0\x3C\0\0\x01c", "MQTT5 3.1.2-13"),
    known(&[MqttProto], &[NEW], b"\x10\x0D\0\x04MQTT\x04\x22\0\x3C\0\x01c", "MQTT5 3.1.2-13"),
    // A property length, here 0, in two bytes.
    known(&[RmqttCodec], &[C5], b"\x30\x05\0\x01t\x80\0", "MQTT5 1.5.5-1"),
    known(&[RmqttCodec], &[C311], b"\x82\x06\0\x01\0\x01t\x04", "MQTT5 3.8.3-5"),
];

/// They refuse what the standard allows.
const THEY_ARE_STRICT: &[Known] = &[
    // One bad filter fails alone, with 0x8F in the SUBACK.
    known(BOTH, &[C31, C311], b"\x82\x05\0\x01\0\0\0", "MQTT5 3.9.3-2"),
    known(BOTH, &[C31, C311], b"\xA2\x04\0\x01\0\0", "MQTT5 3.9.3-2"),
    known(&[MqttProto], &[C5], b"\x82\x06\0\x01\0\0\0\0", "MQTT5 3.9.3-2"),
    known(&[MqttProto], &[C5], b"\xA2\x05\0\x01\0\0\0", "MQTT5 3.9.3-2"),
    // A receiver MAY validate the payload; ours leaves that to the session.
    known(&[MqttProto], &[C5], b"\x30\x07\0\x01t\x02\x01\x01\xFF", "MQTT5 3.3.2.3.2"),
    known(
        &[MqttProto],
        &[NEW],
        b"\x10\x17\0\x04MQTT\x05\x06\0\x3C\0\0\x01c\x02\x01\x01\0\x01w\0\x01\xFF",
        "MQTT5 3.1.3.2.3",
    ),
    // Several subscription identifiers may come with one message.
    known(&[MqttProto], &[S5], b"\x30\x08\0\x01t\x04\x0B\x01\x0B\x02", "MQTT5 3.3.2.3.8"),
    // Header flags that 3.1 does not use.
    known(BOTH, &[C31], b"\x41\x02\0\x01", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\x51\x02\0\x01", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\x6A\x02\0\x01", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\x71\x02\0\x01", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\x8A\x06\0\x01\0\x01t\0", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\xAA\x05\0\x01\0\x01t", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\xC1\x00", "MQTT3.1 2.1"),
    known(BOTH, &[C31], b"\xE1\x00", "MQTT3.1 2.1"),
    known(BOTH, &[S31], b"\x91\x03\0\x01\0", "MQTT3.1 2.1"),
    known(BOTH, &[S31], b"\xB1\x02\0\x01", "MQTT3.1 2.1"),
    known(BOTH, &[S31], b"\xD1\x00", "MQTT3.1 2.1"),
    known(BOTH, &[Peer::NewServer(Version::V3_1)], b"\x21\x02\0\0", "MQTT3.1 2.1"),
    known(BOTH, &[NEW], b"\x11\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c", "MQTT3.1 2.1"),
    // Bits that 3.1 does not use, or disregards.
    known(BOTH, &[Peer::NewServer(Version::V3_1)], b"\x20\x02\xFE\0", "MQTT3.1 3.2"),
    known(BOTH, &[NEW], b"\x10\x0F\0\x06MQIsdp\x03\x03\0\x3C\0\x01c", "MQTT3.1 3.1"),
    known(BOTH, &[NEW], b"\x10\x0F\0\x06MQIsdp\x03\x0A\0\x3C\0\x01c", "MQTT3.1 3.1"),
    known(&[MqttProto], &[C31], b"\x82\x06\0\x01\0\x01t\xFD", "MQTT3.1 3.8"),
    // The user name flag without a user name.
    known(BOTH, &[NEW], b"\x10\x0F\0\x06MQIsdp\x03\x82\0\x3C\0\x01c", "MQTT3.1 3.1"),
];

/// They read what we read, and write something else.
const THEY_WRITE_OTHERWISE: &[Known] = &[
    // The failure is written as 3.
    known(&[MqttProto], &[S311], b"\x90\x03\0\x01\x80", "MQTT3.1.1 3.9.3-2"),
    // The CONNECT of 3.1 is written with level 4.
    known(&[RmqttCodec], &[NEW], b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c", "MQTT3.1 3.1"),
    // A property with its default value and an absent one are the same to rmqtt-codec.
    known(&[RmqttCodec], &[C5, S5], b"\x30\x06\0\x01t\x02\x01\0", "MQTT5 3.3.2.3.2"),
    known(&[RmqttCodec], &[NEW], b"\x10\x10\0\x04MQTT\x05\x02\0\x3C\x02\x17\x01\0\x01c", "MQTT5 3.1.2.11.7"),
    known(&[RmqttCodec], &[Peer::NewServer(Version::V5)], b"\x20\x05\0\0\x02\x25\x01", "MQTT5 3.2.2.3.5"),
];

/// What makes two differences the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// We refuse for this kind of reason.
    Lax(Oracle, Version, Discriminant<DecodeError>),
    /// They refuse this packet, with words that begin so.
    Strict(Oracle, Version, u8, String),
    /// They write this packet otherwise.
    Otherwise(Oracle, Version, u8),
}

/// How an oracle and ours differ over the bytes of one whole packet; `None` if they agree.
fn difference(oracle: Oracle, peer: Peer, bytes: &[u8]) -> Option<Key> {
    let version = version_of(peer, bytes);
    let ours = ours(peer, bytes);
    match (ours, oracle.judge(version, bytes)) {
        (Err(_), Verdict::Refused(_) | Verdict::Panicked) => None,
        (Err(error), Verdict::Accepted(_)) => Some(Key::Lax(oracle, version, discriminant(&error))),
        (Ok(_), Verdict::Refused(words)) => {
            Some(Key::Strict(oracle, version, bytes[0] >> 4, words_without_values(&words)))
        }
        (Ok(_), Verdict::Panicked) => Some(Key::Strict(oracle, version, bytes[0] >> 4, "panicked".into())),
        (Ok(packet), Verdict::Accepted(written)) => {
            let same = written.is_some_and(|written| reads_as(peer, version, &written, &packet));
            (!same).then_some(Key::Otherwise(oracle, version, bytes[0] >> 4))
        }
    }
}

fn reads_as(peer: Peer, version: Version, bytes: &[u8], packet: &Packet) -> bool {
    let place = place_of(peer, version, bytes[0]);
    let read = place.decoder(PACKET_BYTES_MAX).decode(&mut BytesMut::from(bytes));
    read.is_ok_and(|read| read.as_ref() == Some(packet))
}

fn words_without_values(words: &str) -> String {
    let words = words.strip_prefix("common error of v3/v5: ").unwrap_or(words);
    words.split(['`', ':', '(']).next().unwrap_or_default().to_string()
}

/// A CONNECT names its version; a stranger's is taken for 3.1.1's.
fn version_of(peer: Peer, bytes: &[u8]) -> Version {
    let level = |at: usize| bytes.get(at).copied();
    peer.version().unwrap_or_else(|| {
        let name = bytes.iter().skip(1).position(|byte| byte & 0x80 == 0).map_or(2, |length| length + 2);
        match (bytes.get(name + 1), level(name + 6), level(name + 8)) {
            (Some(4), Some(5), _) => Version::V5,
            (Some(6), _, Some(3)) => Version::V3_1,
            _ => Version::V3_1_1,
        }
    })
}

fn ours(peer: Peer, bytes: &[u8]) -> Result<Packet, DecodeError> {
    let mut buffer = BytesMut::from(bytes);
    let read = peer.decoder(PACKET_BYTES_MAX).decode(&mut buffer)?;
    Ok(read.expect("the packet is whole"))
}

fn known_keys() -> HashSet<Key> {
    let mut keys = HashSet::new();
    for known in [THEY_ARE_LAX, THEY_ARE_STRICT, THEY_WRITE_OTHERWISE].into_iter().flatten() {
        for &peer in known.peers {
            keys.extend(known.oracles.iter().filter_map(|&oracle| difference(oracle, peer, known.bytes)));
        }
    }
    keys
}

#[test]
fn the_listed_differences_are_as_listed() {
    let mut faults = Vec::new();
    for known in THEY_ARE_LAX {
        for &peer in known.peers {
            assert_eq!(peer.decoder_refusal(known.bytes).clause(), known.clause, "{:02x?}", known.bytes);
        }
    }
    for (list, name) in [(THEY_ARE_LAX, "lax"), (THEY_ARE_STRICT, "strict"), (THEY_WRITE_OTHERWISE, "otherwise")] {
        for known in list {
            for (&peer, &oracle) in known.peers.iter().flat_map(|peer| known.oracles.iter().map(move |o| (peer, o))) {
                let found = match difference(oracle, peer, known.bytes) {
                    Some(Key::Lax(..)) => "lax",
                    Some(Key::Strict(..)) => "strict",
                    Some(Key::Otherwise(..)) => "otherwise",
                    None => "agrees",
                };
                if found != name {
                    faults.push(format!(
                        "{oracle:?} {peer:?} {:02x?} ({}): {found}, not {name}",
                        known.bytes, known.clause
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Fails with one example of each difference that is not listed.
fn compare(cases: impl Iterator<Item = (Peer, Vec<u8>)>) {
    let listed = known_keys();
    let mut unlisted: BTreeMap<String, String> = BTreeMap::new();
    for (peer, bytes) in cases {
        for &oracle in BOTH {
            if let Some(key) = difference(oracle, peer, &bytes).filter(|key| !listed.contains(key)) {
                let detail = match ours(peer, &bytes) {
                    Ok(_) => String::from("accepted"),
                    Err(error) => format!("{error} ({})", error.clause()),
                };
                unlisted.entry(format!("{key:?}")).or_insert(format!("{peer:?} {detail} {bytes:02x?}"));
            }
        }
    }
    assert!(unlisted.is_empty(), "{unlisted:#?}");
}

fn generated() -> impl Iterator<Item = (Peer, Packet, Vec<(prop::sample::Index, u8, u8)>)> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..3);
    let strategy = peers().prop_flat_map(move |peer| {
        (Just(peer), prop_oneof![4 => packets(peer), 1 => first_packets(peer)], changes.clone())
    });
    let mut runner = TestRunner::deterministic();
    std::iter::repeat_with(move || strategy.new_tree(&mut runner).expect("a packet").current()).take(PACKETS)
}

#[test]
fn generated_packets_are_the_same_to_all() {
    compare(generated().map(|(peer, packet, _)| {
        let version = peer.version().expect("generated");
        let bytes = encoded(&packet, version).to_vec();
        (place_of(peer, version, bytes[0]), bytes)
    }));
}

#[test]
fn changed_packets_are_the_same_to_all() {
    compare(generated().map(|(peer, sent, changes)| {
        let version = peer.version().expect("generated");
        let bytes = encoded(&sent, version);
        let header = 2 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).expect("its length ends");
        let mut first_byte = bytes[0];
        let mut body = bytes[header..].to_vec();
        for (index, byte, change) in changes {
            let place = index.index(body.len() + 1);
            match change {
                0 if place < body.len() => drop(body.remove(place)),
                1 => body.insert(place, byte),
                2 if place < body.len() => body[place] = byte,
                // The flags of one packet in eight.
                3 if byte < 32 => first_byte = first_byte & 0xF0 | byte & 0x0F,
                _ => {}
            }
        }
        (place_of(peer, version, first_byte), packet(first_byte, &body))
    }));
}
