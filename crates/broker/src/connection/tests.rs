//! One connection without TLS, over an in-process pipe and in virtual time: what needs a clock.

use std::io;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use quorate_domain::PartyId;
use quorate_identity::authority::Authority;
use quorate_identity::{DangerAnonymous, Peer, peer_of_chain};
use quorate_wire::{
    Connect, ConnectProperties, Decoder, Packet, Publish, PublishProperties, QoS, ReasonCode, RetainHandling,
    Subscribe, SubscribeFilter, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::running::OUT_BYTES_MAX;
use super::socket::WRITE_STALL_LIMIT;
use super::*;
use crate::fixtures::{backbone, open_access};
use crate::live::ListenerNumber;

mod clauses;
mod ordinary;
mod parties;
mod slow;
mod wills;

/// What the pipe holds in each direction: less than one large message.
const PIPE_BYTES: usize = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECTIONS_PER_PARTY_MAX: usize = 2;

/// What a handshake would give: nothing else makes a [`Peer`].
fn peer(party: &str) -> Peer {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        Authority::create(folder.path()).unwrap()
    });
    let issued = AUTHORITY.issue_party(party, 30).unwrap();
    peer_of_chain(&[CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()]).unwrap()
}

struct Stage {
    shared: Arc<Shared>,
    drain: watch::Sender<bool>,
}

struct Client {
    pipe: DuplexStream,
    version: Version,
    decoder: Decoder,
    read: BytesMut,
    connection: JoinHandle<()>,
}

impl Stage {
    fn new() -> Self {
        Self::where_topics_are(open_access())
    }

    fn where_topics_are(access: Arc<AccessRules>) -> Self {
        let (drain, draining) = watch::channel(false);
        let shared = Shared {
            backbone: backbone(Arc::clone(&access)),
            access,
            wills: Arc::default(),
            live: Arc::default(),
            metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
            draining: Draining::new(draining),
        };
        Self { shared: Arc::new(shared), drain }
    }

    /// A connection whose client has said nothing.
    fn dial(&self, party: &str) -> Client {
        self.dial_as(Identification::Certificate(peer(party)), Version::V5)
    }

    /// A connection to a listener that believes every client.
    fn dial_danger(&self, version: Version) -> Client {
        let danger = DangerAnonymous::on("127.0.0.1:1883".parse().unwrap()).unwrap();
        self.dial_as(Identification::DangerAnonymous(danger), version)
    }

    fn dial_as(&self, identification: Identification, version: Version) -> Client {
        let (pipe, far_side) = duplex(PIPE_BYTES);
        let shared = Arc::clone(&self.shared);
        let connection = tokio::spawn(async move {
            let party_room = PartyRoom { listener: ListenerNumber(0), connections_max: CONNECTIONS_PER_PARTY_MAX };
            let terms = Terms { connect_timeout: CONNECT_TIMEOUT, party_room, limits: Limits::default() };
            converse(far_side, identification, &terms, shared).await;
        });
        Client { pipe, version, decoder: Decoder::client(version, 4 << 20), read: BytesMut::new(), connection }
    }

    async fn connect(&self, party: &str, keep_alive_s: u16) -> Client {
        let mut client = self.dial(party);
        client.send(&connect(keep_alive_s)).await;
        let Packet::ConnAck(connack) = client.receive().await.unwrap() else { panic!("no CONNACK") };
        assert_eq!(connack.reason_code, ReasonCode::Success);
        client
    }
}

impl Client {
    async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        quorate_wire::encode(packet, self.version, &mut bytes).unwrap();
        self.pipe.write_all(&bytes).await.unwrap();
    }

    /// `None`: the broker closed.
    async fn receive(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.read).unwrap() {
                return Some(packet);
            }
            match self.pipe.read_buf(&mut self.read).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn publish(&mut self, packet_id: u16, topic: &str, payload: impl Into<Bytes>) -> ReasonCode {
        self.send(&publish(packet_id, topic, payload)).await;
        loop {
            if let Packet::PubAck(ack) = self.receive().await.expect("the broker closed") {
                return ack.reason_code;
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) {
        let filters = vec![SubscribeFilter {
            filter: filter.into(),
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        }];
        let packet_id = 1.try_into().unwrap();
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            subscription_identifier: None,
            user_properties: Vec::new(),
            filters,
        }))
        .await;
        let Some(Packet::SubAck(suback)) = self.receive().await else { panic!("no SUBACK") };
        assert_eq!(suback.reason_codes, [ReasonCode::Success]);
    }
}

