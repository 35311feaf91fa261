//! Each way in which the API says no is a problem document with the right status, and tells nothing of its inside.

mod common;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use common::{Desk, manifest, write};
use quorate_backbone::{Append, Completed, Completion, Health, ReadLimit, StoreError, TransactionLog};
use quorate_domain::{Closer, LogPage, PartyId, Refusal, Seq, TxId};
use quorate_http::BODY_BYTES_MAX;
use serde_json::json;

const CREATE: &str = "/v1/transactions";

#[tokio::test]
async fn an_unknown_route_is_not_found() {
    let desk = Desk::open();
    for path in ["/", "/v1", "/v1/transactions/", "/v1/nothing", "/v1/transactions/%FF", "/v1/parties/a%2Fb"] {
        desk.get("alice", path).await.expect_problem(StatusCode::NOT_FOUND, path);
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_which_are_right() {
    let desk = Desk::open();
    let answer = desk.request("alice", Method::DELETE, CREATE).await;
    answer.expect_problem(StatusCode::METHOD_NOT_ALLOWED, CREATE);
    let allowed = answer.headers[header::ALLOW].to_str().expect("text");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn a_request_without_a_certificate_is_answered_401_everywhere() {
    let desk = Desk::open();
    for path in [CREATE, "/healthz", "/readyz", "/metrics", "/nothing"] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        desk.ask(request, None).await.expect_problem(StatusCode::UNAUTHORIZED, path);
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_bad_request() {
    let desk = Desk::open();
    for body in ["", "{", "nonsense", "{\"a\":1} more"] {
        let answer = desk.ask(write(CREATE, &[], body), Some("alice")).await;
        answer.expect_problem(StatusCode::BAD_REQUEST, CREATE);
    }
}

#[tokio::test]
async fn json_that_is_no_manifest_is_unprocessable() {
    let desk = Desk::open();
    let no_threshold = json!({ "protocol": "test/1", "parties": ["alice", "bob"] });
    let mut unknown_field = manifest(&["alice", "bob"]);
    unknown_field["colour"] = json!("red");
    let mut bad_tx = manifest(&["alice", "bob"]);
    bad_tx["tx"] = json!("short");
    let mut others = manifest(&["alice", "bob"]);
    others["initiator"] = json!("bob");
    let mut no_text = manifest(&["alice", "bob"]);
    no_text["initiator"] = json!(null);
    for body in [json!([]), no_threshold, unknown_field, bad_tx, others, no_text, manifest(&["alice", "ALICE"])] {
        let answer = desk.post("alice", CREATE, body).await;
        answer.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, CREATE);
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_too_large() {
    let desk = Desk::open();
    let answer = desk.ask(write(CREATE, &[], vec![b' '; BODY_BYTES_MAX + 1]), Some("alice")).await;
    answer.expect_problem(StatusCode::PAYLOAD_TOO_LARGE, CREATE);
}

#[tokio::test]
async fn a_write_that_is_not_said_to_be_json_is_refused() {
    let desk = Desk::open();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")]
    {
        let mut request = write(CREATE, &[], manifest(&["alice", "bob"]).to_string());
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().expect("a value"));
        }
        desk.ask(request, Some("alice")).await.expect_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, CREATE);
    }
}

#[tokio::test]
async fn a_write_from_another_origin_is_refused_and_from_the_same_is_not() {
    let desk = Desk::open();
    let host = ("host", "localhost:8884");
    let body = manifest(&["alice", "bob"]).to_string();
    let refused: [&[(&str, &str)]; 5] = [
        &[host, ("origin", "https://evil.example")],
        &[host, ("origin", "null")],
        &[host, ("origin", "http://localhost:8884")],
        &[host, ("origin", "https://localhost:8884.evil.example")],
        &[("origin", "https://localhost:8884")],
    ];
    for headers in refused {
        let answer = desk.ask(write(CREATE, headers, body.clone()), Some("alice")).await;
        answer.expect_problem(StatusCode::FORBIDDEN, CREATE);
    }
    let own = write(CREATE, &[host, ("origin", "https://localhost:8884")], body);
    assert_eq!(desk.ask(own, Some("alice")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn queries_that_are_not_understood_are_refused() {
    let desk = Desk::open();
    let tx = desk.create("alice", &["alice", "bob"]).await;
    let paths = [
        "/v1/transactions?colour=red".to_owned(),
        "/v1/transactions?state=sleeping".to_owned(),
        "/v1/transactions?party=%2F".to_owned(),
        "/v1/transactions?limit=0".to_owned(),
        "/v1/transactions?limit=1001".to_owned(),
        "/v1/transactions?limit=many".to_owned(),
        "/v1/transactions?limit=1&limit=2".to_owned(),
        "/v1/transactions?after=short".to_owned(),
        format!("/v1/transactions/{tx}?limit=3"),
        format!("/v1/transactions/{tx}/log?after=-1"),
        format!("/v1/transactions/{tx}/log?before=3"),
        "/v1/parties?state=open".to_owned(),
        "/v1/parties/alice?x=1".to_owned(),
        "/healthz?verbose".to_owned(),
        "/readyz?verbose".to_owned(),
        "/metrics?name=x".to_owned(),
    ];
    for path in paths {
        let instance = path.split('?').next().expect("a path");
        desk.get("operator", &path).await.expect_problem(StatusCode::BAD_REQUEST, instance);
    }
}

#[tokio::test]
async fn a_manifest_beyond_the_rights_and_one_for_a_taken_id_are_refused_alike() {
    let desk = Desk::open();
    let beyond = desk.post("alice", CREATE, manifest(&["alice", "zoe"])).await;
    let mut taken = manifest(&["alice", "bob"]);
    taken["tx"] = json!(desk.create("bob", &["bob", "carol"]).await);
    let taken = desk.post("alice", CREATE, taken).await;
    beyond.expect_problem(StatusCode::FORBIDDEN, CREATE);
    assert_eq!(beyond.body, taken.body);
    assert_eq!(beyond.status, taken.status);
}

/// Refuses every append with this.
struct RefusingLog(Refusal);

#[async_trait]
impl TransactionLog for RefusingLog {
    async fn submit(&self, _: Append, completion: Completion) -> Result<(), StoreError> {
        let completed = Completed { token: completion.token, outcome: Err(self.0.clone()) };
        completion.to.try_send(completed).expect("a promised place");
        Ok(())
    }

    async fn read(&self, _: &TxId, _: &PartyId, _: Seq, _: ReadLimit) -> Result<LogPage, StoreError> {
        Err(StoreError::Closed)
    }

    async fn close(&self, _: &TxId, _: Closer, _: String) -> Result<(), Refusal> {
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn a_fault_of_the_store_is_503_and_keeps_its_cause_to_itself() {
    let desk = Desk::with_log(RefusingLog(Refusal::StorageFault("/secret/path: I/O error".to_owned())));
    let answer = desk.post("alice", CREATE, manifest(&["alice", "bob"])).await;
    let document = answer.expect_problem(StatusCode::SERVICE_UNAVAILABLE, CREATE);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert!(!document.to_string().contains("secret"));
}

#[tokio::test]
async fn a_quota_is_429() {
    let desk = Desk::with_log(RefusingLog(Refusal::QuotaExceeded("open transactions".to_owned())));
    let answer = desk.post("alice", CREATE, manifest(&["alice", "bob"])).await;
    answer.expect_problem(StatusCode::TOO_MANY_REQUESTS, CREATE);
}

#[tokio::test]
async fn an_invalid_payload_found_by_the_log_is_unprocessable() {
    let desk = Desk::with_log(RefusingLog(Refusal::PayloadInvalid("ready_by is past".to_owned())));
    let answer = desk.post("alice", CREATE, manifest(&["alice", "bob"])).await;
    let document = answer.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, CREATE);
    assert!(document["detail"].as_str().expect("text").contains("ready_by"));
}

/// Not ready, and why.
struct Sick;

impl Health for Sick {
    fn ready(&self) -> Result<(), String> {
        Err("write to /secret/path failed".to_owned())
    }
}

#[tokio::test]
async fn readiness_follows_the_backbone_and_tells_the_reason_to_admins_alone() {
    let desk = Desk::with_health(Sick);
    let told = desk.get("operator", "/readyz").await;
    assert_eq!(
        told.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "/readyz")["detail"],
        "write to /secret/path failed"
    );
    let untold = desk.get("alice", "/readyz").await;
    untold.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "/readyz");
    assert!(!untold.text().contains("secret"));
    assert_eq!(desk.get("alice", "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_draining_broker_is_not_ready() {
    let desk = Desk::open();
    assert_eq!(desk.get("alice", "/readyz").await.json(), json!({ "status": "ready" }));
    desk.draining.send(true).expect("the router listens");
    desk.get("alice", "/readyz").await.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "/readyz");
}

#[tokio::test]
async fn answers_are_not_cached_and_not_sniffed() {
    let desk = Desk::open();
    for path in ["/healthz", "/nothing"] {
        let answer = desk.get("alice", path).await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
