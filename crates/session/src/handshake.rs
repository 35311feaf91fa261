//! The first packet. A connection is a [`Handshake`] until a CONNECT was accepted; only then is there a [`Session`].

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use quorate_domain::{AccessRules, Agreement, Author, SessionExpiry, SessionKey, StoredSession, TxId, UnixMs};
use quorate_wire::{ConnAck, ConnAckProperties, Connect, Packet, ReasonCode, Version};

use crate::answers::{fitting, reason_code, reason_string};
use crate::will::Left;
use crate::window::Window;
use crate::{Limits, Session};

/// Bytes of the longest client identifier; a longer one is refused with 0x85. It bounds the keys of the store.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// Bytes of the largest Maximum Packet Size that is announced: the largest remaining length (MQTT5 2.1.4). A larger one
/// bounds nothing that can be sent, but for its header, and paho takes it for an error.
const PACKET_BYTES_ANNOUNCED_MAX: u32 = 268_435_455;

/// A connection whose client has not been accepted yet.
#[derive(Debug)]
pub struct Handshake {
    limits: Limits,
    access: Arc<AccessRules>,
}

/// A CONNECT that may be accepted: what is left is to take over what the store has of this session.
#[derive(Debug)]
pub struct Hello {
    pub(crate) limits: Limits,
    pub(crate) access: Arc<AccessRules>,
    pub(crate) will: Option<Left>,
    pub(crate) aliases_max: u16,
    pub(crate) key: SessionKey,
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    pub(crate) expiry: SessionExpiry,
    pub(crate) keep_alive_s: u16,
    pub(crate) inflight_max: u16,
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) wants_reasons: bool,
    answer: ConnAckProperties,
}

/// A first packet that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CONNECT refused ({code}): {reason}")]
pub struct Rejected {
    /// What to send before closing; `None` where the protocol wants silence (MQTT5 3.1.0-1).
    pub answer: Option<Packet>,
    /// In which version the answer is to be encoded.
    pub version: Version,
    /// The reason as a code.
    pub code: ReasonCode,
    /// The reason for a person.
    pub reason: String,
}

impl Handshake {
    /// A connection that has said nothing yet. `access`: the rules for ordinary topics.
    pub fn new(limits: Limits, access: Arc<AccessRules>) -> Self {
        Self { limits, access }
    }

    /// Judges the first packet. `author` is who the TLS handshake proved the client to be; `fallback_client_id` names
    /// the session of a client that leaves the choice to the broker.
    pub fn handle_packet(self, packet: Packet, author: Author, fallback_client_id: String) -> Result<Hello, Rejected> {
        let Packet::Connect(connect) = packet else {
            return Err(Rejected {
                answer: None,
                version: Version::V5,
                code: ReasonCode::ProtocolError,
                reason: "the first packet is not a CONNECT (MQTT5 3.1.0-1)".to_owned(),
            });
        };
        check(&connect)?;
        let will = Left::read(&connect, &author, &self.access, &self.limits)
            .map_err(|refusal| refused(&connect, reason_code(&refusal), &will_reason(&refusal)))?;
        let mut answer = self.announcement();
        let client_id = if connect.client_id.is_empty() {
            answer.assigned_client_identifier = Some(fallback_client_id.clone().into());
            fallback_client_id
        } else {
            connect.client_id.to_string()
        };
        let hello = Hello {
            key: SessionKey { party: author.party, client_id },
            version: connect.version,
            clean_start: connect.clean_start,
            expiry: agree_on_expiry(&connect, &self.limits, &mut answer),
            keep_alive_s: agree_on_keep_alive(&connect, &self.limits, &mut answer),
            inflight_max: connect
                .properties
                .receive_maximum
                .map_or(u16::MAX, |maximum| maximum.get())
                .min(self.limits.inflight_max)
                .clamp(1, Window::CAPACITY_MAX),
            packet_bytes_max: connect.properties.maximum_packet_size,
            aliases_max: connect.properties.topic_alias_maximum.unwrap_or(0).min(self.limits.topic_alias_max),
            will,
            access: self.access,
            wants_reasons: connect.properties.request_problem_information.unwrap_or(true),
            limits: self.limits,
            answer,
        };
        if !hello.fits() {
            return Err(hello.reject(ReasonCode::PacketTooLarge, "the CONNACK is larger than the Maximum Packet Size"));
        }
        Ok(hello)
    }

    /// What every CONNACK of MQTT 5 announces.
    fn announcement(&self) -> ConnAckProperties {
        ConnAckProperties {
            receive_maximum: self.limits.receive_maximum.try_into().ok(),
            maximum_packet_size: Some(self.limits.packet_bytes_max).filter(|it| *it <= PACKET_BYTES_ANNOUNCED_MAX),
            topic_alias_maximum: Some(self.limits.topic_alias_max).filter(|maximum| *maximum > 0),
            ..ConnAckProperties::default()
        }
    }
}

