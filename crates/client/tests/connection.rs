//! The client against a server that is scripted packet by packet, over real mutual TLS on loopback.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quorate_client::{Client, ClientError, ConnectOptions, Identity, QoS, ReasonCode, Version};
use quorate_identity::{
    TlsFiles, TlsVersion,
    authority::{Existing, FolderPlan, fill_folder},
    server_config,
};
use quorate_wire::{
    Ack, ConnAck, ConnAckProperties, Decoder, Disconnect, Packet, PacketId, Publish, PublishProperties,
    ReasonProperties, SubAck, encode,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::server::TlsStream;

const LIMIT: Duration = Duration::from_secs(10);
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// A folder of certificates and a port.
struct House {
    certs: TempDir,
    listener: TcpListener,
}

/// The server's end of one connection.
struct Server {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    input: BytesMut,
    version: Version,
}

impl House {
    async fn new() -> Self {
        let certs = tempfile::tempdir().expect("a temporary folder");
        let plan = FolderPlan {
            servers: vec![("broker".to_owned(), vec!["localhost".to_owned()])],
            parties: vec!["alice".to_owned()],
            days: 1,
            existing: Existing::Keep,
        };
        fill_folder(certs.path(), &plan).expect("certificates");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { certs, listener }
    }

    fn options(&self) -> ConnectOptions {
        let identity = Identity::load(self.certs.path(), "alice").expect("an identity");
        let address = self.listener.local_addr().expect("bound").to_string();
        let mut options = ConnectOptions::new(address, identity, "test");
        options.server_name = "localhost".to_owned();
        options
    }

    async fn accept(&self, version: Version) -> Server {
        let file = |name: &str| self.certs.path().join(name);
        let files = TlsFiles {
            certificate_chain: file("broker.pem"),
            private_key: file("broker.key.pem"),
            client_ca: file("ca.pem"),
        };
        let tls = server_config(&files, &[TlsVersion::V1_3], &[]).expect("a configuration");
        let (socket, _) = self.listener.accept().await.expect("a connection");
        let (stream, peer) = quorate_identity::accept(tls, socket, LIMIT).await.expect("a handshake");
        assert_eq!(peer.party.as_str(), "alice");
        Server { stream, decoder: Decoder::server(PACKET_BYTES_MAX), input: BytesMut::new(), version }
    }

    /// A connected pair; the server announces this Receive Maximum.
    async fn connect(&self, options: ConnectOptions, receive_maximum: u16) -> (Client, Server) {
        let version = options.version;
        let connecting = tokio::spawn(Client::connect(options));
        let mut server = self.accept(version).await;
        assert!(matches!(server.receive().await, Packet::Connect(_)));
        server.send(connack(ReasonCode::Success, receive_maximum)).await;
        (connecting.await.expect("no panic").expect("connected"), server)
    }
}

impl Server {
    async fn receive(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).expect("the client is well behaved") {
                return packet;
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.input)).await.expect("in time").expect("read");
            assert!(read > 0, "the client closed the connection");
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut output = BytesMut::new();
        encode(&packet, self.version, &mut output).expect("encodes");
        self.stream.write_all(&output).await.expect("written");
        self.stream.flush().await.expect("flushed");
    }

    async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(timeout(LIMIT, self.stream.read(&mut byte)).await.expect("in time"), Ok(1))
    }
}

fn connack(reason_code: ReasonCode, receive_maximum: u16) -> Packet {
    Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason_code,
        properties: ConnAckProperties {
            receive_maximum: NonZeroU16::new(receive_maximum),
            ..ConnAckProperties::default()
        },
    }))
}

fn ack(packet_id: PacketId, reason_code: ReasonCode) -> Ack {
    Ack { packet_id, reason_code, properties: None }
}

fn disconnect(reason_code: ReasonCode) -> Packet {
    Packet::Disconnect(Box::new(Disconnect {
        reason_code,
        session_expiry_interval_s: None,
        reason_string: Some("because".into()),
        user_properties: Vec::new(),
        server_reference: None,
    }))
}

