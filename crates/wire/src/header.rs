//! The fixed header: packet type, flags, remaining length (MQTT5 2.1), and the Variable Byte Integer (MQTT5 1.5.5).

use std::fmt;

use crate::{DecodeError, Version};

/// Largest value of a Variable Byte Integer, and so of the remaining length (MQTT5 1.5.5).
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Most bytes of a Variable Byte Integer (MQTT5 1.5.5).
const VARIABLE_BYTE_INTEGER_BYTES_MAX: usize = 4;

/// The types of control packet (MQTT5 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// CONNECT.
    Connect = 1,
    /// CONNACK.
    ConnAck = 2,
    /// PUBLISH.
    Publish = 3,
    /// PUBACK.
    PubAck = 4,
    /// PUBREC.
    PubRec = 5,
    /// PUBREL.
    PubRel = 6,
    /// PUBCOMP.
    PubComp = 7,
    /// SUBSCRIBE.
    Subscribe = 8,
    /// SUBACK.
    SubAck = 9,
    /// UNSUBSCRIBE.
    Unsubscribe = 10,
    /// UNSUBACK.
    UnsubAck = 11,
    /// PINGREQ.
    PingReq = 12,
    /// PINGRESP.
    PingResp = 13,
    /// DISCONNECT.
    Disconnect = 14,
    /// AUTH.
    Auth = 15,
}

/// Who wrote the bytes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

impl PacketType {
    /// The type in the upper four bits; 0 is reserved.
    pub(crate) const fn from_first_byte(first_byte: u8) -> Option<Self> {
        use PacketType::*;
        Some(match first_byte >> 4 {
            1 => Connect,
            2 => ConnAck,
            3 => Publish,
            4 => PubAck,
            5 => PubRec,
            6 => PubRel,
            7 => PubComp,
            8 => Subscribe,
            9 => SubAck,
            10 => Unsubscribe,
            11 => UnsubAck,
            12 => PingReq,
            13 => PingResp,
            14 => Disconnect,
            15 => Auth,
            _ => return None,
        })
    }

    /// The first byte with the flags that the standard prescribes; PUBLISH adds its own (MQTT5 2.1.3-1).
    pub(crate) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.prescribed_flags()
    }

    const fn prescribed_flags(self) -> u8 {
        match self {
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// Whether this side may send it (MQTT5 2.1.2, table 2-1). DISCONNECT by a server is new in 5.0.
    pub(crate) const fn may_come_from(self, sender: Sender, version: Version) -> bool {
        use PacketType::*;
        match self {
            Publish | PubAck | PubRec | PubRel | PubComp | Auth => true,
            Connect | Subscribe | Unsubscribe | PingReq => matches!(sender, Sender::Client),
            ConnAck | SubAck | UnsubAck | PingResp => matches!(sender, Sender::Server),
            Disconnect => matches!((sender, version), (Sender::Client, _) | (_, Version::V5)),
        }
    }

    /// Judges the lower four bits of the first byte of any packet but PUBLISH.
    pub(crate) fn check_flags(self, flags: u8, version: Version) -> Result<(), DecodeError> {
        let good = match (version, self.prescribed_flags()) {
            // MQTT3.1 2.1: DUP and RETAIN may be anything here, QoS is 1.
            (Version::V3_1, 0b0010) => flags & 0b0110 == 0b0010,
            // MQTT3.1 2.1: these flags have no use.
            (Version::V3_1, _) => true,
            (_, prescribed) => flags == prescribed,
        };
        match good {
            true => Ok(()),
            false => Err(DecodeError::HeaderFlags { packet_type: self, flags }),
        }
    }

    /// The fewest and the most bytes that this packet may have after its fixed header. It spares waiting for a body
    /// that cannot be right; what it lets pass is judged field by field.
    pub(crate) const fn body_bounds(self, version: Version) -> (usize, usize) {
        use PacketType::*;
        let five = matches!(version, Version::V5);
        match self {
            PingReq | PingResp => (0, 0),
            Disconnect | Auth if five => (0, REMAINING_LENGTH_MAX),
            Disconnect | Auth => (0, 0),
            ConnAck if five => (3, REMAINING_LENGTH_MAX),
            ConnAck => (2, 2),
            PubAck | PubRec | PubRel | PubComp if five => (2, REMAINING_LENGTH_MAX),
            PubAck | PubRec | PubRel | PubComp => (2, 2),
            UnsubAck if !five => (2, 2),
            Connect | Publish | Subscribe | SubAck | Unsubscribe | UnsubAck => (2, REMAINING_LENGTH_MAX),
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PacketType::*;
        formatter.write_str(match self {
            Connect => "CONNECT",
            ConnAck => "CONNACK",
            Publish => "PUBLISH",
            PubAck => "PUBACK",
            PubRec => "PUBREC",
            PubRel => "PUBREL",
            PubComp => "PUBCOMP",
            Subscribe => "SUBSCRIBE",
            SubAck => "SUBACK",
            Unsubscribe => "UNSUBSCRIBE",
            UnsubAck => "UNSUBACK",
            PingReq => "PINGREQ",
            PingResp => "PINGRESP",
            Disconnect => "DISCONNECT",
            Auth => "AUTH",
        })
    }
}

/// A Variable Byte Integer as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VariableByteInteger {
    pub(crate) value: u32,
    /// How many bytes it took.
    pub(crate) bytes: usize,
}

impl VariableByteInteger {
    /// Reads one from the start of `bytes`; `None` if it goes on beyond them.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut value = 0;
        for (index, byte) in bytes.iter().take(VARIABLE_BYTE_INTEGER_BYTES_MAX).enumerate() {
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                let bytes = index + 1;
                return Ok(Some(Self { value, bytes }));
            }
        }
        match bytes.len() < VARIABLE_BYTE_INTEGER_BYTES_MAX {
            true => Ok(None),
            false => Err(DecodeError::VariableByteIntegerTooLong),
        }
    }

    /// Whether it used the fewest bytes that can hold its value (MQTT5 1.5.5-1).
    pub(crate) const fn is_minimal(self) -> bool {
        self.bytes == variable_byte_integer_bytes(self.value as usize)
    }
}

/// How many bytes a Variable Byte Integer of this value takes.
pub(crate) const fn variable_byte_integer_bytes(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_have_at_most_four_bytes() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xFF, 0xFF, 0x7F], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            let read = VariableByteInteger::read(bytes).expect("valid").expect("complete");
            assert_eq!((read.value, read.bytes), (value, bytes.len()), "MQTT5 1.5.5");
            assert!(read.is_minimal());
            assert_eq!(variable_byte_integer_bytes(value as usize), bytes.len());
            for end in 0..bytes.len() {
                assert_eq!(VariableByteInteger::read(&bytes[..end]), Ok(None));
            }
        }
        let error = VariableByteInteger::read(&[0x80, 0x80, 0x80, 0x80]).expect_err("a fifth byte would follow");
        assert_eq!(error.clause(), "MQTT5 1.5.5");
        let wasteful = VariableByteInteger::read(&[0x81, 0x00]).expect("readable").expect("complete");
        assert!(!wasteful.is_minimal(), "MQTT5 1.5.5-1");
    }
}
