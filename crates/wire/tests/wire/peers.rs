//! Who the bytes of a test come from, and shorthands to decode them.

use bytes::{BufMut, BytesMut};
use quorate_wire::{DecodeError, Decoder, Packet, ReasonCode, Version};

/// A limit that no test reaches unless it means to.
pub const PACKET_BYTES_MAX: usize = 1 << 20;

pub const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
pub const BEFORE_5: [Version; 2] = [Version::V3_1, Version::V3_1_1];
pub const SINCE_3_1_1: [Version; 2] = [Version::V3_1_1, Version::V5];

/// The sender of a test's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A client from its first byte.
    NewClient,
    /// A client after its CONNECT.
    Client(Version),
    /// A server from its first byte.
    NewServer(Version),
    /// A server after its CONNACK.
    Server(Version),
}

impl Peer {
    pub fn version(self) -> Option<Version> {
        match self {
            Peer::NewClient => None,
            Peer::Client(version) | Peer::NewServer(version) | Peer::Server(version) => Some(version),
        }
    }

    /// A decoder for what it sends.
    pub fn decoder(self, packet_bytes_max: usize) -> Decoder {
        let (mut decoder, first) = match self {
            Peer::NewClient => return Decoder::server(packet_bytes_max),
            Peer::NewServer(version) => return Decoder::client(version, packet_bytes_max),
            Peer::Client(version) => (Decoder::server(packet_bytes_max), connect_bytes(version)),
            Peer::Server(version) => (Decoder::client(version, packet_bytes_max), connack_bytes(version)),
        };
        let first = decoder.decode(&mut BytesMut::from(&first[..]));
        assert!(matches!(first, Ok(Some(_))), "{first:?}");
        decoder
    }

    fn decode(self, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
        let mut buffer = BytesMut::from(bytes);
        let outcome = self.decoder(PACKET_BYTES_MAX).decode(&mut buffer);
        if let Ok(Some(_)) = outcome {
            assert!(buffer.is_empty(), "{} bytes left of {bytes:02x?}", buffer.len());
        }
        outcome
    }

    /// The one packet that these bytes are.
    pub fn accepted(self, bytes: &[u8]) -> Packet {
        match self.decode(bytes) {
            Ok(Some(packet)) => packet,
            other => panic!("{self:?} {bytes:02x?}: {other:?}"),
        }
    }

    /// Why these bytes are refused.
    pub fn decoder_refusal(self, bytes: &[u8]) -> DecodeError {
        match self.decode(bytes) {
            Err(error) => error,
            other => panic!("{self:?} {bytes:02x?}: {other:?}"),
        }
    }

    /// Why these bytes are refused, with the clause and the reason code checked.
    pub fn refused(self, bytes: &[u8], clause: &str, reason_code: ReasonCode) -> DecodeError {
        let error = match self.decode(bytes) {
            Err(error) => error,
            other => panic!("{clause}: {self:?} {bytes:02x?}: {other:?}"),
        };
        assert_eq!(error.clause(), clause, "{self:?} {bytes:02x?}: {error}");
        assert_eq!(error.reason_code(), reason_code, "{clause}: {error}");
        error
    }

    pub fn malformed(self, bytes: &[u8], clause: &str) -> DecodeError {
        self.refused(bytes, clause, ReasonCode::MalformedPacket)
    }

    pub fn protocol_error(self, bytes: &[u8], clause: &str) -> DecodeError {
        self.refused(bytes, clause, ReasonCode::ProtocolError)
    }
}

/// A packet of this first byte and body.
pub fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    let mut length = body.len();
    loop {
        let more = length > 0x7F;
        bytes.push((length & 0x7F) as u8 | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Several parts in a row.
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Length and bytes.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(bytes.len() as u16);
    out.extend_from_slice(bytes);
    out
}

/// The least CONNECT of a version, with clean session.
pub fn connect_bytes(version: Version) -> Vec<u8> {
    let body: &[u8] = match version {
        Version::V3_1 => b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c",
        Version::V3_1_1 => b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        Version::V5 => b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00",
    };
    packet(0x10, body)
}

/// The least CONNACK of a version that accepts.
pub fn connack_bytes(version: Version) -> Vec<u8> {
    match version {
        Version::V3_1 | Version::V3_1_1 => vec![0x20, 0x02, 0x00, 0x00],
        Version::V5 => vec![0x20, 0x03, 0x00, 0x00, 0x00],
    }
}
