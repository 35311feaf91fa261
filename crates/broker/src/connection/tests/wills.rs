//! Wills, as a connection leaves them: at its end or later, or not at all.

use quorate_domain::{Seq, SessionKey, WaitingWill};
use quorate_wire::{Disconnect, Will};

use super::*;
use crate::wills::WillKeeper;

fn with_will(topic: &str, delay_s: u32, expiry_s: u32) -> Packet {
    let Packet::Connect(mut packet) = connect(0) else { panic!("no CONNECT") };
    packet.clean_start = false;
    packet.properties.session_expiry_interval_s = Some(expiry_s);
    packet.will = Some(Will {
        topic: topic.into(),
        payload: "gone".into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval_s: Some(delay_s),
        properties: PublishProperties::default(),
    });
    Packet::Connect(packet)
}

async fn greet(stage: &Stage, party: &str, packet: &Packet) -> (Client, ReasonCode) {
    let mut client = stage.dial(party);
    client.send(packet).await;
    let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
    (client, connack.reason_code)
}

/// Somebody who hears `status/#`.
async fn witness(stage: &Stage) -> Client {
    let mut bob = stage.connect("bob", 0).await;
    bob.subscribe("status/#").await;
    bob
}

async fn hear(client: &mut Client) -> (String, Bytes) {
    let Some(Packet::Publish(publish)) = client.receive().await else { panic!("not a message") };
    (publish.topic.to_string(), publish.payload)
}

/// The connection breaks.
async fn lose(client: Client) {
    drop(client.pipe);
    client.connection.await.unwrap();
}

