//! What a packet must be before it is written, beside the lengths and texts that [`super::sink::Count`] judges: nothing
//! is encoded that a strict decoder would refuse, and no refusal is encoded as a success.

use super::EncodeError;
use crate::header::REMAINING_LENGTH_MAX;
use crate::reason::Place;
use crate::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketType, Property, Publish, PublishProperties, QoS, ReasonCode,
    SHARE_PREFIX, SubAck, Subscribe, UnsubAck, Version, Will, check_topic_name,
};

pub(super) fn check(packet: &Packet, version: Version) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => check_connect(connect, version),
        Packet::ConnAck(connack) => check_connack(connack, version),
        Packet::Publish(publish) => check_publish(publish, version),
        Packet::PubAck(ack) => check_ack(ack, PacketType::PubAck, version),
        Packet::PubRec(ack) => check_ack(ack, PacketType::PubRec, version),
        Packet::PubRel(ack) => check_ack(ack, PacketType::PubRel, version),
        Packet::PubComp(ack) => check_ack(ack, PacketType::PubComp, version),
        Packet::Subscribe(subscribe) => check_subscribe(subscribe, version),
        Packet::SubAck(suback) => check_suback(suback, version),
        Packet::Unsubscribe(unsubscribe) if unsubscribe.filters.is_empty() => {
            Err(EncodeError::NoEntries(PacketType::Unsubscribe))
        }
        Packet::UnsubAck(unsuback) => check_unsuback(unsuback, version),
        Packet::Disconnect(disconnect) => check_disconnect(disconnect, version),
        Packet::Auth(auth) => check_auth(auth, version),
        Packet::Unsubscribe(_) | Packet::PingReq | Packet::PingResp => Ok(()),
    }
}

/// `Err(fault)` unless the rule holds.
fn require(holds: bool, fault: EncodeError) -> Result<(), EncodeError> {
    match holds {
        true => Ok(()),
        false => Err(fault),
    }
}

fn check_connect(connect: &Connect, version: Version) -> Result<(), EncodeError> {
    let mismatch = EncodeError::VersionMismatch { connect: connect.version, connection: version };
    require(connect.version == version, mismatch)?;
    let named = !connect.client_id.is_empty();
    let password_alone = connect.password.is_some() && connect.username.is_none();
    if version != Version::V5 {
        let may_be_nameless = version == Version::V3_1_1 && connect.clean_start;
        require(named || may_be_nameless, EncodeError::ClientIdMissing)?;
        require(!password_alone, EncodeError::PasswordWithoutUserName)?;
    } else {
        let properties = &connect.properties;
        check_packet_size(properties.maximum_packet_size)?;
        require(
            properties.authentication_data.is_none() || properties.authentication_method.is_some(),
            EncodeError::AuthenticationMethodMissing,
        )?;
    }
    match &connect.will {
        Some(will) => check_will(will, version),
        None => Ok(()),
    }
}

fn check_packet_size(maximum: Option<u32>) -> Result<(), EncodeError> {
    require(maximum != Some(0), EncodeError::PropertyValue(Property::MaximumPacketSize))
}

fn check_will(will: &Will, version: Version) -> Result<(), EncodeError> {
    check_topic_name(&will.topic)?;
    if version != Version::V5 {
        return Ok(());
    }
    require(will.properties.topic_alias.is_none(), EncodeError::PropertyInWill(Property::TopicAlias))?;
    require(
        will.properties.subscription_identifiers.is_empty(),
        EncodeError::PropertyInWill(Property::SubscriptionIdentifier),
    )?;
    check_response_topic(&will.properties)
}

fn check_response_topic(properties: &PublishProperties) -> Result<(), EncodeError> {
    match &properties.response_topic {
        Some(topic) => Ok(check_topic_name(topic)?),
        None => Ok(()),
    }
}

fn check_connack(connack: &ConnAck, version: Version) -> Result<(), EncodeError> {
    let reason_code = connack.reason_code;
    let known = match version {
        Version::V5 => reason_code.may_stand_in(Place::ConnAck),
        Version::V3_1 | Version::V3_1_1 => reason_code.connect_return_code().is_some(),
    };
    require(known, wrong_code(PacketType::ConnAck, reason_code))?;
    require(!connack.session_present || reason_code == ReasonCode::Success, EncodeError::SessionPresentInRefusal)?;
    if version != Version::V5 {
        return Ok(());
    }
    let properties = &connack.properties;
    check_packet_size(properties.maximum_packet_size)?;
    require(
        properties.authentication_data.is_none() || properties.authentication_method.is_some(),
        EncodeError::AuthenticationMethodMissing,
    )
}

fn wrong_code(packet_type: PacketType, reason_code: ReasonCode) -> EncodeError {
    EncodeError::ReasonCode { packet_type, reason_code }
}