fn connect(keep_alive_s: u16) -> Packet {
    Packet::Connect(Box::new(Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s,
        client_id: "c".into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }))
}

fn publish(packet_id: u16, topic: &str, payload: impl Into<Bytes>) -> Packet {
    Packet::Publish(Box::new(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: topic.into(),
        packet_id: Some(packet_id.try_into().unwrap()),
        properties: PublishProperties::default(),
        payload: payload.into(),
    }))
}

const TX: &str = "a-room-of-its-own";

fn manifest() -> String {
    format!(
        r#"{{"tx":"{TX}","initiator":"alice","protocol":"test","parties":["alice","bob"],"threshold":2,"require_join":false}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_connect_is_closed_in_time() {
    let stage = Stage::new();
    let start = Instant::now();
    let mut client = stage.dial("alice");
    client.pipe.write_all(&[0x10, 0x20]).await.unwrap();
    assert_eq!(client.receive().await, None);
    assert_eq!(start.elapsed(), CONNECT_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_told_that_its_keep_alive_ran_out() {
    let stage = Stage::new();
    let start = Instant::now();
    let mut client = stage.connect("alice", 10).await;
    let Some(Packet::Disconnect(disconnect)) = client.receive().await else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason_code, ReasonCode::KeepAliveTimeout);
    assert!(start.elapsed() >= Duration::from_secs(15));
    assert_eq!(client.receive().await, None);
    assert!(!stage.shared.backbone.presence.is_present(&PartyId::new("alice").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_bytes_costs_a_bounded_buffer_and_is_given_up() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    assert_eq!(alice.publish(1, &format!("tx/{TX}/manifest"), manifest()).await, ReasonCode::Success);
    let mut bob = stage.connect("bob", 0).await;
    bob.subscribe("tx/+/msg/#").await;
    let before = stage.shared.metrics.bytes_sent.get();
    let start = Instant::now();
    let message = vec![7; 256 * 1024];
    for packet_id in 2..34 {
        assert_eq!(
            alice.publish(packet_id, &format!("tx/{TX}/msg/alice/x"), message.clone()).await,
            ReasonCode::Success
        );
    }
    let sent = usize::try_from(stage.shared.metrics.bytes_sent.get() - before).unwrap();
    assert!(sent < OUT_BYTES_MAX + PIPE_BYTES + 2 * message.len(), "{sent} bytes wait for a client that reads none");
    assert!(stage.shared.metrics.send_buffer_full.get() >= 1);
    bob.connection.await.unwrap();
    assert!(start.elapsed() >= WRITE_STALL_LIMIT);
    assert!(!stage.shared.backbone.presence.is_present(&PartyId::new("bob").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_without_reading_the_answers_is_not_read_any_more() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    let before = stage.shared.metrics.bytes_received.get();
    let pings = [0xC0, 0x00].repeat(OUT_BYTES_MAX);
    assert!(alice.pipe.write_all(&pings).await.is_err(), "the broker took them all");
    alice.connection.await.unwrap();
    let received = usize::try_from(stage.shared.metrics.bytes_received.get() - before).unwrap();
    assert!(received < OUT_BYTES_MAX + 2 * PIPE_BYTES, "{received} bytes were read");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_everything_in_order() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    alice.publish(1, &format!("tx/{TX}/manifest"), manifest()).await;
    let mut bob = stage.connect("bob", 0).await;
    bob.subscribe("tx/+/msg/#").await;
    for packet_id in 2..34_u16 {
        let message = vec![u8::try_from(packet_id).unwrap(); 256 * 1024];
        alice.publish(packet_id, &format!("tx/{TX}/msg/alice/x"), message).await;
    }
    for packet_id in 2..34_u8 {
        let Some(Packet::Publish(publish)) = bob.receive().await else { panic!("not a message") };
        assert_eq!(publish.payload.len(), 256 * 1024);
        assert!(publish.payload.iter().all(|&byte| byte == packet_id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_taken_for_silent_while_the_broker_does_not_read_it() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    alice.publish(1, &format!("tx/{TX}/manifest"), manifest()).await;
    let mut bob = stage.connect("bob", 2).await;
    bob.subscribe("tx/+/msg/#").await;
    let message = vec![7; 1024 * 1024];
    alice.publish(2, &format!("tx/{TX}/msg/alice/x"), message.clone()).await;
    let mut ping = BytesMut::new();
    quorate_wire::encode(&Packet::PingReq, Version::V5, &mut ping).unwrap();
    // Twenty seconds for one message, of which the broker reads nothing while more than half a megabyte waits.
    for _ in 0..20 {
        bob.pipe.write_all(&ping).await.unwrap();
        let mut slice = vec![0; 50 * 1024];
        bob.pipe.read_exact(&mut slice).await.unwrap();
        bob.read.extend_from_slice(&slice);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let Some(Packet::Publish(publish)) = bob.receive().await else { panic!("not the message") };
    assert_eq!(publish.payload, message);
    for _ in 0..20 {
        assert_eq!(bob.receive().await, Some(Packet::PingResp));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_published_right_before_disconnect_is_stored() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    alice.publish(1, &format!("tx/{TX}/manifest"), manifest()).await;
    let mut bytes = BytesMut::new();
    for _ in 0..20 {
        let Packet::Publish(mut message) = publish(1, &format!("tx/{TX}/msg/alice/x"), "last words") else { panic!() };
        (message.qos, message.packet_id) = (QoS::AtMostOnce, None);
        quorate_wire::encode(&Packet::Publish(message), Version::V5, &mut bytes).unwrap();
    }
    bytes.extend_from_slice(&[0xE0, 0x00]);
    alice.pipe.write_all(&bytes).await.unwrap();
    alice.pipe.shutdown().await.unwrap();
    alice.connection.await.unwrap();
    let journal = stage.shared.backbone.registry.journal(&TX.parse().unwrap(), quorate_domain::Seq::ZERO, 100).await;
    assert_eq!(journal.unwrap().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_the_client_and_ends_a_connection_that_has_said_nothing() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    let mut mute = stage.dial("bob");
    tokio::task::yield_now().await;
    let start = Instant::now();
    stage.drain.send_replace(true);
    let Some(Packet::Disconnect(disconnect)) = alice.receive().await else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason_code, ReasonCode::ServerShuttingDown);
    assert_eq!(alice.receive().await, None);
    assert_eq!(mute.receive().await, None);
    drop((alice.pipe, mute.pipe));
    alice.connection.await.unwrap();
    mute.connection.await.unwrap();
    assert!(start.elapsed() < CONNECT_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_takes_the_session_over_and_the_old_one_is_told() {
    let stage = Stage::new();
    let mut old = stage.connect("alice", 0).await;
    let mut other_party = stage.connect("bob", 0).await;
    let mut new = stage.connect("alice", 0).await;
    let Some(Packet::Disconnect(disconnect)) = old.receive().await else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason_code, ReasonCode::SessionTakenOver);
    for client in [&mut new, &mut other_party] {
        client.send(&Packet::PingReq).await;
        assert_eq!(client.receive().await, Some(Packet::PingResp));
    }
    assert!(stage.shared.backbone.presence.is_present(&PartyId::new("alice").unwrap()));
    assert_eq!(stage.shared.metrics.take_overs.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_packet_is_named_to_an_mqtt_5_client() {
    let stage = Stage::new();
    let mut alice = stage.connect("alice", 0).await;
    alice.pipe.write_all(&[0xC1, 0x00]).await.unwrap();
    let Some(Packet::Disconnect(disconnect)) = alice.receive().await else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason_code, ReasonCode::MalformedPacket);
    assert_eq!(alice.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_version_is_answered_in_its_own_shape() {
    for (level, answer) in [(6, &[0x20, 0x03, 0x00, 0x84, 0x00][..]), (2, &[0x20, 0x02, 0x00, 0x01][..])] {
        let stage = Stage::new();
        let mut client = stage.dial("alice");
        let connect = [0x10, 0x0D, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60, 0, 1, b'c'];
        client.pipe.write_all(&connect).await.unwrap();
        let mut said = Vec::new();
        client.pipe.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, answer, "level {level}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_packet_that_is_no_connect_is_answered_by_silence() {
    let stage = Stage::new();
    let mut client = stage.dial("alice");
    client.send(&Packet::PingReq).await;
    assert_eq!(client.receive().await, None);
}
