//! How a refusal is told: the table of `docs/transactions.md` as reason codes and reason strings.

use bytestring::ByteString;
use quorate_domain::Refusal;
use quorate_wire::{ReasonCode, ReasonProperties};

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
