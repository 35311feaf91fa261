//! The rules of one connection, one test a rule, in virtual time.

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

const TX: &str = "transaction-000001";

fn connected(name: &str) -> Endpoint {
    let mut endpoint = Endpoint::new(name);
    endpoint.connect_with(connect(false, 3_600), limits()).unwrap();
    endpoint
}

fn append_tokens(endpoint: &Endpoint) -> Vec<u64> {
    let appends = endpoint.calls.iter().filter_map(|call| match call {
        Call::Append { token } => Some(*token),
        _ => None,
    });
    appends.collect()
}

fn pubacks(endpoint: &Endpoint) -> Vec<(u16, ReasonCode)> {
    let acks = endpoint.sent.iter().filter_map(|packet| match packet {
        Packet::PubAck(ack) => Some((ack.packet_id.get(), ack.reason_code)),
        _ => None,
    });
    acks.collect()
}

fn commit(endpoint: &mut Endpoint, token: u64, outcome: Result<Seq, Refusal>) {
    endpoint.input(|session, _| session.handle_committed(token, outcome));
}

fn echo(round: &str) -> String {
    format!("tx/{TX}/echo/{round}/alice")
}

#[test]
fn puback_waits_for_durable_append() {
    let mut alice = connected("alice");
    alice.packet(publish(&echo("1"), QoS::AtLeastOnce, 10, "x"));
    assert_eq!(pubacks(&alice), []);
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Ok(Seq(7)));
    assert_eq!(pubacks(&alice), [(10, ReasonCode::Success)]);
}

#[test]
fn pubacks_leave_in_the_order_of_their_publishes() {
    let mut alice = connected("alice");
    for id in [10, 11, 12] {
        alice.packet(publish(&echo(&id.to_string()), QoS::AtLeastOnce, id, "x"));
    }
    let tokens = append_tokens(&alice);
    commit(&mut alice, tokens[2], Ok(Seq(3)));
    commit(&mut alice, tokens[1], Err(Refusal::NotAuthorized));
    assert_eq!(pubacks(&alice), []);
    commit(&mut alice, tokens[0], Ok(Seq(1)));
    let expected = [(10, ReasonCode::Success), (11, ReasonCode::NotAuthorized), (12, ReasonCode::Success)];
    assert_eq!(pubacks(&alice), expected);
}

#[test]
fn a_refusal_decided_at_once_waits_behind_pending_appends() {
    let mut alice = connected("alice");
    alice.packet(publish(&echo("1"), QoS::AtLeastOnce, 1, "x"));
    alice.packet(publish(&format!("tx/{TX}/echo/1/bob"), QoS::AtLeastOnce, 2, "x"));
    assert_eq!(pubacks(&alice), []);
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Ok(Seq(1)));
    assert_eq!(pubacks(&alice), [(1, ReasonCode::Success), (2, ReasonCode::NotAuthorized)]);
}

#[test]
fn refusals_have_the_reason_codes_of_the_contract() {
    let slot = || Refusal::SlotTaken { stored: Sha256([1; 32]), offered: Sha256([2; 32]) };
    let cases = [
        (Refusal::NotAuthorized, ReasonCode::NotAuthorized),
        (slot(), ReasonCode::ImplementationSpecificError),
        (Refusal::TopicInvalid("x".into()), ReasonCode::TopicNameInvalid),
        (Refusal::PayloadInvalid("x".into()), ReasonCode::PayloadFormatInvalid),
        (Refusal::QuotaExceeded("x".into()), ReasonCode::QuotaExceeded),
        (Refusal::StorageFault("x".into()), ReasonCode::UnspecifiedError),
    ];
    for (refusal, code) in cases {
        let mut alice = connected("alice");
        alice.packet(publish(&echo("1"), QoS::AtLeastOnce, 1, "x"));
        let token = append_tokens(&alice)[0];
        commit(&mut alice, token, Err(refusal));
        assert_eq!(pubacks(&alice), [(1, code)]);
        assert_eq!(alice.closed, None);
    }
}

#[test]
fn a_taken_slot_is_named_in_the_reason_string() {
    let mut alice = connected("alice");
    alice.packet(publish(&echo("1"), QoS::AtLeastOnce, 1, "x"));
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Err(Refusal::SlotTaken { stored: Sha256([1; 32]), offered: Sha256([2; 32]) }));
    let Some(Packet::PubAck(ack)) = alice.sent.last() else { panic!("no PUBACK") };
    assert_eq!(ack.properties.as_ref().unwrap().reason_string.as_deref(), Some("slot-taken"));
}