fn check_publish(publish: &Publish, version: Version) -> Result<(), EncodeError> {
    match publish.qos {
        QoS::AtMostOnce => {
            require(publish.packet_id.is_none(), EncodeError::PacketIdAtQoS0)?;
            require(!publish.dup, EncodeError::DupAtQoS0)?;
        }
        QoS::AtLeastOnce | QoS::ExactlyOnce => {
            require(publish.packet_id.is_some(), EncodeError::PacketIdMissing)?;
        }
    }
    let properties = &publish.properties;
    let alias_stands_for_it = version == Version::V5 && publish.topic.is_empty() && properties.topic_alias.is_some();
    if !alias_stands_for_it {
        check_topic_name(&publish.topic)?;
    }
    if version != Version::V5 {
        return Ok(());
    }
    for &identifier in &properties.subscription_identifiers {
        check_subscription_identifier(identifier)?;
    }
    check_response_topic(properties)
}

fn check_subscription_identifier(identifier: u32) -> Result<(), EncodeError> {
    require(
        (1..=REMAINING_LENGTH_MAX).contains(&(identifier as usize)),
        EncodeError::PropertyValue(Property::SubscriptionIdentifier),
    )
}

/// In 3.x an acknowledgement has no code. PUBREL and PUBCOMP lose theirs without harm; a PUBACK or PUBREC that refuses
/// would be read as success, so that the connection must be closed instead.
fn check_ack(ack: &Ack, packet_type: PacketType, version: Version) -> Result<(), EncodeError> {
    let place = Place::of_ack(packet_type);
    let sayable = match version {
        Version::V5 => ack.reason_code.may_stand_in(place),
        Version::V3_1 | Version::V3_1_1 => place == Place::PubRelOrComp || !ack.reason_code.is_error(),
    };
    require(sayable, wrong_code(packet_type, ack.reason_code))
}

fn check_subscribe(subscribe: &Subscribe, version: Version) -> Result<(), EncodeError> {
    require(!subscribe.filters.is_empty(), EncodeError::NoEntries(PacketType::Subscribe))?;
    if version != Version::V5 {
        return Ok(());
    }
    if let Some(identifier) = subscribe.subscription_identifier {
        check_subscription_identifier(identifier)?;
    }
    let mut filters = subscribe.filters.iter();
    let contradiction = filters.any(|entry| entry.no_local && entry.filter.starts_with(SHARE_PREFIX));
    require(!contradiction, EncodeError::NoLocalOnShared)
}

fn check_suback(suback: &SubAck, version: Version) -> Result<(), EncodeError> {
    require(!suback.reason_codes.is_empty(), EncodeError::NoEntries(PacketType::SubAck))?;
    for &reason_code in &suback.reason_codes {
        // 3.1 has no failure in a SUBACK; the session closes instead.
        let sayable = reason_code.may_stand_in(Place::SubAck) && !(version == Version::V3_1 && reason_code.is_error());
        require(sayable, wrong_code(PacketType::SubAck, reason_code))?;
    }
    Ok(())
}

fn check_unsuback(unsuback: &UnsubAck, version: Version) -> Result<(), EncodeError> {
    if version != Version::V5 {
        return Ok(());
    }
    require(!unsuback.reason_codes.is_empty(), EncodeError::NoEntries(PacketType::UnsubAck))?;
    for &reason_code in &unsuback.reason_codes {
        require(reason_code.may_stand_in(Place::UnsubAck), wrong_code(PacketType::UnsubAck, reason_code))?;
    }
    Ok(())
}

/// In 3.x a DISCONNECT says that all is well and the will is to be dropped, and nothing else.
fn check_disconnect(disconnect: &Disconnect, version: Version) -> Result<(), EncodeError> {
    let reason_code = disconnect.reason_code;
    let sayable = match version {
        Version::V5 => {
            reason_code.may_stand_in(Place::DisconnectByClient) || reason_code.may_stand_in(Place::DisconnectByServer)
        }
        Version::V3_1 | Version::V3_1_1 => reason_code == ReasonCode::Success,
    };
    require(sayable, wrong_code(PacketType::Disconnect, reason_code))
}

fn check_auth(auth: &Auth, version: Version) -> Result<(), EncodeError> {
    let packet_type = PacketType::Auth;
    let missing = EncodeError::NotInVersion { packet_type, version };
    require(version == Version::V5, missing)?;
    let reason_code = auth.reason_code;
    require(
        reason_code.may_stand_in(Place::AuthByClient) || reason_code.may_stand_in(Place::AuthByServer),
        wrong_code(packet_type, reason_code),
    )?;
    require(
        auth.authentication_method.is_some() || super::leave::is_bare(auth),
        EncodeError::AuthenticationMethodMissing,
    )
}
