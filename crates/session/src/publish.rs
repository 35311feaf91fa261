//! The way in: what the client publishes, until it is acknowledged or refused, in the order in which it came.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_domain::{MessageProperties, Place, Refusal, Seq, TopicClass, TxTopic, classify_topic};
use quorate_wire::{Ack, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Version};

use crate::answers::{reason_code, reason_properties, reason_string};
use crate::{CloseCause, Effect, Limits, Session};

/// Properties that one publish may carry, and their bytes; more is refused with 0x97. They are counted apart from the
/// payload, whose bounds are the domain's, and keep what a message costs in memory near what it costs on the wire.
const PROPERTIES_MAX: usize = 64;
const PROPERTIES_BYTES_MAX: usize = 16 << 10;

/// User properties of this prefix are the broker's own.
const RESERVED_PROPERTY_PREFIX: &str = "quorate-";

/// One publish that has not been answered.
#[derive(Debug)]
struct Pending {
    token: u64,
    /// `None`: QoS 0, which is answered by nothing, or by the end of the connection.
    packet_id: Option<PacketId>,
    payload_bytes: usize,
    outcome: Option<Result<Seq, Refusal>>,
}

/// The publishes that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    next_token: u64,
}

impl Publishing {
    /// Whether another publish may be read. In MQTT 5 one more than the Receive Maximum is, so that it can be refused.
    pub(crate) fn has_room(&self, limits: &Limits, version: Version) -> bool {
        let slack = usize::from(version == Version::V5);
        self.pending.len() < usize::from(limits.receive_maximum) + slack
            && self.pending_bytes < limits.pending_bytes_max
    }

    fn acknowledged_pending(&self) -> usize {
        self.pending.iter().filter(|pending| pending.packet_id.is_some()).count()
    }

    fn push(
        &mut self,
        packet_id: Option<PacketId>,
        payload_bytes: usize,
        outcome: Option<Result<Seq, Refusal>>,
    ) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.pending_bytes += payload_bytes;
        self.pending.push_back(Pending { token, packet_id, payload_bytes, outcome });
        token
    }

    fn resolve(&mut self, token: u64, outcome: Result<Seq, Refusal>) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.token == token) {
            pending.outcome = Some(outcome);
        }
    }

    /// The oldest, if it is decided.
    fn pop_decided(&mut self) -> Option<(Option<PacketId>, Result<Seq, Refusal>)> {
        let outcome = self.pending.front_mut()?.outcome.take()?;
        let pending = self.pending.pop_front()?;
        self.pending_bytes -= pending.payload_bytes;
        Some((pending.packet_id, outcome))
    }
}

impl Session {
    pub(crate) fn handle_publish(&mut self, publish: Publish) {
        if publish.qos == QoS::ExactlyOnce {
            return self.fail(ReasonCode::QoSNotSupported, "CONNACK announced a Maximum QoS of 1 (MQTT5 3.2.2-11)");
        }
        if publish.properties.topic_alias.is_some() {
            return self.fail(ReasonCode::TopicAliasInvalid, "CONNACK announced no topic aliases (MQTT5 3.3.2-9)");
        }
        let over = publish.packet_id.is_some()
            && self.publishing.acknowledged_pending() >= usize::from(self.limits.receive_maximum);
        if over && self.version == Version::V5 {
            return self
                .fail(ReasonCode::ReceiveMaximumExceeded, "more unacknowledged publishes than the Receive Maximum");
        }
        let (packet_id, payload) = (publish.packet_id, publish.payload.clone());
        match self.admit(publish) {
            Ok((topic, properties)) => {
                let token = self.publishing.push(packet_id, payload.len(), None);
                self.emit(Effect::Append { token, topic, payload, properties });
            }
            Err(refusal) => {
                self.publishing.push(packet_id, 0, Some(Err(refusal)));
                self.answer_publishes();
            }
        }
    }

    /// The outcome of [`Effect::Append`]: durable, or refused.
    pub fn handle_committed(&mut self, token: u64, outcome: Result<Seq, Refusal>) {
        self.publishing.resolve(token, outcome);
        self.answer_publishes();
        self.pump();
    }

