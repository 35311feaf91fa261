//! Who sees what: a party its own, an admin all, and anything else is the very same 404.

mod common;

use axum::http::StatusCode;
use common::{Answer, Desk, manifest, peer};
use serde_json::{Value, json};

const UNKNOWN: &str = "00000000000000000000000000";

/// The answer without the path that was asked for, which the asker knows.
fn apart_from_instance(answer: &Answer) -> (StatusCode, Value) {
    let mut document = answer.json();
    document["instance"] = Value::Null;
    (answer.status, document)
}

#[tokio::test]
async fn a_foreign_transaction_and_an_unknown_one_look_the_same() {
    let desk = Desk::open();
    let foreign = desk.create("alice", &["alice", "bob"]).await;
    for rest in ["", "/log"] {
        let paths = [&foreign, UNKNOWN, "no-id"].map(|tx| format!("/v1/transactions/{tx}{rest}"));
        let mut answers = Vec::new();
        for path in &paths {
            let answer = desk.get("mallory", path).await;
            answer.expect_problem(StatusCode::NOT_FOUND, path);
            answers.push(apart_from_instance(&answer));
        }
        let no_route = desk.get("mallory", "/no/such/route").await;
        answers.push(apart_from_instance(&no_route));
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
    let close = |tx: &str| format!("/v1/transactions/{tx}/close");
    let foreign_close = desk.post("mallory", &close(&foreign), json!({})).await;
    let unknown_close = desk.post("mallory", &close(UNKNOWN), json!({})).await;
    assert_eq!(foreign_close.status, StatusCode::NOT_FOUND);
    assert_eq!(apart_from_instance(&foreign_close), apart_from_instance(&unknown_close));
}

#[tokio::test]
async fn a_list_has_what_lists_the_caller_or_was_initiated_by_it_and_all_for_admins() {
    let desk = Desk::open();
    let first = desk.create("alice", &["alice", "bob"]).await;
    let second = desk.create("carol", &["alice", "bob"]).await;
    let third = desk.create("bob", &["bob", "mallory"]).await;
    let listed = async |name: &str, query: &str| -> Vec<String> {
        let page = desk.get(name, &format!("/v1/transactions{query}")).await.json();
        assert_eq!(page["next"], Value::Null);
        let listed = page["transactions"].as_array().expect("a list");
        let mut ids: Vec<String> = listed.iter().map(|one| one["tx"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    };
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(listed("alice", "").await, sorted(&[&first, &second]));
    assert_eq!(listed("carol", "").await, sorted(&[&second]));
    assert_eq!(listed("mallory", "").await, sorted(&[&third]));
    assert_eq!(listed("operator", "").await, sorted(&[&first, &second, &third]));
    assert_eq!(listed("zoe", "").await, sorted(&[]));
    // Filters narrow what is seen, and never widen it.
    assert_eq!(listed("mallory", "?party=alice").await, sorted(&[]));
    assert_eq!(listed("alice", "?party=carol").await, sorted(&[&second]));
    assert_eq!(listed("operator", "?party=carol").await, sorted(&[&second]));
    assert_eq!(listed("operator", "?state=running").await, sorted(&[]));
    assert_eq!(listed("operator", "?state=open&party=bob").await, sorted(&[&first, &second, &third]));
}

#[tokio::test]
async fn the_presence_of_others_is_heard_after_both_joined_a_common_transaction() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob", "carol"]).await;
    for name in ["alice", "bob", "carol", "mallory"] {
        desk.connect(name).await;
    }
    desk.join(&tx, "alice").await;
    let bob = "/v1/parties/bob";
    desk.get("alice", bob).await.expect_problem(StatusCode::NOT_FOUND, bob);
    desk.join(&tx, "bob").await;
    let seen = desk.get("alice", bob).await.json();
    assert_eq!((&seen["party"], &seen["online"]), (&json!("bob"), &json!(true)));
    assert_eq!(seen.get("sessions"), None, "sessions are for admins and oneself");
    assert_eq!(desk.get("bob", "/v1/parties/alice").await.status, StatusCode::OK);
    // Listed is not joined, for either of the two.
    for (name, other) in [("carol", "alice"), ("alice", "carol"), ("mallory", "alice"), ("alice", "mallory")] {
        let path = format!("/v1/parties/{other}");
        desk.get(name, &path).await.expect_problem(StatusCode::NOT_FOUND, &path);
    }
}

#[tokio::test]
async fn who_is_present_is_told_as_far_as_it_may_be_heard() {
    let desk = Desk::open();
    let tx = desk.create("mallory", &["alice", "bob", "carol"]).await;
    for name in ["alice", "bob", "carol"] {
        desk.connect(name).await;
    }
    for name in ["alice", "bob"] {
        desk.join(&tx, name).await;
    }
    let present = async |name: &str| desk.get(name, &format!("/v1/transactions/{tx}")).await.json()["present"].clone();
    assert_eq!(present("alice").await, json!(["alice", "bob"]));
    assert_eq!(present("carol").await, json!(["carol"]));
    assert_eq!(present("mallory").await, json!([]));
    assert_eq!(present("operator").await, json!(["alice", "bob", "carol"]));
}

#[tokio::test]
async fn a_party_lists_itself_and_its_acquaintances_and_an_admin_all() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob", "carol"]).await;
    for name in ["alice", "bob", "carol"] {
        desk.connect(name).await;
    }
    for name in ["alice", "bob"] {
        desk.join(&tx, name).await;
    }
    let names = async |name: &str, query: &str| -> Vec<Value> {
        let page = desk.get(name, &format!("/v1/parties{query}")).await.json();
        page["parties"].as_array().expect("a list").iter().map(|one| one["party"].clone()).collect()
    };
    assert_eq!(names("alice", "").await, ["alice", "bob"]);
    assert_eq!(names("carol", "").await, ["carol"]);
    assert_eq!(names("zoe", "").await, ["zoe"]);
    assert_eq!(names("operator", "").await, ["alice", "bob", "carol"]);
    assert_eq!(names("operator", "?limit=2").await, ["alice", "bob"]);
    assert_eq!(names("operator", "?limit=2&after=bob").await, ["carol"]);
    assert_eq!(names("alice", "?after=alice").await, ["bob"]);
}

#[tokio::test]
async fn oneself_and_admins_see_more_of_a_party() {
    let desk = Desk::open();
    desk.connect("alice").await;
    let own = desk.get("alice", "/v1/parties/alice").await.json();
    assert_eq!(own["sessions"], 1);
    assert_eq!(own["certificate_ends"], peer("alice").not_after.0);
    let seen = desk.get("operator", "/v1/parties/alice").await.json();
    assert_eq!(seen["sessions"], 1);
    assert_eq!(seen["since"], 1_700_000_000_000_u64);
    assert_eq!(seen.get("certificate_ends"), None);
}

#[tokio::test]
async fn a_party_that_never_came_is_known_to_admins_once_it_is_listed() {
    let desk = Desk::open();
    let carol = "/v1/parties/carol";
    desk.get("operator", carol).await.expect_problem(StatusCode::NOT_FOUND, carol);
    desk.create("alice", &["alice", "carol"]).await;
    let seen = desk.get("operator", carol).await.json();
    assert_eq!((&seen["online"], &seen["last_seen"]), (&json!(false), &Value::Null));
    desk.get("alice", carol).await.expect_problem(StatusCode::NOT_FOUND, carol);
}

#[tokio::test]
async fn size_and_sum_of_p2p_are_for_sender_addressee_and_admins() {
    let desk = Desk::open();
    let tx = desk.create("mallory", &["alice", "bob", "carol"]).await;
    desk.publish("alice", &format!("tx/{tx}/p2p/2/alice/bob"), b"sealed").await.expect("accepted");
    let log = format!("/v1/transactions/{tx}/log");
    let show = format!("/v1/transactions/{tx}");
    for (name, is_told) in [("alice", true), ("bob", true), ("operator", true), ("carol", false)] {
        let page = desk.get(name, &log).await.json();
        let entry = &page["entries"][1];
        assert_eq!(entry["topic"], format!("tx/{tx}/p2p/2/alice/bob"), "{name}");
        assert_eq!(entry["bytes"] == 6, is_told, "{name}: {entry}");
        assert_eq!(entry["sha256"].is_string(), is_told, "{name}: {entry}");
        let shown = desk.get(name, &show).await.json();
        let cell = &shown["slots"]["parties"][0]["rounds"]["2"]["p2p"]["bob"];
        assert!(cell["seq"].is_u64(), "{name}: {cell}");
        assert_eq!(cell.get("sha256").is_some(), is_told, "{name}: {cell}");
    }
}

#[tokio::test]
async fn a_coordinator_sees_manifest_and_state_alone() {
    let desk = Desk::open();
    let tx = desk.create("mallory", &["alice", "bob"]).await;
    desk.join(&tx, "alice").await;
    desk.publish("alice", &format!("tx/{tx}/p2p/1/alice/bob"), b"sealed").await.expect("accepted");
    let shown = desk.get("mallory", &format!("/v1/transactions/{tx}")).await.json();
    assert_eq!(shown["slots"], Value::Null);
    assert_eq!(shown["manifest"]["initiator"], "mallory");
    assert_eq!(shown["state"]["joined"], json!(["alice"]));
    let page = desk.get("mallory", &format!("/v1/transactions/{tx}/log")).await.json();
    let topics: Vec<&Value> = page["entries"].as_array().expect("a list").iter().map(|entry| &entry["topic"]).collect();
    assert_eq!(topics, [&json!(format!("tx/{tx}/manifest"))]);
}

#[tokio::test]
async fn metrics_are_for_admins() {
    let desk = Desk::open();
    desk.get("alice", "/metrics").await.expect_problem(StatusCode::NOT_FOUND, "/metrics");
    let text = desk.get("operator", "/metrics").await.text();
    assert!(text.contains("quorate_http_requests_total{status=\"404\"} 1"), "{text}");
}

#[tokio::test]
async fn payloads_are_never_told() {
    let desk = Desk::open();
    let mut with_payload = manifest(&["alice", "bob"]);
    with_payload["payload"] = json!("cGF5bWVudC1vcmRlci03");
    let tx = desk.post("alice", "/v1/transactions", with_payload).await.json()["tx"].clone();
    let tx = tx.as_str().expect("an id");
    desk.publish("alice", &format!("tx/{tx}/broadcast/1/alice"), b"very-secret-share").await.expect("accepted");
    for name in ["alice", "bob", "operator"] {
        for path in
            ["/v1/transactions".to_owned(), format!("/v1/transactions/{tx}"), format!("/v1/transactions/{tx}/log")]
        {
            let text = desk.get(name, &path).await.text();
            assert!(!text.contains("cGF5bWVudC1vcmRlci03") && !text.contains("very-secret-share"), "{text}");
        }
        let shown = desk.get(name, &format!("/v1/transactions/{tx}")).await.json();
        assert_eq!(shown["manifest"]["payload_bytes"], 15);
    }
}
