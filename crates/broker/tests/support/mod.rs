//! A broker in this process over a memory backbone, on ports of its own, and clients that speak real TLS.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_backbone::memory::memory_backbone;
use quorate_backbone::{Backbone, TopicRules};
use quorate_broker::{Broker, Config};
use quorate_identity::authority::Authority;
use quorate_wire::{
    Connect, ConnectProperties, Decoder, Packet, Publish, PublishProperties, QoS, ReasonCode, RetainHandling,
    Subscribe, SubscribeFilter, Version,
};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long anything that must happen may take.
pub const LIMIT: Duration = Duration::from_secs(20);

const DAYS: u32 = 30;

/// The certificates of a listener.
const TLS: &str = r#"
[listener.tls]
certificate = "broker.pem"
key = "broker.key.pem"
client_ca = "ca.pem"
"#;

/// A running broker.
pub struct TestBroker {
    pub address: SocketAddr,
    pub backbone: Backbone,
    pub metrics: prometheus::Registry,
    authority: Authority,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    _folder: TempDir,
}

impl TestBroker {
    /// Starts one; `listener` is more TOML for its `[[listener]]`.
    pub async fn start(listener: &str) -> TestBroker {
        TestBroker::start_with(&format!("{listener}\n{TLS}"), "").await
    }

    /// Starts one with more TOML after the tables that all have.
    pub async fn start_with_tables(tables: &str) -> TestBroker {
        TestBroker::start_with(TLS, tables).await
    }

    /// Starts one that believes every client.
    pub async fn start_danger(listener: &str) -> TestBroker {
        TestBroker::start_with(&format!("{listener}\ndanger_plaintext = true\ndanger_anonymous = true"), "").await
    }

    async fn start_with(listener: &str, tables: &str) -> TestBroker {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        let names = ["localhost".to_owned()];
        authority.issue_server("broker", &names, DAYS).unwrap().write(folder.path(), "broker").unwrap();
        let text = format!(
            "[[listener]]\nname = \"test\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [storage]\npath = \"unused\"\n[drain]\nlimit_ms = 10000\n\
             [[transactions.rule]]\ninitiator = [\"*\"]\nmay_invite = [\"*\"]\n{tables}\n"
        );
        let config = Config::parse(&text, folder.path()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let topics = TopicRules {
            access: Arc::new(config.access.clone()),
            queue_messages_max: config.session.queue_messages_max as u64,
            queue_bytes_max: config.session.queue_bytes_max,
        };
        let backbone = memory_backbone(config.rules.clone(), topics);
        let metrics = prometheus::Registry::new();
        let broker = Broker::bind(config, backbone.clone(), metrics.clone()).await.unwrap();
        let address = broker.listener_addresses()[0];
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(broker.run(async {
            let _ = stopped.await;
        }));
        TestBroker { address, backbone, metrics, authority, stop, running, _folder: folder }
    }

    /// A TLS connection with a certificate for `cn`, on which nothing was said yet.
    pub async fn dial(&self, cn: &str) -> TlsStream<TcpStream> {
        let issued = self.authority.issue_party(cn, DAYS).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes()).map(Result::unwrap).collect(),
                PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap()
    }

    /// A client of MQTT 5 whose session outlives its connection.
    pub async fn connect(&self, cn: &str, client_id: &str) -> Client {
        let mut client = Client::new(self.dial(cn).await, Version::V5);
        client.send(&connect(Version::V5, client_id)).await;
        let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
        assert_eq!(connack.reason_code, ReasonCode::Success);
        client.session_present = connack.session_present;
        client
    }

    /// The value of a counter or gauge, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no {name}"));
        family.get_metric().iter().map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }

    /// What SIGTERM does; returns when the broker has ended.
    pub async fn drain(self) {
        self.stop.send(()).unwrap();
        within(self.running).await.unwrap();
    }
}

/// An MQTT client, packet by packet.
pub struct Client<S = TlsStream<TcpStream>> {
    pub session_present: bool,
    stream: S,
    version: Version,
    decoder: Decoder,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S, version: Version) -> Client<S> {
        let decoder = Decoder::client(version, 4 << 20);
        Client { session_present: false, stream, version, decoder, read: BytesMut::new() }
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        quorate_wire::encode(packet, self.version, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next packet; `None` once the broker has closed.
    pub async fn receive(&mut self) -> Option<Packet> {
        within(async {
            loop {
                if let Some(packet) = self.decoder.decode(&mut self.read).unwrap() {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.read).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return None,
                }
            }
        })
        .await
    }

    /// The next message; acknowledged where it asks for it. State documents are left out.
    pub async fn receive_message(&mut self) -> Publish {
        loop {
            let Some(Packet::Publish(publish)) = self.receive().await else { panic!("not a message") };
            if let Some(packet_id) = publish.packet_id {
                self.send(&Packet::PubAck(quorate_wire::Ack {
                    packet_id,
                    reason_code: ReasonCode::Success,
                    properties: None,
                }))
                .await;
            }
            if !publish.topic.ends_with("/state") {
                return *publish;
            }
        }
    }

    pub async fn subscribe(&mut self, filter: &str) -> ReasonCode {
        let filters = vec![SubscribeFilter {
            filter: filter.into(),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        }];
        let packet_id = 1.try_into().unwrap();
        let user_properties = Vec::new();
        self.send(&Packet::Subscribe(Subscribe { packet_id, subscription_identifier: None, user_properties, filters }))
            .await;
        let Some(Packet::SubAck(suback)) = self.receive().await else { panic!("no SUBACK") };
        suback.reason_codes[0]
    }

    /// Publishes at QoS 1 and waits for the answer. For clients that subscribe to nothing.
    pub async fn publish(&mut self, packet_id: u16, topic: &str, payload: impl Into<Bytes>) -> ReasonCode {
        self.send(&Packet::Publish(Box::new(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.into(),
            packet_id: Some(packet_id.try_into().unwrap()),
            properties: PublishProperties::default(),
            payload: payload.into(),
        })))
        .await;
        let Some(Packet::PubAck(ack)) = self.receive().await else { panic!("no PUBACK") };
        assert_eq!(ack.packet_id.get(), packet_id);
        ack.reason_code
    }

    /// The reason code of the DISCONNECT that must come next; after it the connection must end.
    pub async fn receive_goodbye(&mut self) -> ReasonCode {
        let Some(Packet::Disconnect(disconnect)) = self.receive().await else { panic!("no DISCONNECT") };
        assert_eq!(self.receive().await, None);
        disconnect.reason_code
    }
}

/// The value of a user property.
pub fn property(publish: &Publish, name: &str) -> Option<String> {
    let properties = &publish.properties.user_properties;
    properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_string())
}

pub fn connect(version: Version, client_id: &str) -> Packet {
    let expiry_s = (version == Version::V5).then_some(3_600);
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: false,
        keep_alive_s: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties { session_expiry_interval_s: expiry_s, ..ConnectProperties::default() },
    }))
}

/// Waits, but not for ever.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it took too long")
}
