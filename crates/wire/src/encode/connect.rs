//! CONNECT and CONNACK.

use super::sink::{PropertyList, Sink};
use crate::{ConnAck, ConnAckProperties, Connect, ConnectProperties, Property, QoS, Version, Will};

pub(super) fn write_connect(connect: &Connect, sink: &mut impl Sink) {
    let (name, level) = match connect.version {
        Version::V3_1 => ("MQIsdp", 3),
        Version::V3_1_1 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    sink.text(name);
    sink.byte(level);
    sink.byte(flags(connect));
    sink.u16(connect.keep_alive_s);
    if connect.version == Version::V5 {
        sink.properties(&connect.properties);
    }
    sink.text(&connect.client_id);
    if let Some(will) = &connect.will {
        if connect.version == Version::V5 {
            sink.properties(will);
        }
        sink.text(&will.topic);
        sink.binary(&will.payload);
    }
    if let Some(username) = &connect.username {
        sink.text(username);
    }
    if let Some(password) = &connect.password {
        sink.binary(password);
    }
}

/// The connect flags (MQTT5 3.1.2.3).
fn flags(connect: &Connect) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| u8::from(will.retain) << 5 | (will.qos as u8) << 3 | 0b100);
    u8::from(connect.username.is_some()) << 7
        | u8::from(connect.password.is_some()) << 6
        | will
        | u8::from(connect.clean_start) << 1
}

impl PropertyList for ConnectProperties {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(Property::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.property_u16(Property::ReceiveMaximum, self.receive_maximum.map(u16::from));
        sink.property_u32(Property::MaximumPacketSize, self.maximum_packet_size);
        sink.property_u16(Property::TopicAliasMaximum, self.topic_alias_maximum);
        sink.property_flag(Property::RequestResponseInformation, self.request_response_information);
        sink.property_flag(Property::RequestProblemInformation, self.request_problem_information);
        sink.user_properties(&self.user_properties);
        sink.property_text(Property::AuthenticationMethod, self.authentication_method.as_deref());
        sink.property_binary(Property::AuthenticationData, self.authentication_data.as_deref());
    }
}

/// The will's properties: its delay, and those of the message.
impl PropertyList for Will {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(Property::WillDelayInterval, self.delay_interval_s);
        self.properties.write(sink);
    }
}

pub(super) fn write_connack(connack: &ConnAck, version: Version, sink: &mut impl Sink) {
    let session_present = u8::from(connack.session_present);
    match version {
        Version::V5 => {
            sink.raw(&[session_present, connack.reason_code.as_u8()]);
            sink.properties(&connack.properties);
        }
        // `check` has refused a reason code that has no return code.
        Version::V3_1_1 => sink.raw(&[session_present, return_code(connack)]),
        Version::V3_1 => sink.raw(&[0, return_code(connack)]),
    }
}

fn return_code(connack: &ConnAck) -> u8 {
    connack.reason_code.connect_return_code().unwrap_or(3)
}

impl PropertyList for ConnAckProperties {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(Property::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.property_u16(Property::ReceiveMaximum, self.receive_maximum.map(u16::from));
        // QoS 2 is said by leaving it out; the value 2 would be a protocol error (MQTT5 3.2.2.3.4).
        let maximum_qos = self.maximum_qos.filter(|&qos| qos != QoS::ExactlyOnce);
        sink.property_byte(Property::MaximumQoS, maximum_qos.map(|qos| qos as u8));
        sink.property_flag(Property::RetainAvailable, self.retain_available);
        sink.property_u32(Property::MaximumPacketSize, self.maximum_packet_size);
        sink.property_text(Property::AssignedClientIdentifier, self.assigned_client_identifier.as_deref());
        sink.property_u16(Property::TopicAliasMaximum, self.topic_alias_maximum);
        sink.property_text(Property::ReasonString, self.reason_string.as_deref());
        sink.user_properties(&self.user_properties);
        sink.property_flag(Property::WildcardSubscriptionAvailable, self.wildcard_subscription_available);
        sink.property_flag(Property::SubscriptionIdentifiersAvailable, self.subscription_identifiers_available);
        sink.property_flag(Property::SharedSubscriptionAvailable, self.shared_subscription_available);
        sink.property_u16(Property::ServerKeepAlive, self.server_keep_alive_s);
        sink.property_text(Property::ResponseInformation, self.response_information.as_deref());
        sink.property_text(Property::ServerReference, self.server_reference.as_deref());
        sink.property_text(Property::AuthenticationMethod, self.authentication_method.as_deref());
        sink.property_binary(Property::AuthenticationData, self.authentication_data.as_deref());
    }
}
