//! The API behind the same door: the same certificates, the same rights.

use serde_json::json;

use crate::stage::{LIMIT, Stage, at, publish};

#[tokio::test]
async fn operator_sees_who_is_present_and_a_stranger_does_not() {
    let stage = Stage::open().await;
    let operator = stage.api("operator");
    let alice = stage.client("alice").await;
    let online = |status: serde_json::Value| status["online"].as_bool().unwrap();
    assert!(online(operator.party("alice").await.unwrap()));
    alice.disconnect().await.unwrap();
    quorate_testkit::eventually(LIMIT, async || {
        anyhow::ensure!(!online(operator.party("alice").await?), "alice is still online");
        Ok(())
    })
    .await
    .unwrap();
    assert!(stage.api("mallory").party("alice").await.unwrap_err().to_string().contains("404"));
}

#[tokio::test]
async fn a_transaction_made_over_http_is_the_same_room() {
    let stage = Stage::open().await;
    let body = json!({"protocol": "test", "parties": ["alice", "bob"], "threshold": 2, "require_join": false});
    let created = stage.api("alice").create(&body).await.unwrap();
    let tx = created["tx"].as_str().unwrap().to_owned();
    let bob = stage.client("bob").await;
    publish(&bob, &format!("tx/{tx}/broadcast/1/bob"), "hello").await.unwrap();
    let shown = stage.api("bob").transaction(&tx).await.unwrap();
    assert_eq!(shown["manifest"]["initiator"], "alice", "{shown}");
    assert_eq!(at(&shown, "/state/state"), "running", "{shown}");
    stage.api("operator").close(&tx, "done testing").await.unwrap();
    assert_eq!(stage.state(&tx).await, "aborted");
    assert!(publish(&bob, &format!("tx/{tx}/broadcast/2/bob"), "late").await.is_err());
}

#[tokio::test]
async fn a_bad_body_is_refused_with_a_problem_that_names_the_field() {
    let stage = Stage::open().await;
    let body = json!({"protocol": "test", "parties": ["alice", "alice"], "threshold": 2});
    let error = stage.api("alice").create(&body).await.unwrap_err().to_string();
    assert!(error.contains("422") && error.contains("parties"), "{error}");
}
