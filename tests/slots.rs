//! Slots are written once; the identical retry is acknowledged, whenever it comes.

use quorate_wire::{QoS, ReasonCode};

use crate::stage::{Stage, at, publish, refusal};

#[tokio::test]
async fn other_bytes_to_a_written_slot_are_refused_and_reported() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let slot = format!("tx/{tx}/broadcast/1/alice");
    publish(&alice, &slot, "first").await.unwrap();
    publish(&alice, &slot, "first").await.unwrap();
    let error = publish(&alice, &slot, "second").await.unwrap_err();
    assert!(error.to_string().contains("slot-taken"), "{error}");
    assert_eq!(refusal(Err(error)), Some(ReasonCode::ImplementationSpecificError));
    let shown = stage.api("alice").transaction(&tx).await.unwrap();
    assert_eq!(at(&shown, "/state/equivocations/count"), 1, "{shown}");
    let log = stage.api("alice").log(&tx, 0).await.unwrap();
    let topics = log.to_string();
    assert_eq!(topics.matches("broadcast/1/alice").count(), 1, "stored once: {topics}");
}

#[tokio::test]
async fn the_identical_retry_is_acknowledged_after_completion_too() {
    let stage = Stage::open().await;
    let (alice, bob) = (stage.client("alice").await, stage.client("bob").await);
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "said").await.unwrap();
    for (party, client) in [("alice", &alice), ("bob", &bob)] {
        stage.join(client, &tx, party).await;
    }
    for (party, client) in [("alice", &alice), ("bob", &bob)] {
        publish(client, &format!("tx/{tx}/result/{party}"), "agreed").await.unwrap();
    }
    assert_eq!(stage.state(&tx).await, "completed");
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "said").await.unwrap();
    publish(&bob, &format!("tx/{tx}/result/bob"), "agreed").await.unwrap();
    let late = publish(&alice, &format!("tx/{tx}/broadcast/2/alice"), "late").await;
    assert_eq!(refusal(late), Some(ReasonCode::NotAuthorized));
}

#[tokio::test]
async fn a_slot_stays_written_across_sigkill() {
    let mut stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let slot = format!("tx/{tx}/echo/1/alice");
    publish(&alice, &slot, "first").await.unwrap();
    stage.kill_and_restart().await;
    let alice = stage.client("alice").await;
    let code = refusal(publish(&alice, &slot, "second").await);
    assert_eq!(code, Some(ReasonCode::ImplementationSpecificError));
    publish(&alice, &slot, "first").await.unwrap();
}

#[tokio::test]
async fn results_that_differ_are_a_dispute_and_an_abort_ends_it() {
    let stage = Stage::open().await;
    let (alice, bob) = (stage.client("alice").await, stage.client("bob").await);
    let disputed = stage.create(&alice, &["alice", "bob"]).await;
    stage.join(&alice, &disputed, "alice").await;
    stage.join(&bob, &disputed, "bob").await;
    publish(&alice, &format!("tx/{disputed}/result/alice"), "one").await.unwrap();
    publish(&bob, &format!("tx/{disputed}/result/bob"), "other").await.unwrap();
    assert_eq!(stage.state(&disputed).await, "disputed");
    let aborted = stage.create(&alice, &["alice", "bob"]).await;
    publish(&bob, &format!("tx/{aborted}/abort/bob"), "no").await.unwrap();
    assert_eq!(stage.state(&aborted).await, "aborted");
}

#[tokio::test]
async fn a_join_with_another_hash_leaves_the_slot_free() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let wrong = format!(r#"{{"manifest_sha256":"sha256:{}","data":null}}"#, "0".repeat(64));
    let code = refusal(publish(&alice, &format!("tx/{tx}/join/alice"), &wrong).await);
    assert_eq!(code, Some(ReasonCode::PayloadFormatInvalid));
    stage.join(&alice, &tx, "alice").await;
}

#[tokio::test]
async fn a_slot_wants_qos_1_and_a_payload() {
    let stage = Stage::open().await;
    let mut alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let empty = publish(&alice, &format!("tx/{tx}/echo/1/alice"), "").await;
    assert_eq!(refusal(empty), Some(ReasonCode::PayloadFormatInvalid));
    alice.publish(&format!("tx/{tx}/echo/1/alice"), "x".into(), QoS::AtMostOnce).await.unwrap();
    let end = alice.next().await.unwrap_err();
    assert!(end.to_string().contains("QoS"), "{end}");
}
