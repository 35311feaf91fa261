//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use super::sink::{PropertyList, Sink};
use crate::{Property, ReasonCode, SubAck, Subscribe, SubscribeFilter, UnsubAck, Unsubscribe, UserProperties, Version};

pub(super) fn write_subscribe(subscribe: &Subscribe, version: Version, sink: &mut impl Sink) {
    sink.u16(subscribe.packet_id.get());
    if version == Version::V5 {
        sink.properties(subscribe);
    }
    for entry in &subscribe.filters {
        sink.text(&entry.filter);
        sink.byte(match version {
            Version::V5 => options(entry),
            Version::V3_1 | Version::V3_1_1 => entry.qos as u8,
        });
    }
}

/// The subscription options (MQTT5 3.8.3.1).
fn options(entry: &SubscribeFilter) -> u8 {
    (entry.retain_handling as u8) << 4
        | u8::from(entry.retain_as_published) << 3
        | u8::from(entry.no_local) << 2
        | entry.qos as u8
}

impl PropertyList for Subscribe {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_integer(Property::SubscriptionIdentifier, self.subscription_identifier);
        sink.user_properties(&self.user_properties);
    }
}

pub(super) fn write_suback(suback: &SubAck, version: Version, sink: &mut impl Sink) {
    sink.u16(suback.packet_id.get());
    if version == Version::V5 {
        sink.properties(&suback.properties);
    }
    for reason_code in &suback.reason_codes {
        sink.byte(match version {
            // The one failure that 3.1.1 has (MQTT3.1.1 3.9.3-2); 3.1 has none, and none comes here.
            Version::V3_1 | Version::V3_1_1 if reason_code.is_error() => ReasonCode::UnspecifiedError.as_u8(),
            _ => reason_code.as_u8(),
        });
    }
}

pub(super) fn write_unsubscribe(unsubscribe: &Unsubscribe, version: Version, sink: &mut impl Sink) {
    sink.u16(unsubscribe.packet_id.get());
    if version == Version::V5 {
        sink.properties(&unsubscribe.user_properties);
    }
    for filter in &unsubscribe.filters {
        sink.text(filter);
    }
}

impl PropertyList for UserProperties {
    fn write(&self, sink: &mut impl Sink) {
        sink.user_properties(self);
    }
}

pub(super) fn write_unsuback(unsuback: &UnsubAck, version: Version, sink: &mut impl Sink) {
    sink.u16(unsuback.packet_id.get());
    if version != Version::V5 {
        return;
    }
    sink.properties(&unsuback.properties);
    for reason_code in &unsuback.reason_codes {
        sink.byte(reason_code.as_u8());
    }
}
