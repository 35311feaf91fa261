//! A client that takes its bytes slowly: what is stored meanwhile.

use super::*;

/// Something of a megabyte that is retained, so that it comes through the queue of whoever subscribes.
async fn retain_a_megabyte(alice: &mut Client, topic: &str) {
    let Packet::Publish(mut large) = publish(1, topic, vec![7; 1024 * 1024]) else { panic!() };
    large.retain = true;
    alice.send(&Packet::Publish(large)).await;
    assert!(matches!(alice.receive().await, Some(Packet::PubAck(_))));
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_client_is_done_with_is_stored_while_its_keep_alive_stands_still() {
    let stage = Stage::new();
    let queued = || stage.shared.backbone.topics.counts().queued;
    retain_a_megabyte(&mut stage.connect("alice", 0).await, "large").await;
    let mut bob = stage.connect("bob", 2).await;
    bob.subscribe("large").await;
    assert_eq!(queued(), 1);
    // Bob takes nothing, so that more than half a megabyte waits. At QoS 0 it is done with once it is handed over.
    let start = Instant::now();
    while queued() > 0 {
        assert!(start.elapsed() < Duration::from_millis(200), "what moved is not stored");
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    // Long enough for a keep alive to run out, and for the last flush after it.
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let Some(Packet::Publish(large)) = bob.receive().await else { panic!("not the message") };
    assert_eq!(large.payload.len(), 1024 * 1024);
    let taken = Instant::now();
    let Some(Packet::Disconnect(disconnect)) = bob.receive().await else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason_code, ReasonCode::KeepAliveTimeout, "from here on silence counts again");
    // What is left of the time that stood still, and one and a half keep alives.
    assert!(taken.elapsed() <= Duration::from_secs(6));
}
