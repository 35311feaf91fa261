//! The way in: what the client publishes, to a transaction or an ordinary topic, until it is acknowledged or refused, in the order in which it came.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_domain::{MessageProperties, Place, Qos, Refusal, Seq, TopicClass, TxTopic, classify_topic};
use quorate_wire::{Ack, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Version};

use crate::answers::{reason_code, reason_properties, reason_string};
use crate::receipts::{Reception, Receptions};
use crate::{CloseCause, Effect, Limits, Session};

/// Properties that one publish may carry, and their bytes; more is refused with 0x97. They are counted apart from the
/// payload, whose bounds are the domain's, and keep what a message costs in memory near what it costs on the wire.
const PROPERTIES_MAX: usize = 64;
const PROPERTIES_BYTES_MAX: usize = 16 << 10;

/// User properties of this prefix are the broker's own.
const RESERVED_PROPERTY_PREFIX: &str = "quorate-";

/// How a publish is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// By nothing, or by the end of the connection.
    None,
    PubAck(PacketId),
    PubRec(PacketId),
}

/// One publish that has not been answered.
#[derive(Debug)]
struct Pending {
    token: u64,
    answer: Answer,
    /// Whether it uses up the Receive Maximum: another PUBLISH of the same message at QoS 2 does not.
    counts: bool,
    /// At QoS 2: whether the store remembers it until it is released.
    has_receipt: bool,
    payload_bytes: usize,
    outcome: Option<Result<Seq, Refusal>>,
}

/// What a publish that is let through is.
enum Admitted {
    /// A message of a transaction.
    Room(TxTopic),
    /// A message of an ordinary topic.
    Ordinary(String),
}

/// The publishes that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    next_token: u64,
    pub(crate) receptions: Receptions,
}

impl Publishing {
    /// `receipts`: what an earlier connection received and did not release.
    pub(crate) fn new(receipts: &[u16]) -> Self {
        Self { receptions: Receptions::new(receipts), ..Self::default() }
    }

    /// Whether another publish may be read. In MQTT 5 one more than the Receive Maximum is, so that it can be refused.
    pub(crate) fn has_room(&self, limits: &Limits, version: Version) -> bool {
        let slack = usize::from(version == Version::V5);
        self.pending.len() < usize::from(limits.receive_maximum) + slack
            && self.pending_bytes < limits.pending_bytes_max
    }

    /// Publishes that use up the Receive Maximum: those that wait for their PUBACK or PUBREC, and those that wait for
    /// their PUBCOMP (MQTT5 4.9).
    fn unacknowledged(&self) -> usize {
        self.pending.iter().filter(|pending| pending.counts).count() + self.receptions.counting()
    }

    fn new_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// A publish that is on its way.
    fn push(&mut self, answer: Answer, payload_bytes: usize, has_receipt: bool) -> u64 {
        let token = self.new_token();
        self.pending_bytes += payload_bytes;
        let counts = answer != Answer::None;
        self.pending.push_back(Pending { token, answer, counts, has_receipt, payload_bytes, outcome: None });
        token
    }

    /// A publish that is refused, in its own turn.
    fn push_refused(&mut self, answer: Answer, refusal: Refusal) {
        let token = self.push(answer, 0, false);
        self.resolve(token, Err(refusal));
    }

    /// The PUBLISH of a message that is here already: answered as the first is, in its own turn.
    fn push_again(&mut self, packet_id: PacketId, token: u64, outcome: Option<Result<Seq, Refusal>>) {
        let answer = Answer::PubRec(packet_id);
        self.pending.push_back(Pending { token, answer, counts: false, has_receipt: false, payload_bytes: 0, outcome });
    }

    /// The publish at QoS 2 with this identifier that has not been answered: its token, and its outcome if it is decided.
    pub(crate) fn undecided(&self, packet_id: PacketId) -> Option<(u64, Option<Result<Seq, Refusal>>)> {
        let of_it = self.pending.iter().find(|pending| pending.answer == Answer::PubRec(packet_id))?;
        Some((of_it.token, of_it.outcome.clone()))
    }

    fn resolve(&mut self, token: u64, outcome: Result<Seq, Refusal>) {
        for pending in self.pending.iter_mut().filter(|pending| pending.token == token) {
            pending.outcome = Some(outcome.clone());
        }
    }

    /// The oldest, if it is decided.
    fn pop_decided(&mut self) -> Option<(Pending, Result<Seq, Refusal>)> {
        let outcome = self.pending.front_mut()?.outcome.take()?;
        let pending = self.pending.pop_front()?;
        self.pending_bytes -= pending.payload_bytes;
        Some((pending, outcome))
    }
}

