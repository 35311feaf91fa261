//! PUBLISH up to its payload, and the four acknowledgements.

use super::sink::{PropertyList, Sink};
use crate::{Ack, Property, Publish, PublishProperties, ReasonCode, ReasonProperties, Version};

/// The lower four bits of the first byte (MQTT5 3.3.1).
pub(super) fn flags(publish: &Publish) -> u8 {
    u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain)
}

pub(super) fn write_publish(publish: &Publish, version: Version, sink: &mut impl Sink) {
    sink.text(&publish.topic);
    if let Some(packet_id) = publish.packet_id {
        sink.u16(packet_id.get());
    }
    if version == Version::V5 {
        sink.properties(&publish.properties);
    }
}

impl PropertyList for PublishProperties {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_flag(Property::PayloadFormatIndicator, self.payload_format_indicator);
        sink.property_u32(Property::MessageExpiryInterval, self.message_expiry_interval_s);
        sink.property_u16(Property::TopicAlias, self.topic_alias.map(u16::from));
        sink.property_text(Property::ResponseTopic, self.response_topic.as_deref());
        sink.property_binary(Property::CorrelationData, self.correlation_data.as_deref());
        sink.user_properties(&self.user_properties);
        for &identifier in &self.subscription_identifiers {
            sink.property_integer(Property::SubscriptionIdentifier, Some(identifier));
        }
        sink.property_text(Property::ContentType, self.content_type.as_deref());
    }
}

/// The shortest form that says it (MQTT5 3.4.2.1, 3.4.2.2.1).
pub(super) fn write_ack(ack: &Ack, version: Version, sink: &mut impl Sink) {
    sink.u16(ack.packet_id.get());
    if version != Version::V5 {
        return;
    }
    let properties = ack.properties.as_deref().filter(|list| !list.is_empty());
    if ack.reason_code != ReasonCode::Success || properties.is_some() {
        sink.byte(ack.reason_code.as_u8());
    }
    if let Some(properties) = properties {
        sink.properties(properties);
    }
}

impl PropertyList for ReasonProperties {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_text(Property::ReasonString, self.reason_string.as_deref());
        sink.user_properties(&self.user_properties);
    }
}
