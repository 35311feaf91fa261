//! Why bytes are refused: each kind with its reason code and its clause.

use bytes::Bytes;
use thiserror::Error;

use crate::{PacketType, Property, ReasonCode, TopicError};

/// CONNACK 0x01, unacceptable protocol version, in the shape of 3.x (MQTT3.1.1 3.1.2-2).
const UNACCEPTABLE_VERSION_3: &[u8] = &[0x20, 0x02, 0x00, 0x01];
/// CONNACK 0x84, Unsupported Protocol Version, in the shape of 5.0 (MQTT5 3.1.2-2).
const UNACCEPTABLE_VERSION_5: &[u8] = &[0x20, 0x03, 0x00, 0x84, 0x00];
/// CONNACK 0x02, identifier rejected, in the shape of 3.x (MQTT3.1.1 3.1.3-8).
const IDENTIFIER_REJECTED_3: &[u8] = &[0x20, 0x02, 0x00, 0x02];

/// Levels with this bit set come from bridges, which say with it that they are one (and that the level is the rest).
const BRIDGE_BIT: u8 = 0x80;
/// The first level whose clients read the CONNACK of 5.0.
const LEVEL_5: u8 = 5;

/// Why bytes are no MQTT. The connection is over after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Type 0, or 15 before 5.0.
    #[error("packet type {0} is reserved")]
    ReservedPacketType(u8),
    /// A packet that only the other side may send.
    #[error("{0} may not come from this side")]
    WrongDirection(PacketType),
    /// A client's first packet is something else than CONNECT.
    #[error("the first packet is {0}, not CONNECT")]
    FirstNotConnect(PacketType),
    /// CONNECT again.
    #[error("a second CONNECT")]
    SecondConnect,
    /// A server's first packet is neither CONNACK nor AUTH.
    #[error("the first packet is {0}, not CONNACK")]
    FirstNotConnAck(PacketType),
    /// CONNACK again.
    #[error("a second CONNACK")]
    SecondConnAck,
    /// The lower four bits of the first byte are not what the standard prescribes.
    #[error("{packet_type} with flags {flags:#06b}")]
    HeaderFlags {
        /// The packet.
        packet_type: PacketType,
        /// The four bits.
        flags: u8,
    },
    /// PUBLISH with both QoS bits set.
    #[error("PUBLISH with QoS 3")]
    PublishQoS,
    /// PUBLISH with DUP at QoS 0.
    #[error("PUBLISH with DUP at QoS 0")]
    DupAtQoS0,
    /// A Variable Byte Integer goes on after its fourth byte.
    #[error("a variable byte integer has more than four bytes")]
    VariableByteIntegerTooLong,
    /// A Variable Byte Integer is longer than its value needs (5.0 only).
    #[error("a variable byte integer is longer than it needs to be")]
    VariableByteIntegerNotMinimal,
    /// The packet is larger than this side takes; known from its fixed header.
    #[error("the packet has {bytes} bytes, at most {bytes_max} are taken")]
    PacketTooLarge {
        /// Of the whole packet.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A remaining length that this packet cannot have.
    #[error("{packet_type} with a remaining length of {bytes}")]
    RemainingLength {
        /// The packet.
        packet_type: PacketType,
        /// The remaining length.
        bytes: usize,
    },
    /// A field goes on beyond the packet's or the property list's end.
    #[error("{0} ends inside a field")]
    Truncated(PacketType),
    /// Bytes are left after the last field.
    #[error("{0} goes on after its last field")]
    TrailingBytes(PacketType),
    /// Ill-formed UTF-8, surrogates included.
    #[error("ill-formed UTF-8 in {0}")]
    Utf8(PacketType),
    /// U+0000 in a string.
    #[error("U+0000 in {0}")]
    NullCharacter(PacketType),
    /// Neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is not MQTT's")]
    ProtocolName,
    /// A protocol level that is not spoken here.
    #[error("{name} level {level} is not supported")]
    ProtocolVersion {
        /// `MQTT` or `MQIsdp`.
        name: &'static str,
        /// The level.
        level: u8,
    },
    /// The reserved connect flag is set.
    #[error("the reserved connect flag is set")]
    ConnectReservedFlag,
    /// A will QoS and no will.
    #[error("a will QoS without a will")]
    WillQoSWithoutWill,
    /// Will QoS 3.
    #[error("will QoS 3")]
    WillQoS,
    /// Will retain and no will.
    #[error("will retain without a will")]
    WillRetainWithoutWill,
    /// A password and no user name, before 5.0.
    #[error("a password without a user name")]
    PasswordWithoutUserName,
    /// An empty client identifier where a 3.x server may not assign one.
    #[error("no client identifier")]
    ClientIdMissing,
    /// An unknown property, or one that this packet may not carry.
    #[error("property {identifier:#04x} may not stand in {packet_type}")]
    PropertyNotAllowed {
        /// The identifier as it came.
        identifier: u32,
        /// The packet.
        packet_type: PacketType,
    },
    /// A property that may come once came again.
    #[error("{0:?} twice")]
    PropertyTwice(Property),
    /// A value that the property may not have.
    #[error("{0:?} with a value that it may not have")]
    PropertyValue(Property),
    /// The property list is longer than the packet.
    #[error("the property length of {0} goes beyond the packet")]
    PropertyLength(PacketType),
    /// Authentication data and no authentication method.
    #[error("authentication data without a method")]
    AuthenticationDataWithoutMethod,
    /// AUTH without an authentication method.
    #[error("AUTH without an authentication method")]
    AuthenticationMethodMissing,
    /// A reserved bit of the CONNACK flags is set.
    #[error("a reserved bit of the CONNACK flags is set")]
    ConnAckReservedFlags,
    /// CONNACK that refuses and says that there is a session.
    #[error("session present in a refusal")]
    SessionPresentInRefusal,
    /// A reason code that is unknown or not for this packet and sender.
    #[error("{packet_type} with reason code 0x{code:02X}")]
    WrongReasonCode {
        /// The packet.
        packet_type: PacketType,
        /// The code.
        code: u8,
    },
    /// A topic name that is none.
    #[error(transparent)]
    Topic(TopicError),
    /// PUBLISH in 5.0 with neither a topic name nor a topic alias.
    #[error("neither a topic name nor a topic alias")]
    TopicMissing,
    /// Packet identifier 0.
    #[error("{0} with packet identifier 0")]
    PacketIdZero(PacketType),
    /// A client's PUBLISH with a subscription identifier.
    #[error("a subscription identifier from a client")]
    SubscriptionIdentifierFromClient,
    /// SUBSCRIBE or UNSUBSCRIBE with no filter.
    #[error("{0} without a topic filter")]
    NoFilters(PacketType),
    /// SUBACK or UNSUBACK with no reason code.
    #[error("{0} without a reason code")]
    NoReasonCodes(PacketType),
    /// QoS 3 in a SUBSCRIBE.
    #[error("a subscription with QoS 3")]
    SubscribeQoS,
    /// Retain handling 3.
    #[error("retain handling 3")]
    RetainHandling,
    /// A reserved bit of the subscription options is set.
    #[error("a reserved bit of the subscription options is set")]
    SubscribeReservedBits,
    /// No Local on a shared subscription.
    #[error("no local on a shared subscription")]
    NoLocalOnShared,
    /// A server's DISCONNECT with a session expiry interval.
    #[error("a session expiry interval in a server's DISCONNECT")]
    SessionExpiryFromServer,
}

