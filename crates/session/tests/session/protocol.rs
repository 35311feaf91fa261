//! The rules of one connection, one test a rule: how it opens and ends, and what the client says. (What it hears: `hearing`.)

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

const TX: &str = "transaction-000001";

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

#[test]
fn a_session_that_ends_with_its_connection_is_removed() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(connect(true, 0), limits()).unwrap();
    alice.stored.record = Some(SessionRecord::default());
    alice.lose_connection();
    assert!(alice.stored.record.is_none());
}

#[test]
fn connects_that_cannot_be_served_are_told_why() {
    let authenticated =
        ConnectProperties { authentication_method: Some("SCRAM".into()), ..ConnectProperties::default() };
    let cases = [
        (Connect { properties: authenticated, ..connect(true, 0) }, ReasonCode::BadAuthenticationMethod),
        (Connect { client_id: "x".repeat(257).into(), ..connect(true, 0) }, ReasonCode::ClientIdentifierNotValid),
        (
            Connect { client_id: "".into(), version: Version::V3_1_1, ..connect(false, 0) },
            ReasonCode::ClientIdentifierNotValid,
        ),
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
fn a_maximum_packet_size_is_announced_where_it_bounds_something() {
    for (packet_bytes_max, announced) in
        [(1_000_000, Some(1_000_000)), (268_435_455, Some(268_435_455)), (268_435_456, None)]
    {
        let mut alice = Endpoint::new("alice");
        alice.connect_with(connect(true, 0), Limits { packet_bytes_max, ..limits() }).unwrap();
        let Some(Packet::ConnAck(connack)) = alice.sent.first() else { panic!("no CONNACK") };
        assert_eq!(connack.properties.maximum_packet_size, announced);
    }
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
fn a_changed_session_expiry_is_stored_at_once() {
    let mut alice = connected("alice");
    alice.lose_connection();
    alice.connect_with(connect(false, 7_200), limits()).unwrap();
    assert_eq!(alice.stored.record.unwrap().expiry, SessionExpiry::After(7_200));
}
