//! Ordinary topics, as a connection carries them: who may, what waits, and what is counted.

use quorate_wire::Disconnect;

use super::*;

/// A client whose session outlives its connection.
async fn resume(stage: &Stage, party: &str) -> (Client, bool) {
    let mut client = stage.dial(party);
    let Packet::Connect(mut packet) = connect(0) else { panic!("no CONNECT") };
    packet.clean_start = false;
    packet.properties.session_expiry_interval_s = Some(3_600);
    client.send(&Packet::Connect(packet)).await;
    let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::Success);
    (client, connack.session_present)
}

async fn subscribe_at_qos_1(client: &mut Client, filter: &str) -> ReasonCode {
    let filters = vec![SubscribeFilter {
        filter: filter.into(),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    }];
    let subscribe =
        Subscribe { packet_id: 1.try_into().unwrap(), subscription_identifier: None, user_properties: vec![], filters };
    client.send(&Packet::Subscribe(subscribe)).await;
    let Some(Packet::SubAck(suback)) = client.receive().await else { panic!("no SUBACK") };
    suback.reason_codes[0]
}

/// The next message, acknowledged.
async fn hear(client: &mut Client) -> Publish {
    let Some(Packet::Publish(publish)) = client.receive().await else { panic!("not a message") };
    if let Some(packet_id) = publish.packet_id {
        let reason_code = ReasonCode::Success;
        client.send(&Packet::PubAck(quorate_wire::Ack { packet_id, reason_code, properties: None })).await;
    }
    *publish
}

async fn leave(mut client: Client) {
    client
        .send(&Packet::Disconnect(Box::new(Disconnect {
            reason_code: ReasonCode::Success,
            session_expiry_interval_s: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        })))
        .await;
    assert_eq!(client.receive().await, None);
    drop(client.pipe);
    client.connection.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_published_to_an_ordinary_topic_is_heard_in_order() {
    let stage = Stage::new();
    let (mut bob, _) = resume(&stage, "bob").await;
    assert_eq!(subscribe_at_qos_1(&mut bob, "news/#").await, ReasonCode::GrantedQoS1);
    let mut alice = stage.connect("alice", 0).await;
    for packet_id in 1..500_u16 {
        assert_eq!(alice.publish(packet_id, "news/today", packet_id.to_string()).await, ReasonCode::Success);
    }
    for packet_id in 1..500_u16 {
        let message = hear(&mut bob).await;
        assert_eq!((message.topic.as_ref(), message.payload), ("news/today", packet_id.to_string().into()));
    }
    assert_eq!(stage.shared.metrics.ordinary_publishes.get(), 499);
    assert_eq!(stage.shared.metrics.publishes_received.get(), 499);
    assert_eq!(stage.shared.metrics.publishes_sent.get(), 499);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_session_is_away_waits_for_it_and_is_heard_once() {
    let stage = Stage::new();
    let (mut bob, _) = resume(&stage, "bob").await;
    subscribe_at_qos_1(&mut bob, "news/#").await;
    leave(bob).await;
    let mut alice = stage.connect("alice", 0).await;
    for packet_id in 1..4_u16 {
        assert_eq!(alice.publish(packet_id, "news/today", packet_id.to_string()).await, ReasonCode::Success);
    }
    let (mut bob, present) = resume(&stage, "bob").await;
    assert!(present);
    for packet_id in 1..4_u16 {
        assert_eq!(hear(&mut bob).await.payload, packet_id.to_string());
    }
    leave(bob).await;
    assert_eq!(stage.shared.backbone.topics.counts().queued, 0);
    let (mut bob, _) = resume(&stage, "bob").await;
    alice.publish(4, "news/today", "4").await;
    assert_eq!(hear(&mut bob).await.payload, "4");
}

#[tokio::test(start_paused = true)]
async fn without_rules_ordinary_topics_are_closed() {
    let stage = Stage::where_topics_are(Arc::default());
    let mut alice = stage.connect("alice", 0).await;
    assert_eq!(alice.publish(1, "news/today", "x").await, ReasonCode::NotAuthorized);
    assert_eq!(subscribe_at_qos_1(&mut alice, "news/#").await, ReasonCode::NotAuthorized);
    assert_eq!(stage.shared.metrics.ordinary_publishes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_retained_comes_to_whoever_subscribes_later() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    let Packet::Publish(mut message) = publish(1, "status/alice", "here") else { panic!() };
    message.retain = true;
    alice.send(&Packet::Publish(message)).await;
    assert!(matches!(alice.receive().await, Some(Packet::PubAck(_))));
    let (mut bob, _) = resume(&stage, "bob").await;
    subscribe_at_qos_1(&mut bob, "status/+").await;
    let heard = hear(&mut bob).await;
    assert_eq!((heard.payload.as_ref(), heard.retain), (&b"here"[..], true));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_larger_than_the_client_takes_is_left_out_and_counted() {
    let stage = Stage::new();
    let mut bob = stage.dial("bob");
    let Packet::Connect(mut packet) = connect(0) else { panic!("no CONNECT") };
    packet.properties.maximum_packet_size = Some(1_000);
    bob.send(&Packet::Connect(packet)).await;
    assert!(matches!(bob.receive().await, Some(Packet::ConnAck(_))));
    subscribe_at_qos_1(&mut bob, "news/#").await;
    let mut alice = stage.connect("alice", 0).await;
    alice.publish(1, "news/long", vec![7; 2_000]).await;
    alice.publish(2, "news/short", "x").await;
    assert_eq!(hear(&mut bob).await.topic.as_ref() as &str, "news/short");
    assert_eq!(stage.shared.metrics.deliveries_left_out.get(), 1);
}