impl DecodeError {
    /// What a CONNACK or DISCONNECT of 5.0 says about it.
    pub const fn reason_code(&self) -> ReasonCode {
        use DecodeError::*;
        match self {
            ReservedPacketType(_)
            | HeaderFlags { .. }
            | PublishQoS
            | DupAtQoS0
            | VariableByteIntegerTooLong
            | VariableByteIntegerNotMinimal
            | RemainingLength { .. }
            | Truncated(_)
            | TrailingBytes(_)
            | Utf8(_)
            | NullCharacter(_)
            | ConnectReservedFlag
            | WillQoSWithoutWill
            | WillQoS
            | WillRetainWithoutWill
            | PasswordWithoutUserName
            | PropertyNotAllowed { .. }
            | PropertyLength(_)
            | ConnAckReservedFlags
            | NoReasonCodes(_)
            | SubscribeReservedBits => ReasonCode::MalformedPacket,
            PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            ProtocolName | ProtocolVersion { .. } => ReasonCode::UnsupportedProtocolVersion,
            ClientIdMissing => ReasonCode::ClientIdentifierNotValid,
            PropertyValue(Property::TopicAlias) => ReasonCode::TopicAliasInvalid,
            Topic(error) => error.reason_code(),
            _ => ReasonCode::ProtocolError,
        }
    }

