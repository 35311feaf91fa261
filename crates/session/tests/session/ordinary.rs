//! Ordinary topics, one test a rule: what is let in, what is heard and from where, and what stays in the queue.

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

fn party_with(expiry_s: u32, properties: ConnectProperties) -> Endpoint {
    let mut endpoint = Endpoint::new("alice");
    endpoint.access = everything_open();
    let properties = ConnectProperties { session_expiry_interval_s: Some(expiry_s), ..properties };
    endpoint.connect_with(Connect { properties, ..connect(false, expiry_s) }, limits()).unwrap();
    endpoint
}

fn durable() -> Endpoint {
    party_with(3_600, ConnectProperties::default())
}

fn transient() -> Endpoint {
    party_with(0, ConnectProperties::default())
}

fn resume(endpoint: &mut Endpoint) {
    endpoint.connect_with(connect(false, 3_600), limits()).unwrap();
    endpoint.settle(&Logs::default());
}

fn suback_codes(endpoint: &Endpoint) -> Vec<ReasonCode> {
    let suback = endpoint.sent.iter().rev().find_map(|packet| match packet {
        Packet::SubAck(suback) => Some(suback.reason_codes.clone()),
        _ => None,
    });
    suback.unwrap_or_default()
}

fn is_answered(endpoint: &Endpoint) -> bool {
    matches!(endpoint.sent.last(), Some(Packet::SubAck(_) | Packet::UnsubAck(_)))
}

#[test]
fn a_publish_goes_out_with_its_retain_flag_and_is_answered_when_it_is_taken() {
    let mut alice = durable();
    let Packet::Publish(mut publish) = publish("a/b", QoS::AtLeastOnce, 3, "x") else { unreachable!() };
    publish.retain = true;
    publish.properties.message_expiry_interval_s = Some(9);
    publish.properties.response_topic = Some("answers".into());
    alice.packet(Packet::Publish(publish));
    let [Effect::Publish { topic, qos, retain, receipt, properties, .. }] = &alice.published[..] else { panic!() };
    assert_eq!((topic.as_str(), *qos, *retain, *receipt), ("a/b", Qos::AtLeastOnce, true, None));
    assert_eq!((properties.expiry_interval_s, properties.response_topic.as_deref()), (Some(9), Some("answers")));
    assert_eq!(alice.last_reason(), Some(ReasonCode::Success), "CONNACK is the last that was sent");
    alice.settle(&Logs::default());
    assert!(matches!(alice.sent.last(), Some(Packet::PubAck(ack)) if ack.packet_id.get() == 3));
}

#[test]
fn a_publish_that_no_rule_allows_is_refused() {
    let mut alice = connected("alice");
    alice.packet(publish("a/b", QoS::AtLeastOnce, 3, "x"));
    assert_eq!(alice.last_reason(), Some(ReasonCode::NotAuthorized));
    assert!(alice.published.is_empty());
}

#[test]
fn a_session_that_ends_with_its_connection_keeps_no_receipt_of_ordinary_publishes() {
    for (mut alice, is_kept) in [(transient(), false), (durable(), true)] {
        alice.packet(publish("a", QoS::ExactlyOnce, 1, "x"));
        let [Effect::Publish { receipt, .. }] = &alice.published[..] else { panic!() };
        assert_eq!(receipt.is_some(), is_kept);
        alice.settle(&Logs::default());
        assert!(matches!(alice.sent.last(), Some(Packet::PubComp(_))), "{:?}", alice.sent.last());
        alice.packet(publish("a", QoS::ExactlyOnce, 1, "y"));
        assert_eq!(alice.published.len(), 2, "the identifier is free again");
    }
}

#[test]
fn a_publish_that_is_here_is_not_published_again() {
    let mut alice = transient();
    alice.packet(publish("a", QoS::ExactlyOnce, 1, "x"));
    alice.answer_all(&Logs::default());
    alice.packet(publish("a", QoS::ExactlyOnce, 1, "x"));
    assert_eq!(alice.published.len(), 1);
    let pubrecs = alice.sent.iter().filter(|packet| matches!(packet, Packet::PubRec(_)));
    assert_eq!(pubrecs.count(), 2);
}

