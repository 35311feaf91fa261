//! What packets mean to a client: which answer belongs to which call. No socket and no clock.

use std::{collections::HashMap, ops::ControlFlow};

use bytes::BytesMut;
use quorate_wire::{
    Ack, Disconnect, Packet, PacketId, Publish, QoS, ReasonCode, ReasonProperties, Subscribe, SubscribeFilter,
    Unsubscribe, Version, encode, encoded_len,
};

use super::{Command, Waiter};
use crate::{ClientError, Message, client::lost};

/// The calls that wait for an answer, and the bytes that wait to be written.
pub(super) struct Protocol {
    version: Version,
    packet_bytes_max: usize,
    connection: u64,
    next_packet_id: PacketId,
    pending: HashMap<PacketId, Pending>,
    /// Encoded, not yet written.
    pub(super) out: BytesMut,
}

struct Pending {
    awaits: Awaits,
    waiter: Waiter,
}

/// Which packet answers a call. Another one with the same identifier answers something of an earlier connection, or
/// nothing, and is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    PubAck,
    PubRec,
    PubComp,
    SubAck,
    UnsubAck,
}

impl Protocol {
    pub(super) fn new(version: Version, packet_bytes_max: usize, connection: u64) -> Self {
        Self {
            version,
            packet_bytes_max,
            connection,
            next_packet_id: PacketId::MIN,
            pending: HashMap::new(),
            out: BytesMut::new(),
        }
    }

    /// Turns a call into a packet. `Disconnect` is the task's own matter.
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Publish(publish, waiter) => self.publish(publish, waiter),
            Command::Subscribe(filter, waiter) => self.subscribe(filter, waiter),
            Command::Unsubscribe(filter, waiter) => {
                let packet_id = self.allocate();
                let packet = Unsubscribe { packet_id, user_properties: Vec::new(), filters: vec![filter] };
                self.send_awaiting(&Packet::Unsubscribe(packet), packet_id, Awaits::UnsubAck, waiter);
            }
            Command::Acknowledge { packet_id, qos } => match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => self.send_ack(Packet::PubAck(success(packet_id))),
                QoS::ExactlyOnce => self.send_ack(Packet::PubRec(success(packet_id))),
            },
            Command::Disconnect => self.disconnect(),
        }
    }

    /// Takes a packet from the server: a message for the caller, or an answer to a call. `Break`: the connection is
    /// over.
    pub(super) fn handle_packet(&mut self, packet: Packet) -> ControlFlow<ClientError, Option<Message>> {
        match packet {
            Packet::Publish(publish) if publish.topic.is_empty() => {
                return broken("a topic alias, though none was allowed");
            }
            Packet::Publish(publish) => {
                return ControlFlow::Continue(Some(Message::from_publish(*publish, self.connection)));
            }
            Packet::PubAck(ack) => self.complete_publish(ack, Awaits::PubAck),
            Packet::PubRec(ack) if ack.reason_code.is_error() => self.complete_publish(ack, Awaits::PubRec),
            Packet::PubRec(ack) => self.release(ack.packet_id),
            Packet::PubRel(ack) => self.send_ack(Packet::PubComp(success(ack.packet_id))),
            Packet::PubComp(ack) => self.complete_publish(ack, Awaits::PubComp),
            Packet::SubAck(suback) => {
                let outcome = outcome(&suback.reason_codes, &suback.properties);
                self.answer(suback.packet_id, Awaits::SubAck, outcome);
            }
            Packet::UnsubAck(unsuback) => {
                let outcome = outcome(&unsuback.reason_codes, &unsuback.properties);
                self.answer(unsuback.packet_id, Awaits::UnsubAck, outcome);
            }
            Packet::PingResp => {}
            Packet::Disconnect(disconnect) => {
                return ControlFlow::Break(ClientError::ConnectionLost {
                    code: Some(disconnect.reason_code),
                    reason: disconnect.reason_string.map(|text| text.to_string()),
                    cause: "the server ended it".to_owned(),
                });
            }
            Packet::Auth(_) => return broken("AUTH, though no method was named"),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => {
                return broken("a packet that has no place here");
            }
        }
        ControlFlow::Continue(None)
    }

    /// Queues a PINGREQ.
    pub(super) fn ping(&mut self) {
        self.send_ack(Packet::PingReq);
    }

    /// Queues a DISCONNECT.
    pub(super) fn disconnect(&mut self) {
        self.send_ack(Packet::Disconnect(Box::new(Disconnect {
            reason_code: ReasonCode::Success,
            session_expiry_interval_s: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        })));
    }

    /// Tells everyone who still waits why no answer will come.
    pub(super) fn fail_all(&mut self, cause: &ClientError) {
        for (_, pending) in self.pending.drain() {
            pending.waiter.answer(Err(cause.clone()));
        }
    }

    fn publish(&mut self, mut publish: Box<Publish>, waiter: Waiter) {
        if publish.qos == QoS::AtMostOnce {
            let sent = self.send(&Packet::Publish(publish));
            return waiter.answer(sent);
        }
        let awaits = if publish.qos == QoS::AtLeastOnce { Awaits::PubAck } else { Awaits::PubRec };
        let packet_id = self.allocate();
        publish.packet_id = Some(packet_id);
        self.send_awaiting(&Packet::Publish(publish), packet_id, awaits, waiter);
    }

    fn subscribe(&mut self, filter: SubscribeFilter, waiter: Waiter) {
        let packet_id = self.allocate();
        let packet =
            Subscribe { packet_id, subscription_identifier: None, user_properties: Vec::new(), filters: vec![filter] };
        self.send_awaiting(&Packet::Subscribe(packet), packet_id, Awaits::SubAck, waiter);
    }

    /// QoS 2: the server has it; PUBREL, then PUBCOMP. A PUBREC to nothing is answered all the same, so that the server
    /// can forget it (MQTT5 4.3.3).
    fn release(&mut self, packet_id: PacketId) {
        if let Some(pending) = self.pending.get_mut(&packet_id).filter(|pending| pending.awaits == Awaits::PubRec) {
            pending.awaits = Awaits::PubComp;
        }
        self.send_ack(Packet::PubRel(success(packet_id)));
    }

    fn complete_publish(&mut self, ack: Ack, awaits: Awaits) {
        let properties = ack.properties.map(|properties| *properties).unwrap_or_default();
        self.answer(ack.packet_id, awaits, outcome(&[ack.reason_code], &properties));
    }

    fn answer(&mut self, packet_id: PacketId, awaits: Awaits, outcome: Result<(), ClientError>) {
        if self.pending.get(&packet_id).is_some_and(|pending| pending.awaits == awaits)
            && let Some(pending) = self.pending.remove(&packet_id)
        {
            pending.waiter.answer(outcome);
        }
    }

    fn send_awaiting(&mut self, packet: &Packet, packet_id: PacketId, awaits: Awaits, waiter: Waiter) {
        match self.send(packet) {
            Ok(()) => {
                self.pending.insert(packet_id, Pending { awaits, waiter });
            }
            Err(error) => waiter.answer(Err(error)),
        }
    }

    fn send(&mut self, packet: &Packet) -> Result<(), ClientError> {
        let encode_error = |error: quorate_wire::EncodeError| ClientError::Encode(error.to_string());
        let bytes = encoded_len(packet, self.version).map_err(encode_error)?;
        if bytes > self.packet_bytes_max {
            return Err(ClientError::TooLarge { bytes, bytes_max: self.packet_bytes_max });
        }
        let before = self.out.len();
        encode(packet, self.version, &mut self.out).map_err(|error| {
            self.out.truncate(before);
            encode_error(error)
        })
    }

    /// Packets of our own making without text in them, which always encode.
    fn send_ack(&mut self, packet: Packet) {
        if let Err(error) = self.send(&packet) {
            tracing::warn!(%error, "an answer could not be encoded");
        }
    }

    /// A packet identifier that nothing waits on. The window and request bounds keep most of them free.
    fn allocate(&mut self) -> PacketId {
        loop {
            let packet_id = self.next_packet_id;
            self.next_packet_id = packet_id.checked_add(1).unwrap_or(PacketId::MIN);
            if !self.pending.contains_key(&packet_id) {
                return packet_id;
            }
        }
    }
}

