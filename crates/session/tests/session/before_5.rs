//! Statements of MQTT 3.1.1 that MQTT 5 words in another way, one test each; `docs/conformance.md` names them.

use std::time::Duration;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::{self as wire, *};

fn connect_3_1_1(clean_session: bool) -> Connect {
    let properties = ConnectProperties::default();
    Connect { version: Version::V3_1_1, properties, ..connect(clean_session, 0) }
}

fn opened() -> Endpoint {
    let mut alice = Endpoint::new("alice");
    alice.access = everything_open();
    alice.connect_with(connect_3_1_1(false), limits()).unwrap();
    alice
}

fn session_present(endpoint: &Endpoint) -> bool {
    let connack = endpoint.sent.iter().rev().find_map(|packet| match packet {
        Packet::ConnAck(connack) => Some(connack.session_present),
        _ => None,
    });
    connack.expect("a CONNACK")
}

#[test]
fn a_session_that_is_not_clean_goes_on() {
    let mut alice = opened();
    assert!(!session_present(&alice));
    alice.bring(Qos::AtLeastOnce, "a", "unacknowledged");
    let packet_id = alice.heard[0].packet_id;
    alice.lose_connection();
    alice.connect_with(connect_3_1_1(false), limits()).unwrap();
    alice.answer_all(&Logs::default());
    assert!(session_present(&alice));
    assert_eq!((alice.heard[1].packet_id, alice.heard[1].dup), (packet_id, true));
    alice.lose_connection();
    alice.connect_with(connect_3_1_1(true), limits()).unwrap();
    alice.answer_all(&Logs::default());
    assert!(!session_present(&alice));
    assert_eq!(alice.heard.len(), 2);
    alice.lose_connection();
    assert!(alice.stored.record.is_none(), "a clean session ends with its connection");
    alice.connect_with(connect_3_1_1(false), limits()).unwrap();
    assert!(!session_present(&alice));
}

#[test]
fn a_will_is_left_at_once() {
    let will = wire::Will {
        topic: "status/alice".into(),
        payload: "gone".into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval_s: None,
        properties: PublishProperties::default(),
    };
    for clean_session in [true, false] {
        let mut alice = Endpoint::new("alice");
        alice.access = everything_open();
        let connect = Connect { will: Some(will.clone()), ..connect_3_1_1(clean_session) };
        alice.connect_with(connect, limits()).unwrap();
        alice.lose_connection();
        assert_eq!(alice.wills, [Effect::LeaveWill { delay: Duration::ZERO }]);
    }
}

#[test]
fn a_client_without_an_identifier_gets_one() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(Connect { client_id: "".into(), ..connect_3_1_1(true) }, limits()).unwrap();
    assert_eq!(alice.session().key().client_id, "made-up");
}

#[test]
fn a_refused_identifier_is_answered_with_0x02() {
    let connect = Connect { client_id: "x".repeat(257).into(), ..connect_3_1_1(true) };
    let rejected = Endpoint::new("alice").connect_with(connect, limits()).unwrap_err();
    let mut bytes = bytes::BytesMut::new();
    encode(&rejected.answer.unwrap(), rejected.version, &mut bytes).unwrap();
    assert_eq!(&bytes[..], [0x20, 0x02, 0x00, 0x02]);
}

#[test]
fn a_storage_fault_closes_the_connection() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut alice = opened();
        alice.packet(publish("a", qos, 1, "x"));
        let Some(Effect::Publish { token, .. }) = alice.published.pop() else { panic!("nothing was published") };
        let told = alice.sent.len();
        alice.input(|session, _| session.handle_committed(token, Err(Refusal::StorageFault("disk".into()))));
        assert!(matches!(alice.closed, Some(CloseCause::Refused(Refusal::StorageFault(_)))));
        assert_eq!(alice.sent.len(), told, "there is nothing to say it with");
    }
    let mut alice = opened();
    alice.subscribe("a", RetainHandling::SendAtSubscribe, 1);
    let told = alice.sent.len();
    alice.input(|session, _| session.handle_saved(Err(Fault("disk".into()))));
    assert_eq!(alice.closed, Some(CloseCause::Fault("disk".into())));
    assert_eq!(alice.sent.len(), told);
}
