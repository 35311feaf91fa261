//! The broker in one process, over real TLS and a memory backbone: connect, speak, take over, drain, refuse.

mod support;

use quorate_domain::PartyId;
use quorate_wire::{Packet, ReasonCode, Version};
use support::{Client, TestBroker, connect, property, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TX: &str = "a-room-of-its-own";

fn manifest() -> String {
    format!(
        r#"{{"tx":"{TX}","initiator":"alice","protocol":"test","parties":["alice","bob"],"threshold":2,"require_join":false}}"#
    )
}

fn topic(place: &str) -> String {
    format!("tx/{TX}/{place}")
}

#[tokio::test]
async fn what_a_party_publishes_reaches_the_other_one_with_its_author() {
    let broker = TestBroker::start("").await;
    let mut alice = broker.connect("alice", "a").await;
    let mut bob = broker.connect("bob", "b").await;
    assert_eq!(bob.subscribe("tx/+/#").await, ReasonCode::GrantedQoS1);
    assert_eq!(alice.publish(1, &topic("manifest"), manifest()).await, ReasonCode::Success);
    assert_eq!(alice.publish(2, &topic("broadcast/r1/alice"), "hello").await, ReasonCode::Success);
    assert_eq!(bob.receive_message().await.payload, manifest());
    let message = bob.receive_message().await;
    assert_eq!(
        (message.topic.as_ref(), message.payload.as_ref()),
        (topic("broadcast/r1/alice").as_str(), &b"hello"[..])
    );
    assert_eq!(property(&message, "quorate-from").as_deref(), Some("alice"));
    broker.drain().await;
}

#[tokio::test]
async fn a_party_that_comes_late_hears_all_and_a_stranger_nothing() {
    let broker = TestBroker::start("").await;
    let mut alice = broker.connect("alice", "a").await;
    alice.publish(1, &topic("manifest"), manifest()).await;
    for packet_id in 2..300_u16 {
        let topic = topic(&format!("broadcast/r{packet_id}/alice"));
        assert_eq!(alice.publish(packet_id, &topic, packet_id.to_string()).await, ReasonCode::Success);
    }
    let mut bob = broker.connect("bob", "b").await;
    bob.subscribe(&topic("broadcast/#")).await;
    for packet_id in 2..300_u16 {
        assert_eq!(bob.receive_message().await.payload, packet_id.to_string());
    }
    let mut mallory = broker.connect("mallory", "m").await;
    assert_eq!(mallory.subscribe(&topic("#")).await, ReasonCode::NotAuthorized);
    assert_eq!(mallory.publish(1, &topic("broadcast/r1/mallory"), "x").await, ReasonCode::NotAuthorized);
    broker.drain().await;
}

#[tokio::test]
async fn a_take_over_ends_the_old_connection_and_keeps_the_session() {
    let broker = TestBroker::start("").await;
    let mut alice = broker.connect("alice", "a").await;
    alice.publish(1, &topic("manifest"), manifest()).await;
    let mut bob = broker.connect("bob", "same").await;
    bob.subscribe(&topic("broadcast/#")).await;
    let mut namesake = broker.connect("alice", "same").await;
    let mut bob_again = broker.connect("bob", "same").await;
    assert_eq!(bob.receive_goodbye().await, ReasonCode::SessionTakenOver);
    assert!(bob_again.session_present);
    alice.publish(2, &topic("broadcast/r1/alice"), "hello").await;
    assert_eq!(bob_again.receive_message().await.payload, "hello");
    namesake.send(&Packet::PingReq).await;
    assert_eq!(namesake.receive().await, Some(Packet::PingResp), "another party's session is another session");
    broker.drain().await;
}

#[tokio::test]
async fn a_drain_tells_every_client_and_leaves_nobody_present() {
    let broker = TestBroker::start("").await;
    let mut alice = broker.connect("alice", "a").await;
    let stream = broker.dial("bob").await;
    let mut bob = Client::new(stream, Version::V3_1_1);
    bob.send(&connect(Version::V3_1_1, "b")).await;
    assert!(matches!(bob.receive().await, Some(Packet::ConnAck(_))));
    let backbone = broker.backbone.clone();
    let party = PartyId::new("alice").unwrap();
    assert!(backbone.presence.is_present(&party));
    let (address, drained) = (broker.address, tokio::spawn(broker.drain()));
    assert_eq!(alice.receive_goodbye().await, ReasonCode::ServerShuttingDown);
    assert_eq!(bob.receive().await, None, "3.x has no word for it");
    drop((alice, bob));
    within(drained).await.unwrap();
    assert!(!backbone.presence.is_present(&party));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_peer_that_never_finishes_its_handshake_holds_up_nobody_and_is_closed() {
    let broker = TestBroker::start("handshake_timeout_ms = 300").await;
    let mut mute = TcpStream::connect(broker.address).await.unwrap();
    mute.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    broker.connect("alice", "a").await;
    let mut rest = Vec::new();
    let _ = within(mute.read_to_end(&mut rest)).await;
    broker.drain().await;
}

#[tokio::test]
async fn a_client_that_sends_no_connect_is_closed() {
    let broker = TestBroker::start("connect_timeout_ms = 200").await;
    let mut client = Client::new(broker.dial("alice").await, Version::V5);
    assert_eq!(client.receive().await, None);
    broker.drain().await;
}

#[tokio::test]
async fn a_connection_above_the_cap_is_closed_and_a_place_that_is_free_again_is_given() {
    let broker = TestBroker::start("connections_max = 1").await;
    let alice = broker.connect("alice", "a").await;
    let mut refused = TcpStream::connect(broker.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(refused.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    drop(alice);
    within(async {
        while broker.metric("quorate_connections_open") > 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    broker.connect("alice", "a").await;
    broker.drain().await;
}

#[tokio::test]
async fn members_hear_the_state_when_a_party_comes_and_goes() {
    let broker = TestBroker::start("").await;
    let mut alice = broker.connect("alice", "a").await;
    alice.publish(1, &topic("manifest"), manifest()).await;
    alice.subscribe(&topic("state")).await;
    let bob = broker.connect("bob", "b").await;
    state_with(&mut alice, r#""quorate":true"#).await;
    drop(bob);
    state_with(&mut alice, r#""quorate":false"#).await;
    broker.drain().await;
}

/// Reads state documents until one contains `part`.
async fn state_with(client: &mut Client, part: &str) {
    loop {
        let Some(Packet::Publish(publish)) = client.receive().await else { panic!("not a message") };
        if let Some(packet_id) = publish.packet_id {
            let reason_code = ReasonCode::Success;
            client.send(&Packet::PubAck(quorate_wire::Ack { packet_id, reason_code, properties: None })).await;
        }
        let document: String = String::from_utf8_lossy(&publish.payload).split_whitespace().collect();
        if document.contains(part) {
            return;
        }
    }
}