    /// The clause that the bytes break.
    pub const fn clause(&self) -> &'static str {
        use DecodeError::*;
        match self {
            ReservedPacketType(_) | WrongDirection(_) => "MQTT5 2.1.2",
            FirstNotConnect(_) => "MQTT5 3.1.0-1",
            SecondConnect => "MQTT5 3.1.0-2",
            FirstNotConnAck(_) => "MQTT5 3.2.0-1",
            SecondConnAck => "MQTT5 3.2.0-2",
            HeaderFlags { .. } => "MQTT5 2.1.3-1",
            PublishQoS => "MQTT5 3.3.1-4",
            DupAtQoS0 => "MQTT5 3.3.1-2",
            VariableByteIntegerTooLong => "MQTT5 1.5.5",
            VariableByteIntegerNotMinimal => "MQTT5 1.5.5-1",
            PacketTooLarge { .. } => "MQTT5 3.1.2.11.4",
            RemainingLength { .. } | Truncated(_) | TrailingBytes(_) => "MQTT5 2.1.4",
            Utf8(_) => "MQTT5 1.5.4-1",
            NullCharacter(_) => "MQTT5 1.5.4-2",
            ProtocolName => "MQTT5 3.1.2-1",
            ProtocolVersion { .. } => "MQTT5 3.1.2-2",
            ConnectReservedFlag => "MQTT5 3.1.2-3",
            WillQoSWithoutWill => "MQTT5 3.1.2-11",
            WillQoS => "MQTT5 3.1.2-12",
            WillRetainWithoutWill => "MQTT5 3.1.2-13",
            PasswordWithoutUserName => "MQTT3.1.1 3.1.2-22",
            ClientIdMissing => "MQTT3.1.1 3.1.3-8",
            PropertyNotAllowed { .. } => "MQTT5 2.2.2.2",
            PropertyTwice(property) | PropertyValue(property) => property.clause(),
            PropertyLength(_) => "MQTT5 2.2.2.1",
            AuthenticationDataWithoutMethod => "MQTT5 3.1.2.11.10",
            AuthenticationMethodMissing => "MQTT5 3.15.2.2.2",
            ConnAckReservedFlags => "MQTT5 3.2.2-1",
            SessionPresentInRefusal => "MQTT5 3.2.2-6",
            WrongReasonCode { packet_type, .. } => reason_code_clause(*packet_type),
            Topic(error) => error.clause(),
            TopicMissing => "MQTT5 3.3.2.1",
            PacketIdZero(_) => "MQTT5 2.2.1-3",
            SubscriptionIdentifierFromClient => "MQTT5 3.3.4-6",
            NoFilters(PacketType::Unsubscribe) => "MQTT5 3.10.3-2",
            NoFilters(_) => "MQTT5 3.8.3-2",
            NoReasonCodes(PacketType::UnsubAck) => "MQTT5 3.11.3-1",
            NoReasonCodes(_) => "MQTT5 3.9.3-1",
            SubscribeQoS | RetainHandling => "MQTT5 3.8.3.1",
            SubscribeReservedBits => "MQTT5 3.8.3-5",
            NoLocalOnShared => "MQTT5 3.8.3-4",
            SessionExpiryFromServer => "MQTT5 3.14.2-2",
        }
    }

    /// The CONNACK that the standard wants sent before the close, whatever the server thinks of the rest: to a client of
    /// an unsupported version in the shape that it can read, and to a 3.x client without identifier.
    ///
    /// For other faults of a CONNECT in 5.0 a CONNACK with [`DecodeError::reason_code`] may be sent (MQTT5 4.13.1).
    pub const fn answer(&self) -> Option<Bytes> {
        let bytes = match self {
            DecodeError::ProtocolVersion { name, level } => match name.len() == "MQTT".len() {
                true if *level & !BRIDGE_BIT >= LEVEL_5 => UNACCEPTABLE_VERSION_5,
                _ => UNACCEPTABLE_VERSION_3,
            },
            DecodeError::ClientIdMissing => IDENTIFIER_REJECTED_3,
            _ => return None,
        };
        Some(Bytes::from_static(bytes))
    }
}

const fn reason_code_clause(packet_type: PacketType) -> &'static str {
    match packet_type {
        PacketType::ConnAck => "MQTT5 3.2.2-8",
        PacketType::PubAck => "MQTT5 3.4.2-1",
        PacketType::PubRec => "MQTT5 3.5.2-1",
        PacketType::PubRel => "MQTT5 3.6.2-1",
        PacketType::PubComp => "MQTT5 3.7.2-1",
        PacketType::SubAck => "MQTT5 3.9.3-2",
        PacketType::UnsubAck => "MQTT5 3.11.3-2",
        PacketType::Auth => "MQTT5 3.15.2-1",
        _ => "MQTT5 3.14.2-1",
    }
}
