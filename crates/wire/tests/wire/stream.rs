//! Generated packets there and back, and streams cut anywhere.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use quorate_wire::{COPY_BELOW_BYTES, Decoder, Packet, Version, encode};

use crate::checks::{decode_pieces, decoded_alone, encoded, pieces};
use crate::generators::{first_packets, packets, peers, streams};
use crate::peers::{PACKET_BYTES_MAX, Peer, connect_bytes, join, packet};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn packets_decode_to_themselves((peer, packet) in peers().prop_flat_map(|peer| (Just(peer), packets(peer)))) {
        let version = peer.version().expect("generated");
        prop_assert_eq!(decoded_alone(peer, version, &encoded(&packet, version)), packet);
    }

    #[test]
    fn first_packets_decode_to_themselves(
        (peer, packet) in peers().prop_flat_map(|peer| (Just(peer), first_packets(peer))),
    ) {
        let version = peer.version().expect("generated");
        prop_assert_eq!(decoded_alone(peer, version, &encoded(&packet, version)), packet);
    }

    #[test]
    fn a_truncated_packet_asks_for_more_at_every_byte(
        (peer, packet) in peers().prop_flat_map(|peer| (Just(peer), prop_oneof![packets(peer), first_packets(peer)])),
    ) {
        let version = peer.version().expect("generated");
        let bytes = encoded(&packet, version);
        let place = match (peer, &packet) {
            (_, Packet::Connect(_)) => Peer::NewClient,
            (_, Packet::ConnAck(_)) => Peer::NewServer(version),
            _ => peer,
        };
        let mut decoder = place.decoder(PACKET_BYTES_MAX);
        let mut buffer = BytesMut::new();
        for (index, &byte) in bytes.iter().enumerate() {
            prop_assert_eq!(decoder.decode(&mut buffer), Ok(None));
            prop_assert_eq!(buffer.len(), index, "what has come stays");
            buffer.extend_from_slice(&[byte]);
        }
        prop_assert_eq!(decoder.decode(&mut buffer), Ok(Some(packet)));
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_stream_is_the_same_in_any_cuts((peer, sent) in streams(), seed in any::<u8>()) {
        let version = peer.version().expect("generated");
        let mut stream = BytesMut::new();
        for packet in &sent {
            encode(packet, version, &mut stream).expect("generated packets are sound");
        }
        let whole = decode_pieces(peer, std::iter::once(&stream[..]));
        prop_assert_eq!(&whole.packets, &sent);
        prop_assert_eq!(whole.end, Ok(0));
        prop_assert_eq!(decode_pieces(peer, pieces(&stream, seed)), whole);
    }

    #[test]
    fn bytes_at_random_neither_panic_nor_depend_on_cuts(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        crate::checks::cuts_change_nothing(&input);
        crate::checks::decoded_packets_survive_encoding(&input);
    }

    #[test]
    fn packets_with_bytes_changed_neither_panic_nor_depend_on_cuts(
        (peer, sent) in streams(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        seed in any::<u8>(),
    ) {
        let mut input = BytesMut::from(&[crate::checks::choice_of(peer), seed][..]);
        for packet in &sent {
            encode(packet, peer.version().expect("generated"), &mut input).expect("generated packets are sound");
        }
        for (index, byte) in changes {
            if input.len() > 2 {
                let place = 2 + index.index(input.len() - 2);
                input[place] = byte;
            }
        }
        crate::checks::cuts_change_nothing(&input);
        input[1] = input[0];
        crate::checks::decoded_packets_survive_encoding(&input[1..]);
    }
}

/// The payload of the one PUBLISH of 5.0 in this buffer, whose capacity is given back too.
fn payload_out_of(buffer: &mut BytesMut) -> Bytes {
    match Peer::Client(Version::V5).decoder(PACKET_BYTES_MAX).decode(buffer) {
        Ok(Some(Packet::Publish(publish))) => publish.payload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_packets_leave_the_read_buffer_to_its_owner() {
    let mut buffer = BytesMut::with_capacity(65_536);
    buffer.extend_from_slice(&packet(0x30, &join(&[b"\0\x01t\0", &[7; 200]])));
    let start = buffer.as_ptr() as usize;
    let payload = payload_out_of(&mut buffer);
    let inside = start..start + 65_536;
    assert!(!inside.contains(&(payload.as_ptr() as usize)), "200 bytes do not pin 64 KiB");
    assert!(buffer.try_reclaim(65_000), "the buffer is its owner's alone");
}

#[test]
fn large_packets_are_not_copied() {
    let mut buffer = BytesMut::with_capacity(65_536);
    buffer.extend_from_slice(&packet(0x30, &join(&[b"\0\x01t\0", &[7; COPY_BELOW_BYTES]])));
    let start = buffer.as_ptr() as usize;
    let payload = payload_out_of(&mut buffer);
    assert_eq!(payload.as_ptr() as usize, start + 3 + 4, "a slice of the read buffer");
}

#[test]
fn packets_sent_together_come_one_by_one() {
    let mut decoder = Decoder::server(PACKET_BYTES_MAX);
    let mut buffer = BytesMut::from(&connect_bytes(Version::V3_1_1)[..]);
    buffer.extend_from_slice(b"\xC0\x00\x40\x02\x00\x01\xE0\x00\xC0");
    assert!(matches!(decoder.decode(&mut buffer), Ok(Some(Packet::Connect(_)))));
    assert!(matches!(decoder.decode(&mut buffer), Ok(Some(Packet::PingReq))));
    assert!(matches!(decoder.decode(&mut buffer), Ok(Some(Packet::PubAck(_)))));
    assert!(matches!(decoder.decode(&mut buffer), Ok(Some(Packet::Disconnect(_)))));
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(&buffer[..], b"\xC0");
}
