//! Statements of MQTT 5 about deliveries, one test each: their order, what is sent again and when, what a subscription
//! that changes does to them; `docs/conformance.md` names them.

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_wire::*;

fn opened(receive_maximum: u16) -> Endpoint {
    let mut alice = Endpoint::new("alice");
    alice.access = everything_open();
    let connect = connect(false, 3_600);
    let properties = ConnectProperties { receive_maximum: receive_maximum.try_into().ok(), ..connect.properties };
    alice.connect_with(Connect { properties, ..connect }, limits()).unwrap();
    alice
}

fn resume(endpoint: &mut Endpoint) {
    endpoint.sent.clear();
    endpoint.connect_with(connect(false, 3_600), limits()).unwrap();
    endpoint.answer_all(&Logs::default());
}

fn ack(packet_id: u16, reason_code: ReasonCode) -> Ack {
    Ack { packet_id: packet_id.try_into().unwrap(), reason_code, properties: None }
}

fn unsubscribe(filter: &str) -> Packet {
    let packet_id = PacketId::MIN;
    Packet::Unsubscribe(Unsubscribe { packet_id, user_properties: Vec::new(), filters: vec![filter.into()] })
}

fn publishes(endpoint: &Endpoint) -> Vec<&Publish> {
    let publishes = endpoint.sent.iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some(&**publish),
        _ => None,
    });
    publishes.collect()
}

/// A log of a transaction of alice and bob.
fn room() -> (Logs, TxId) {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    (logs, tx)
}

/// Bob says something, and its live copy reaches alice.
fn hear(alice: &mut Endpoint, logs: &mut Logs, tx: &TxId, round: &str) {
    let place = Place::Broadcast { round: round.parse().unwrap(), from: party("bob") };
    let seq = logs.append(tx, &party("bob"), place, "said".into());
    let copy = logs.live_copy(tx, seq, &alice.party).unwrap();
    alice.input(|session, _| session.handle_delivery(copy));
    alice.answer_all(logs);
}

#[test]
fn a_full_window_holds_back_publishes_alone() {
    let mut alice = opened(2);
    for payload in ["1", "2", "3"] {
        alice.bring(Qos::AtLeastOnce, "a", payload);
    }
    assert_eq!(alice.payloads(), ["1", "2"]);
    assert!(alice.session().wants_packets(), "what the client says is read");
    alice.sent.clear();
    alice.packet(Packet::PingReq);
    alice.packet(publish("b", QoS::AtLeastOnce, 9, "x"));
    alice.answer_all(&Logs::default());
    alice.subscribe("c", RetainHandling::SendAtSubscribe, 1);
    alice.answer_all(&Logs::default());
    alice.packet(unsubscribe("c"));
    alice.answer_all(&Logs::default());
    alice.bring_loose("a", "at QoS 0");
    assert!(
        matches!(
            &alice.sent[..],
            [Packet::PingResp, Packet::PubAck(_), Packet::SubAck(_), Packet::UnsubAck(_), Packet::Publish(_)]
        ),
        "{:?}",
        alice.sent
    );
    assert_eq!(publishes(&alice)[0].qos, QoS::AtMostOnce);
}

#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    let mut alice = opened(8);
    alice.bring(Qos::AtLeastOnce, "a", "1");
    alice.bring(Qos::ExactlyOnce, "a", "2");
    alice.answer_all(&Logs::default());
    alice.packet(Packet::PubRec(ack(2, ReasonCode::Success)));
    alice.answer_all(&Logs::default());
    let told = alice.sent.len();
    for _ in 0..100 {
        alice.now += Duration::from_secs(60);
        alice.packet(Packet::PingReq);
        alice.input(|session, now| session.handle_deadline(now));
        alice.input(|session, _| session.handle_delivery(Delivery::Behind));
        alice.answer_all(&Logs::default());
    }
    assert!(alice.sent[told..].iter().all(|packet| *packet == Packet::PingResp), "{:?}", &alice.sent[told..]);
}

