//! The packets of MQTT 3.1, 3.1.1 and 5.0 as plain values, one shape for all three versions.
//!
//! Fields that a version lacks are absent on decoding (`None`, empty, default) and left out on encoding.
//! Text and payloads are slices of the frame that they came in: decoding copies nothing.

use std::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;

use crate::ReasonCode;

/// The protocol version that the CONNECT names (MQTT5 3.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

/// A packet identifier: never zero (MQTT5 2.2.1).
pub type PacketId = NonZeroU16;

/// Quality of service (MQTT5 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

/// One control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client to server, first packet.
    Connect(Box<Connect>),
    /// Answer to CONNECT.
    ConnAck(Box<ConnAck>),
    /// A message, either way.
    Publish(Box<Publish>),
    /// QoS 1 acknowledgement.
    PubAck(Ack),
    /// QoS 2, received.
    PubRec(Ack),
    /// QoS 2, release.
    PubRel(Ack),
    /// QoS 2, complete.
    PubComp(Ack),
    /// Client to server.
    Subscribe(Subscribe),
    /// Answer to SUBSCRIBE.
    SubAck(SubAck),
    /// Client to server.
    Unsubscribe(Unsubscribe),
    /// Answer to UNSUBSCRIBE.
    UnsubAck(UnsubAck),
    /// Keep alive, client to server.
    PingReq,
    /// Keep alive, server to client.
    PingResp,
    /// Last packet of a connection; in 3.x from the client only.
    Disconnect(Box<Disconnect>),
    /// Enhanced authentication, MQTT 5 only.
    Auth(Box<Auth>),
}

/// User properties, in the order in which they came.
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// CONNECT (MQTT5 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Protocol version.
    pub version: Version,
    /// Clean Start in 5.0, Clean Session in 3.x.
    pub clean_start: bool,
    /// Keep alive in seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// Client identifier; may be empty.
    pub client_id: ByteString,
    /// The message to publish when the connection ends abnormally.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<ByteString>,
    /// Password: binary data.
    pub password: Option<Bytes>,
    /// MQTT 5 properties.
    pub properties: ConnectProperties,
}

/// Properties of CONNECT (MQTT5 3.1.2.11). `None` is "absent".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds; `u32::MAX` never expires. Absent: 0.
    pub session_expiry_interval_s: Option<u32>,
    /// How many unacknowledged QoS 1 and 2 publishes the client takes. Absent: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes of the largest packet that the client takes.
    pub maximum_packet_size: Option<u32>,
    /// Highest topic alias that the client takes. Absent: 0.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client asks for response information.
    pub request_response_information: Option<bool>,
    /// Whether reason strings and user properties may come on any packet. Absent: true.
    pub request_problem_information: Option<bool>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Authentication method.
    pub authentication_method: Option<ByteString>,
    /// Authentication data.
    pub authentication_data: Option<Bytes>,
}

/// The will in a CONNECT (MQTT5 3.1.2.5, 3.1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic name.
    pub topic: ByteString,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Seconds between the loss of the connection and the will. Absent: 0.
    pub delay_interval_s: Option<u32>,
    /// The will's publish properties (no alias, no subscription identifiers).
    pub properties: PublishProperties,
}

/// CONNACK (MQTT5 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has a session for this client.
    pub session_present: bool,
    /// Outcome. In 3.x it is encoded as the matching return code.
    pub reason_code: ReasonCode,
    /// MQTT 5 properties.
    pub properties: ConnAckProperties,
}

/// Properties of CONNACK (MQTT5 3.2.2.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Session expiry in seconds that the server uses instead of the one asked for.
    pub session_expiry_interval_s: Option<u32>,
    /// How many unacknowledged QoS 1 and 2 publishes the server takes.
    pub receive_maximum: Option<NonZeroU16>,
    /// Highest QoS that the server takes; absent: 2.
    pub maximum_qos: Option<QoS>,
    /// Whether RETAIN is supported; absent: true.
    pub retain_available: Option<bool>,
    /// Bytes of the largest packet that the server takes.
    pub maximum_packet_size: Option<u32>,
    /// The client id that the server assigned.
    pub assigned_client_identifier: Option<ByteString>,
    /// Highest topic alias that the server takes.
    pub topic_alias_maximum: Option<u16>,
    /// Text for a person.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Absent: true.
    pub wildcard_subscription_available: Option<bool>,
    /// Absent: true.
    pub subscription_identifiers_available: Option<bool>,
    /// Absent: true.
    pub shared_subscription_available: Option<bool>,
    /// Keep alive in seconds that the server uses instead of the one asked for.
    pub server_keep_alive_s: Option<u16>,
    /// Response information.
    pub response_information: Option<ByteString>,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
    /// Authentication method.
    pub authentication_method: Option<ByteString>,
    /// Authentication data.
    pub authentication_data: Option<Bytes>,
}

