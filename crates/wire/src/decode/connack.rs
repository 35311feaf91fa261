//! CONNACK (MQTT5 3.2).

use super::reader::{Reader, once};
use super::{Context, DecodeError};
use crate::reason::Place;
use crate::{ConnAck, ConnAckProperties, PacketType, Property, QoS, ReasonCode, Version};

const SESSION_PRESENT: u8 = 0b0000_0001;

pub(super) fn read(reader: &mut Reader, context: Context) -> Result<ConnAck, DecodeError> {
    let flags = match (context.version, reader.byte()?) {
        // The first byte is reserved (MQTT3.1 3.2)
        (Version::V3_1, _) => 0,
        (_, flags) => flags,
    };
    if flags & !SESSION_PRESENT != 0 {
        return Err(DecodeError::ConnAckReservedFlags);
    }
    let session_present = flags & SESSION_PRESENT != 0;
    let reason_code = match context.is_v5() {
        true => reader.reason_code(Place::ConnAck)?,
        false => read_return_code(reader)?,
    };
    if session_present && reason_code != ReasonCode::Success {
        return Err(DecodeError::SessionPresentInRefusal);
    }
    let properties = match context.is_v5() {
        true => read_properties(reader)?,
        false => ConnAckProperties::default(),
    };
    Ok(ConnAck { session_present, reason_code, properties })
}

fn read_return_code(reader: &mut Reader) -> Result<ReasonCode, DecodeError> {
    let code = reader.byte()?;
    ReasonCode::from_connect_return_code(code)
        .ok_or(DecodeError::WrongReasonCode { packet_type: PacketType::ConnAck, code })
}

fn read_properties(reader: &mut Reader) -> Result<ConnAckProperties, DecodeError> {
    let mut into = ConnAckProperties::default();
    reader.properties(|reader, property| read_property(reader, property, &mut into))?;
    match into.authentication_data.is_some() && into.authentication_method.is_none() {
        true => Err(DecodeError::AuthenticationDataWithoutMethod),
        false => Ok(into),
    }
}

fn read_property(reader: &mut Reader, property: Property, into: &mut ConnAckProperties) -> Result<(), DecodeError> {
    match property {
        Property::SessionExpiryInterval => once(&mut into.session_expiry_interval_s, property, reader.u32()?),
        Property::ReceiveMaximum => {
            let maximum = reader.non_zero_u16(property)?;
            once(&mut into.receive_maximum, property, maximum)
        }
        Property::MaximumQoS => {
            let maximum = match reader.flag(property)? {
                false => QoS::AtMostOnce,
                true => QoS::AtLeastOnce,
            };
            once(&mut into.maximum_qos, property, maximum)
        }
        Property::RetainAvailable => once(&mut into.retain_available, property, reader.flag(property)?),
        Property::MaximumPacketSize => {
            let maximum = reader.non_zero_u32(property)?;
            once(&mut into.maximum_packet_size, property, maximum)
        }
        Property::AssignedClientIdentifier => once(&mut into.assigned_client_identifier, property, reader.text()?),
        Property::TopicAliasMaximum => once(&mut into.topic_alias_maximum, property, reader.u16()?),
        Property::ReasonString => once(&mut into.reason_string, property, reader.text()?),
        Property::UserProperty => reader.user_property(&mut into.user_properties),
        Property::WildcardSubscriptionAvailable => {
            let available = reader.flag(property)?;
            once(&mut into.wildcard_subscription_available, property, available)
        }
        Property::SubscriptionIdentifiersAvailable => {
            let available = reader.flag(property)?;
            once(&mut into.subscription_identifiers_available, property, available)
        }
        Property::SharedSubscriptionAvailable => {
            let available = reader.flag(property)?;
            once(&mut into.shared_subscription_available, property, available)
        }
        Property::ServerKeepAlive => once(&mut into.server_keep_alive_s, property, reader.u16()?),
        Property::ResponseInformation => once(&mut into.response_information, property, reader.text()?),
        Property::ServerReference => once(&mut into.server_reference, property, reader.text()?),
        Property::AuthenticationMethod => once(&mut into.authentication_method, property, reader.text()?),
        Property::AuthenticationData => once(&mut into.authentication_data, property, reader.binary()?),
        _ => Err(reader.not_allowed(property)),
    }
}
