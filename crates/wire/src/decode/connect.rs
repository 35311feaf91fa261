//! CONNECT (MQTT5 3.1): it names the version, and so decides how the rest of it is read.

use bytestring::ByteString;

use super::DecodeError;
use super::publish::read_message_property;
use super::reader::{Reader, once, qos_from_bits};
use crate::{Connect, ConnectProperties, PacketType, Property, PublishProperties, Version, Will, check_topic_name};

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

pub(super) fn read(reader: &mut Reader, header_flags: u8) -> Result<Connect, DecodeError> {
    let version = read_version(reader)?;
    PacketType::Connect.check_flags(header_flags, version)?;
    let flags = reader.byte()?;
    check_flags(flags, version)?;
    let keep_alive_s = reader.u16()?;
    let properties = match version {
        Version::V5 => read_properties(reader)?,
        Version::V3_1 | Version::V3_1_1 => ConnectProperties::default(),
    };
    let clean_start = flags & CLEAN_START != 0;
    let client_id = reader.text()?;
    check_client_id(&client_id, version, clean_start)?;
    let will = match flags & WILL != 0 {
        true => Some(read_will(reader, flags, version)?),
        false => None,
    };
    let username = match is_there(flags & USER_NAME, version, reader) {
        true => Some(reader.text()?),
        false => None,
    };
    let password = match is_there(flags & PASSWORD, version, reader) {
        true => Some(reader.binary()?),
        false => None,
    };
    Ok(Connect { version, clean_start, keep_alive_s, client_id, will, username, password, properties })
}

fn read_version(reader: &mut Reader) -> Result<Version, DecodeError> {
    let name = match reader.binary()?.as_ref() {
        b"MQTT" => "MQTT",
        b"MQIsdp" => "MQIsdp",
        _ => return Err(DecodeError::ProtocolName),
    };
    match (name, reader.byte()?) {
        ("MQIsdp", 3) => Ok(Version::V3_1),
        ("MQTT", 4) => Ok(Version::V3_1_1),
        ("MQTT", 5) => Ok(Version::V5),
        (name, level) => Err(DecodeError::ProtocolVersion { name, level }),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    let has_will = flags & WILL != 0;
    if has_will && qos_from_bits(flags >> 3).is_none() {
        return Err(DecodeError::WillQoS);
    }
    if version != Version::V5 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    // 3.1 leaves the reserved bit unused and disregards QoS and retain of a will that is not there (MQTT3.1 3.1).
    if version == Version::V3_1 {
        return Ok(());
    }
    if flags & RESERVED != 0 {
        return Err(DecodeError::ConnectReservedFlag);
    }
    if !has_will && flags & WILL_QOS != 0 {
        return Err(DecodeError::WillQoSWithoutWill);
    }
    if !has_will && flags & WILL_RETAIN != 0 {
        return Err(DecodeError::WillRetainWithoutWill);
    }
    Ok(())
}

/// Whether the field of this flag follows. In 3.1 "the Remaining Length takes precedence over the User Name flag": the
/// flag may be set and the string missing, and the connection goes on (MQTT3.1 3.1, User Name; the same for Password).
fn is_there(flag: u8, version: Version, reader: &Reader) -> bool {
    flag != 0 && !(version == Version::V3_1 && reader.is_at_end())
}

/// An empty client identifier is the server's to fill in 5.0 (MQTT5 3.1.3-6); in 3.1.1 only for a clean session
/// (MQTT3.1.1 3.1.3-7); in 3.1 never (MQTT3.1 3.1: 1 to 23 characters).
fn check_client_id(client_id: &ByteString, version: Version, clean_start: bool) -> Result<(), DecodeError> {
    let may_be_empty = match version {
        Version::V3_1 => false,
        Version::V3_1_1 => clean_start,
        Version::V5 => true,
    };
    match client_id.is_empty() && !may_be_empty {
        true => Err(DecodeError::ClientIdMissing),
        false => Ok(()),
    }
}

fn read_properties(reader: &mut Reader) -> Result<ConnectProperties, DecodeError> {
    let mut into = ConnectProperties::default();
    reader.properties(|reader, property| match property {
        Property::SessionExpiryInterval => once(&mut into.session_expiry_interval_s, property, reader.u32()?),
        Property::ReceiveMaximum => {
            let maximum = reader.non_zero_u16(property)?;
            once(&mut into.receive_maximum, property, maximum)
        }
        Property::MaximumPacketSize => {
            let maximum = reader.non_zero_u32(property)?;
            once(&mut into.maximum_packet_size, property, maximum)
        }
        Property::TopicAliasMaximum => once(&mut into.topic_alias_maximum, property, reader.u16()?),
        Property::RequestResponseInformation => {
            let wanted = reader.flag(property)?;
            once(&mut into.request_response_information, property, wanted)
        }
        Property::RequestProblemInformation => {
            let wanted = reader.flag(property)?;
            once(&mut into.request_problem_information, property, wanted)
        }
        Property::UserProperty => reader.user_property(&mut into.user_properties),
        Property::AuthenticationMethod => once(&mut into.authentication_method, property, reader.text()?),
        Property::AuthenticationData => once(&mut into.authentication_data, property, reader.binary()?),
        _ => Err(reader.not_allowed(property)),
    })?;
    match into.authentication_data.is_some() && into.authentication_method.is_none() {
        true => Err(DecodeError::AuthenticationDataWithoutMethod),
        false => Ok(into),
    }
}

/// The will's payload is taken as bytes in 3.1 too, which asks for 7-bit ASCII: clients in the field send what they
/// like, and it harms nobody.
fn read_will(reader: &mut Reader, flags: u8, version: Version) -> Result<Will, DecodeError> {
    let mut properties = PublishProperties::default();
    let mut delay_interval_s = None;
    if version == Version::V5 {
        reader.properties(|reader, property| match property {
            Property::WillDelayInterval => once(&mut delay_interval_s, property, reader.u32()?),
            _ => read_message_property(reader, property, &mut properties),
        })?;
    }
    let topic = reader.text()?;
    check_topic_name(&topic).map_err(DecodeError::Topic)?;
    Ok(Will {
        topic,
        payload: reader.binary()?,
        qos: qos_from_bits(flags >> 3).ok_or(DecodeError::WillQoS)?,
        retain: flags & WILL_RETAIN != 0,
        delay_interval_s,
        properties,
    })
}