/// PUBLISH (MQTT5 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whether this may be a re-delivery.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty in MQTT 5 where an alias stands for it.
    pub topic: ByteString,
    /// Present exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// MQTT 5 properties.
    pub properties: PublishProperties,
    /// Payload.
    pub payload: Bytes,
}

/// Properties of PUBLISH and of a will (MQTT5 3.3.2.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// `Some(true)`: the payload is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// Lifetime in seconds.
    pub message_expiry_interval_s: Option<u32>,
    /// Topic alias; never 0.
    pub topic_alias: Option<NonZeroU16>,
    /// Topic name for the response.
    pub response_topic: Option<ByteString>,
    /// Correlation data.
    pub correlation_data: Option<Bytes>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Server to client only; several where subscriptions overlap. Each 1 to 268,435,455.
    pub subscription_identifiers: Vec<u32>,
    /// Content type.
    pub content_type: Option<ByteString>,
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT5 3.4 to 3.7). Without properties it allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The publish that it answers.
    pub packet_id: PacketId,
    /// Outcome; always `Success` in 3.x.
    pub reason_code: ReasonCode,
    /// Properties, where there are any.
    pub properties: Option<Box<ReasonProperties>>,
}

/// The two properties that most answers share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasonProperties {
    /// Text for a person.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user_properties: UserProperties,
}

/// SUBSCRIBE (MQTT5 3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// 1 to 268,435,455.
    pub subscription_identifier: Option<u32>,
    /// User properties.
    pub user_properties: UserProperties,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
}

/// One entry of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// The filter as it came: valid UTF-8, its syntax not yet judged (see [`crate::check_filter`]), so that one bad
    /// filter fails alone.
    pub filter: ByteString,
    /// Highest QoS wanted.
    pub qos: QoS,
    /// Do not send me my own.
    pub no_local: bool,
    /// Keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// What to send at once. In 3.x always `SendAtSubscribe`.
    pub retain_handling: RetainHandling,
}

/// Retain handling (MQTT5 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    /// Send retained messages at every subscribe.
    SendAtSubscribe = 0,
    /// Send them when the subscription is new.
    SendIfNew = 1,
    /// Send none.
    DoNotSend = 2,
}

/// SUBACK (MQTT5 3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The SUBSCRIBE that it answers.
    pub packet_id: PacketId,
    /// One a filter, in order.
    pub reason_codes: Vec<ReasonCode>,
    /// Properties.
    pub properties: ReasonProperties,
}

/// UNSUBSCRIBE (MQTT5 3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// User properties.
    pub user_properties: UserProperties,
    /// At least one.
    pub filters: Vec<ByteString>,
}

/// UNSUBACK (MQTT5 3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The UNSUBSCRIBE that it answers.
    pub packet_id: PacketId,
    /// One a filter in 5.0; empty in 3.x.
    pub reason_codes: Vec<ReasonCode>,
    /// Properties.
    pub properties: ReasonProperties,
}

/// DISCONNECT (MQTT5 3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason_code: ReasonCode,
    /// The session expiry in seconds from now on (client to server only).
    pub session_expiry_interval_s: Option<u32>,
    /// Text for a person.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user_properties: UserProperties,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
}

/// AUTH (MQTT5 3.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason_code: ReasonCode,
    /// Authentication method.
    pub authentication_method: Option<ByteString>,
    /// Authentication data.
    pub authentication_data: Option<Bytes>,
    /// Text for a person.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user_properties: UserProperties,
}
