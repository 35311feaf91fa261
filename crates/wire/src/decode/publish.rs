//! PUBLISH (MQTT5 3.3), and the publish properties that a will has too.

use super::reader::{Reader, once, qos_from_bits};
use super::{Context, DecodeError};
use crate::header::Sender;
use crate::{Property, Publish, PublishProperties, QoS, Version, check_topic_name};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// Judges the first byte.
pub(super) fn check_flags(first_byte: u8, version: Version) -> Result<(), DecodeError> {
    let qos = qos(first_byte)?;
    // 3.1 says only that DUP applies above QoS 0 (MQTT3.1 2.1); later it MUST be 0 there.
    match qos == QoS::AtMostOnce && first_byte & DUP != 0 && version != Version::V3_1 {
        true => Err(DecodeError::DupAtQoS0),
        false => Ok(()),
    }
}

fn qos(first_byte: u8) -> Result<QoS, DecodeError> {
    qos_from_bits(first_byte >> 1).ok_or(DecodeError::PublishQoS)
}

pub(super) fn read(first_byte: u8, reader: &mut Reader, context: Context) -> Result<Publish, DecodeError> {
    let qos = qos(first_byte)?;
    let topic = reader.text()?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let mut properties = PublishProperties::default();
    if context.is_v5() {
        reader.properties(|reader, property| read_property(reader, property, context.sender, &mut properties))?;
    }
    match context.is_v5() && topic.is_empty() {
        true if properties.topic_alias.is_none() => return Err(DecodeError::TopicMissing),
        true => {}
        false => check_topic_name(&topic).map_err(DecodeError::Topic)?,
    }
    Ok(Publish {
        dup: qos != QoS::AtMostOnce && first_byte & DUP != 0,
        qos,
        retain: first_byte & RETAIN != 0,
        topic,
        packet_id,
        properties,
        payload: reader.payload()?,
    })
}

fn read_property(
    reader: &mut Reader,
    property: Property,
    sender: Sender,
    into: &mut PublishProperties,
) -> Result<(), DecodeError> {
    match property {
        Property::TopicAlias => {
            let alias = reader.non_zero_u16(property)?;
            once(&mut into.topic_alias, property, alias)
        }
        Property::SubscriptionIdentifier if sender == Sender::Client => {
            Err(DecodeError::SubscriptionIdentifierFromClient)
        }
        Property::SubscriptionIdentifier => {
            let identifier = reader.subscription_identifier()?;
            into.subscription_identifiers.push(identifier);
            Ok(())
        }
        _ => read_message_property(reader, property, into),
    }
}

/// The properties that a PUBLISH and a will share.
pub(super) fn read_message_property(
    reader: &mut Reader,
    property: Property,
    into: &mut PublishProperties,
) -> Result<(), DecodeError> {
    match property {
        Property::PayloadFormatIndicator => {
            let is_text = reader.flag(property)?;
            once(&mut into.payload_format_indicator, property, is_text)
        }
        Property::MessageExpiryInterval => once(&mut into.message_expiry_interval_s, property, reader.u32()?),
        Property::ContentType => once(&mut into.content_type, property, reader.text()?),
        Property::ResponseTopic => {
            let topic = reader.text()?;
            check_topic_name(&topic).map_err(DecodeError::Topic)?;
            once(&mut into.response_topic, property, topic)
        }
        Property::CorrelationData => once(&mut into.correlation_data, property, reader.binary()?),
        Property::UserProperty => reader.user_property(&mut into.user_properties),
        _ => Err(reader.not_allowed(property)),
    }
}