async fn waiting(stage: &Stage) -> Vec<WaitingWill> {
    stage.shared.backbone.sessions.wills().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_will_without_delay_is_said_before_the_connection_is_over() {
    let stage = Stage::new();
    let mut bob = witness(&stage).await;
    let (alice, _) = greet(&stage, "alice", &with_will("status/alice", 0, 3_600)).await;
    lose(alice).await;
    assert_eq!(waiting(&stage).await, []);
    assert_eq!(hear(&mut bob).await, ("status/alice".to_owned(), "gone".into()));
    assert_eq!(stage.shared.metrics.wills_left.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_will_comes_after_what_was_published_before_it() {
    let stage = Stage::new();
    let mut bob = witness(&stage).await;
    let (mut alice, _) = greet(&stage, "alice", &with_will("status/alice", 0, 0)).await;
    for packet_id in 1..20 {
        alice.send(&publish(packet_id, "status/alice", "here")).await;
    }
    lose(alice).await;
    for _ in 1..20 {
        assert_eq!(hear(&mut bob).await.1, "here");
    }
    assert_eq!(hear(&mut bob).await.1, "gone");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_disconnect_leaves_no_will() {
    let stage = Stage::new();
    let mut bob = witness(&stage).await;
    let (mut alice, _) = greet(&stage, "alice", &with_will("status/alice", 0, 3_600)).await;
    alice
        .send(&Packet::Disconnect(Box::new(Disconnect {
            reason_code: ReasonCode::Success,
            session_expiry_interval_s: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        })))
        .await;
    lose(alice).await;
    assert_eq!(waiting(&stage).await, []);
    let mut carol = stage.connect("carol", 0).await;
    carol.publish(1, "status/carol", "here").await;
    assert_eq!(hear(&mut bob).await.0, "status/carol");
}

#[tokio::test(start_paused = true)]
async fn a_will_with_delay_is_said_by_the_keeper_unless_the_client_comes_back() {
    let stage = Stage::new();
    let shared = &stage.shared;
    let keeper = WillKeeper::new(Arc::clone(&shared.wills), shared.backbone.clone(), shared.draining.clone());
    tokio::spawn(keeper.run());
    let mut bob = witness(&stage).await;
    let (alice, _) = greet(&stage, "alice", &with_will("status/alice", 20, 3_600)).await;
    let (carol, _) = greet(&stage, "carol", &with_will("status/carol", 20, 3_600)).await;
    let start = Instant::now();
    lose(alice).await;
    lose(carol).await;
    let (_alice, _) = greet(&stage, "alice", &with_will("status/alice", 20, 3_600)).await;
    assert_eq!(hear(&mut bob).await.0, "status/carol");
    assert_eq!(start.elapsed().as_secs(), 20);
    assert_eq!(waiting(&stage).await.len(), 1, "that of the connection that lives");
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_no_will_and_keeps_it() {
    let stage = Stage::new();
    let (mut alice, _) = greet(&stage, "alice", &with_will("status/alice", 0, 0)).await;
    stage.drain.send_replace(true);
    assert!(matches!(alice.receive().await, Some(Packet::Disconnect(_))));
    lose(alice).await;
    let keys: Vec<SessionKey> = waiting(&stage).await.into_iter().map(|will| will.key).collect();
    assert_eq!(keys, [SessionKey { party: PartyId::new("alice").unwrap(), client_id: "c".to_owned() }]);
    assert_eq!(stage.shared.metrics.wills_left.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_will_under_tx_is_for_the_parties_of_the_transaction() {
    let stage = Stage::new();
    let abort = |party: &str| format!("tx/{TX}/abort/{party}");
    let (alice, code) = greet(&stage, "alice", &with_will(&abort("alice"), 0, 0)).await;
    assert_eq!(code, ReasonCode::NotAuthorized, "there is no such transaction");
    lose(alice).await;

    let mut alice = stage.connect("alice", 0).await;
    alice.publish(1, &format!("tx/{TX}/manifest"), manifest()).await;
    let (_mallory, code) = greet(&stage, "mallory", &with_will(&abort("mallory"), 0, 0)).await;
    assert_eq!(code, ReasonCode::NotAuthorized);
    let (_bob, code) = greet(&stage, "bob", &with_will(&abort("alice"), 0, 0)).await;
    assert_eq!(code, ReasonCode::NotAuthorized, "not in alice's name");
    assert_eq!(waiting(&stage).await, []);

    let (_bob, code) = greet(&stage, "bob", &with_will(&abort("bob"), 0, 0)).await;
    assert_eq!(code, ReasonCode::Success);
    assert_eq!(waiting(&stage).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_will_that_is_refused_takes_no_session_over() {
    let stage = Stage::new();
    let (mut bob, _) = greet(&stage, "bob", &with_will("status/bob", 0, 3_600)).await;
    let (_refused, code) = greet(&stage, "bob", &with_will(&format!("tx/{TX}/abort/bob"), 0, 0)).await;
    assert_eq!(code, ReasonCode::NotAuthorized);
    bob.send(&Packet::PingReq).await;
    assert_eq!(bob.receive().await, Some(Packet::PingResp));
    assert_eq!(waiting(&stage).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_will_under_tx_ends_the_transaction_once_its_author_stays_away() {
    let stage = Stage::new();
    let shared = &stage.shared;
    let keeper = WillKeeper::new(Arc::clone(&shared.wills), shared.backbone.clone(), shared.draining.clone());
    tokio::spawn(keeper.run());
    let mut alice = stage.connect("alice", 0).await;
    alice.publish(1, &format!("tx/{TX}/manifest"), manifest()).await;
    let (bob, _) = greet(&stage, "bob", &with_will(&format!("tx/{TX}/abort/bob"), 0, 0)).await;
    alice.subscribe(&format!("tx/{TX}/abort/+")).await;
    let start = Instant::now();
    lose(bob).await;
    assert_eq!(hear(&mut alice).await.0, format!("tx/{TX}/abort/bob"));
    assert_eq!(start.elapsed().as_secs(), u64::from(Limits::default().tx_will_delay_s));
    let tx = TX.parse().unwrap();
    assert!(stage.shared.backbone.registry.transaction(&tx).await.unwrap().unwrap().progress.state.is_closed());
    let journal = stage.shared.backbone.registry.journal(&tx, Seq::ZERO, 100).await.unwrap();
    assert!(journal.iter().any(|entry| entry.from == Some(PartyId::new("bob").unwrap())));
}
