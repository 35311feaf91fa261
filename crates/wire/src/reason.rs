//! The reason codes of MQTT 5, and in which packet each may stand.
//!
//! The 3.x return codes of CONNACK and SUBACK are kept as the matching reason code; the translation is here too.

use std::fmt;

use crate::PacketType;

/// A reason code (MQTT5 2.4). Codes from 0x80 on say that something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReasonCode {
    /// Success, normal disconnection, or granted QoS 0.
    Success = 0x00,
    /// Granted QoS 1.
    GrantedQoS1 = 0x01,
    /// Granted QoS 2.
    GrantedQoS2 = 0x02,
    /// The client leaves, and wants its will published.
    DisconnectWithWill = 0x04,
    /// Accepted, and nobody subscribes.
    NoMatchingSubscribers = 0x10,
    /// There was nothing to unsubscribe.
    NoSubscriptionExisted = 0x11,
    /// Go on with the authentication.
    ContinueAuthentication = 0x18,
    /// The client starts to authenticate anew.
    ReAuthenticate = 0x19,
    /// The sender does not say why.
    UnspecifiedError = 0x80,
    /// The packet cannot be parsed as the standard says.
    MalformedPacket = 0x81,
    /// The packet is not allowed here, or has a value that is not.
    ProtocolError = 0x82,
    /// Valid, and the receiver does not accept it.
    ImplementationSpecificError = 0x83,
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85,
    /// The server does not accept the user name or password.
    BadUserNameOrPassword = 0x86,
    /// The sender may not do this.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// The server is busy; try again later.
    ServerBusy = 0x89,
    /// This client is banned.
    Banned = 0x8A,
    /// The server is shutting down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported, or not the one in use.
    BadAuthenticationMethod = 0x8C,
    /// Nothing was heard for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection uses this session now.
    SessionTakenOver = 0x8E,
    /// The topic filter is not accepted.
    TopicFilterInvalid = 0x8F,
    /// The topic name is not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is already in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged publishes than the Receive Maximum.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is 0, too high, or not known.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the receiver takes.
    PacketTooLarge = 0x95,
    /// Messages come too fast.
    MessageRateTooHigh = 0x96,
    /// A quota or limit is reached.
    QuotaExceeded = 0x97,
    /// An administrator ended it.
    AdministrativeAction = 0x98,
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99,
    /// The server does not retain.
    RetainNotSupported = 0x9A,
    /// The QoS is higher than the server takes.
    QoSNotSupported = 0x9B,
    /// Use another server for now.
    UseAnotherServer = 0x9C,
    /// Use another server from now on.
    ServerMoved = 0x9D,
    /// The server has no shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F,
    /// The time that this connection may last is over.
    MaximumConnectTime = 0xA0,
    /// The server has no subscription identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// The server has no wildcard subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2,
}

/// A byte that is no reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("0x{0:02X} is no reason code")]
pub struct UnknownReasonCode(pub u8);

