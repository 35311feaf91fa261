//! How a refusal is told: the table of `docs/transactions.md` as reason codes and reason strings.

use bytestring::ByteString;
use quorate_domain::Refusal;
use quorate_wire::{Packet, ReasonCode, ReasonProperties, Version, encoded_len};

/// The MQTT 5 reason code of a refusal.
pub(crate) fn reason_code(refusal: &Refusal) -> ReasonCode {
    match refusal {
        Refusal::NotAuthorized => ReasonCode::NotAuthorized,
        Refusal::SlotTaken { .. } | Refusal::Unsupported(_) => ReasonCode::ImplementationSpecificError,
        Refusal::TopicInvalid(_) => ReasonCode::TopicNameInvalid,
        Refusal::PayloadInvalid(_) => ReasonCode::PayloadFormatInvalid,
        Refusal::QosTooLow => ReasonCode::QoSNotSupported,
        Refusal::SharedNotSupported => ReasonCode::SharedSubscriptionsNotSupported,
        Refusal::QuotaExceeded(_) => ReasonCode::QuotaExceeded,
        Refusal::Superseded => ReasonCode::SessionTakenOver,
        Refusal::StorageFault(_) => ReasonCode::UnspecifiedError,
    }
}

/// What a person reads. A slot that is taken is named by a fixed word, since programs look for it; rights are not
/// explained, so that a foreign transaction and an unknown one look the same.
pub(crate) fn reason_string(refusal: &Refusal) -> ByteString {
    match refusal {
        Refusal::SlotTaken { .. } => ByteString::from_static("slot-taken"),
        Refusal::NotAuthorized => ByteString::from_static("not authorized"),
        Refusal::StorageFault(_) => ByteString::from_static("storage fault, retry later"),
        other => other.to_string().into(),
    }
}

/// The properties of an answer; empty where the client asked for no problem information (MQTT5 3.1.2.11.7).
pub(crate) fn reason_properties(reason: ByteString, wants_reasons: bool) -> ReasonProperties {
    ReasonProperties { reason_string: wants_reasons.then_some(reason), user_properties: Vec::new() }
}

/// An answer that is no longer than the client takes (MQTT5 3.1.2-24): without its reason string where that makes it
/// longer (MQTT5 3.2.2-19, 3.4.2-2, 3.5.2-2, 3.9.2-1, 3.11.2-1, 3.14.2-3). `None`: it does not fit even so, and is left
/// out (MQTT5 3.1.2-25).
pub(crate) fn fitting(mut packet: Packet, version: Version, bytes_max: Option<u32>) -> Option<Packet> {
    let Some(bytes_max) = bytes_max else { return Some(packet) };
    // One that cannot be encoded is the driver's to tell.
    let fits = |packet: &Packet| encoded_len(packet, version).is_ok_and(|bytes| bytes <= bytes_max as usize);
    if fits(&packet) {
        return Some(packet);
    }
    let reason = match &mut packet {
        Packet::ConnAck(connack) => &mut connack.properties.reason_string,
        Packet::Disconnect(disconnect) => &mut disconnect.reason_string,
        Packet::SubAck(suback) => &mut suback.properties.reason_string,
        Packet::UnsubAck(unsuback) => &mut unsuback.properties.reason_string,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties = None;
            return fits(&packet).then_some(packet);
        }
        _ => return None,
    };
    *reason = None;
    fits(&packet).then_some(packet)
}
