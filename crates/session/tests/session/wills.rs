//! Wills: which may be left, and what becomes of them when the connection ends (MQTT5 3.1.2.5, 3.14.4).

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::{self as wire, *};

const TX: &str = "transaction-000001";

fn will(topic: &str) -> wire::Will {
    wire::Will {
        topic: topic.into(),
        payload: "gone".into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        delay_interval_s: Some(20),
        properties: PublishProperties { content_type: Some("text".into()), ..PublishProperties::default() },
    }
}

fn leave(will: wire::Will, expiry_s: u32) -> Result<Endpoint, Rejected> {
    let mut alice = Endpoint::new("alice");
    alice.access = everything_open();
    alice.connect_with(Connect { will: Some(will), ..connect(true, expiry_s) }, limits())?;
    Ok(alice)
}

fn disconnect(alice: &mut Endpoint, reason_code: ReasonCode, session_expiry_interval_s: Option<u32>) {
    alice.packet(Packet::Disconnect(Box::new(Disconnect {
        reason_code,
        session_expiry_interval_s,
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    })));
}

fn left(delay_s: u64) -> Vec<Effect> {
    vec![Effect::LeaveWill { delay: Duration::from_secs(delay_s) }]
}

#[test]
fn a_connection_that_is_lost_leaves_its_will_after_the_delay() {
    let mut alice = leave(will("status/alice"), 3_600).unwrap();
    alice.lose_connection();
    assert_eq!(alice.wills, left(20));
}

#[test]
fn the_will_comes_no_later_than_the_end_of_the_session() {
    for (expiry_s, delay_s) in [(0, 0), (7, 7), (u32::MAX, 20)] {
        let mut alice = leave(will("status/alice"), expiry_s).unwrap();
        alice.lose_connection();
        assert_eq!(alice.wills, left(delay_s), "a session of {expiry_s} s");
    }
}

#[test]
fn a_normal_disconnect_discards_the_will_and_no_other_does() {
    for (code, effects) in [
        (ReasonCode::Success, vec![Effect::DiscardWill]),
        (ReasonCode::DisconnectWithWill, left(20)),
        (ReasonCode::UnspecifiedError, left(20)),
    ] {
        let mut alice = leave(will("status/alice"), 3_600).unwrap();
        disconnect(&mut alice, code, None);
        alice.lose_connection();
        assert_eq!(alice.wills, effects, "{code}");
    }
}

#[test]
fn an_expiry_that_is_shortened_at_disconnect_shortens_the_delay() {
    let mut alice = leave(will("status/alice"), 3_600).unwrap();
    disconnect(&mut alice, ReasonCode::DisconnectWithWill, Some(0));
    alice.lose_connection();
    assert_eq!(alice.wills, left(0));
}

#[test]
fn a_client_that_breaks_the_protocol_or_is_silent_leaves_its_will() {
    let mut alice = leave(will("status/alice"), 3_600).unwrap();
    alice.packet(Packet::Connect(Box::new(connect(true, 0))));
    alice.lose_connection();
    assert_eq!(alice.wills, left(20));
    let mut bob = leave(will("status/alice"), 3_600).unwrap();
    bob.now = Duration::from_secs(90);
    bob.input(|session, now| session.handle_deadline(now));
    assert_eq!(bob.closed, Some(CloseCause::KeepAlive));
    bob.lose_connection();
    assert_eq!(bob.wills, left(20));
}

#[test]
fn without_a_will_nothing_is_said() {
    let mut alice = connected("alice");
    alice.lose_connection();
    assert!(alice.wills.is_empty());
}

#[test]
fn a_will_under_tx_waits_for_a_while_whatever_its_session_does() {
    for (delay_interval_s, expiry_s, delay_s) in [(None, 0, 30), (Some(20), 3_600, 30), (Some(60), 3_600, 60)] {
        let will = wire::Will { delay_interval_s, ..will(&format!("tx/{TX}/abort/alice")) };
        let mut alice = leave(will, expiry_s).unwrap();
        alice.lose_connection();
        assert_eq!(alice.wills, left(delay_s));
    }
}

#[test]
fn what_was_agreed_on_carries_everything_that_the_client_said() {
    let author = Author { party: party("alice"), certificate: Sha256([7; 32]) };
    let connect = Connect { will: Some(will("status/alice")), ..connect(true, 15) };
    let handshake = Handshake::new(limits(), everything_open());
    let hello = handshake.handle_packet(Packet::Connect(Box::new(connect)), author.clone(), "c".into()).unwrap();
    let agreement = hello.agreement();
    assert_eq!((agreement.expiry, hello.will_transaction()), (SessionExpiry::After(15), None));
    let will = agreement.will.unwrap();
    assert_eq!((will.author, will.topic.as_str(), will.delay_s), (author, "status/alice", 15));
    assert_eq!((will.qos, will.retain, &will.payload[..]), (Qos::AtLeastOnce, true, &b"gone"[..]));
    assert_eq!(will.properties.content_type.as_deref(), Some("text"));
}

#[test]
fn the_transaction_of_a_will_is_told_to_whoever_accepts() {
    let author = Author { party: party("alice"), certificate: Sha256([7; 32]) };
    let connect = Connect { will: Some(will(&format!("tx/{TX}/msg/alice/gone"))), ..connect(true, 15) };
    let handshake = Handshake::new(limits(), everything_open());
    let hello = handshake.handle_packet(Packet::Connect(Box::new(connect)), author, "c".into()).unwrap();
    assert_eq!(hello.will_transaction(), Some(&tx_id(1)));
}

#[test]
fn wills_that_may_not_be_left_are_refused_at_connect() {
    let at = |topic: &str| will(topic);
    let quiet = |topic: &str| wire::Will { qos: QoS::AtMostOnce, ..will(topic) };
    let empty = |topic: &str| wire::Will { payload: "".into(), ..will(topic) };
    let abort = format!("tx/{TX}/abort/alice");
    let cases = [
        (at(&format!("tx/{TX}/abort/bob")), ReasonCode::NotAuthorized),
        (at(&format!("tx/{TX}/join/alice")), ReasonCode::NotAuthorized),
        (at("party/alice/inbox"), ReasonCode::NotAuthorized),
        (at("$SYS/broker/uptime"), ReasonCode::NotAuthorized),
        (at("tx/short/abort/alice"), ReasonCode::TopicNameInvalid),
        (quiet(&abort), ReasonCode::QoSNotSupported),
        (empty(&abort), ReasonCode::PayloadFormatInvalid),
    ];
    for (will, code) in cases {
        let topic = will.topic.clone();
        let Err(rejected) = leave(will, 3_600) else { panic!("{topic} was taken") };
        assert_eq!(rejected.code, code, "{topic}");
    }
    let mut closed = Endpoint::new("alice");
    let connect = Connect { will: Some(will("status/alice")), ..connect(true, 0) };
    assert_eq!(closed.connect_with(connect, limits()).unwrap_err().code, ReasonCode::NotAuthorized);
}
