//! The API over the in-memory backbone, asked in-process: each request carries the `Peer` that a handshake would give.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use quorate_backbone::TopicRules;
use quorate_backbone::memory::memory_backbone;
use quorate_backbone::{Append, Appended, Backbone, Health, TransactionLog};
use quorate_domain::{
    Author, CreationRules, MessageProperties, PartyId, Qos, Refusal, SessionKey, Sha256, TransactionRule, UnixMs,
};
use quorate_http::{Api, router};
use quorate_identity::authority::Authority;
use quorate_identity::{Peer, peer_of_chain};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tower_service::Service;

/// An answer is never longer than this.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub struct Desk {
    pub backbone: Backbone,
    pub draining: watch::Sender<bool>,
    router: Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn read(response: Response) -> Answer {
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.expect("a bounded body"),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    /// Asserts the status, and that the answer is the problem document of it.
    pub fn expect_problem(&self, status: StatusCode, instance: &str) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let document = self.json();
        let members: Vec<&String> = document.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["detail", "instance", "status", "title", "type"]);
        assert_eq!(document["status"], status.as_u16());
        assert_eq!(document["title"], status.canonical_reason().expect("a known status"));
        assert_eq!(document["instance"], instance);
        document
    }
}

pub fn party(name: &str) -> PartyId {
    PartyId::new(name).expect("a valid party id")
}

pub fn author(name: &str) -> Author {
    Author { party: party(name), certificate: Sha256::of(name.as_bytes()) }
}

/// What a handshake would give; the same for the same name.
pub fn peer(name: &str) -> Peer {
    static PEERS: LazyLock<(Authority, Mutex<HashMap<String, Peer>>)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (Authority::create(folder.path()).expect("an authority"), Mutex::default())
    });
    let (authority, peers) = &*PEERS;
    let issue = || {
        let issued = authority.issue_party(name, 30).expect("a certificate");
        let leaf = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).expect("a certificate");
        peer_of_chain(&[leaf]).expect("a party")
    };
    peers.lock().expect("not poisoned").entry(name.to_owned()).or_insert_with(issue).clone()
}

/// Everyone may create with everyone, but nobody may invite zoe.
pub fn rules() -> CreationRules {
    let pattern = |text: &str| text.parse().expect("a valid pattern");
    CreationRules(vec![TransactionRule {
        initiator: vec![pattern("*")],
        may_invite: ["alice", "bob", "carol", "mallory"].map(pattern).to_vec(),
    }])
}

impl Desk {
    pub fn open() -> Desk {
        Desk::over(memory_backbone(rules(), TopicRules::default()))
    }

    /// The same with another log, to make it fail.
    pub fn with_log(log: impl TransactionLog + 'static) -> Desk {
        Desk::over(Backbone { log: Arc::new(log), ..memory_backbone(rules(), TopicRules::default()) })
    }

    pub fn with_health(health: impl Health + 'static) -> Desk {
        Desk::over(Backbone { health: Arc::new(health), ..memory_backbone(rules(), TopicRules::default()) })
    }

    fn over(backbone: Backbone) -> Desk {
        let (draining, is_draining) = watch::channel(false);
        let api = Api {
            backbone: backbone.clone(),
            admins: vec![party("operator")],
            metrics: prometheus::Registry::new(),
            draining: is_draining,
        };
        Desk { backbone, draining, router: router(api) }
    }

    pub async fn ask(&self, mut request: Request<Body>, name: Option<&str>) -> Answer {
        if let Some(name) = name {
            request.extensions_mut().insert(peer(name));
        }
        let response = self.router.clone().call(request).await.expect("the router does not fail");
        Answer::read(response).await
    }

    pub async fn get(&self, name: &str, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        self.ask(request, Some(name)).await
    }

    pub async fn post(&self, name: &str, path: &str, body: Value) -> Answer {
        self.ask(write(path, &[], body.to_string()), Some(name)).await
    }

    pub async fn request(&self, name: &str, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        self.ask(request, Some(name)).await
    }

    /// Creates a transaction as its initiator and gives its id.
    pub async fn create(&self, initiator: &str, parties: &[&str]) -> String {
        let answer = self.post(initiator, "/v1/transactions", manifest(parties)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["tx"].as_str().expect("an id").to_owned()
    }

    /// Publishes as if over MQTT.
    pub async fn publish(&self, name: &str, topic: &str, payload: &[u8]) -> Result<Appended, Refusal> {
        let append = Append {
            topic: topic.parse().expect("a valid topic"),
            author: author(name),
            payload: Bytes::copy_from_slice(payload),
            qos: Qos::AtLeastOnce,
            properties: MessageProperties::default(),
            receipt: None,
        };
        self.backbone.log.append(append).await
    }

    pub async fn join(&self, tx: &str, name: &str) {
        let shown = self.get(name, &format!("/v1/transactions/{tx}")).await.json();
        let join = json!({ "manifest_sha256": shown["state"]["manifest_sha256"], "data": null });
        self.publish(name, &format!("tx/{tx}/join/{name}"), join.to_string().as_bytes())
            .await
            .expect("a listed party joins");
    }

    pub async fn connect(&self, name: &str) {
        let key = SessionKey { party: party(name), client_id: "one".to_owned() };
        self.backbone.presence.announce(&key, UnixMs(1_700_000_000_000)).await.expect("announced");
    }
}

/// A write with JSON's content type and these further headers.
pub fn write(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("a request")
}

pub fn manifest(parties: &[&str]) -> Value {
    json!({ "protocol": "test/1", "parties": parties, "threshold": 2 })
}
