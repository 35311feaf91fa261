//! What must hold for any bytes at all. The fuzz targets in `fuzz/` include this file, and the corpus test runs it.

use bytes::BytesMut;
use quorate_wire::{DecodeError, Packet, Version, encode, encode_vectored, encoded_len};

use crate::peers::Peer;

/// The limit of these checks: low enough that bytes at random go beyond it.
const PACKET_BYTES_MAX: usize = 1 << 16;

/// Whom the first byte of an input chooses.
const PEERS: [Peer; 10] = [
    Peer::NewClient,
    Peer::Client(Version::V3_1),
    Peer::Client(Version::V3_1_1),
    Peer::Client(Version::V5),
    Peer::NewServer(Version::V3_1),
    Peer::NewServer(Version::V3_1_1),
    Peer::NewServer(Version::V5),
    Peer::Server(Version::V3_1),
    Peer::Server(Version::V3_1_1),
    Peer::Server(Version::V5),
];

/// The peer that an input's first byte chooses.
pub fn peer_of(choice: u8) -> Peer {
    PEERS[usize::from(choice) % PEERS.len()]
}

/// The first byte that chooses this peer.
#[allow(dead_code, reason = "the fuzz targets choose at random")]
pub fn choice_of(peer: Peer) -> u8 {
    PEERS.iter().position(|&other| other == peer).expect("all peers are listed") as u8
}

/// What a stream came to: its packets, then the bytes left over or the refusal.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub packets: Vec<Packet>,
    pub end: Result<usize, DecodeError>,
}

/// Decodes a stream that comes in these pieces.
pub fn decode_pieces<'a>(peer: Peer, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = peer.decoder(PACKET_BYTES_MAX);
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut buffer), Err(error), "a failed decoder stays failed");
                    return Outcome { packets, end: Err(error) };
                }
            }
        }
    }
    Outcome { packets, end: Ok(buffer.len()) }
}

/// Pieces of 1 to 16 bytes, the same for the same seed.
pub fn pieces(stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed).wrapping_mul(0x9E37_79B9) | 1;
    let mut rest = stream;
    std::iter::from_fn(move || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = rest.len().min(1 + (state >> 28) as usize);
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Input: peer, seed, stream. However it is cut, the same packets come out and the same refusal.
pub fn cuts_change_nothing(input: &[u8]) {
    let [choice, seed, stream @ ..] = input else {
        return;
    };
    let peer = peer_of(*choice);
    let whole = decode_pieces(peer, std::iter::once(stream));
    let cut = decode_pieces(peer, pieces(stream, *seed));
    assert_eq!(whole, cut);
}

/// Input: peer, stream. Each packet that is decoded encodes, to no more bytes than it came in, and decodes to itself.
pub fn decoded_packets_survive_encoding(input: &[u8]) {
    let [choice, stream @ ..] = input else {
        return;
    };
    let peer = peer_of(*choice);
    let mut decoder = peer.decoder(PACKET_BYTES_MAX);
    let mut buffer = BytesMut::from(stream);
    loop {
        let bytes_before = buffer.len();
        let Ok(Some(packet)) = decoder.decode(&mut buffer) else {
            return;
        };
        let version = decoder.version().expect("known once there is a packet");
        let bytes = encoded(&packet, version);
        assert!(bytes.len() <= bytes_before - buffer.len(), "the shortest form: {packet:?}");
        assert_eq!(decoded_alone(peer, version, &bytes), packet);
    }
}

/// The packet's bytes, written in both ways, with the announced length.
pub fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let announced = encoded_len(packet, version).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).expect("its length was told");
    assert_eq!(bytes.len(), announced, "{packet:?}");

    let mut pieces = BytesMut::new();
    let payload = encode_vectored(packet, version, &mut pieces).expect("its length was told");
    pieces.extend_from_slice(payload.as_deref().unwrap_or_default());
    assert_eq!(pieces, bytes, "{packet:?}");
    bytes
}

/// Decodes a packet at the place of a connection where it may stand.
pub fn decoded_alone(peer: Peer, version: Version, bytes: &[u8]) -> Packet {
    place_of(peer, version, bytes[0]).accepted(bytes)
}

/// Where on the connection a packet with this first byte may stand.
pub fn place_of(peer: Peer, version: Version, first_byte: u8) -> Peer {
    match (peer, first_byte >> 4) {
        (Peer::NewClient | Peer::Client(_), 1) => Peer::NewClient,
        (Peer::NewClient | Peer::Client(_), _) => Peer::Client(version),
        (_, 2) => Peer::NewServer(version),
        _ => Peer::Server(version),
    }
}
