//! What the codec allocates. A binary of its own, since it counts through the global allocator.

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use quorate_wire::{Decoder, Packet, Version, encode};

const PACKET_BYTES_MAX: usize = 1 << 16;

/// A decoder of a client that has connected.
fn decoder(version: Version) -> Decoder {
    let connect: &[u8] = match version {
        Version::V3_1 => b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c",
        Version::V3_1_1 => b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0",
        Version::V5 => b"\x10\x0D\0\x04MQTT\x05\x02\0\x3C\0\0\0",
    };
    let mut decoder = Decoder::server(PACKET_BYTES_MAX);
    let first = decoder.decode(&mut BytesMut::from(connect));
    assert!(matches!(first, Ok(Some(Packet::Connect(_)))), "{first:?}");
    decoder
}

/// Allocations while these bytes are decoded, and while their packets are written into a buffer with room.
fn allocations(version: Version, bytes: &[u8]) -> (u64, u64) {
    let mut decoder = decoder(version);
    let mut buffer = BytesMut::from(bytes);
    let mut packets = Vec::with_capacity(16);
    let decoding = measure(|| {
        while let Ok(Some(packet)) = decoder.decode(&mut buffer) {
            packets.push(packet);
        }
    });
    assert!(buffer.is_empty() && !packets.is_empty());
    let mut out = BytesMut::with_capacity(1024);
    let encoding = measure(|| {
        for packet in &packets {
            encode(packet, version, &mut out).expect("a sound packet");
        }
    });
    (decoding.count_total, encoding.count_total)
}

#[test]
fn acknowledgements_and_pings_allocate_nothing() {
    let acknowledgements = b"\x40\x02\0\x01\x50\x02\0\x02\x62\x02\0\x03\x70\x02\0\x04\xC0\0";
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        assert_eq!(allocations(version, acknowledgements), (0, 0), "{version:?}");
    }
    let with_codes = b"\x40\x03\0\x01\x10\x50\x04\0\x02\x87\0\x62\x03\0\x03\x92\x70\x04\0\x04\x92\0";
    assert_eq!(allocations(Version::V5, with_codes), (0, 0));
}

#[test]
fn a_small_publish_allocates_itself_and_a_copy_of_its_payload() {
    // The boxed packet, the copy of the payload, and, once a buffer, the count of its owners.
    let publish = b"\x32\x18\0\x05topic\0\x01\x0B\x26\0\x03key\0\x03valpay";
    assert_eq!(publish[1] as usize, publish.len() - 2);
    let (decoding, encoding) = allocations(Version::V5, publish);
    // One more for the list of user properties.
    assert_eq!((decoding, encoding), (4, 0));
    assert_eq!(allocations(Version::V3_1_1, b"\x32\x0C\0\x05topic\0\x01pay"), (3, 0));
}

#[test]
fn a_refused_header_allocates_nothing() {
    let mut decoder = decoder(Version::V5);
    let mut buffer = BytesMut::from(&b"\x30\xFF\xFF\xFF\x7F"[..]);
    let refusal = measure(|| assert!(decoder.decode(&mut buffer).is_err()));
    assert_eq!(refusal.count_total, 0, "too large, by its header");
}

#[test]
fn what_a_decoded_packet_holds_is_bounded_by_its_bytes() {
    // The worst that there is: empty filters of an UNSUBSCRIBE, 2 bytes each.
    let filters = 8_000;
    let body = 3 + 2 * filters;
    let mut bytes = vec![0xA2, (body & 0x7F) as u8 | 0x80, (body >> 7 & 0x7F) as u8, 0, 1, 0];
    bytes[2] |= if body >> 14 > 0 { 0x80 } else { 0 };
    if body >> 14 > 0 {
        bytes.insert(3, (body >> 14) as u8);
    }
    bytes.resize(bytes.len() + 2 * filters, 0);
    let mut decoder = decoder(Version::V5);
    let mut buffer = BytesMut::from(&bytes[..]);
    let mut packet = None;
    let decoding = measure(|| packet = decoder.decode(&mut buffer).expect("sound"));
    assert!(matches!(packet, Some(Packet::Unsubscribe(_))));
    assert!(decoding.bytes_current as usize <= 33 * bytes.len(), "{} bytes held", decoding.bytes_current);
    drop(Bytes::from(bytes));
}
