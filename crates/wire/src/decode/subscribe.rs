//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (MQTT5 3.8 to 3.11).
//!
//! Filters are read as text; [`crate::check_filter`] judges each, so that a bad one fails alone.

use super::reader::{Reader, once, qos_from_bits};
use super::{Context, DecodeError};
use crate::reason::Place;
use crate::{
    Property, ReasonCode, ReasonProperties, RetainHandling, SHARE_PREFIX, SubAck, Subscribe, SubscribeFilter, UnsubAck,
    Unsubscribe, UserProperties, Version,
};

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RESERVED_5: u8 = 0b1100_0000;
const RESERVED_3_1_1: u8 = 0b1111_1100;

pub(super) fn read_subscribe(reader: &mut Reader, context: Context) -> Result<Subscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut subscription_identifier = None;
    let mut user_properties = UserProperties::new();
    if context.is_v5() {
        reader.properties(|reader, property| match property {
            Property::SubscriptionIdentifier => {
                let identifier = reader.subscription_identifier()?;
                once(&mut subscription_identifier, property, identifier)
            }
            Property::UserProperty => reader.user_property(&mut user_properties),
            _ => Err(reader.not_allowed(property)),
        })?;
    }
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        filters.push(read_filter(reader, context.version)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::NoFilters(reader.packet_type()));
    }
    Ok(Subscribe { packet_id, subscription_identifier, user_properties, filters })
}

fn read_filter(reader: &mut Reader, version: Version) -> Result<SubscribeFilter, DecodeError> {
    let filter = reader.text()?;
    let options = reader.byte()?;
    let reserved = match version {
        Version::V5 => RESERVED_5,
        Version::V3_1_1 => RESERVED_3_1_1,
        // These bits have no use yet (MQTT3.1 3.8).
        Version::V3_1 => 0,
    };
    if options & reserved != 0 {
        return Err(DecodeError::SubscribeReservedBits);
    }
    let qos = qos_from_bits(options).ok_or(DecodeError::SubscribeQoS)?;
    if version != Version::V5 {
        return Ok(SubscribeFilter {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        });
    }
    let no_local = options & NO_LOCAL != 0;
    if no_local && filter.starts_with(SHARE_PREFIX) {
        return Err(DecodeError::NoLocalOnShared);
    }
    let retain_handling = match options >> 4 & 0b11 {
        0 => RetainHandling::SendAtSubscribe,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(DecodeError::RetainHandling),
    };
    Ok(SubscribeFilter {
        filter,
        qos,
        no_local,
        retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    })
}

pub(super) fn read_suback(reader: &mut Reader, context: Context) -> Result<SubAck, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = match context.is_v5() {
        true => reader.reason_properties()?,
        false => ReasonProperties::default(),
    };
    let mut reason_codes = Vec::new();
    while !reader.is_at_end() {
        let reason_code = reader.reason_code(Place::SubAck)?;
        if !is_in_version(reason_code, context.version) {
            return Err(DecodeError::WrongReasonCode { packet_type: reader.packet_type(), code: reason_code.as_u8() });
        }
        reason_codes.push(reason_code);
    }
    if reason_codes.is_empty() {
        return Err(DecodeError::NoReasonCodes(reader.packet_type()));
    }
    Ok(SubAck { packet_id, reason_codes, properties })
}

/// 3.1.1 has one failure, 0x80 (MQTT3.1.1 3.9.3-2). 3.1 has none: 0x80 there would read as "granted QoS 0" with unused
/// bits set, and a client must not believe that (MQTT3.1 3.9).
fn is_in_version(reason_code: ReasonCode, version: Version) -> bool {
    match version {
        Version::V5 => true,
        Version::V3_1_1 => !reason_code.is_error() || reason_code == ReasonCode::UnspecifiedError,
        Version::V3_1 => !reason_code.is_error(),
    }
}

pub(super) fn read_unsubscribe(reader: &mut Reader, context: Context) -> Result<Unsubscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut user_properties = UserProperties::new();
    if context.is_v5() {
        reader.properties(|reader, property| match property {
            Property::UserProperty => reader.user_property(&mut user_properties),
            _ => Err(reader.not_allowed(property)),
        })?;
    }
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        filters.push(reader.text()?);
    }
    if filters.is_empty() {
        return Err(DecodeError::NoFilters(reader.packet_type()));
    }
    Ok(Unsubscribe { packet_id, user_properties, filters })
}

pub(super) fn read_unsuback(reader: &mut Reader, context: Context) -> Result<UnsubAck, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut reason_codes = Vec::new();
    let mut properties = ReasonProperties::default();
    if context.is_v5() {
        properties = reader.reason_properties()?;
        while !reader.is_at_end() {
            reason_codes.push(reader.reason_code(Place::UnsubAck)?);
        }
        if reason_codes.is_empty() {
            return Err(DecodeError::NoReasonCodes(reader.packet_type()));
        }
    }
    Ok(UnsubAck { packet_id, reason_codes, properties })
}
