//! The kinds of listeners of a broker in one process, over loopback: WebSocket in TLS, and those that are dangerous.

mod support;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use quorate_domain::PartyId;
use quorate_wire::{Decoder, Packet, ReasonCode, Version};
use support::{Client, TestBroker, connect, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Upgrades a stream, as a page of this origin where there is one.
async fn upgrade<S>(stream: S, origin: Option<&str>) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    within(tokio_tungstenite::client_async(request, stream)).await.map(|(messages, _)| messages)
}

/// The bytes of a CONNECT of MQTT 5 and a PINGREQ.
fn connect_and_ping(client_id: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    quorate_wire::encode(&connect(Version::V5, client_id), Version::V5, &mut bytes).unwrap();
    quorate_wire::encode(&Packet::PingReq, Version::V5, &mut bytes).unwrap();
    bytes
}

/// Packets out of binary messages.
struct Packets {
    decoder: Decoder,
    read: BytesMut,
}

impl Packets {
    fn new() -> Packets {
        Packets { decoder: Decoder::client(Version::V5, 4 << 20), read: BytesMut::new() }
    }

    async fn next<S>(&mut self, messages: &mut WebSocketStream<S>) -> Packet
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.read).unwrap() {
                return packet;
            }
            match within(messages.next()).await {
                Some(Ok(Message::Binary(bytes))) => self.read.extend_from_slice(&bytes),
                other => panic!("not MQTT: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn mqtt_is_spoken_over_websocket_in_tls_and_the_certificate_says_who() {
    let broker = TestBroker::start("kind = \"wss\"").await;
    let mut messages = upgrade(broker.dial("alice").await, None).await.unwrap();
    // Packets straddle messages, and a message holds the end of one and another.
    let bytes = connect_and_ping("device").freeze();
    for piece in [bytes.slice(..1), bytes.slice(1..7), bytes.slice(7..)] {
        messages.send(Message::Binary(piece)).await.unwrap();
    }
    let mut packets = Packets::new();
    let Packet::ConnAck(connack) = packets.next(&mut messages).await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::Success);
    assert_eq!(packets.next(&mut messages).await, Packet::PingResp);
    let (party, backbone) = (PartyId::new("alice").unwrap(), broker.backbone.clone());
    assert!(backbone.presence.is_present(&party));

    let drained = tokio::spawn(broker.drain());
    let Packet::Disconnect(disconnect) = packets.next(&mut messages).await else { panic!("no DISCONNECT") };
    assert_eq!(disconnect.reason_code, ReasonCode::ServerShuttingDown);
    let Some(Ok(Message::Close(Some(close)))) = within(messages.next()).await else { panic!("no Close frame") };
    assert_eq!(close.code, CloseCode::Normal);
    drop(messages);
    within(drained).await.unwrap();
    assert!(!backbone.presence.is_present(&party));
}

#[tokio::test]
async fn a_page_that_is_not_listed_is_refused_and_counted() {
    let broker = TestBroker::start("kind = \"wss\"\norigins = [\"https://app.example\"]").await;
    let foreign = upgrade(broker.dial("alice").await, Some("https://evil.example")).await;
    let Err(Error::Http(response)) = foreign else { panic!("let in") };
    assert_eq!(response.status(), 403);
    assert!(upgrade(broker.dial("alice").await, Some("https://app.example")).await.is_ok());
    assert_eq!(broker.metric("quorate_connections_refused_total"), 1.0);
    broker.drain().await;
}

#[tokio::test]
async fn a_client_that_does_not_upgrade_is_closed_in_the_time_of_the_handshake() {
    let broker = TestBroker::start("kind = \"wss\"\nhandshake_timeout_ms = 500").await;
    let mut mute = broker.dial("alice").await;
    let _ = within(mute.read_to_end(&mut Vec::new())).await;
    broker.drain().await;
}

#[tokio::test]
async fn an_upgraded_client_that_sends_no_connect_is_closed() {
    let broker = TestBroker::start("kind = \"wss\"\nconnect_timeout_ms = 200").await;
    let mut mute = upgrade(broker.dial("alice").await, None).await.unwrap();
    assert!(matches!(within(mute.next()).await, Some(Ok(Message::Close(_)))));
    broker.drain().await;
}

#[tokio::test]
async fn a_dangerous_listener_believes_every_client() {
    let broker = TestBroker::start_danger("kind = \"tcp\"").await;
    let mut alice = Client::new(TcpStream::connect(broker.address).await.unwrap(), Version::V5);
    alice.send(&connect(Version::V5, "alice")).await;
    let Some(Packet::ConnAck(connack)) = alice.receive().await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::Success);
    assert!(broker.backbone.presence.is_present(&PartyId::new("alice").unwrap()));
    drop(alice);
    broker.drain().await;

    let broker = TestBroker::start_danger("kind = \"ws\"").await;
    let mut messages = upgrade(TcpStream::connect(broker.address).await.unwrap(), None).await.unwrap();
    messages.send(Message::Binary(connect_and_ping("bob").freeze())).await.unwrap();
    let mut packets = Packets::new();
    assert!(matches!(packets.next(&mut messages).await, Packet::ConnAck(_)));
    assert_eq!(packets.next(&mut messages).await, Packet::PingResp);
    assert!(broker.backbone.presence.is_present(&PartyId::new("bob").unwrap()));
    drop(messages);
    broker.drain().await;
}

#[tokio::test]
async fn connections_of_one_party_are_bounded_by_the_configuration() {
    let broker = TestBroker::start("connections_per_party_max = 1").await;
    let _alice = broker.connect("alice", "a").await;
    let mut more = Client::new(broker.dial("alice").await, Version::V5);
    more.send(&connect(Version::V5, "b")).await;
    let Some(Packet::ConnAck(connack)) = more.receive().await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::QuotaExceeded);
    assert_eq!(more.receive().await, None);
    let _bob = broker.connect("bob", "b").await;
    broker.drain().await;
}
