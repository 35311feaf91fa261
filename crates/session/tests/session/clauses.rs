//! Statements of MQTT 5 that no rule of the house brings along with it, one test each; `docs/conformance.md` names them.
//! (Of MQTT 3.1.1: `before_5`.)

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

fn with_properties(properties: ConnectProperties) -> Endpoint {
    let mut alice = Endpoint::new("alice");
    alice.access = everything_open();
    let properties = ConnectProperties { session_expiry_interval_s: Some(3_600), ..properties };
    alice.connect_with(Connect { properties, ..connect(false, 0) }, limits()).unwrap();
    alice
}

fn opened() -> Endpoint {
    with_properties(ConnectProperties::default())
}

fn resume(alice: &mut Endpoint) {
    alice.connect_with(connect(false, 3_600), limits()).unwrap();
    alice.settle(&Logs::default());
}

fn connacks(endpoint: &Endpoint) -> Vec<&ConnAck> {
    let connacks = endpoint.sent.iter().filter_map(|packet| match packet {
        Packet::ConnAck(connack) => Some(&**connack),
        _ => None,
    });
    connacks.collect()
}

fn subscribe(packet_id: u16, filters: Vec<SubscribeFilter>) -> Packet {
    let packet_id = packet_id.try_into().unwrap();
    Packet::Subscribe(Subscribe { packet_id, subscription_identifier: None, user_properties: Vec::new(), filters })
}

fn unsubscribe(packet_id: u16, filter: &str) -> Packet {
    let packet_id = packet_id.try_into().unwrap();
    Packet::Unsubscribe(Unsubscribe { packet_id, user_properties: Vec::new(), filters: vec![filter.into()] })
}

fn ack(packet_id: u16, reason_code: ReasonCode) -> Ack {
    Ack { packet_id: packet_id.try_into().unwrap(), reason_code, properties: None }
}

