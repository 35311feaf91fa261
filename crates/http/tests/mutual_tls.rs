//! The API as it is reached: over TCP and mutual TLS, where the certificate says who asks.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Desk, manifest, party};
use quorate_http::{Api, HttpLimits, serve};
use quorate_identity::authority::{Authority, Issued};
use quorate_identity::{TlsFiles, TlsVersion, server_config};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// No step of these tests takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

struct Served {
    authority: Authority,
    address: SocketAddr,
    shutdown: watch::Sender<bool>,
    ended: JoinHandle<()>,
    _folder: TempDir,
}

async fn start(limits: HttpLimits) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::create(folder.path()).expect("an authority");
    let names = ["localhost".to_owned()];
    let broker = authority.issue_server("broker", &names, 1).expect("a certificate");
    broker.write(folder.path(), "broker").expect("written");
    let tls = server_config(&files(folder.path()), &[TlsVersion::V1_3], &[b"http/1.1"]).expect("a config");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (shutdown, told) = watch::channel(false);
    let api = Api {
        backbone: Desk::open().backbone,
        admins: vec![party("operator")],
        metrics: prometheus::Registry::new(),
        draining: told.clone(),
    };
    let ended = tokio::spawn(serve(listener, tls, limits, api, told));
    Served { authority, address, shutdown, ended, _folder: folder }
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate_chain: folder.join("broker.pem"),
        private_key: folder.join("broker.key.pem"),
        client_ca: folder.join("ca.pem"),
    }
}

impl Served {
    async fn connect(&self, identity: Option<Issued>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).expect("PEM");
        roots.add(ca).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        };
        let socket = TcpStream::connect(self.address).await?;
        let name = "localhost".try_into().expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }

    async fn connect_as(&self, name: &str) -> TlsStream<TcpStream> {
        let issued = self.authority.issue_party(name, 1).expect("a certificate");
        self.connect(Some(issued)).await.expect("a connection")
    }

    /// One request on a connection of its own; the whole answer as text.
    async fn ask(&self, name: &str, request: &str) -> String {
        let mut stream = self.connect_as(name).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        read_to_end(&mut stream).await
    }
}

/// What comes until the other side closes, with or without TLS' own goodbye.
async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an end within the limit");
    String::from_utf8(answer).expect("text")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// A hundred requests on one connection: longer than another connection would need to be served, were there a place.
async fn ask_again_and_again(stream: &mut TlsStream<TcpStream>) {
    for _ in 0..100 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(br#"{"status":"alive"}"#) {
            assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "closed");
        }
    }
}

#[tokio::test]
async fn the_certificate_says_who_asks() {
    let served = start(HttpLimits::default()).await;
    let body = manifest(&["alice", "bob"]).to_string();
    let length = body.len();
    let create = format!(
        "POST /v1/transactions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let created = served.ask("alice", &create).await;
    assert!(created.starts_with("HTTP/1.1 201 Created\r\n"), "{created}");
    let location = created.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location");
    for (name, status) in [("alice", "200"), ("bob", "200"), ("operator", "200"), ("mallory", "404")] {
        let answer = served.ask(name, &get(location)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
    let refused = served.ask("mallory", &get("/healthz?x")).await;
    assert!(refused.contains("content-type: application/problem+json"), "{refused}");
    assert!(refused.contains("content-length: "), "{refused}");
}

#[tokio::test]
async fn without_a_certificate_nothing_is_answered() {
    let served = start(HttpLimits::default()).await;
    // In TLS 1.3 the client learns of it when it first reads.
    if let Ok(mut stream) = served.connect(None).await {
        let _ = stream.write_all(get("/healthz").as_bytes()).await;
        assert_eq!(read_to_end(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_body_beyond_the_configured_bound_is_too_large() {
    let served = start(HttpLimits { body_bytes_max: 100, ..HttpLimits::default() }).await;
    let chunk = "x".repeat(200);
    let request = format!(
        "POST /v1/transactions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nc8\r\n{chunk}\r\n0\r\n\r\n"
    );
    let answer = served.ask("alice", &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let header_timeout = Duration::from_millis(200);
    let served = start(HttpLimits { header_timeout, ..HttpLimits::default() }).await;
    let answer = served.ask("alice", "GET /healthz HTTP/1.1\r\nhost: local").await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let served = start(HttpLimits::default()).await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = served.ask("alice", &format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_for_a_place() {
    let served = start(HttpLimits { connections_max: 1, ..HttpLimits::default() }).await;
    let mut first = served.connect_as("alice").await;
    let request = get("/healthz");
    let second = served.ask("bob", &request);
    tokio::pin!(second);
    tokio::select! {
        biased;
        _ = &mut second => panic!("the second was served beside the first"),
        () = ask_again_and_again(&mut first) => {}
    }
    drop(first);
    let answer = tokio::time::timeout(LIMIT, second).await.expect("served within the limit");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn shutting_down_ends_idle_connections_and_accepts_no_more() {
    let served = start(HttpLimits::default()).await;
    let mut idle = served.connect_as("alice").await;
    ask_again_and_again(&mut idle).await;
    served.shutdown.send(true).expect("the server listens");
    tokio::time::timeout(LIMIT, served.ended).await.expect("ended within the limit").expect("no panic");
    read_to_end(&mut idle).await;
    assert!(TcpStream::connect(served.address).await.is_err());
}