#[test]
fn an_answer_that_says_no_ends_the_delivery() {
    type Answer = fn(Ack) -> Packet;
    for (qos, answer) in [(Qos::AtLeastOnce, Packet::PubAck as Answer), (Qos::ExactlyOnce, Packet::PubRec)] {
        let mut alice = opened(8);
        alice.bring(qos, "a", "unwanted");
        alice.answer_all(&Logs::default());
        let packet_id = alice.heard[0].packet_id.unwrap().get();
        alice.packet(answer(ack(packet_id, ReasonCode::NotAuthorized)));
        alice.answer_all(&Logs::default());
        alice.lose_connection();
        assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0, "{qos:?}");
        assert!(alice.stored.inflight.is_empty(), "{qos:?}");
        resume(&mut alice);
        assert!(matches!(&alice.sent[..], [Packet::ConnAck(_)]), "{qos:?}: {:?}", alice.sent);
    }
}

#[test]
fn what_is_sent_again_comes_in_its_first_order() {
    let mut alice = opened(8);
    for (qos, payload) in [
        (Qos::ExactlyOnce, "1"),
        (Qos::AtLeastOnce, "2"),
        (Qos::ExactlyOnce, "3"),
        (Qos::AtLeastOnce, "4"),
        (Qos::AtLeastOnce, "5"),
    ] {
        alice.bring(qos, "a", payload);
    }
    alice.answer_all(&Logs::default());
    let first: Vec<_> = publishes(&alice).iter().map(|publish| (publish.payload.clone(), publish.packet_id)).collect();
    assert_eq!(first.len(), 5);
    alice.lose_connection();
    resume(&mut alice);
    let again: Vec<_> = publishes(&alice).iter().map(|publish| (publish.payload.clone(), publish.packet_id)).collect();
    assert_eq!(again, first);
    assert!(publishes(&alice).iter().all(|publish| publish.dup));
}

#[test]
fn pubrels_leave_in_the_order_of_their_pubrecs() {
    let mut alice = opened(8);
    for payload in ["1", "2", "3", "4"] {
        alice.bring(Qos::ExactlyOnce, "a", payload);
    }
    alice.answer_all(&Logs::default());
    // The first is on its way to the store while the others come.
    for packet_id in [3, 1, 4, 2] {
        alice.packet(Packet::PubRec(ack(packet_id, ReasonCode::Success)));
    }
    alice.answer_all(&Logs::default());
    let released = alice.sent.iter().filter_map(|packet| match packet {
        Packet::PubRel(ack) => Some(ack.packet_id.get()),
        _ => None,
    });
    assert_eq!(released.collect::<Vec<_>>(), [3, 1, 4, 2]);
}

#[test]
fn a_filter_that_is_sent_again_replaces_its_subscription() {
    let (mut logs, tx) = room();
    let mut alice = connected("alice");
    alice.subscribe_at(QoS::ExactlyOnce, "tx/+/broadcast/#", RetainHandling::SendAtSubscribe, 1);
    alice.settle(&logs);
    hear(&mut alice, &mut logs, &tx, "1");
    alice.subscribe_at(QoS::AtLeastOnce, "tx/+/broadcast/#", RetainHandling::SendIfNew, 2);
    alice.answer_all(&logs);
    hear(&mut alice, &mut logs, &tx, "2");
    let heard: Vec<_> = alice.heard.iter().map(|heard| (heard.qos, &heard.identifiers[..])).collect();
    assert_eq!(heard, [(QoS::ExactlyOnce, &[1][..]), (QoS::AtLeastOnce, &[2])]);
    alice.lose_connection();
    assert_eq!(alice.stored.record.unwrap().subscriptions.len(), 1);
}

#[test]
fn one_copy_carries_the_identifiers_of_all_that_match() {
    let (mut logs, tx) = room();
    let mut alice = connected("alice");
    for (filter, identifier) in [("tx/+/broadcast/#", 3), ("tx/#", 1), ("tx/+/p2p/#", 9)] {
        alice.subscribe(filter, RetainHandling::DoNotSend, identifier);
        alice.settle(&logs);
    }
    hear(&mut alice, &mut logs, &tx, "1");
    let mut copies: Vec<_> = alice.heard.iter().filter(|heard| heard.topic.contains("/broadcast/")).cloned().collect();
    let mut identifiers = copies.remove(0).identifiers;
    identifiers.sort_unstable();
    assert_eq!((identifiers, copies.len()), (vec![1, 3], 0));
}

