//! A lost live copy is noticed: all is still delivered, without a reconnect.

use quorate_testkit::BrokerOptions;

use crate::stage::{Stage, hear, publish, seqs_grow, subscribe};

#[tokio::test]
async fn every_third_lane_message_dropped_and_all_is_still_delivered() {
    let stage = Stage::open_with(BrokerOptions::default().drop_lane_message_every(3)).await;
    let alice = stage.client("alice").await;
    let mut bob = stage.client("bob").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    subscribe(&bob, "tx/+/broadcast/#").await.unwrap();
    for round in 0..100 {
        publish(&alice, &format!("tx/{tx}/broadcast/{round}/alice"), "said").await.unwrap();
    }
    let heard = hear(&mut bob, 100).await;
    assert!(seqs_grow(&heard));
    assert!(lane_gaps(&stage).await > 0, "nothing was dropped, so nothing was shown");
}

#[tokio::test]
async fn the_last_lane_message_dropped_is_noticed_too() {
    let stage = Stage::open_with(BrokerOptions::default().drop_lane_message_every(1)).await;
    let alice = stage.client("alice").await;
    let mut bob = stage.client("bob").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    subscribe(&bob, "tx/+/broadcast/#").await.unwrap();
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "said").await.unwrap();
    assert_eq!(hear(&mut bob, 1).await[0].payload, "said");
    assert!(lane_gaps(&stage).await > 0, "nothing was dropped, so nothing was shown");
}

/// How often the broker noticed that live messages were lost.
async fn lane_gaps(stage: &Stage) -> u64 {
    let metrics = stage.api("operator").text(&["metrics"]).await.unwrap();
    let sample = metrics.lines().find_map(|line| line.strip_prefix("quorate_lane_gaps_total ")).expect(&metrics);
    sample.parse().unwrap()
}