impl Session {
    pub(crate) fn handle_publish(&mut self, publish: Publish) {
        let Some(publish) = self.resolve_alias(publish) else { return };
        if publish.qos == QoS::ExactlyOnce
            && let Some(packet_id) = publish.packet_id
            && self.is_here_already(packet_id)
        {
            return;
        }
        let over =
            publish.packet_id.is_some() && self.publishing.unacknowledged() >= usize::from(self.limits.receive_maximum);
        if over && self.version == Version::V5 {
            return self
                .fail(ReasonCode::ReceiveMaximumExceeded, "more unacknowledged publishes than the Receive Maximum");
        }
        let answer = match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => Answer::PubAck(packet_id),
            (QoS::ExactlyOnce, Some(packet_id)) => Answer::PubRec(packet_id),
            _ => Answer::None,
        };
        let (qos, retain, payload) = (from_wire(publish.qos), publish.retain, publish.payload.clone());
        match self.admit(publish) {
            Ok((admitted, properties)) => {
                // A session that ends with its connection has nothing to remember about ordinary messages beyond it.
                let is_remembered = self.is_durable() || matches!(admitted, Admitted::Room(_));
                let receipt = if let Answer::PubRec(packet_id) = answer { Some(packet_id) } else { None };
                let receipt = receipt.filter(|_| is_remembered);
                let token = self.publishing.push(answer, payload.len(), receipt.is_some());
                self.emit(match admitted {
                    Admitted::Room(topic) => Effect::Append { token, topic, payload, qos, receipt, properties },
                    Admitted::Ordinary(topic) => {
                        Effect::Publish { token, topic, payload, qos, retain, receipt, properties }
                    }
                });
            }
            Err(refusal) => {
                self.publishing.push_refused(answer, refusal);
                self.answer_publishes();
            }
        }
    }

    /// Answers a PUBLISH at QoS 2 whose message is here, or on its way (MQTT5 4.3.3): it is not appended again.
    fn is_here_already(&mut self, packet_id: PacketId) -> bool {
        if let Some((token, outcome)) = self.publishing.undecided(packet_id) {
            self.publishing.push_again(packet_id, token, outcome);
            return true;
        }
        match self.publishing.receptions.meet(packet_id) {
            None => return false,
            Some(Reception::Received(seq)) => {
                let token = self.publishing.new_token();
                self.publishing.push_again(packet_id, token, Some(Ok(seq)));
                self.answer_publishes();
            }
            Some(Reception::Releasing) => {
                self.fail(ReasonCode::ProtocolError, "a packet identifier is used again before its PUBCOMP");
            }
        }
        true
    }

    /// The outcome of [`Effect::Append`] or [`Effect::Publish`]: done, durably where the message is to last, or refused.
    pub fn handle_committed(&mut self, token: u64, outcome: Result<Seq, Refusal>) {
        self.publishing.resolve(token, outcome);
        self.answer_publishes();
        self.pump();
    }

    /// Answers the oldest publishes that are decided. A refusal waits behind appends that are not (MQTT5 4.6).
    fn answer_publishes(&mut self) {
        while self.is_open() {
            let Some((pending, outcome)) = self.publishing.pop_decided() else { return };
            match outcome {
                Ok(seq) => self.accept_publish(&pending, seq),
                Err(Refusal::Superseded) => self.handle_take_over(),
                Err(refusal) if self.can_answer(pending.answer, &refusal) => {
                    self.refuse_publish(pending.answer, &refusal);
                }
                Err(refusal) => {
                    self.goodbye(reason_code(&refusal), &reason_string(&refusal));
                    self.close(CloseCause::Refused(refusal));
                }
            }
        }
    }

    fn accept_publish(&mut self, publish: &Pending, seq: Seq) {
        let ack = |packet_id| Ack { packet_id, reason_code: ReasonCode::Success, properties: None };
        match publish.answer {
            Answer::None => {}
            Answer::PubAck(packet_id) => self.send(Packet::PubAck(ack(packet_id))),
            Answer::PubRec(packet_id) => {
                if publish.counts {
                    self.publishing.receptions.received(packet_id, seq, publish.has_receipt);
                }
                self.send(Packet::PubRec(ack(packet_id)));
            }
        }
    }

    /// MQTT 5 has an answer for a refusal, 3.x has only the end of the connection. A QoS that is too low ends it in 5 too;
    /// so does, at QoS 2, a fault of the store: whether there is a receipt is unknown, and the client could use the
    /// identifier for something else, which would be taken for received. The next connection knows.
    fn can_answer(&self, answer: Answer, refusal: &Refusal) -> bool {
        let is_unknown = matches!((answer, refusal), (Answer::PubRec(_), Refusal::StorageFault(_)));
        self.version == Version::V5 && answer != Answer::None && *refusal != Refusal::QosTooLow && !is_unknown
    }

    fn refuse_publish(&mut self, answer: Answer, refusal: &Refusal) {
        let properties = reason_properties(reason_string(refusal), self.wants_reasons);
        let properties = properties.reason_string.is_some().then(|| Box::new(properties));
        let ack = |packet_id| Ack { packet_id, reason_code: reason_code(refusal), properties };
        match answer {
            Answer::None => {}
            Answer::PubAck(packet_id) => self.send(Packet::PubAck(ack(packet_id))),
            Answer::PubRec(packet_id) => self.send(Packet::PubRec(ack(packet_id))),
        }
    }

    /// What can be judged without the store: the topic, whose name stands in it, the QoS that its place needs.
    fn admit(&self, publish: Publish) -> Result<(Admitted, MessageProperties), Refusal> {
        let class = classify_topic(&publish.topic).map_err(|error| Refusal::TopicInvalid(error.to_string()))?;
        let topic = match class {
            TopicClass::Tx(topic) => topic,
            TopicClass::Ordinary if self.access.may_publish(&self.key.party, &publish.topic) => {
                let topic = publish.topic.to_string();
                return Ok((Admitted::Ordinary(topic), carried(publish.properties)?));
            }
            // `party/` is the broker's own.
            TopicClass::Ordinary | TopicClass::Party(_) => return Err(Refusal::NotAuthorized),
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
        Ok((Admitted::Room(topic), carried(publish.properties)?))
    }
}

/// The properties that travel with a message (MQTT5 3.3.2.3).
pub(crate) fn carried(properties: PublishProperties) -> Result<MessageProperties, Refusal> {
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
        expiry_interval_s: properties.message_expiry_interval_s,
    })
}

pub(crate) fn from_wire(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
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