#[test]
fn an_unsubscribe_compares_every_character() {
    let (mut logs, tx) = room();
    let mut alice = connected("alice");
    let filter = "tx/+/broadcast/#";
    alice.subscribe(filter, RetainHandling::DoNotSend, 1);
    alice.settle(&logs);
    for (unlike, code) in [
        ("tx/#", ReasonCode::NoSubscriptionExisted),
        ("tx/+/broadcast/+/#", ReasonCode::NoSubscriptionExisted),
        ("tx/+/Broadcast/#", ReasonCode::NoSubscriptionExisted),
        ("tx/+/broadcast/", ReasonCode::NoSubscriptionExisted),
    ] {
        alice.packet(unsubscribe(unlike));
        alice.answer_all(&logs);
        let Some(Packet::UnsubAck(unsuback)) = alice.sent.last() else { panic!("no UNSUBACK") };
        assert_eq!(unsuback.reason_codes, [code], "{unlike}");
    }
    hear(&mut alice, &mut logs, &tx, "1");
    assert_eq!(alice.heard.len(), 1);
    alice.packet(unsubscribe(filter));
    alice.answer_all(&logs);
    hear(&mut alice, &mut logs, &tx, "2");
    assert_eq!(alice.heard.len(), 1, "nothing new is heard");
}

#[test]
fn what_was_begun_is_completed_after_an_unsubscribe() {
    let (mut logs, tx) = room();
    let mut alice = connected("alice");
    alice.access = everything_open();
    resume(&mut alice);
    for filter in ["tx/+/broadcast/#", "a"] {
        alice.subscribe_at(QoS::ExactlyOnce, filter, RetainHandling::DoNotSend, 1);
        alice.answer_all(&logs);
    }
    hear(&mut alice, &mut logs, &tx, "1");
    alice.bring(Qos::ExactlyOnce, "a", "of an ordinary topic");
    alice.answer_all(&logs);
    assert_eq!(alice.heard.len(), 2);
    for filter in ["tx/+/broadcast/#", "a"] {
        alice.packet(unsubscribe(filter));
        alice.answer_all(&logs);
    }
    for packet_id in [1, 2] {
        alice.packet(Packet::PubRec(ack(packet_id, ReasonCode::Success)));
        alice.answer_all(&logs);
        assert_eq!(alice.sent.last(), Some(&Packet::PubRel(ack(packet_id, ReasonCode::Success))));
        alice.packet(Packet::PubComp(ack(packet_id, ReasonCode::Success)));
    }
    // Of an ordinary topic, on another connection too.
    alice.subscribe("b", RetainHandling::DoNotSend, 1);
    alice.answer_all(&logs);
    alice.bring(Qos::AtLeastOnce, "b", "begun");
    alice.packet(unsubscribe("b"));
    alice.answer_all(&logs);
    alice.lose_connection();
    resume(&mut alice);
    assert_eq!(publishes(&alice).iter().map(|publish| &publish.payload[..]).collect::<Vec<_>>(), [b"begun"]);
}

#[test]
fn what_was_sent_does_not_expire() {
    let mut alice = opened(8);
    let properties = MessageProperties { expiry_interval_s: Some(10), ..MessageProperties::default() };
    let expiring = OrdinaryMessage { properties, ..message("a", Qos::ExactlyOnce, "x") };
    alice.bring_so(manner(Qos::ExactlyOnce), expiring);
    alice.answer_all(&Logs::default());
    assert_eq!(alice.heard.len(), 1);
    alice.lose_connection();
    alice.now = Duration::from_secs(60);
    resume(&mut alice);
    assert_eq!(publishes(&alice).len(), 1);
}