#[test]
fn a_subscription_is_saved_before_it_is_granted_and_asks_for_what_is_retained() {
    for mut alice in [durable(), transient()] {
        alice.subscribe("a/#", RetainHandling::SendAtSubscribe, 1);
        assert!(!is_answered(&alice));
        alice.answer_all(&Logs::default());
        assert_eq!(suback_codes(&alice), [ReasonCode::GrantedQoS1]);
        assert_eq!(alice.replays, ["a/#"]);
    }
}

#[test]
fn retain_handling_says_when_retained_messages_come() {
    let cases = [(RetainHandling::SendAtSubscribe, 2), (RetainHandling::SendIfNew, 1), (RetainHandling::DoNotSend, 0)];
    for (handling, replays) in cases {
        let mut alice = durable();
        for _ in 0..2 {
            alice.subscribe("a/#", handling, 1);
            alice.answer_all(&Logs::default());
        }
        assert_eq!(alice.replays.len(), replays, "{handling:?}");
    }
}

#[test]
fn a_shared_subscription_is_granted_and_brings_nothing_retained() {
    let mut alice = durable();
    alice.subscribe("$share/workers/a/#", RetainHandling::SendAtSubscribe, 1);
    alice.answer_all(&Logs::default());
    assert_eq!(suback_codes(&alice), [ReasonCode::GrantedQoS1]);
    assert!(alice.replays.is_empty());
    alice.subscribe("$share/workers/tx/#", RetainHandling::SendAtSubscribe, 1);
    assert_eq!(suback_codes(&alice), [ReasonCode::SharedSubscriptionsNotSupported]);
}

#[test]
fn a_filter_that_no_rule_allows_is_refused_with_a_reason() {
    let mut alice = connected("alice");
    alice.subscribe("a/#", RetainHandling::SendAtSubscribe, 1);
    assert_eq!(suback_codes(&alice), [ReasonCode::NotAuthorized]);
    let Some(Packet::SubAck(suback)) = alice.sent.last() else { panic!("no SUBACK") };
    assert_eq!(suback.properties.reason_string.as_deref(), Some("not authorized"));
}

#[test]
fn a_topic_and_a_filter_with_too_many_levels_are_refused_as_malformed() {
    let (most, too_many) = ("a/".repeat(TOPIC_LEVELS_MAX - 1), "a/".repeat(TOPIC_LEVELS_MAX));
    let cases = [
        (most, ReasonCode::Success, ReasonCode::GrantedQoS1),
        (too_many, ReasonCode::TopicNameInvalid, ReasonCode::TopicFilterInvalid),
    ];
    for (text, published, subscribed) in cases {
        let mut alice = durable();
        alice.packet(publish(&text, QoS::AtLeastOnce, 3, "x"));
        alice.settle(&Logs::default());
        assert_eq!(alice.last_reason(), Some(published));
        alice.subscribe(&text, RetainHandling::SendAtSubscribe, 1);
        alice.answer_all(&Logs::default());
        assert_eq!(suback_codes(&alice), [subscribed]);
    }
}

#[test]
fn an_unsubscribe_is_saved_before_it_is_answered_also_of_a_session_that_ends() {
    let mut alice = transient();
    alice.subscribe("a/#", RetainHandling::SendAtSubscribe, 1);
    alice.answer_all(&Logs::default());
    alice.packet(Packet::Unsubscribe(Unsubscribe {
        packet_id: PacketId::MIN,
        user_properties: Vec::new(),
        filters: vec!["a/#".into(), "b".into()],
    }));
    assert!(matches!(alice.calls.back(), Some(Call::Save(_))));
    alice.answer_all(&Logs::default());
    let Some(Packet::UnsubAck(unsuback)) = alice.sent.last() else { panic!("no UNSUBACK") };
    assert_eq!(unsuback.reason_codes, [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]);
}

#[test]
fn a_live_copy_is_delivered_as_it_was_routed_and_leaves_the_queue_once_acknowledged() {
    for mut alice in [durable(), transient()] {
        let manner = Manner { retain: true, identifiers: vec![3, 9], ..manner(Qos::AtLeastOnce) };
        alice.bring_so(manner, message("a/b", Qos::AtLeastOnce, "x"));
        let heard = alice.heard.last().unwrap();
        assert_eq!((heard.qos, heard.retain, &heard.identifiers[..]), (QoS::AtLeastOnce, true, &[3, 9][..]));
        pass_time(&mut alice);
        assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 1);
        alice.acknowledge();
        pass_time(&mut alice);
        assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
    }
}

