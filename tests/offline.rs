//! What one party says is stored and reaches the others when they come, however late.

use quorate_client::{Client, Message};

use crate::stage::{LIMIT, Stage, hear, publish, seqs_grow, subscribe};

async fn say(client: &Client, tx: &str, from: &str, rounds: std::ops::Range<usize>) {
    for round in rounds {
        publish(client, &format!("tx/{tx}/broadcast/{round}/{from}"), &format!("{from} {round}")).await.unwrap();
    }
}

async fn unacknowledged(client: &mut Client) -> Message {
    tokio::time::timeout(LIMIT, client.next()).await.expect("nothing came").expect("a message")
}

#[tokio::test]
async fn a_party_that_never_connected_before_hears_all() {
    let mut stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob", "carol"]).await;
    say(&alice, &tx, "alice", 0..300).await;
    stage.kill_and_restart().await;
    let mut carol = stage.client("carol").await;
    subscribe(&carol, "tx/+/broadcast/#").await.unwrap();
    let heard = hear(&mut carol, 300).await;
    assert!(seqs_grow(&heard));
    for (round, message) in heard.iter().enumerate() {
        assert_eq!(message.payload, format!("alice {round}"));
    }
}

#[tokio::test]
async fn a_second_filter_later_hears_its_past() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/broadcast/#")).await.unwrap();
    publish(&alice, &format!("tx/{tx}/msg/alice/before"), "before").await.unwrap();
    say(&alice, &tx, "alice", 0..20).await;
    hear(&mut bob, 20).await;
    subscribe(&bob, &format!("tx/{tx}/msg/#")).await.unwrap();
    let past = hear(&mut bob, 1).await;
    assert_eq!(past[0].payload, "before");
    publish(&alice, &format!("tx/{tx}/msg/alice/after"), "after").await.unwrap();
    assert_eq!(hear(&mut bob, 1).await[0].payload, "after");
}

#[tokio::test]
async fn a_session_goes_on_where_it_acknowledged() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, "tx/+/broadcast/#").await.unwrap();
    say(&alice, &tx, "alice", 0..10).await;
    hear(&mut bob, 10).await;
    bob.disconnect().await.unwrap();
    say(&alice, &tx, "alice", 10..15).await;
    let mut bob = stage.client("bob").await;
    assert!(bob.session_present());
    let heard = hear(&mut bob, 5).await;
    assert_eq!(heard[0].payload, "alice 10");
    assert_eq!(heard[4].payload, "alice 14");
}

#[tokio::test]
async fn an_unacknowledged_message_comes_again_with_dup() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    say(&alice, &tx, "alice", 0..1).await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, "tx/+/broadcast/#").await.unwrap();
    let first = unacknowledged(&mut bob).await;
    bob.disconnect().await.unwrap();
    let mut bob = stage.client("bob").await;
    let again = unacknowledged(&mut bob).await;
    assert_eq!((again.seq, again.packet_id, again.dup), (first.seq, first.packet_id, true));
}

#[tokio::test]
async fn the_same_client_id_of_another_party_is_another_session() {
    let stage = Stage::open().await;
    let mut alice = stage.client_as("alice", "phone").await;
    let bob = stage.client_as("bob", "phone").await;
    let tx = stage.create(&bob, &["bob", "alice"]).await;
    subscribe(&alice, &format!("tx/{tx}/manifest")).await.unwrap();
    assert_eq!(hear(&mut alice, 1).await[0].topic, format!("tx/{tx}/manifest"));
    let _newer = stage.client_as("alice", "phone").await;
    let end = loop {
        match alice.next().await {
            Ok(_) => {}
            Err(end) => break end.to_string(),
        }
    };
    assert!(end.contains("taken over"), "{end}");
    publish(&bob, &format!("tx/{tx}/msg/bob/x"), "still here").await.unwrap();
}

#[tokio::test]
async fn prev_links_every_message_that_a_party_may_hear() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob", "carol"]).await;
    for round in 0..5 {
        publish(&alice, &format!("tx/{tx}/p2p/{round}/alice/bob"), "b").await.unwrap();
        publish(&alice, &format!("tx/{tx}/p2p/{round}/alice/carol"), "c").await.unwrap();
    }
    let mut carol = stage.client("carol").await;
    subscribe(&carol, &format!("tx/{tx}/manifest")).await.unwrap();
    subscribe(&carol, &format!("tx/{tx}/p2p/#")).await.unwrap();
    let heard = hear(&mut carol, 6).await;
    for pair in heard.windows(2) {
        assert_eq!(pair[1].prev, pair[0].seq);
    }
}
