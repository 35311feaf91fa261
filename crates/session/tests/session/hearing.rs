//! What a subscription is granted and what it hears, one test a rule. (What the client says: `protocol`.)

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

fn suback(endpoint: &Endpoint) -> Vec<ReasonCode> {
    let codes = endpoint.sent.iter().rev().find_map(|packet| match packet {
        Packet::SubAck(suback) => Some(suback.reason_codes.clone()),
        _ => None,
    });
    codes.expect("a SUBACK")
}

#[test]
fn filters_are_granted_or_refused_one_by_one() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    logs.create(2, &["bob", "carol"].map(party));
    let cases = [
        ("tx/transaction-000001/#", ReasonCode::GrantedQoS2),
        ("tx/transaction-000002/#", ReasonCode::NotAuthorized),
        ("tx/transaction-000009/#", ReasonCode::NotAuthorized),
        ("tx/+/p2p/#", ReasonCode::GrantedQoS2),
        ("party/alice/inbox", ReasonCode::GrantedQoS2),
        ("party/bob/inbox", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
        ("+/+/#", ReasonCode::NotAuthorized),
        ("tx//#", ReasonCode::TopicFilterInvalid),
        ("tx/#/x", ReasonCode::TopicFilterInvalid),
        ("$share/group/tx/+/#", ReasonCode::SharedSubscriptionsNotSupported),
    ];
    let mut alice = connected("alice");
    alice.packet(Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_identifier: None,
        user_properties: Vec::new(),
        filters: cases
            .iter()
            .map(|(text, _)| filter(text, QoS::ExactlyOnce, RetainHandling::SendAtSubscribe))
            .collect(),
    }));
    assert!(!alice.session().wants_packets());
    alice.answer_all(&logs);
    assert_eq!(suback(&alice), cases.map(|(_, code)| code));
}

#[test]
fn however_many_filters_a_packet_holds_each_scope_is_looked_up_once() {
    let mut alice = connected("alice");
    let bound = limits().subscriptions_max;
    alice.packet(Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_identifier: None,
        user_properties: Vec::new(),
        filters: vec![filter("tx/#", QoS::AtLeastOnce, RetainHandling::SendAtSubscribe); bound + 5],
    }));
    let Some(Call::LookUp(scopes)) = alice.calls.front() else { panic!("no look-up") };
    assert_eq!(scopes, &[Scope::All]);
    alice.answer_all(&Logs::default());
    assert_eq!(suback(&alice)[bound..], [ReasonCode::QuotaExceeded; 5]);
    assert_eq!(suback(&alice)[..bound], vec![ReasonCode::GrantedQoS1; bound]);
}

#[test]
fn a_durable_subscription_is_stored_before_it_is_acknowledged() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut alice = connected("alice");
    alice.subscribe("tx/+/#", RetainHandling::SendAtSubscribe, 1);
    assert!(alice.answer(&logs));
    assert!(matches!(alice.calls.front(), Some(Call::Save(_))));
    assert!(!alice.sent.iter().any(|packet| matches!(packet, Packet::SubAck(_))));
    alice.answer(&logs);
    assert_eq!(suback(&alice), [ReasonCode::GrantedQoS1]);
}

#[test]
fn a_save_that_fails_ends_the_connection_and_grants_nothing() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut alice = connected("alice");
    alice.subscribe("tx/+/#", RetainHandling::SendAtSubscribe, 1);
    alice.answer(&logs);
    alice.input(|session, _| session.handle_saved(Err(Fault("disk".into()))));
    assert_eq!(alice.closed, Some(CloseCause::Fault("disk".into())));
    alice.lose_connection();
    assert!(alice.stored.record.unwrap().subscriptions.is_empty());
}

#[test]
fn a_party_that_never_connected_hears_all_that_was_said() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    for round in 0..30 {
        let place = Place::Broadcast { round: format!("{round}").parse().unwrap(), from: party("alice") };
        logs.append(&tx, &party("alice"), place, "said".into());
    }
    let mut bob = connected("bob");
    bob.subscribe("tx/+/#", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    let heard: Vec<Seq> = bob.heard.iter().filter(|heard| !heard.topic.ends_with("/state")).map(|h| h.seq).collect();
    let said: Vec<Seq> = logs.0[&tx].records.iter().map(|record| record.message.seq).collect();
    assert_eq!(heard, said);
}