fn delivery(qos: QoS, packet_id: u16, payload: &'static [u8]) -> Packet {
    Packet::Publish(Box::new(Publish {
        dup: false,
        qos,
        retain: false,
        topic: "a".into(),
        packet_id: PacketId::new(packet_id),
        properties: PublishProperties::default(),
        payload: Bytes::from_static(payload),
    }))
}

fn publish_id(packet: Packet) -> PacketId {
    match packet {
        Packet::Publish(publish) => publish.packet_id.expect("QoS 1"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_more_publishes_are_in_flight_than_the_server_takes() {
    let house = House::new().await;
    let (client, mut server) = house.connect(house.options(), 2).await;
    let payload = Bytes::from_static(b"x");
    let first = client.start_publish("a", payload.clone(), QoS::AtLeastOnce).await.expect("room");
    let _second = client.start_publish("a", payload.clone(), QoS::AtLeastOnce).await.expect("room");
    let handle = client.handle();
    let third = tokio::spawn(async move { handle.start_publish("a", payload, QoS::AtLeastOnce).await });
    let first_id = publish_id(server.receive().await);
    server.receive().await;
    assert!(!third.is_finished());
    server.send(Packet::PubAck(ack(first_id, ReasonCode::Success))).await;
    first.acknowledged().await.expect("acknowledged");
    server.receive().await;
    assert!(third.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_caller_says_so() {
    let house = House::new().await;
    let (mut client, mut server) = house.connect(house.options(), 10).await;
    server.send(delivery(QoS::AtLeastOnce, 7, b"one")).await;
    let message = client.next().await.expect("a message");
    assert_eq!(message.payload, "one");
    // The SUBSCRIBE overtakes nothing: an acknowledgement would have come before it.
    let handle = client.handle();
    let subscribed = tokio::spawn(async move { handle.subscribe("a", QoS::AtLeastOnce).await });
    let Packet::Subscribe(subscribe) = server.receive().await else { panic!("not a SUBSCRIBE") };
    let reason_codes = vec![ReasonCode::NotAuthorized];
    let properties = ReasonProperties::default();
    server.send(Packet::SubAck(SubAck { packet_id: subscribe.packet_id, reason_codes, properties })).await;
    let refused = subscribed.await.expect("no panic").expect_err("refused");
    assert!(matches!(refused, ClientError::Refused { code: ReasonCode::NotAuthorized, .. }), "{refused}");
    client.acknowledge(&message).await.expect("queued");
    assert_eq!(server.receive().await, Packet::PubAck(ack(PacketId::new(7).expect("not zero"), ReasonCode::Success)));
}

#[tokio::test]
async fn the_servers_goodbye_reaches_every_waiter() {
    let house = House::new().await;
    let (mut client, mut server) = house.connect(house.options(), 10).await;
    let ticket = client.start_publish("a", Bytes::new(), QoS::AtLeastOnce).await.expect("room");
    server.receive().await;
    server.send(delivery(QoS::AtMostOnce, 0, b"before")).await;
    server.send(disconnect(ReasonCode::SessionTakenOver)).await;
    drop(server);
    let is_told = |error: &ClientError| {
        matches!(error, ClientError::ConnectionLost { code: Some(ReasonCode::SessionTakenOver), reason: Some(text), .. }
            if text == "because")
    };
    let error = ticket.acknowledged().await.expect_err("lost");
    assert!(is_told(&error), "{error}");
    assert_eq!(client.next().await.expect("what came before is still there").payload, "before");
    let error = client.next().await.expect_err("lost");
    assert!(is_told(&error), "{error}");
    let error = client.publish("a", Bytes::new(), QoS::AtLeastOnce).await.expect_err("lost");
    assert!(is_told(&error), "{error}");
}

#[tokio::test]
async fn a_caller_that_does_not_listen_slows_the_server_down_and_loses_nothing() {
    const MESSAGES: u64 = 20_000;
    let house = House::new().await;
    let mut options = house.options();
    options.receive_maximum = 1;
    let (mut client, mut server) = house.connect(options, 10).await;
    let sending = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            server.send(delivery(QoS::AtMostOnce, 0, &[0; 512])).await;
        }
        server
    });
    // The socket's buffers and the client's bound hold far fewer than this.
    let first = client.next().await.expect("a message");
    assert_eq!(first.qos, QoS::AtMostOnce);
    assert!(!sending.is_finished());
    for _ in 1..MESSAGES {
        client.next().await.expect("a message");
    }
    sending.await.expect("no panic");
}

#[tokio::test]
async fn a_message_of_another_connection_cannot_be_acknowledged() {
    let house = House::new().await;
    let (mut first, mut server) = house.connect(house.options(), 10).await;
    server.send(delivery(QoS::AtLeastOnce, 1, b"one")).await;
    let message = first.next().await.expect("a message");
    let (second, _server) = house.connect(house.options(), 10).await;
    assert!(matches!(second.acknowledge(&message).await, Err(ClientError::StaleMessage)));
}

#[tokio::test]
async fn a_refused_connect_is_told() {
    let house = House::new().await;
    let connecting = tokio::spawn(Client::connect(house.options()));
    let mut server = house.accept(Version::V5).await;
    server.receive().await;
    server.send(connack(ReasonCode::ServerUnavailable, 1)).await;
    let error = connecting.await.expect("no panic").expect_err("refused");
    assert!(matches!(error, ClientError::Refused { code: ReasonCode::ServerUnavailable, .. }), "{error}");
}

#[tokio::test]
async fn disconnect_sends_what_is_queued_first() {
    let house = House::new().await;
    let mut options = house.options();
    options.version = Version::V3_1_1;
    let (mut client, mut server) = house.connect(options, 10).await;
    server.send(delivery(QoS::AtLeastOnce, 3, b"one")).await;
    let message = client.next().await.expect("a message");
    client.acknowledge(&message).await.expect("queued");
    client.disconnect().await.expect("gone");
    assert!(matches!(server.receive().await, Packet::PubAck(_)));
    assert!(matches!(server.receive().await, Packet::Disconnect(_)));
    assert!(server.is_closed().await);
}

#[tokio::test]
async fn a_dropped_client_cuts_the_connection_also_where_a_handle_is_left() {
    let house = House::new().await;
    let (client, mut server) = house.connect(house.options(), 10).await;
    let handle = client.handle();
    drop(client);
    assert!(server.is_closed().await);
    assert!(matches!(
        handle.publish("a", Bytes::new(), QoS::AtLeastOnce).await,
        Err(ClientError::ConnectionLost { code: None, .. })
    ));
}

#[tokio::test]
async fn silence_is_broken_by_pings_and_a_dead_server_is_noticed() {
    let house = House::new().await;
    let mut options = house.options();
    options.keep_alive_s = 1;
    let (mut client, mut server) = house.connect(options, 10).await;
    assert_eq!(server.receive().await, Packet::PingReq);
    let error = timeout(LIMIT, client.next()).await.expect("in time").expect_err("lost");
    assert!(error.to_string().contains("does not answer pings"), "{error}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let (house, other) = (House::new().await, House::new().await);
    let mut options = house.options();
    options.identity = Identity::load(other.certs.path(), "alice").expect("an identity");
    let accepting = async {
        let (socket, _) = house.listener.accept().await.expect("a connection");
        let file = |name: &str| house.certs.path().join(name);
        let files = TlsFiles {
            certificate_chain: file("broker.pem"),
            private_key: file("broker.key.pem"),
            client_ca: file("ca.pem"),
        };
        let tls: Arc<_> = server_config(&files, &[TlsVersion::V1_3], &[]).expect("a configuration");
        quorate_identity::accept(tls, socket, LIMIT).await.is_err()
    };
    let (refused, connected) = tokio::join!(accepting, Client::connect(options));
    assert!(refused);
    assert!(matches!(connected, Err(ClientError::Tls { .. })));
}