#[test]
fn a_copy_after_a_gap_is_read_from_the_queue_in_order() {
    let mut alice = durable();
    alice.route(Qos::AtLeastOnce, "a", "1");
    alice.bring(Qos::AtLeastOnce, "a", "2");
    assert!(alice.payloads().is_empty());
    alice.bring(Qos::AtLeastOnce, "a", "3");
    alice.settle(&Logs::default());
    assert_eq!(alice.payloads(), ["1", "2", "3"]);
}

#[test]
fn a_lost_copy_is_found_once_the_loss_is_noticed() {
    let mut alice = durable();
    alice.route(Qos::AtLeastOnce, "a", "1");
    alice.input(|session, _| session.handle_delivery(Delivery::Behind));
    alice.settle(&Logs::default());
    assert_eq!(alice.payloads(), ["1"]);
}

#[test]
fn a_copy_that_comes_while_the_queue_is_read_comes_once() {
    let mut alice = durable();
    alice.route(Qos::AtLeastOnce, "a", "1");
    alice.input(|session, _| session.handle_delivery(Delivery::Behind));
    assert!(matches!(alice.calls.back(), Some(Call::Queue { .. })));
    alice.bring(Qos::AtLeastOnce, "a", "2");
    alice.settle(&Logs::default());
    assert_eq!(alice.payloads(), ["1", "2"]);
}

#[test]
fn the_window_bounds_what_is_under_way_and_the_queue_holds_the_rest() {
    let mut alice = durable();
    for number in 0..30 {
        alice.bring(Qos::AtLeastOnce, "a", &number.to_string());
    }
    assert_eq!(alice.heard.len(), 8);
    alice.settle(&Logs::default());
    let expected: Vec<String> = (0..30).map(|number: usize| number.to_string()).collect();
    assert_eq!(alice.payloads(), expected);
    pass_time(&mut alice);
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
}

#[test]
fn what_was_not_acknowledged_comes_again_under_its_identifier_with_dup() {
    let mut alice = durable();
    alice.bring(Qos::AtLeastOnce, "a", "1");
    alice.bring(Qos::AtLeastOnce, "a", "2");
    alice.acknowledge();
    let second = alice.heard[1].packet_id;
    alice.lose_connection();
    resume(&mut alice);
    assert_eq!(alice.payloads(), ["1", "2", "2"]);
    assert_eq!((alice.heard[2].packet_id, alice.heard[2].dup), (second, true));
}

#[test]
fn at_qos_2_nothing_comes_twice_over_a_lost_connection() {
    for acknowledgements in 0..=4 {
        let mut alice = durable();
        alice.bring(Qos::ExactlyOnce, "a", "1");
        for _ in 0..acknowledgements {
            alice.answer_all(&Logs::default());
            alice.acknowledge();
        }
        alice.lose_connection();
        resume(&mut alice);
        assert_eq!(alice.payloads(), ["1"], "after {acknowledgements}");
        pass_time(&mut alice);
        assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
        assert!(alice.stored.inflight.is_empty());
    }
}

#[test]
fn at_qos_2_nothing_comes_twice_when_the_broker_is_killed_before_its_moves_are_on_disk() {
    let mut alice = durable();
    alice.bring(Qos::ExactlyOnce, "a", "1");
    alice.settle(&Logs::default());
    pass_time(&mut alice);
    // The moves: what left the queue, and the delivery that need not be remembered.
    alice.kill(1);
    resume(&mut alice);
    assert_eq!(alice.payloads(), ["1"]);
}

#[test]
fn deliveries_at_qos_0_wait_only_while_a_packet_is_answered() {
    let mut alice = durable();
    alice.bring_loose("a", "1");
    alice.subscribe("b", RetainHandling::SendAtSubscribe, 1);
    alice.bring_loose("a", "2");
    assert_eq!(alice.payloads(), ["1"]);
    alice.answer_all(&Logs::default());
    assert_eq!(alice.payloads(), ["1", "2"]);
    assert_eq!(alice.heard[1].packet_id, None);
}

