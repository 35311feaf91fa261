//! DISCONNECT and AUTH.

use super::sink::{PropertyList, Sink};
use crate::{Auth, Disconnect, Property, ReasonCode, Version};

/// The shortest form that says it (MQTT5 3.14.2.1, 3.14.2.2.1); in 3.x nothing.
pub(super) fn write_disconnect(disconnect: &Disconnect, version: Version, sink: &mut impl Sink) {
    if version != Version::V5 {
        return;
    }
    let bare = disconnect.is_empty();
    if bare && disconnect.reason_code == ReasonCode::Success {
        return;
    }
    sink.byte(disconnect.reason_code.as_u8());
    if !bare {
        sink.properties(disconnect);
    }
}

impl PropertyList for Disconnect {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_u32(Property::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.property_text(Property::ReasonString, self.reason_string.as_deref());
        sink.user_properties(&self.user_properties);
        sink.property_text(Property::ServerReference, self.server_reference.as_deref());
    }
}

pub(super) fn write_auth(auth: &Auth, sink: &mut impl Sink) {
    if is_bare(auth) {
        return;
    }
    sink.byte(auth.reason_code.as_u8());
    sink.properties(auth);
}

/// Success without properties, which the empty body says (MQTT5 3.15.2.1).
pub(super) fn is_bare(auth: &Auth) -> bool {
    auth.reason_code == ReasonCode::Success && auth.is_empty()
}

impl PropertyList for Auth {
    fn write(&self, sink: &mut impl Sink) {
        sink.property_text(Property::AuthenticationMethod, self.authentication_method.as_deref());
        sink.property_binary(Property::AuthenticationData, self.authentication_data.as_deref());
        sink.property_text(Property::ReasonString, self.reason_string.as_deref());
        sink.user_properties(&self.user_properties);
    }
}