fn success(packet_id: PacketId) -> Ack {
    Ack { packet_id, reason_code: ReasonCode::Success, properties: None }
}

/// The first refusal among the codes; each of our requests holds one filter.
fn outcome(codes: &[ReasonCode], properties: &ReasonProperties) -> Result<(), ClientError> {
    match codes.iter().find(|code| code.is_error()) {
        None => Ok(()),
        Some(&code) => {
            let reason = properties.reason_string.as_ref().map(|text| text.to_string());
            Err(ClientError::Refused { code, reason })
        }
    }
}

fn broken(what: &str) -> ControlFlow<ClientError, Option<Message>> {
    ControlFlow::Break(lost(&format!("the server broke the protocol: {what}")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_wire::{Decoder, PublishProperties, SubAck};
    use tokio::sync::oneshot::{self, Receiver};

    use super::*;

    const BYTES_MAX: usize = 1_000;
    type Answer = Receiver<Result<(), ClientError>>;

    fn protocol() -> Protocol {
        Protocol::new(Version::V5, BYTES_MAX, 1)
    }

    fn publish(protocol: &mut Protocol, qos: QoS, payload: Bytes) -> Answer {
        let (sender, answer) = oneshot::channel();
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: "a".into(),
            packet_id: None,
            properties: PublishProperties::default(),
            payload,
        };
        protocol.handle_command(Command::Publish(Box::new(publish), Waiter::new(sender, None)));
        answer
    }

    fn ack(packet_id: u16, reason_code: ReasonCode, text: Option<&'static str>) -> Ack {
        let properties = text
            .map(|text| Box::new(ReasonProperties { reason_string: Some(text.into()), ..ReasonProperties::default() }));
        Ack { packet_id: PacketId::new(packet_id).expect("not zero"), reason_code, properties }
    }

    fn sent(protocol: &mut Protocol) -> Vec<Packet> {
        let mut connect = BytesMut::new();
        let hello = quorate_wire::Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: "c".into(),
            will: None,
            username: None,
            password: None,
            properties: quorate_wire::ConnectProperties::default(),
        };
        encode(&Packet::Connect(Box::new(hello)), Version::V5, &mut connect).expect("encodes");
        connect.extend_from_slice(&protocol.out.split());
        let mut decoder = Decoder::server(BYTES_MAX);
        std::iter::from_fn(|| decoder.decode(&mut connect).expect("what we send is well formed")).skip(1).collect()
    }

    #[test]
    fn a_publish_waits_for_its_own_puback() {
        let mut protocol = protocol();
        let mut first = publish(&mut protocol, QoS::AtLeastOnce, Bytes::new());
        let mut second = publish(&mut protocol, QoS::AtLeastOnce, Bytes::new());
        assert!(protocol.handle_packet(Packet::PubAck(ack(2, ReasonCode::Success, None))).is_continue());
        assert!(first.try_recv().is_err());
        assert!(second.try_recv().expect("answered").is_ok());
    }

    #[test]
    fn a_refusal_carries_code_and_reason() {
        let mut protocol = protocol();
        let mut answer = publish(&mut protocol, QoS::AtLeastOnce, Bytes::new());
        let refusal = ack(1, ReasonCode::ImplementationSpecificError, Some("slot-taken"));
        assert!(protocol.handle_packet(Packet::PubAck(refusal)).is_continue());
        let error = answer.try_recv().expect("answered").expect_err("refused");
        assert!(
            matches!(&error, ClientError::Refused { code: ReasonCode::ImplementationSpecificError, reason: Some(text) } if text == "slot-taken"),
            "{error}"
        );
    }

    #[test]
    fn a_packet_beyond_the_servers_limit_is_refused_here() {
        let mut protocol = protocol();
        let mut answer = publish(&mut protocol, QoS::AtLeastOnce, Bytes::from(vec![0; BYTES_MAX]));
        assert!(matches!(answer.try_recv(), Ok(Err(ClientError::TooLarge { .. }))));
        assert!(protocol.out.is_empty() && protocol.pending.is_empty());
    }

    #[test]
    fn a_refused_subscription_is_told() {
        let mut protocol = protocol();
        let (sender, mut answer) = oneshot::channel();
        let filter = SubscribeFilter {
            filter: "tx/#".into(),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: quorate_wire::RetainHandling::SendAtSubscribe,
        };
        protocol.handle_command(Command::Subscribe(filter, Waiter::new(sender, None)));
        let suback = SubAck {
            packet_id: PacketId::MIN,
            reason_codes: vec![ReasonCode::NotAuthorized],
            properties: ReasonProperties::default(),
        };
        assert!(protocol.handle_packet(Packet::SubAck(suback)).is_continue());
        let error = answer.try_recv().expect("answered").expect_err("refused");
        assert!(matches!(error, ClientError::Refused { code: ReasonCode::NotAuthorized, reason: None }), "{error}");
    }

    #[test]
    fn the_servers_goodbye_reaches_everyone_who_waits() {
        let mut protocol = protocol();
        let mut answer = publish(&mut protocol, QoS::AtLeastOnce, Bytes::new());
        let goodbye = Disconnect {
            reason_code: ReasonCode::SessionTakenOver,
            session_expiry_interval_s: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        let ControlFlow::Break(cause) = protocol.handle_packet(Packet::Disconnect(Box::new(goodbye))) else {
            panic!("DISCONNECT ends the connection");
        };
        protocol.fail_all(&cause);
        let error = answer.try_recv().expect("answered").expect_err("lost");
        assert!(
            matches!(error, ClientError::ConnectionLost { code: Some(ReasonCode::SessionTakenOver), .. }),
            "{error}"
        );
    }

    #[test]
    fn qos_2_is_released_before_it_completes() {
        let mut protocol = protocol();
        let mut answer = publish(&mut protocol, QoS::ExactlyOnce, Bytes::new());
        assert!(protocol.handle_packet(Packet::PubRec(ack(1, ReasonCode::Success, None))).is_continue());
        assert!(answer.try_recv().is_err());
        assert!(matches!(sent(&mut protocol).as_slice(), [Packet::Publish(_), Packet::PubRel(_)]));
        assert!(protocol.handle_packet(Packet::PubComp(ack(1, ReasonCode::Success, None))).is_continue());
        assert!(answer.try_recv().expect("answered").is_ok());
    }

    #[test]
    fn packet_identifiers_in_use_are_skipped_at_the_wrap() {
        let mut protocol = protocol();
        let _first = publish(&mut protocol, QoS::AtLeastOnce, Bytes::new());
        protocol.next_packet_id = PacketId::MAX;
        assert_eq!(protocol.allocate(), PacketId::MAX);
        assert_eq!(protocol.allocate().get(), 2);
    }
}