/// What a client that takes little is told, in its last packet: sixteen bytes, which is as long as its CONNACK.
fn terse(act: impl FnOnce(&mut Endpoint)) -> Option<Packet> {
    let mut alice = Endpoint::new("alice");
    let connect = connect(false, 3_600);
    let properties = ConnectProperties { maximum_packet_size: Some(16), ..connect.properties };
    alice.connect_with(Connect { properties, ..connect }, quorate_session::Limits::default()).unwrap();
    act(&mut alice);
    alice.sent.pop()
}

#[test]
fn reason_strings_are_left_out_where_the_client_takes_less() {
    let puback = terse(|alice| alice.packet(publish("a", QoS::AtLeastOnce, 9, "x")));
    let Some(Packet::PubAck(ack)) = puback else { panic!("no PUBACK") };
    assert_eq!((ack.reason_code, &ack.properties), (ReasonCode::NotAuthorized, &None));
    let pubrec = terse(|alice| alice.packet(publish("a", QoS::ExactlyOnce, 9, "x")));
    let Some(Packet::PubRec(ack)) = pubrec else { panic!("no PUBREC") };
    assert_eq!((ack.reason_code, &ack.properties), (ReasonCode::NotAuthorized, &None));
    let suback = terse(|alice| alice.subscribe("a", RetainHandling::SendAtSubscribe, 1));
    let Some(Packet::SubAck(suback)) = suback else { panic!("no SUBACK") };
    assert_eq!(suback.reason_codes, [ReasonCode::NotAuthorized]);
    assert_eq!(suback.properties.reason_string, None);
    let goodbye = terse(|alice| alice.input(|session, _| session.handle_take_over()));
    let Some(Packet::Disconnect(goodbye)) = goodbye else { panic!("no DISCONNECT") };
    assert_eq!((goodbye.reason_code, goodbye.reason_string), (ReasonCode::SessionTakenOver, None));
}

#[test]
fn a_refused_connect_is_told_without_a_reason_where_the_client_takes_less() {
    let refused = connect(false, 3_600);
    let properties = ConnectProperties {
        maximum_packet_size: Some(10),
        authentication_method: Some("SCRAM".into()),
        ..refused.properties
    };
    let rejected = Endpoint::new("alice").connect_with(Connect { properties, ..refused }, limits()).unwrap_err();
    let Some(Packet::ConnAck(connack)) = rejected.answer else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::BadAuthenticationMethod);
    assert_eq!(connack.properties.reason_string, None);
}

#[test]
fn an_answer_that_does_not_fit_even_so_is_left_out() {
    let filters: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let join = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_identifier: None,
        user_properties: Vec::new(),
        filters: filters.iter().map(|it| filter(it, QoS::AtMostOnce, RetainHandling::DoNotSend)).collect(),
    });
    let leave = Packet::Unsubscribe(Unsubscribe {
        packet_id: PacketId::MIN,
        user_properties: Vec::new(),
        filters: filters.iter().map(|it| it.as_str().into()).collect(),
    });
    for request in [join, leave] {
        let mut answered = 0;
        let last = terse(|alice| {
            let told = alice.sent.len();
            alice.packet(request);
            alice.answer_all(&Logs::default());
            answered = alice.sent.len() - told;
        });
        assert_eq!(answered, 0, "{last:?}");
    }
    let unsuback = terse(|alice| {
        alice.packet(unsubscribe("never subscribed"));
        alice.answer_all(&Logs::default());
    });
    assert!(matches!(unsuback, Some(Packet::UnsubAck(_))), "one that fits is sent: {unsuback:?}");
}

#[test]
fn a_client_that_takes_less_than_its_connack_is_refused() {
    for (maximum_packet_size, is_accepted) in [(16, true), (15, false)] {
        let connect = connect(false, 3_600);
        let properties = ConnectProperties { maximum_packet_size: Some(maximum_packet_size), ..connect.properties };
        let mut alice = Endpoint::new("alice");
        let outcome = alice.connect_with(Connect { properties, ..connect }, quorate_session::Limits::default());
        let code = outcome.map_err(|rejected| (rejected.code, rejected.answer.is_some()));
        assert_eq!(code, if is_accepted { Ok(()) } else { Err((ReasonCode::PacketTooLarge, true)) });
    }
}