#[test]
fn in_3_1_1_a_refusal_closes_the_connection() {
    let mut alice = Endpoint::new("alice");
    let connect = Connect { version: Version::V3_1_1, ..connect(true, 0) };
    alice.connect_with(connect, limits()).unwrap();
    alice.packet(publish(&format!("tx/{TX}/echo/1/bob"), QoS::AtLeastOnce, 1, "x"));
    assert_eq!(alice.closed, Some(CloseCause::Refused(Refusal::NotAuthorized)));
    assert!(!alice.sent.iter().any(|packet| matches!(packet, Packet::PubAck(_) | Packet::Disconnect(_))));
}

#[test]
fn qos_0_to_a_slot_disconnects_with_0x9b() {
    let mut alice = connected("alice");
    alice.packet(publish(&echo("1"), QoS::AtMostOnce, 0, "x"));
    assert_eq!(alice.last_reason(), Some(ReasonCode::QoSNotSupported));
    assert_eq!(alice.closed, Some(CloseCause::Refused(Refusal::QosTooLow)));
}

#[test]
fn publishes_that_only_the_broker_or_another_makes_are_refused() {
    let cases = [
        (format!("tx/{TX}/state"), ReasonCode::NotAuthorized),
        (format!("tx/{TX}/join/bob"), ReasonCode::NotAuthorized),
        (format!("tx/{TX}/p2p/1/bob/alice"), ReasonCode::NotAuthorized),
        (format!("tx/{TX}/msg/bob/x"), ReasonCode::NotAuthorized),
        ("party/alice/inbox".to_owned(), ReasonCode::NotAuthorized),
        ("party/alice/presence".to_owned(), ReasonCode::NotAuthorized),
        ("sensors/1".to_owned(), ReasonCode::NotAuthorized),
        (format!("tx/{TX}/nonsense"), ReasonCode::TopicNameInvalid),
        ("tx/short/join/alice".to_owned(), ReasonCode::TopicNameInvalid),
    ];
    for (topic, code) in cases {
        let mut alice = connected("alice");
        alice.packet(publish(&topic, QoS::AtLeastOnce, 1, "x"));
        assert_eq!(pubacks(&alice), [(1, code)], "{topic}");
        assert_eq!(append_tokens(&alice), [] as [u64; 0], "{topic}");
    }
}

#[test]
fn an_empty_slot_and_a_reserved_property_are_refused_with_0x99() {
    let mut alice = connected("alice");
    alice.packet(publish(&echo("1"), QoS::AtLeastOnce, 1, ""));
    let Packet::Publish(mut forged) = publish(&echo("2"), QoS::AtLeastOnce, 2, "x") else { unreachable!() };
    forged.properties.user_properties.push(("quorate-from".into(), "bob".into()));
    alice.packet(Packet::Publish(forged));
    let expected = [(1, ReasonCode::PayloadFormatInvalid), (2, ReasonCode::PayloadFormatInvalid)];
    assert_eq!(pubacks(&alice), expected);
}

#[test]
fn more_publishes_than_the_receive_maximum_disconnect_with_0x93() {
    let mut alice = connected("alice");
    for id in 1..=4 {
        alice.packet(publish(&echo(&id.to_string()), QoS::AtLeastOnce, id, "x"));
        assert!(alice.session().wants_packets());
    }
    alice.packet(publish(&echo("5"), QoS::AtLeastOnce, 5, "x"));
    assert_eq!(alice.last_reason(), Some(ReasonCode::ReceiveMaximumExceeded));
}

#[test]
fn a_3_1_1_client_is_not_read_at_the_bound_and_its_keep_alive_stands_still() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(Connect { version: Version::V3_1_1, ..connect(true, 0) }, limits()).unwrap();
    for id in 1..=4 {
        alice.packet(publish(&echo(&id.to_string()), QoS::AtLeastOnce, id, "x"));
    }
    assert!(!alice.session().wants_packets());
    alice.now = Duration::from_secs(91);
    alice.input(|session, now| session.handle_deadline(now));
    assert_eq!(alice.closed, None);
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Ok(Seq(1)));
    assert!(alice.session().wants_packets());
    for grace_periods in 1..=2 {
        alice.now = Duration::from_secs(91 + 90 * grace_periods);
        alice.input(|session, now| session.handle_deadline(now));
    }
    assert_eq!(alice.closed, Some(CloseCause::KeepAlive));
}

#[test]
fn keep_alive_closes_with_0x8d() {
    let mut alice = connected("alice");
    assert_eq!(alice.session().next_deadline(), Some(Duration::from_secs(90)));
    alice.now = Duration::from_secs(90);
    alice.input(|session, now| session.handle_deadline(now));
    assert_eq!(alice.last_reason(), Some(ReasonCode::KeepAliveTimeout));
    assert_eq!(alice.closed, Some(CloseCause::KeepAlive));
}