/// The identifiers of the acknowledgements of the broker, in order, with their kind.
fn answers(endpoint: &Endpoint) -> Vec<(PacketType, u16)> {
    let answers = endpoint.sent.iter().filter_map(|packet| match packet {
        Packet::PubAck(ack) => Some((PacketType::PubAck, ack.packet_id.get())),
        Packet::PubRec(ack) => Some((PacketType::PubRec, ack.packet_id.get())),
        Packet::PubRel(ack) => Some((PacketType::PubRel, ack.packet_id.get())),
        Packet::PubComp(ack) => Some((PacketType::PubComp, ack.packet_id.get())),
        Packet::SubAck(suback) => Some((PacketType::SubAck, suback.packet_id.get())),
        Packet::UnsubAck(unsuback) => Some((PacketType::UnsubAck, unsuback.packet_id.get())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn session_present_says_whether_there_was_a_session() {
    let mut alice = Endpoint::new("alice");
    for (clean_start, present) in [(false, false), (false, true), (true, false), (false, true)] {
        alice.connect_with(connect(clean_start, 3_600), limits()).unwrap();
        let connack = *connacks(&alice).last().unwrap();
        assert_eq!((connack.session_present, connack.reason_code), (present, ReasonCode::Success));
        alice.lose_connection();
    }
}

#[test]
fn connack_comes_first_and_once() {
    let mut alice = opened();
    alice.bring(Qos::AtLeastOnce, "a", "waits for its acknowledgement");
    alice.lose_connection();
    alice.sent.clear();
    resume(&mut alice);
    assert!(alice.sent.len() > 1);
    assert!(matches!(alice.sent[0], Packet::ConnAck(_)));
    assert_eq!(connacks(&alice).len(), 1);
    // MQTT5 4.12.0-6: no AUTH, and no authentication method where CONNECT named none.
    assert_eq!(connacks(&alice)[0].properties.authentication_method, None);
    assert!(!alice.sent.iter().any(|packet| matches!(packet, Packet::Auth(_))));
}

#[test]
fn auth_without_an_authentication_method_is_a_protocol_error() {
    for reason_code in [ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate] {
        let mut alice = opened();
        alice.packet(Packet::Auth(Box::new(Auth {
            reason_code,
            authentication_method: Some("SCRAM-SHA-256".into()),
            authentication_data: None,
            reason_string: None,
            user_properties: Vec::new(),
        })));
        assert_eq!(alice.last_reason(), Some(ReasonCode::ProtocolError));
        assert!(matches!(alice.closed, Some(CloseCause::Protocol { .. })));
    }
}

#[test]
fn without_a_server_keep_alive_that_of_the_client_holds() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(Connect { keep_alive_s: 7, ..connect(true, 0) }, limits()).unwrap();
    assert_eq!(connacks(&alice)[0].properties.server_keep_alive_s, None);
    assert_eq!(alice.session().next_deadline(), Some(Duration::from_millis(10_500)));
}

#[test]
fn response_information_is_never_given() {
    for request_response_information in [None, Some(false), Some(true)] {
        let alice = with_properties(ConnectProperties { request_response_information, ..ConnectProperties::default() });
        assert_eq!(connacks(&alice)[0].properties.response_information, None);
    }
}

#[test]
fn without_problem_information_no_acknowledgement_explains() {
    for (request_problem_information, explains) in [(Some(false), false), (Some(true), true), (None, true)] {
        let properties = ConnectProperties { request_problem_information, ..ConnectProperties::default() };
        let mut alice = with_properties(properties);
        alice.packet(publish("party/bob/inbox", QoS::AtLeastOnce, 1, "x"));
        let Some(Packet::PubAck(ack)) = alice.sent.last() else { panic!("no PUBACK") };
        assert_eq!(ack.properties.is_some(), explains);
        alice.packet(publish("party/bob/inbox", QoS::ExactlyOnce, 2, "x"));
        let Some(Packet::PubRec(ack)) = alice.sent.last() else { panic!("no PUBREC") };
        assert_eq!(ack.properties.is_some(), explains);
        alice.packet(subscribe(3, vec![filter("party/bob/inbox", QoS::AtMostOnce, RetainHandling::DoNotSend)]));
        let Some(Packet::SubAck(suback)) = alice.sent.last() else { panic!("no SUBACK") };
        assert_eq!(suback.properties.reason_string.is_some(), explains);
        assert!(suback.properties.user_properties.is_empty());
    }
}

#[test]
fn short_plain_client_identifiers_are_taken() {
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in [Version::V3_1_1, Version::V5] {
        for start in 0..letters.len() {
            for length in [1, 23] {
                let client_id: String = letters.chars().cycle().skip(start).take(length).collect();
                let mut alice = Endpoint::new("alice");
                let connect = Connect { version, client_id: client_id.as_str().into(), ..connect(true, 0) };
                alice.connect_with(connect, limits()).unwrap();
                assert_eq!(alice.session().key().client_id, client_id);
            }
        }
    }
}

#[test]
fn goodbyes_say_no_session_expiry() {
    let goodbyes: [fn(&mut Session); 3] =
        [Session::handle_take_over, Session::handle_drain, |session| session.handle_saved(Err(Fault("disk".into())))];
    for goodbye in goodbyes {
        let mut alice = opened();
        alice.subscribe("a", RetainHandling::SendAtSubscribe, 1);
        alice.input(|session, _| goodbye(session));
        let Some(Packet::Disconnect(disconnect)) = alice.sent.last() else { panic!("no DISCONNECT") };
        assert_eq!((disconnect.session_expiry_interval_s, disconnect.user_properties.len()), (None, 0));
    }
}

#[test]
fn where_no_alias_is_announced_none_is_taken() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(connect(true, 0), Limits { topic_alias_max: 0, ..limits() }).unwrap();
    assert_eq!(connacks(&alice)[0].properties.topic_alias_maximum, None);
    let Packet::Publish(mut publish) = publish("a", QoS::AtMostOnce, 0, "x") else { unreachable!() };
    publish.properties.topic_alias = 1.try_into().ok();
    alice.packet(Packet::Publish(publish));
    assert_eq!(alice.last_reason(), Some(ReasonCode::TopicAliasInvalid));
}

#[test]
fn every_alias_up_to_the_maximum_is_taken() {
    let mut alice = opened();
    let announced = connacks(&alice)[0].properties.topic_alias_maximum.unwrap();
    assert!(announced > 0);
    for round in ["given", "meant"] {
        for alias in 1..=announced {
            let topic = if round == "given" { format!("topic/{alias}") } else { String::new() };
            let Packet::Publish(mut publish) = publish(&topic, QoS::AtMostOnce, 0, "x") else { unreachable!() };
            publish.properties.topic_alias = alias.try_into().ok();
            alice.packet(Packet::Publish(publish));
            let Some(Effect::Publish { topic, .. }) = alice.published.last() else { panic!("alias {alias}") };
            assert_eq!(*topic, format!("topic/{alias}"), "{round}");
        }
    }
    assert_eq!(alice.closed, None);
}

#[test]
fn a_publish_is_answered_as_its_qos_asks() {
    for (qos, expected) in [
        (QoS::AtMostOnce, None),
        (QoS::AtLeastOnce, Some(PacketType::PubAck)),
        (QoS::ExactlyOnce, Some(PacketType::PubRec)),
    ] {
        let mut alice = opened();
        alice.packet(publish("a", qos, if qos == QoS::AtMostOnce { 0 } else { 9 }, "x"));
        alice.answer_all(&Logs::default());
        assert_eq!(alice.published.len(), 1);
        assert_eq!(answers(&alice), expected.map(|kind| (kind, 9)).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn answers_carry_the_identifier_of_what_they_answer() {
    let mut alice = opened();
    for packet in [
        publish("a", QoS::AtLeastOnce, 513, "x"),
        publish("a", QoS::ExactlyOnce, 2, "x"),
        Packet::PubRel(ack(2, ReasonCode::Success)),
        subscribe(65_535, vec![filter("a/#", QoS::AtMostOnce, RetainHandling::SendAtSubscribe)]),
        unsubscribe(256, "a/#"),
        unsubscribe(7, "never subscribed"),
    ] {
        alice.unacked.clear();
        alice.packet(packet);
        alice.answer_all(&Logs::default());
    }
    let expected = [
        (PacketType::PubAck, 513),
        (PacketType::PubRec, 2),
        (PacketType::PubComp, 2),
        (PacketType::SubAck, 65_535),
        (PacketType::UnsubAck, 256),
        (PacketType::UnsubAck, 7),
    ];
    assert_eq!(answers(&alice), expected);
}

#[test]
fn after_its_puback_an_identifier_names_a_new_message() {
    let mut alice = opened();
    for dup in [false, true] {
        let Packet::Publish(mut publish) = publish("a", QoS::AtLeastOnce, 5, "x") else { unreachable!() };
        publish.dup = dup;
        alice.packet(Packet::Publish(publish));
        alice.answer_all(&Logs::default());
    }
    assert_eq!(alice.published.len(), 2);
    assert_eq!(answers(&alice), [(PacketType::PubAck, 5); 2]);
}

#[test]
fn what_expires_is_still_acknowledged_to_its_end() {
    let mut alice = opened();
    let Packet::Publish(mut publish) = publish("a", QoS::ExactlyOnce, 5, "x") else { unreachable!() };
    publish.properties.message_expiry_interval_s = Some(1);
    alice.packet(Packet::Publish(publish));
    alice.now = Duration::from_secs(30);
    alice.answer_all(&Logs::default());
    alice.now = Duration::from_secs(60);
    alice.packet(Packet::PubRel(ack(5, ReasonCode::Success)));
    alice.answer_all(&Logs::default());
    assert_eq!(answers(&alice), [(PacketType::PubRec, 5), (PacketType::PubComp, 5)]);
}

#[test]
fn properties_travel_unaltered_and_in_order() {
    let pairs = [("b", "2"), ("a", "1"), ("b", "2"), ("", "\u{feff}x")];
    let Packet::Publish(mut publish) = publish("a", QoS::AtLeastOnce, 5, "x") else { unreachable!() };
    publish.properties = PublishProperties {
        payload_format_indicator: Some(true),
        response_topic: Some("answers/\u{e9}".into()),
        correlation_data: Some(b"\0\xFF"[..].into()),
        content_type: Some("text/plain".into()),
        user_properties: pairs.map(|(name, value)| (name.into(), value.into())).into(),
        ..PublishProperties::default()
    };
    let sent = publish.properties.clone();
    let mut alice = opened();
    alice.packet(Packet::Publish(publish));
    let Some(Effect::Publish { properties, .. }) = alice.published.pop() else { panic!("nothing was published") };
    alice.bring_so(manner(Qos::AtLeastOnce), OrdinaryMessage { properties, ..message("a", Qos::AtLeastOnce, "x") });
    let Some(Packet::Publish(heard)) = alice.sent.last() else { panic!("no PUBLISH") };
    assert_eq!(heard.properties, sent);
}

#[test]
fn what_a_client_sent_again_is_delivered_as_new() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let (mut alice, mut bob) = (connected("alice"), connected("bob"));
    bob.subscribe("tx/+/msg/#", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    let topic = format!("tx/{tx}/msg/alice/x");
    let Packet::Publish(mut publish) = publish(&topic, QoS::AtLeastOnce, 5, "x") else { unreachable!() };
    publish.dup = true;
    alice.packet(Packet::Publish(publish));
    let (_, entered) = alice.answer_in(&mut logs);
    let copy = logs.live_copy(&tx, entered.unwrap().1, &bob.party).unwrap();
    bob.input(|session, _| session.handle_delivery(copy));
    assert!(!bob.heard.last().unwrap().dup);
}