impl Hello {
    /// Whose session it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Whether what is stored of this session is to be forgotten.
    pub fn starts_clean(&self) -> bool {
        self.clean_start
    }

    /// How long the session is to outlive its connection, and what is to be said at its end.
    pub fn agreement(&self) -> Agreement {
        Agreement { expiry: self.expiry, will: self.will.as_ref().map(|will| will.agreed(self.expiry)) }
    }

    /// The transaction in which the will is to be said: it has to list the party. Whoever accepts has looked that up.
    pub fn will_transaction(&self) -> Option<&TxId> {
        self.will.as_ref()?.tx.as_ref()
    }

    /// The protocol version of the connection.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Refuses after all, where the backbone cannot serve.
    pub fn reject(self, code: ReasonCode, reason: &str) -> Rejected {
        rejected(self.version, code, reason, self.packet_bytes_max)
    }

    /// Whether the client takes the CONNACK that accepts it (MQTT5 3.1.2-24).
    fn fits(&self) -> bool {
        fitting(self.connack(true), self.version, self.packet_bytes_max).is_some()
    }

    fn connack(&self, session_present: bool) -> Packet {
        Packet::ConnAck(Box::new(ConnAck {
            session_present,
            reason_code: ReasonCode::Success,
            properties: self.answer.clone(),
        }))
    }

    /// Accepts. `stored` is what the store had of this session; `at` is the wall clock at `now`. The first effect of the
    /// session is its CONNACK.
    pub fn accept(self, stored: Option<StoredSession>, now: Duration, at: UnixMs) -> Session {
        let connack = self.connack(stored.is_some());
        Session::begin(self, connack, stored, now, at)
    }
}

fn will_reason(refusal: &quorate_domain::Refusal) -> String {
    format!("the will is refused: {}", reason_string(refusal))
}

fn check(connect: &Connect) -> Result<(), Rejected> {
    let refuse = |code, reason| Err(refused(connect, code, reason));
    if connect.properties.authentication_method.is_some() {
        return refuse(ReasonCode::BadAuthenticationMethod, "the certificate is the only authentication");
    }
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        return refuse(ReasonCode::ClientIdentifierNotValid, "the client identifier is longer than 256 bytes");
    }
    // MQTT 3.1.1 3.1.3-8; MQTT 3.1 knows no empty identifier at all.
    let may_be_empty = match connect.version {
        Version::V3_1 => false,
        Version::V3_1_1 => connect.clean_start,
        Version::V5 => true,
    };
    if connect.client_id.is_empty() && !may_be_empty {
        return refuse(ReasonCode::ClientIdentifierNotValid, "an empty client identifier needs a clean session");
    }
    Ok(())
}

fn refused(connect: &Connect, code: ReasonCode, reason: &str) -> Rejected {
    rejected(connect.version, code, reason, connect.properties.maximum_packet_size)
}

fn rejected(version: Version, code: ReasonCode, reason: &str, packet_bytes_max: Option<u32>) -> Rejected {
    let properties =
        ConnAckProperties { reason_string: Some(ByteString::from(reason)), ..ConnAckProperties::default() };
    let answer = Packet::ConnAck(Box::new(ConnAck { session_present: false, reason_code: code, properties }));
    Rejected { answer: fitting(answer, version, packet_bytes_max), version, code, reason: reason.to_owned() }
}

/// In 3.x a session that is not clean never expires by the protocol; the broker's maximum holds for it as well.
fn agree_on_expiry(connect: &Connect, limits: &Limits, answer: &mut ConnAckProperties) -> SessionExpiry {
    let wanted_s = match connect.version {
        Version::V5 => connect.properties.session_expiry_interval_s.unwrap_or(0),
        Version::V3_1 | Version::V3_1_1 if connect.clean_start => 0,
        Version::V3_1 | Version::V3_1_1 => u32::MAX,
    };
    if wanted_s > limits.session_expiry_max_s {
        answer.session_expiry_interval_s = Some(limits.session_expiry_max_s);
    }
    expiry_of(wanted_s.min(limits.session_expiry_max_s))
}

/// What a session expiry interval means (MQTT5 3.1.2.11.2).
pub(crate) fn expiry_of(interval_s: u32) -> SessionExpiry {
    match interval_s {
        0 => SessionExpiry::AtDisconnect,
        u32::MAX => SessionExpiry::Never,
        seconds => SessionExpiry::After(seconds),
    }
}

fn agree_on_keep_alive(connect: &Connect, limits: &Limits, answer: &mut ConnAckProperties) -> u16 {
    let wanted_s = connect.keep_alive_s;
    let maximum_s = limits.keep_alive_max_s;
    let too_long = maximum_s > 0 && (wanted_s == 0 || wanted_s > maximum_s);
    if connect.version == Version::V5 && too_long {
        answer.server_keep_alive_s = Some(maximum_s);
        return maximum_s;
    }
    wanted_s
}
