//! Real handshakes over loopback: who is let in, and why the others are not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, Issued, LEAF_DAYS_DEFAULT, SERVER_NAMES_DEFAULT, Validity};
use crate::provider::provider;
use crate::{AcceptError, IdentityError, Peer, TlsFiles, TlsVersion, accept, server_config};

const LIMIT: Duration = Duration::from_secs(10);
const BOTH: [TlsVersion; 2] = [TlsVersion::V1_3, TlsVersion::V1_2];

struct House {
    folder: TempDir,
    authority: Authority,
}

impl House {
    fn new() -> House {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::create(folder.path()).expect("an authority");
        let names = SERVER_NAMES_DEFAULT.map(str::to_owned);
        let server = authority.issue_server("broker", &names, LEAF_DAYS_DEFAULT).expect("a server");
        server.write(folder.path(), "broker").expect("written");
        House { folder, authority }
    }

    fn files(&self) -> TlsFiles {
        let at = |name: &str| self.folder.path().join(name);
        TlsFiles { certificate_chain: at("broker.pem"), private_key: at("broker.key.pem"), client_ca: at("ca.pem") }
    }

    fn party(&self, cn: &str) -> Issued {
        self.authority.issue_party(cn, LEAF_DAYS_DEFAULT).expect("a party")
    }

    fn client(&self, issued: Option<&Issued>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes());
        roots.add(ca.expect("a certificate")).expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        match issued {
            None => builder.with_no_client_auth(),
            Some(issued) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("PEM"),
                )
                .expect("a pair"),
        }
    }

    /// One handshake of `client`; what the server made of it.
    async fn meet(&self, versions: &[TlsVersion], client: ClientConfig) -> Result<Peer, AcceptError> {
        let config = server_config(&self.files(), versions, &[b"mqtt"]).expect("a server config");
        let (listener, address) = listen().await;
        let visit = tokio::spawn(visit(address, client));
        let (socket, _) = listener.accept().await.expect("a connection");
        let accepted = accept(config, socket, LIMIT).await;
        let peer = match accepted {
            Ok((mut stream, peer)) => {
                stream.write_all(b"hello").await.expect("written");
                stream.shutdown().await.expect("closed");
                Ok(peer)
            }
            Err(error) => Err(error),
        };
        let heard = visit.await.expect("the client's task ended");
        assert_eq!(heard, peer.is_ok(), "the client is served exactly where the server took it");
        peer
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Whether the server greeted.
async fn visit(address: SocketAddr, client: ClientConfig) -> bool {
    let socket = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let Ok(mut stream) = TlsConnector::from(Arc::new(client)).connect(name, socket).await else {
        return false;
    };
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.is_ok() && heard == b"hello"
}

#[tokio::test]
async fn a_party_is_named_by_the_cn_of_its_certificate() {
    let house = House::new();
    let alice = house.party("alice");
    for versions in [&BOTH[..], &[TlsVersion::V1_3], &[TlsVersion::V1_2]] {
        let peer = house.meet(versions, house.client(Some(&alice))).await.expect("accepted");
        assert_eq!(peer.party.as_str(), "alice");
        let der = CertificateDer::from_pem_slice(alice.certificate_pem.as_bytes()).expect("PEM");
        assert_eq!(peer.certificate, quorate_domain::Sha256::of(&der));
        let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).expect("after 1970") * 1000;
        assert!(peer.not_after.0 > now);
    }
}

#[tokio::test]
async fn the_post_quantum_group_is_chosen_where_both_sides_have_it() {
    let house = House::new();
    let config = server_config(&house.files(), &BOTH, &[]).expect("a server config");
    let (listener, address) = listen().await;
    let client = house.client(Some(&house.party("alice")));
    let visit = tokio::spawn(visit(address, client));
    let (socket, _) = listener.accept().await.expect("a connection");
    let (stream, _) = accept(config, socket, LIMIT).await.expect("accepted");
    let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a group").name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    drop(stream);
    visit.await.expect("the client's task ended");
}

#[tokio::test]
async fn a_second_handshake_is_not_resumed() {
    let house = House::new();
    let client = house.client(Some(&house.party("alice")));
    for versions in [&[TlsVersion::V1_3], &[TlsVersion::V1_2]] {
        let config = server_config(&house.files(), versions, &[]).expect("a server config");
        for _ in 0..2 {
            let (listener, address) = listen().await;
            let visit = tokio::spawn(visit(address, client.clone()));
            let (socket, _) = listener.accept().await.expect("a connection");
            let (mut stream, _) = accept(config.clone(), socket, LIMIT).await.expect("accepted");
            stream.write_all(b"hello").await.expect("written");
            stream.shutdown().await.expect("closed");
            let kind = stream.get_ref().1.handshake_kind();
            assert_ne!(kind, Some(rustls::HandshakeKind::Resumed));
            assert!(visit.await.expect("the client's task ended"));
        }
    }
}