#[test]
fn ping_is_answered() {
    let mut alice = connected("alice");
    alice.packet(Packet::PingReq);
    assert_eq!(alice.sent.last(), Some(&Packet::PingResp));
}

#[test]
fn take_over_and_drain_say_goodbye() {
    let mut alice = connected("alice");
    alice.input(|session, _| session.handle_take_over());
    assert_eq!(
        (alice.last_reason(), &alice.closed),
        (Some(ReasonCode::SessionTakenOver), &Some(CloseCause::TakenOver))
    );
    let mut bob = connected("bob");
    bob.input(|session, _| session.handle_drain());
    assert_eq!((bob.last_reason(), &bob.closed), (Some(ReasonCode::ServerShuttingDown), &Some(CloseCause::Draining)));
}

#[test]
fn what_comes_after_the_close_is_ignored() {
    let mut alice = connected("alice");
    alice.packet(publish(&echo("1"), QoS::AtLeastOnce, 1, "x"));
    let token = append_tokens(&alice)[0];
    alice.input(|session, _| session.handle_take_over());
    commit(&mut alice, token, Ok(Seq(1)));
    alice.packet(Packet::PingReq);
    assert_eq!(pubacks(&alice), []);
    assert!(matches!(alice.sent.last(), Some(Packet::Disconnect(_))));
}

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
fn a_session_that_ends_with_its_connection_is_removed() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(connect(true, 0), limits()).unwrap();
    alice.stored.record = Some(SessionRecord::default());
    alice.lose_connection();
    assert!(alice.stored.record.is_none());
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
fn connects_that_cannot_be_served_are_told_why() {
    let will = Will {
        topic: "x".into(),
        payload: "x".into(),
        qos: QoS::AtMostOnce,
        retain: false,
        delay_interval_s: None,
        properties: PublishProperties::default(),
    };
    let authenticated =
        ConnectProperties { authentication_method: Some("SCRAM".into()), ..ConnectProperties::default() };
    let cases = [
        (Connect { properties: authenticated, ..connect(true, 0) }, ReasonCode::BadAuthenticationMethod),
        (Connect { client_id: "x".repeat(257).into(), ..connect(true, 0) }, ReasonCode::ClientIdentifierNotValid),
        (
            Connect { client_id: "".into(), version: Version::V3_1_1, ..connect(false, 0) },
            ReasonCode::ClientIdentifierNotValid,
        ),
        (Connect { will: Some(will), ..connect(true, 0) }, ReasonCode::ImplementationSpecificError),
    ];
    for (connect, code) in cases {
        let rejected = Endpoint::new("alice").connect_with(connect, limits()).unwrap_err();
        assert_eq!(rejected.code, code);
        let Some(Packet::ConnAck(connack)) = rejected.answer else { panic!("no CONNACK") };
        assert_eq!(connack.reason_code, code);
    }
}

#[test]
fn connack_announces_what_was_agreed() {
    let mut alice = Endpoint::new("alice");
    let connect = Connect { client_id: "".into(), keep_alive_s: 0, ..connect(true, u32::MAX) };
    alice.connect_with(connect, limits()).unwrap();
    let Some(Packet::ConnAck(connack)) = alice.sent.first() else { panic!("no CONNACK") };
    let properties = &connack.properties;
    assert_eq!(properties.assigned_client_identifier.as_deref(), Some("made-up"));
    assert_eq!(properties.server_keep_alive_s, Some(3_600));
    assert_eq!(properties.session_expiry_interval_s, Some(30 * 24 * 3_600));
    assert_eq!(properties.receive_maximum.map(|maximum| maximum.get()), Some(4));
    assert_eq!(properties.maximum_qos, None, "every QoS is served");
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
fn properties_beyond_their_bounds_are_refused() {
    let cases = [("x".to_owned(), 65), ("x".repeat(9_000), 2)];
    for (text, count) in cases {
        let mut alice = connected("alice");
        let Packet::Publish(mut publish) = publish(&echo("1"), QoS::AtLeastOnce, 1, "x") else { unreachable!() };
        publish.properties.user_properties = vec![(text.as_str().into(), "".into()); count];
        alice.packet(Packet::Publish(publish));
        assert_eq!(pubacks(&alice), [(1, ReasonCode::QuotaExceeded)]);
    }
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

#[test]
fn a_changed_session_expiry_is_stored_at_once() {
    let mut alice = connected("alice");
    alice.lose_connection();
    alice.connect_with(connect(false, 7_200), limits()).unwrap();
    assert_eq!(alice.stored.record.unwrap().expiry, SessionExpiry::After(7_200));
}