#[test]
fn retain_handling_2_starts_at_the_head() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe("tx/+/#", RetainHandling::DoNotSend, 1);
    bob.settle(&logs);
    assert!(bob.heard.is_empty());
    let place = Place::Broadcast { round: "1".parse().unwrap(), from: party("alice") };
    let seq = logs.append(&tx, &party("alice"), place, "said".into());
    let copy = logs.live_copy(&tx, seq, &bob.party).unwrap();
    bob.input(|session, _| session.handle_delivery(copy));
    bob.settle(&logs);
    assert_eq!(bob.heard.iter().map(|heard| heard.seq).collect::<Vec<_>>(), [seq]);
}

#[test]
fn a_manifest_reaches_the_inbox_too() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe("party/bob/inbox", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    assert_eq!(bob.heard.iter().map(|heard| heard.topic.as_str()).collect::<Vec<_>>(), ["party/bob/inbox"]);
    bob.subscribe("tx/+/manifest", RetainHandling::SendAtSubscribe, 2);
    bob.settle(&logs);
    assert_eq!(bob.heard.last().unwrap().topic, format!("tx/{tx}/manifest"));
}

#[test]
fn a_resumed_session_resends_with_dup_and_the_same_packet_identifier() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe("tx/+/manifest", RetainHandling::SendAtSubscribe, 1);
    bob.answer_all(&logs);
    let before = bob.heard.pop().unwrap();
    assert!(!before.dup);
    bob.lose_connection();
    bob.connect_with(connect(false, 3_600), limits()).unwrap();
    bob.answer_all(&logs);
    let after = bob.heard.pop().unwrap();
    assert_eq!((after.dup, after.packet_id, after.seq), (true, before.packet_id, before.seq));
}

#[test]
fn what_was_acknowledged_does_not_come_again() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe("tx/+/manifest", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    bob.lose_connection();
    bob.heard.clear();
    bob.connect_with(connect(false, 3_600), limits()).unwrap();
    bob.settle(&logs);
    assert!(bob.heard.is_empty());
}

#[test]
fn the_window_is_never_exceeded() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    for round in 0..20 {
        let place = Place::Broadcast { round: format!("{round}").parse().unwrap(), from: party("alice") };
        logs.append(&tx, &party("alice"), place, "said".into());
    }
    let mut bob = Endpoint::new("bob");
    let mut connect = connect(false, 3_600);
    connect.properties.receive_maximum = std::num::NonZeroU16::new(3);
    bob.connect_with(connect, limits()).unwrap();
    bob.subscribe("tx/+/#", RetainHandling::SendAtSubscribe, 1);
    bob.answer_all(&logs);
    assert_eq!(bob.unacked.len(), 3);
    bob.acknowledge();
    bob.answer_all(&logs);
    assert_eq!(bob.unacked.len(), 3);
}

#[test]
fn a_delivery_larger_than_the_client_takes_is_left_out() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let place = |round: &str| Place::Broadcast { round: round.parse().unwrap(), from: party("alice") };
    logs.append(&tx, &party("alice"), place("1"), vec![b'x'; 4_000].into());
    let small = logs.append(&tx, &party("alice"), place("2"), "small".into());
    let mut bob = Endpoint::new("bob");
    let mut connect = connect(false, 3_600);
    connect.properties.maximum_packet_size = Some(1_000);
    bob.connect_with(connect, limits()).unwrap();
    bob.subscribe("tx/+/broadcast/#", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    assert_eq!(bob.heard.iter().map(|heard| heard.seq).collect::<Vec<_>>(), [small]);
}

#[test]
fn the_final_state_is_the_last_that_is_heard() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe("tx/+/state", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    let interim = |seq| Delivery::State { tx: tx_id(1), seq: Seq(seq), document: "{}".into() };
    bob.input(|session, _| session.handle_delivery(interim(8)));
    bob.input(|session, _| session.handle_delivery(interim(8)));
    let last = logs.append(&tx, &party("alice"), Place::State, "final".into());
    let copy = logs.live_copy(&tx, last, &bob.party).unwrap();
    bob.input(|session, _| session.handle_delivery(copy));
    bob.input(|session, _| session.handle_delivery(interim(9)));
    bob.settle(&logs);
    let heard: Vec<u64> = bob.heard.iter().map(|heard| heard.seq.0).collect();
    assert_eq!(heard, [7, 8, last.0]);
}

