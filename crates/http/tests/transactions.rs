//! The calls on transactions: what is created over the API is what would have been created over MQTT.

mod common;

use axum::http::{StatusCode, header};
use common::{Desk, manifest, party};
use quorate_backbone::ReadLimit;
use quorate_domain::{Seq, Sha256, TxId};
use serde_json::{Value, json};

#[tokio::test]
async fn creating_appends_the_manifest_as_the_callers_own() {
    let desk = Desk::open();
    let answer = desk.post("alice", "/v1/transactions", manifest(&["alice", "bob"])).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let created = answer.json();
    let tx = created["tx"].as_str().expect("an id");
    assert_eq!(answer.headers[header::LOCATION], format!("/v1/transactions/{tx}"));
    let limit = ReadLimit { messages: 10, bytes: 100_000 };
    let page = desk
        .backbone
        .log
        .read(&TxId::new(tx).expect("a valid id"), &party("bob"), Seq::ZERO, limit)
        .await
        .expect("read");
    let message = &page.messages[0].message;
    let stored: Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!((&stored["tx"], &stored["initiator"]), (&json!(tx), &json!("alice")));
    assert_eq!(message.from.as_ref().expect("an author").party, party("alice"));
    assert_eq!(created["manifest_sha256"], Sha256::of(&message.payload).to_string());
    assert_eq!(created["seq"], message.seq.0);
}

#[tokio::test]
async fn the_same_manifest_again_changes_nothing() {
    let desk = Desk::open();
    let mut fields = manifest(&["alice", "bob"]);
    fields["tx"] = json!("01JD3W8QK7V9N2M4X6Z8B0C1D3");
    let first = desk.post("alice", "/v1/transactions", fields.clone()).await;
    let second = desk.post("alice", "/v1/transactions", fields).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn a_transaction_shows_its_slots_by_party_and_round() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob"]).await;
    for name in ["alice", "bob"] {
        desk.join(&tx, name).await;
    }
    for topic in ["broadcast/r2/bob", "broadcast/r1/bob", "echo/r1/bob"] {
        desk.publish("bob", &format!("tx/{tx}/{topic}"), b"x").await.expect("accepted");
    }
    desk.publish("alice", &format!("tx/{tx}/result/alice"), b"42").await.expect("accepted");
    let shown = desk.get("alice", &format!("/v1/transactions/{tx}")).await.json();
    assert_eq!(shown["tx"], tx);
    assert_eq!(shown["manifest"]["protocol"], "test/1");
    assert_eq!(shown["state"]["state"], "running");
    let slots = &shown["slots"];
    assert_eq!(slots["rounds"], json!(["r2", "r1"]));
    assert_eq!(slots["cut"], false);
    let [alice, bob] = [0, 1].map(|row| &slots["parties"][row]);
    assert_eq!((&alice["party"], &bob["party"]), (&json!("alice"), &json!("bob")));
    assert!(alice["join"]["seq"].is_u64());
    assert_eq!(alice["result"]["sha256"], Sha256::of(b"42").to_string());
    assert_eq!(bob["result"], Value::Null);
    assert_eq!(bob["rounds"]["r1"]["echo"]["sha256"], Sha256::of(b"x").to_string());
    assert_eq!(bob["rounds"]["r2"].get("echo"), None);
    assert_eq!(alice["rounds"], json!({}));
}

#[tokio::test]
async fn a_list_is_read_in_pages() {
    let desk = Desk::open();
    let mut created = Vec::new();
    for _ in 0..5 {
        created.push(desk.create("alice", &["alice", "bob"]).await);
    }
    created.sort();
    for name in ["alice", "operator"] {
        let mut seen = Vec::new();
        let mut query = "?limit=2".to_owned();
        loop {
            let page = desk.get(name, &format!("/v1/transactions{query}")).await.json();
            let transactions = page["transactions"].as_array().expect("a list");
            assert!(transactions.len() <= 2);
            seen.extend(transactions.iter().map(|one| one["tx"].as_str().expect("an id").to_owned()));
            match page["next"].as_str() {
                Some(next) => query = format!("?limit=2&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, created, "{name}");
    }
}

#[tokio::test]
async fn a_log_is_read_in_pages_and_in_order() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob"]).await;
    for round in 1..=4 {
        desk.publish("bob", &format!("tx/{tx}/broadcast/{round}/bob"), b"four").await.expect("accepted");
    }
    let mut topics = Vec::new();
    let mut after = 0;
    loop {
        let page = desk.get("alice", &format!("/v1/transactions/{tx}/log?limit=2&after={after}")).await.json();
        for entry in page["entries"].as_array().expect("a list") {
            let seq = entry["seq"].as_u64().expect("a number");
            assert!(seq > after);
            after = seq;
            topics.push(entry["topic"].as_str().expect("a topic").to_owned());
        }
        if page["next"].is_null() {
            break;
        }
        assert_eq!(page["next"], after);
    }
    let expected = ["manifest", "broadcast/1/bob", "broadcast/2/bob", "broadcast/3/bob", "broadcast/4/bob"];
    assert_eq!(topics, expected.map(|place| format!("tx/{tx}/{place}")));
}

#[tokio::test]
async fn an_entry_of_the_log_has_author_time_size_and_sum() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob"]).await;
    desk.publish("bob", &format!("tx/{tx}/msg/bob/chat"), b"hello").await.expect("accepted");
    let page = desk.get("alice", &format!("/v1/transactions/{tx}/log")).await.json();
    let entry = &page["entries"][1];
    assert_eq!(entry["from"], "bob");
    assert_eq!(entry["bytes"], 5);
    assert_eq!(entry["sha256"], Sha256::of(b"hello").to_string());
    assert!(entry["at"].as_u64().expect("a time") > 1_600_000_000_000);
}

#[tokio::test]
async fn an_initiator_closes_while_open_and_an_admin_while_running() {
    let desk = Desk::open();
    let close = |tx: &str| format!("/v1/transactions/{tx}/close");
    let open = desk.create("alice", &["alice", "bob"]).await;
    let closed = desk.post("alice", &close(&open), json!({ "reason": "a mistake" })).await;
    assert_eq!(closed.status, StatusCode::OK);
    assert_eq!((&closed.json()["state"], &closed.json()["tx"]), (&json!("aborted"), &json!(open)));
    assert!(closed.json()["reason"].as_str().expect("a reason").contains("a mistake"));

    let running = desk.create("alice", &["alice", "bob"]).await;
    for name in ["alice", "bob"] {
        desk.join(&running, name).await;
    }
    let path = close(&running);
    desk.post("alice", &path, json!({})).await.expect_problem(StatusCode::FORBIDDEN, &path);
    desk.post("bob", &path, json!({})).await.expect_problem(StatusCode::FORBIDDEN, &path);
    assert_eq!(desk.post("operator", &path, json!({})).await.json()["state"], "aborted");
    desk.post("operator", &path, json!({})).await.expect_problem(StatusCode::CONFLICT, &path);
    assert!(desk.publish("bob", &format!("tx/{running}/broadcast/1/bob"), b"x").await.is_err());
}

#[tokio::test]
async fn a_close_with_an_unknown_field_or_an_endless_reason_is_unprocessable() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob"]).await;
    let path = format!("/v1/transactions/{tx}/close");
    for body in [json!({ "why": "x" }), json!({ "reason": 7 }), json!({ "reason": "x".repeat(5_000) })] {
        desk.post("alice", &path, body).await.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, &path);
    }
    let shown = desk.get("alice", &format!("/v1/transactions/{tx}")).await.json();
    assert_eq!(shown["state"]["state"], "open");
}
