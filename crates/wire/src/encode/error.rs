//! Why a packet cannot be written: it would break a rule, or say something else than it means.

use thiserror::Error;

use crate::{PacketType, Property, ReasonCode, TopicError, Version};

/// Why a packet is not encoded. Nothing has been written then. Each of these is our own fault, not the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// More than 65,535 bytes of text or binary data (MQTT5 1.5.4, 1.5.6).
    #[error("a field of {0} bytes, at most 65,535 fit")]
    FieldTooLong(usize),
    /// U+0000 in a text (MQTT5 1.5.4-2).
    #[error("U+0000 in a text")]
    NullCharacter,
    /// More than a remaining length can say (MQTT5 2.1.4).
    #[error("a packet body of {0} bytes, at most 268,435,455 fit")]
    PacketTooLarge(usize),
    /// The packet, or what it says, does not exist in this version.
    #[error("{packet_type} as it is cannot be said in {version:?}")]
    NotInVersion {
        /// The packet.
        packet_type: PacketType,
        /// The version.
        version: Version,
    },
    /// CONNECT names another version than the connection's.
    #[error("CONNECT for {connect:?} on a connection of {connection:?}")]
    VersionMismatch {
        /// The packet's.
        connect: Version,
        /// The connection's.
        connection: Version,
    },
    /// A reason code that may not stand there, or that 3.x cannot say: then the connection is closed instead
    /// (MQTT3.1.1 3.2.2-6).
    #[error("{packet_type} with reason code {reason_code}")]
    ReasonCode {
        /// The packet.
        packet_type: PacketType,
        /// The code.
        reason_code: ReasonCode,
    },
    /// A topic name that is none.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// PUBLISH above QoS 0 without a packet identifier (MQTT5 2.2.1-3).
    #[error("PUBLISH above QoS 0 without a packet identifier")]
    PacketIdMissing,
    /// PUBLISH at QoS 0 with a packet identifier (MQTT5 2.2.1-2).
    #[error("PUBLISH at QoS 0 with a packet identifier")]
    PacketIdAtQoS0,
    /// PUBLISH at QoS 0 with DUP (MQTT5 3.3.1-2).
    #[error("PUBLISH at QoS 0 with DUP")]
    DupAtQoS0,
    /// No filter, or no reason code, where there must be one.
    #[error("{0} without an entry")]
    NoEntries(PacketType),
    /// A value that the property may not have.
    #[error("{0:?} with a value that it may not have")]
    PropertyValue(Property),
    /// A property that may not stand there.
    #[error("{0:?} in a will")]
    PropertyInWill(Property),
    /// Authentication data, or AUTH, without an authentication method.
    #[error("no authentication method")]
    AuthenticationMethodMissing,
    /// CONNACK that refuses and says that there is a session (MQTT5 3.2.2-6).
    #[error("session present in a refusal")]
    SessionPresentInRefusal,
    /// A password without a user name before 5.0 (MQTT3.1.1 3.1.2-22).
    #[error("a password without a user name")]
    PasswordWithoutUserName,
    /// No client identifier where the server may not assign one (MQTT3.1.1 3.1.3-7).
    #[error("no client identifier")]
    ClientIdMissing,
    /// No Local on a shared subscription (MQTT5 3.8.3-4).
    #[error("no local on a shared subscription")]
    NoLocalOnShared,
}