#[tokio::test]
async fn without_a_certificate_nobody_comes_in() {
    let house = House::new();
    let error = house.meet(&BOTH, house.client(None)).await.expect_err("refused");
    assert!(matches!(error, AcceptError::Tls(rustls::Error::NoCertificatesPresented)), "{error:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let house = House::new();
    let foreign = House::new().party("alice");
    let error = house.meet(&BOTH, house.client(Some(&foreign))).await.expect_err("refused");
    assert!(matches!(error, AcceptError::Tls(rustls::Error::InvalidCertificate(_))), "{error:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let house = House::new();
    let now = OffsetDateTime::now_utc();
    let validity = Validity { from: now - time::Duration::days(2), to: now - time::Duration::minutes(1) };
    let expired = house.authority.issue_with_validity(&["alice"], validity).expect("issued");
    let error = house.meet(&BOTH, house.client(Some(&expired))).await.expect_err("refused");
    assert!(error.to_string().contains("xpired"), "{error}");
}

#[tokio::test]
async fn a_server_certificate_is_not_taken_for_a_party() {
    let house = House::new();
    let server = house.authority.issue_server("alice", &["localhost".to_owned()], LEAF_DAYS_DEFAULT).expect("issued");
    let error = house.meet(&BOTH, house.client(Some(&server))).await.expect_err("refused");
    assert!(matches!(error, AcceptError::Tls(_)), "{error:?}");
}

#[tokio::test]
async fn a_cn_that_is_no_party_id_is_refused_and_quoted() {
    let house = House::new();
    for bad in ["", "-alice", "al ice", "alice/bob", "alice\n", "\u{e1}lice", "tx+#"] {
        let issued = house.authority.issue_danger_unchecked(&[bad]).expect("issued");
        let error = house.meet(&BOTH, house.client(Some(&issued))).await.expect_err("refused");
        assert!(
            matches!(&error, AcceptError::Identity(IdentityError::NotAParty { common_name, .. }) if common_name == bad),
            "{bad:?}: {error:?}"
        );
        assert!(!error.to_string().contains('\n'), "a name cannot break a log line");
    }
}

#[tokio::test]
async fn two_common_names_are_refused() {
    let house = House::new();
    let issued = house.authority.issue_danger_unchecked(&["alice", "bob"]).expect("issued");
    let error = house.meet(&BOTH, house.client(Some(&issued))).await.expect_err("refused");
    assert!(matches!(error, AcceptError::Identity(IdentityError::ManyCommonNames { count: 2, .. })), "{error:?}");
}

#[tokio::test]
async fn a_subject_without_a_cn_is_refused() {
    let house = House::new();
    let issued = house.authority.issue_danger_unchecked(&[]).expect("issued");
    let error = house.meet(&BOTH, house.client(Some(&issued))).await.expect_err("refused");
    assert!(matches!(error, AcceptError::Identity(IdentityError::NoCommonName { .. })), "{error:?}");
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_at_the_timeout() {
    let house = House::new();
    let config = server_config(&house.files(), &BOTH, &[]).expect("a server config");
    let (listener, address) = listen().await;
    let mut silent = TcpStream::connect(address).await.expect("connected");
    let (socket, _) = listener.accept().await.expect("a connection");
    let limit = Duration::from_millis(50);
    let error = accept(config, socket, limit).await.expect_err("timed out");
    assert!(matches!(error, AcceptError::Timeout(after) if after == limit), "{error:?}");
    let read = silent.read(&mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "the connection is closed");
}

#[tokio::test]
async fn what_is_not_tls_is_refused_as_such() {
    let house = House::new();
    let config = server_config(&house.files(), &BOTH, &[]).expect("a server config");
    let (listener, address) = listen().await;
    let mut plain = TcpStream::connect(address).await.expect("connected");
    plain.write_all(b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04anna").await.expect("written");
    let (socket, _) = listener.accept().await.expect("a connection");
    let error = accept(config, socket, LIMIT).await.expect_err("refused");
    assert!(matches!(error, AcceptError::Tls(_)), "{error:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let house = House::new();
    let missing = TlsFiles { client_ca: "/nowhere/ca.pem".into(), ..house.files() };
    let error = server_config(&missing, &BOTH, &[]).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");

    let key_for_ca = TlsFiles { client_ca: house.folder.path().join("broker.key.pem"), ..house.files() };
    let error = server_config(&key_for_ca, &BOTH, &[]).expect_err("no certificate");
    assert!(error.to_string().contains("no certificate"), "{error}");

    let other_key = TlsFiles { private_key: house.folder.path().join("ca.key.pem"), ..house.files() };
    let error = server_config(&other_key, &BOTH, &[]).expect_err("not a pair");
    assert!(error.to_string().contains("ca.key.pem"), "{error}");

    assert!(server_config(&house.files(), &[], &[]).is_err(), "no version is no listener");
    assert!(Path::new(&house.files().client_ca).exists());
}