#[test]
fn deliveries_at_qos_0_that_find_no_room_are_left_out_and_counted() {
    let mut alice = durable();
    alice.input(|session, _| session.set_send_room(SendRoom::Full));
    for number in 0..300 {
        alice.bring_loose("a", &number.to_string());
    }
    assert_eq!(alice.left_out.len(), 300 - 256);
    alice.input(|session, _| session.set_send_room(SendRoom::Open));
    assert_eq!(alice.heard.len(), 256);
}

#[test]
fn what_is_retained_at_qos_0_comes_through_the_queue_and_leaves_it() {
    let mut alice = transient();
    let manner = Manner { retain: true, ..manner(Qos::AtMostOnce) };
    alice.bring_so(manner, message("a", Qos::AtMostOnce, "kept"));
    assert_eq!((alice.heard[0].qos, alice.heard[0].retain), (QoS::AtMostOnce, true));
    pass_time(&mut alice);
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
}

#[test]
fn an_expiry_is_counted_down_and_what_is_over_is_not_delivered() {
    let mut alice = durable();
    let properties = MessageProperties { expiry_interval_s: Some(10), ..MessageProperties::default() };
    let expiring = OrdinaryMessage { properties, ..message("a", Qos::AtLeastOnce, "x") };
    for (at_s, left_s) in [(0, Some(10)), (4, Some(6)), (9, Some(1))] {
        alice.now = Duration::from_secs(at_s);
        alice.bring_so(manner(Qos::AtLeastOnce), expiring.clone());
        assert_eq!(alice.heard.last().unwrap().expiry_s, left_s);
        alice.acknowledge();
    }
    alice.now = Duration::from_secs(10);
    alice.bring_so(manner(Qos::AtLeastOnce), expiring);
    assert_eq!(alice.heard.len(), 3);
    pass_time(&mut alice);
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0, "nothing stays behind");
}

#[test]
fn a_delivery_larger_than_the_client_takes_is_left_out_and_the_next_comes() {
    let properties = ConnectProperties { maximum_packet_size: Some(60), ..ConnectProperties::default() };
    let mut alice = party_with(3_600, properties);
    alice.bring(Qos::AtLeastOnce, "a", &"x".repeat(60));
    alice.bring(Qos::AtLeastOnce, "a", "short");
    assert_eq!(alice.payloads(), ["short"]);
    assert_eq!(alice.left_out, ["a"]);
    alice.settle(&Logs::default());
    pass_time(&mut alice);
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
}

#[test]
fn an_own_retained_flag_does_not_come_from_a_resumed_read() {
    let mut alice = durable();
    alice.lose_connection();
    alice.route(Qos::AtLeastOnce, "a", "while away");
    resume(&mut alice);
    assert_eq!(alice.payloads(), ["while away"]);
    assert!(!alice.heard[0].retain && !alice.heard[0].dup);
}

#[test]
fn what_waited_is_not_heard_by_a_party_whose_right_is_gone() {
    let mut alice = durable();
    alice.lose_connection();
    alice.route(Qos::AtLeastOnce, "a", "while she might");
    alice.access = std::sync::Arc::default();
    resume(&mut alice);
    assert!(alice.payloads().is_empty());
    pass_time(&mut alice);
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
}

#[test]
fn what_is_done_with_is_told_before_the_session_goes() {
    for (mut alice, qos) in
        [(durable(), Qos::AtLeastOnce), (transient(), Qos::AtLeastOnce), (transient(), Qos::ExactlyOnce)]
    {
        alice.bring(qos, "a", "1");
        // At QoS 1 it is acknowledged, at QoS 2 it is under way.
        if qos == Qos::AtLeastOnce {
            alice.acknowledge();
        }
        alice.session().handle_connection_lost(UnixMs(5));
        let mut last = Vec::new();
        while let Some(effect) = alice.session().poll_effect() {
            last.push(effect);
        }
        let [Effect::SaveCursors(moves), Effect::Save { .. } | Effect::Remove] = &last[..] else { panic!("{last:?}") };
        assert_eq!(moves.dequeued, [Seq(7)], "{qos:?}");
    }
}