#[test]
fn an_older_subscription_is_owed_the_past_that_a_later_one_starts_after() {
    let mut logs = Logs::default();
    let mut alice = connected("alice");
    alice.subscribe("tx/+/manifest", RetainHandling::SendIfNew, 1);
    alice.settle(&logs);
    let tx = logs.create(1, &["alice", "bob"].map(party));
    // Its live copy is still under way when the second subscription looks the head up.
    alice.subscribe(&format!("tx/{tx}/state"), RetainHandling::DoNotSend, 2);
    alice.settle(&logs);
    let copy = logs.live_copy(&tx, logs.0[&tx].head(), &alice.party).unwrap();
    alice.input(|session, _| session.handle_delivery(copy));
    alice.settle(&logs);
    assert_eq!(alice.heard.iter().map(|heard| &heard.identifiers[..]).collect::<Vec<_>>(), [[1]]);
}

#[test]
fn what_is_said_while_a_subscribe_is_looked_up_is_heard() {
    let mut logs = Logs::default();
    let mut alice = connected("alice");
    alice.subscribe("party/alice/inbox", RetainHandling::SendIfNew, 1);
    let before = std::mem::take(&mut logs);
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let copy = logs.live_copy(&tx, logs.0[&tx].head(), &alice.party).unwrap();
    alice.input(|session, _| session.handle_delivery(copy));
    alice.answer(&before);
    alice.settle(&logs);
    alice.now += Duration::from_secs(1);
    alice.input(|session, now| session.handle_deadline(now));
    alice.settle(&logs);
    assert_eq!(alice.heard.iter().map(|heard| heard.topic.as_str()).collect::<Vec<_>>(), ["party/alice/inbox"]);
}

#[test]
fn a_page_from_before_a_new_subscription_does_not_move_it() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    for round in 0..20 {
        let place = Place::Broadcast { round: format!("{round}").parse().unwrap(), from: party("alice") };
        logs.append(&tx, &party("alice"), place, "said".into());
    }
    let mut bob = Endpoint::new("bob");
    bob.connect_with(connect(true, 0), limits()).unwrap();
    let all = format!("tx/{tx}/broadcast/#");
    bob.subscribe(&all, RetainHandling::SendIfNew, 1);
    // The first page is taken and acknowledged; the second is under way.
    while !matches!(bob.calls.front(), Some(Call::Log { after, .. }) if *after > Seq::ZERO) {
        assert!(bob.answer(&logs) || bob.acknowledge());
    }
    while bob.acknowledge() {}
    let filters = vec![all.as_str().into()];
    bob.packet(Packet::Unsubscribe(Unsubscribe { packet_id: PacketId::MIN, user_properties: Vec::new(), filters }));
    bob.heard.clear();
    bob.subscribe(&all, RetainHandling::SendIfNew, 2);
    // The look-up answers before the old page does.
    let look_up = bob.calls.iter().position(|call| matches!(call, Call::LookUp(_))).unwrap();
    bob.calls.swap(0, look_up);
    bob.settle(&logs);
    assert_eq!(bob.heard.len(), 20);
}

#[test]
fn an_older_state_that_was_read_does_not_follow_a_newer_live_one() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe("tx/+/state", RetainHandling::SendAtSubscribe, 1);
    while !matches!(bob.calls.front(), Some(Call::State(_))) {
        assert!(bob.answer(&logs));
    }
    let newer = Delivery::State { tx, seq: Seq(70), document: "newer".into() };
    bob.input(|session, _| session.handle_delivery(newer));
    bob.settle(&logs);
    assert_eq!(bob.heard.iter().map(|heard| heard.seq).collect::<Vec<_>>(), [Seq(70)]);
}

#[test]
fn a_refused_3_1_subscribe_leaves_nothing_behind() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut alice = Endpoint::new("alice");
    alice.connect_with(Connect { version: Version::V3_1, ..connect(false, 0) }, limits()).unwrap();
    alice.packet(Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_identifier: None,
        user_properties: Vec::new(),
        filters: ["tx/+/#", "#"].map(|text| filter(text, QoS::AtLeastOnce, RetainHandling::SendAtSubscribe)).into(),
    }));
    alice.answer_all(&logs);
    assert_eq!(alice.closed, Some(CloseCause::Refused(Refusal::NotAuthorized)));
    alice.lose_connection();
    assert!(alice.stored.record.unwrap().subscriptions.is_empty());
}
