//! DISCONNECT and AUTH (MQTT5 3.14, 3.15).

use super::reader::{Reader, once};
use super::{Context, DecodeError};
use crate::header::Sender;
use crate::reason::Place;
use crate::{Auth, Disconnect, Property, ReasonCode, UserProperties};

pub(super) fn read_disconnect(reader: &mut Reader, context: Context) -> Result<Disconnect, DecodeError> {
    let mut into = Disconnect {
        reason_code: ReasonCode::Success,
        session_expiry_interval_s: None,
        reason_string: None,
        user_properties: UserProperties::new(),
        server_reference: None,
    };
    // A normal one may end here, and one without properties before their length (MQTT5 3.14.2.1, 3.14.2.2.1).
    if reader.is_at_end() {
        return Ok(into);
    }
    into.reason_code = reader.reason_code(match context.sender {
        Sender::Client => Place::DisconnectByClient,
        Sender::Server => Place::DisconnectByServer,
    })?;
    if reader.is_at_end() {
        return Ok(into);
    }
    reader.properties(|reader, property| match property {
        Property::SessionExpiryInterval if context.sender == Sender::Server => {
            Err(DecodeError::SessionExpiryFromServer)
        }
        Property::SessionExpiryInterval => once(&mut into.session_expiry_interval_s, property, reader.u32()?),
        Property::ReasonString => once(&mut into.reason_string, property, reader.text()?),
        Property::UserProperty => reader.user_property(&mut into.user_properties),
        Property::ServerReference => once(&mut into.server_reference, property, reader.text()?),
        _ => Err(reader.not_allowed(property)),
    })?;
    Ok(into)
}

pub(super) fn read_auth(reader: &mut Reader, context: Context) -> Result<Auth, DecodeError> {
    let mut into = Auth {
        reason_code: ReasonCode::Success,
        authentication_method: None,
        authentication_data: None,
        reason_string: None,
        user_properties: UserProperties::new(),
    };
    let place = match context.sender {
        Sender::Client => Place::AuthByClient,
        Sender::Server => Place::AuthByServer,
    };
    // Empty stands for success without properties (MQTT5 3.15.2.1), which a client may not say.
    if reader.is_at_end() {
        return match into.reason_code.may_stand_in(place) {
            true => Ok(into),
            false => {
                Err(DecodeError::WrongReasonCode { packet_type: reader.packet_type(), code: into.reason_code.as_u8() })
            }
        };
    }
    into.reason_code = reader.reason_code(place)?;
    reader.properties(|reader, property| match property {
        Property::AuthenticationMethod => once(&mut into.authentication_method, property, reader.text()?),
        Property::AuthenticationData => once(&mut into.authentication_data, property, reader.binary()?),
        Property::ReasonString => once(&mut into.reason_string, property, reader.text()?),
        Property::UserProperty => reader.user_property(&mut into.user_properties),
        _ => Err(reader.not_allowed(property)),
    })?;
    match into.authentication_method {
        Some(_) => Ok(into),
        None => Err(DecodeError::AuthenticationMethodMissing),
    }
}