    /// Answers the oldest publishes that are decided. A refusal waits behind appends that are not (MQTT5 4.6).
    fn answer_publishes(&mut self) {
        while self.is_open() {
            let Some((packet_id, outcome)) = self.publishing.pop_decided() else { return };
            match (packet_id, outcome) {
                (Some(packet_id), Ok(_)) => self.send(puback(packet_id)),
                (None, Ok(_)) => {}
                (Some(packet_id), Err(refusal)) if self.can_answer(&refusal) => self.send_refusal(packet_id, &refusal),
                (_, Err(refusal)) => {
                    self.goodbye(reason_code(&refusal), &reason_string(&refusal));
                    self.close(CloseCause::Refused(refusal));
                }
            }
        }
    }

    /// MQTT 5 has an answer for a refusal, 3.x has only the end of the connection. A QoS that the broker announced not
    /// to take ends it in 5 too.
    fn can_answer(&self, refusal: &Refusal) -> bool {
        self.version == Version::V5 && *refusal != Refusal::QosTooLow
    }

    fn send_refusal(&mut self, packet_id: PacketId, refusal: &Refusal) {
        let properties = reason_properties(reason_string(refusal), self.wants_reasons);
        let properties = properties.reason_string.is_some().then(|| Box::new(properties));
        self.send(Packet::PubAck(Ack { packet_id, reason_code: reason_code(refusal), properties }));
    }

    /// What can be judged without the store: the topic, whose name stands in it, the QoS that its place needs.
    fn admit(&self, publish: Publish) -> Result<(TxTopic, MessageProperties), Refusal> {
        let class = classify_topic(&publish.topic).map_err(|error| Refusal::TopicInvalid(error.to_string()))?;
        let TopicClass::Tx(topic) = class else {
            // `party/` is the broker's own; ordinary topics are allowed by rules alone, and there are none yet.
            return Err(Refusal::NotAuthorized);
        };
        let is_own = match &topic.place {
            Place::State => false,
            // The initiator stands in the manifest itself: the domain compares it when the transaction is created.
            Place::Manifest => true,
            place => place.author() == Some(&self.key.party),
        };
        if !is_own {
            return Err(Refusal::NotAuthorized);
        }
        if topic.place.is_slot() && publish.qos == QoS::AtMostOnce {
            return Err(Refusal::QosTooLow);
        }
        if topic.place.is_slot() && publish.payload.is_empty() {
            return Err(Refusal::PayloadInvalid("a slot needs a payload that is not empty".to_owned()));
        }
        Ok((topic, carried(publish.properties)?))
    }
}

fn puback(packet_id: PacketId) -> Packet {
    Packet::PubAck(Ack { packet_id, reason_code: ReasonCode::Success, properties: None })
}

/// The properties that travel with a message (MQTT5 3.3.2.3).
fn carried(properties: PublishProperties) -> Result<MessageProperties, Refusal> {
    if let Some((name, _)) =
        properties.user_properties.iter().find(|(name, _)| name.starts_with(RESERVED_PROPERTY_PREFIX))
    {
        return Err(Refusal::PayloadInvalid(format!("the user property {name:?} is reserved for the broker")));
    }
    check_bounds(&properties)?;
    Ok(MessageProperties {
        payload_format_indicator: properties.payload_format_indicator,
        content_type: properties.content_type.map(|text| text.to_string()),
        response_topic: properties.response_topic.map(|text| text.to_string()),
        // A copy: the slice would pin the whole frame for as long as the message lives.
        correlation_data: properties.correlation_data.map(|data| Bytes::copy_from_slice(&data)),
        user_properties: properties
            .user_properties
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
    })
}

fn check_bounds(properties: &PublishProperties) -> Result<(), Refusal> {
    let texts = [&properties.content_type, &properties.response_topic].into_iter().flatten().map(|text| text.len());
    let pairs = properties.user_properties.iter().map(|(name, value)| name.len() + value.len());
    let data = properties.correlation_data.as_ref().map_or(0, Bytes::len);
    let bytes = texts.chain(pairs).sum::<usize>() + data;
    if properties.user_properties.len() > PROPERTIES_MAX || bytes > PROPERTIES_BYTES_MAX {
        let bounds = format!("at most {PROPERTIES_MAX} user properties and {PROPERTIES_BYTES_MAX} bytes of properties");
        return Err(Refusal::QuotaExceeded(bounds));
    }
    Ok(())
}