impl ReasonCode {
    /// The code as it stands in a packet.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed (MQTT5 2.4).
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The standard's name (MQTT5 2.4, table 2-6).
    pub const fn name(self) -> &'static str {
        use ReasonCode::*;
        match self {
            Success => "Success",
            GrantedQoS1 => "Granted QoS 1",
            GrantedQoS2 => "Granted QoS 2",
            DisconnectWithWill => "Disconnect with Will Message",
            NoMatchingSubscribers => "No matching subscribers",
            NoSubscriptionExisted => "No subscription existed",
            ContinueAuthentication => "Continue authentication",
            ReAuthenticate => "Re-authenticate",
            UnspecifiedError => "Unspecified error",
            MalformedPacket => "Malformed Packet",
            ProtocolError => "Protocol Error",
            ImplementationSpecificError => "Implementation specific error",
            UnsupportedProtocolVersion => "Unsupported Protocol Version",
            ClientIdentifierNotValid => "Client Identifier not valid",
            BadUserNameOrPassword => "Bad User Name or Password",
            NotAuthorized => "Not authorized",
            ServerUnavailable => "Server unavailable",
            ServerBusy => "Server busy",
            Banned => "Banned",
            ServerShuttingDown => "Server shutting down",
            BadAuthenticationMethod => "Bad authentication method",
            KeepAliveTimeout => "Keep Alive timeout",
            SessionTakenOver => "Session taken over",
            TopicFilterInvalid => "Topic Filter invalid",
            TopicNameInvalid => "Topic Name invalid",
            PacketIdentifierInUse => "Packet Identifier in use",
            PacketIdentifierNotFound => "Packet Identifier not found",
            ReceiveMaximumExceeded => "Receive Maximum exceeded",
            TopicAliasInvalid => "Topic Alias invalid",
            PacketTooLarge => "Packet too large",
            MessageRateTooHigh => "Message rate too high",
            QuotaExceeded => "Quota exceeded",
            AdministrativeAction => "Administrative action",
            PayloadFormatInvalid => "Payload format invalid",
            RetainNotSupported => "Retain not supported",
            QoSNotSupported => "QoS not supported",
            UseAnotherServer => "Use another server",
            ServerMoved => "Server moved",
            SharedSubscriptionsNotSupported => "Shared Subscriptions not supported",
            ConnectionRateExceeded => "Connection rate exceeded",
            MaximumConnectTime => "Maximum connect time",
            SubscriptionIdentifiersNotSupported => "Subscription Identifiers not supported",
            WildcardSubscriptionsNotSupported => "Wildcard Subscriptions not supported",
        }
    }

    /// The CONNACK return code of 3.x (MQTT3.1.1 3.2.2.3), or `None` where none fits and the connection is closed
    /// without a CONNACK (MQTT3.1.1 3.2.2-6).
    pub(crate) const fn connect_return_code(self) -> Option<u8> {
        use ReasonCode::*;
        match self {
            Success => Some(0),
            UnsupportedProtocolVersion => Some(1),
            ClientIdentifierNotValid => Some(2),
            ServerUnavailable
            | ServerBusy
            | QuotaExceeded
            | UseAnotherServer
            | ServerMoved
            | ConnectionRateExceeded => Some(3),
            BadUserNameOrPassword | BadAuthenticationMethod => Some(4),
            NotAuthorized | Banned => Some(5),
            _ => None,
        }
    }

    /// The way back from a 3.x CONNACK return code.
    pub(crate) const fn from_connect_return_code(code: u8) -> Option<Self> {
        use ReasonCode::*;
        match code {
            0 => Some(Success),
            1 => Some(UnsupportedProtocolVersion),
            2 => Some(ClientIdentifierNotValid),
            3 => Some(ServerUnavailable),
            4 => Some(BadUserNameOrPassword),
            5 => Some(NotAuthorized),
            _ => None,
        }
    }

    /// Whether the standard lists this code for that place.
    pub(crate) const fn may_stand_in(self, place: Place) -> bool {
        use ReasonCode::*;
        match place {
            Place::ConnAck => matches!(
                self.as_u8(),
                0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
            ),
            Place::PubAckOrRec => matches!(self.as_u8(), 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
            Place::PubRelOrComp => matches!(self, Success | PacketIdentifierNotFound),
            Place::SubAck => {
                matches!(self.as_u8(), 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            Place::UnsubAck => matches!(self.as_u8(), 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            Place::DisconnectByClient => matches!(
                self.as_u8(),
                0x00 | 0x04 | 0x80..=0x83 | 0x8C | 0x90 | 0x93..=0x99
            ),
            // 0x8C is in table 2-6 for DISCONNECT, not in 3.14.2.1; MQTT5 4.12.1 needs it after a failed
            // re-authentication, from either side.
            Place::DisconnectByServer => matches!(
                self.as_u8(),
                0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
            ),
            Place::AuthByClient => matches!(self, ContinueAuthentication | ReAuthenticate),
            Place::AuthByServer => matches!(self, Success | ContinueAuthentication),
        }
    }
}

/// A place where a reason code stands. Each has its own list of codes in the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// MQTT5 3.2.2.2.
    ConnAck,
    /// MQTT5 3.4.2.1 and 3.5.2.1.
    PubAckOrRec,
    /// MQTT5 3.6.2.1 and 3.7.2.1.
    PubRelOrComp,
    /// MQTT5 3.9.3.
    SubAck,
    /// MQTT5 3.11.3.
    UnsubAck,
    /// MQTT5 3.14.2.1, column "sent by": client.
    DisconnectByClient,
    /// MQTT5 3.14.2.1, column "sent by": server.
    DisconnectByServer,
    /// MQTT5 3.15.2.1, client.
    AuthByClient,
    /// MQTT5 3.15.2.1, server.
    AuthByServer,
}

impl Place {
    /// Where the reason code of one of the four acknowledgements stands.
    pub(crate) const fn of_ack(packet_type: PacketType) -> Self {
        match packet_type {
            PacketType::PubAck | PacketType::PubRec => Place::PubAckOrRec,
            _ => Place::PubRelOrComp,
        }
    }
}

impl TryFrom<u8> for ReasonCode {
    type Error = UnknownReasonCode;

    fn try_from(byte: u8) -> Result<Self, UnknownReasonCode> {
        KNOWN[byte as usize].ok_or(UnknownReasonCode(byte))
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Every code, in ascending order.
const ALL: [ReasonCode; 43] = {
    use ReasonCode::*;
    [
        Success,
        GrantedQoS1,
        GrantedQoS2,
        DisconnectWithWill,
        NoMatchingSubscribers,
        NoSubscriptionExisted,
        ContinueAuthentication,
        ReAuthenticate,
        UnspecifiedError,
        MalformedPacket,
        ProtocolError,
        ImplementationSpecificError,
        UnsupportedProtocolVersion,
        ClientIdentifierNotValid,
        BadUserNameOrPassword,
        NotAuthorized,
        ServerUnavailable,
        ServerBusy,
        Banned,
        ServerShuttingDown,
        BadAuthenticationMethod,
        KeepAliveTimeout,
        SessionTakenOver,
        TopicFilterInvalid,
        TopicNameInvalid,
        PacketIdentifierInUse,
        PacketIdentifierNotFound,
        ReceiveMaximumExceeded,
        TopicAliasInvalid,
        PacketTooLarge,
        MessageRateTooHigh,
        QuotaExceeded,
        AdministrativeAction,
        PayloadFormatInvalid,
        RetainNotSupported,
        QoSNotSupported,
        UseAnotherServer,
        ServerMoved,
        SharedSubscriptionsNotSupported,
        ConnectionRateExceeded,
        MaximumConnectTime,
        SubscriptionIdentifiersNotSupported,
        WildcardSubscriptionsNotSupported,
    ]
};

/// From byte to code.
const KNOWN: [Option<ReasonCode>; 256] = {
    let mut known = [None; 256];
    let mut index = 0;
    while index < ALL.len() {
        known[ALL[index].as_u8() as usize] = Some(ALL[index]);
        index += 1;
    }
    known
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_its_code_or_none() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            match ReasonCode::try_from(byte) {
                Ok(code) => {
                    assert_eq!(code.as_u8(), byte);
                    assert_eq!(code.is_error(), byte >= 0x80);
                    assert_eq!(code.to_string(), code.name());
                    known += 1;
                }
                Err(error) => assert_eq!(error, UnknownReasonCode(byte)),
            }
        }
        assert_eq!(known, ALL.len());
    }

    #[test]
    fn return_codes_of_3_x_go_there_and_back() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connect_return_code(code).expect("0 to 5 exist");
            assert_eq!(reason.connect_return_code(), Some(code), "MQTT3.1.1 3.2.2.3");
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
        assert_eq!(ReasonCode::MalformedPacket.connect_return_code(), None, "MQTT3.1.1 3.2.2-6");
    }
}
