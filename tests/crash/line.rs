//! One MQTT connection over mutual TLS, packet by packet. What a client remembers from one connection to the next (packet
//! identifiers, what was released) is with [`super::mouth`] and [`super::listener`]: that is why neither our own client nor
//! rumqttc is used here, of which the first leaves a reconnect to its caller, and the second forgets at it which QoS 2
//! messages it has received.

use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quorate_wire::{
    Ack, ConnAck, Connect, ConnectProperties, Decoder, Disconnect, Packet, PacketId, ReasonCode, Version, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const OPEN_LIMIT: Duration = Duration::from_secs(10);
const PACKET_BYTES_MAX: usize = 2 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;
const SESSION_EXPIRY_S: u32 = 3600;
/// No pings: no test leaves a connection idle for so long.
const KEEP_ALIVE_S: u16 = 3600;

/// Where the broker is, and as which party one comes there.
#[derive(Clone)]
pub struct Door {
    address: String,
    tls: Arc<ClientConfig>,
}

impl Door {
    /// For a party whose certificate is in this folder.
    pub fn new(address: String, certificates: &Path, party: &str) -> Door {
        let file = |name: String| std::fs::read(certificates.join(name)).expect("a file of the CA");
        let parsed = |pem: &[u8]| CertificateDer::from_pem_slice(pem).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(parsed(&file("ca.pem".to_owned()))).expect("a CA");
        let chain = vec![parsed(&file(format!("{party}.pem")))];
        let key = PrivateKeyDer::from_pem_slice(&file(format!("{party}.key.pem"))).expect("a key");
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a key that fits");
        Door { address, tls: Arc::new(tls) }
    }
}

/// How a client asks for its session.
#[derive(Debug, Clone)]
pub struct Greeting {
    pub client_id: String,
    pub version: Version,
    pub clean_start: bool,
    /// Deliveries on their way to it; in 3.x the broker's bound holds.
    pub receive_maximum: u16,
}

/// An open connection.
pub struct Line {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    version: Version,
}

impl Line {
    /// Connects; gives also whether the broker had a session.
    pub async fn open(door: &Door, greeting: &Greeting) -> io::Result<(Line, bool)> {
        timeout(OPEN_LIMIT, Line::greet(door, greeting)).await?
    }

    async fn greet(door: &Door, greeting: &Greeting) -> io::Result<(Line, bool)> {
        let socket = TcpStream::connect(&door.address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::clone(&door.tls)).connect(name, socket).await?;
        let mut line = Line {
            stream,
            decoder: Decoder::client(greeting.version, PACKET_BYTES_MAX),
            input: BytesMut::new(),
            output: BytesMut::new(),
            version: greeting.version,
        };
        line.queue(&connect(greeting));
        line.flush().await?;
        match line.packet().await? {
            Packet::ConnAck(connack) if connack.reason_code == ReasonCode::Success => {
                let ConnAck { session_present, .. } = *connack;
                Ok((line, session_present))
            }
            other => Err(broken(&format!("instead of CONNACK: {other:?}"))),
        }
    }

    /// To be written with the next [`Line::flush`].
    pub fn queue(&mut self, packet: &Packet) {
        encode(packet, self.version, &mut self.output).expect("a packet of this version");
    }

    /// Not to be cancelled: a packet would be cut.
    pub async fn flush(&mut self) -> io::Result<()> {
        let output = self.output.split();
        self.stream.write_all(&output).await?;
        self.stream.flush().await
    }

    /// The next packet. May be cancelled.
    pub async fn packet(&mut self) -> io::Result<Packet> {
        loop {
            let decoded = self.decoder.decode(&mut self.input);
            if let Some(packet) = decoded.map_err(|error| broken(&error.to_string()))? {
                return Ok(packet);
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Says goodbye; the session stays.
    pub async fn close(mut self) -> io::Result<()> {
        self.queue(&Packet::Disconnect(Box::new(Disconnect {
            reason_code: ReasonCode::Success,
            session_expiry_interval_s: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        })));
        self.flush().await?;
        self.stream.shutdown().await
    }
}

/// An acknowledgement without anything to add.
pub fn ack(packet_id: PacketId) -> Ack {
    Ack { packet_id, reason_code: ReasonCode::Success, properties: None }
}

/// The next identifier that `is_free`.
pub fn next_packet_id(last: &mut PacketId, is_free: impl Fn(PacketId) -> bool) -> PacketId {
    loop {
        *last = last.checked_add(1).unwrap_or(PacketId::MIN);
        if is_free(*last) {
            return *last;
        }
    }
}

pub fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn connect(greeting: &Greeting) -> Packet {
    Packet::Connect(Box::new(Connect {
        version: greeting.version,
        clean_start: greeting.clean_start,
        keep_alive_s: KEEP_ALIVE_S,
        client_id: greeting.client_id.as_str().into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties {
            session_expiry_interval_s: Some(SESSION_EXPIRY_S),
            receive_maximum: NonZeroU16::new(greeting.receive_maximum),
            ..ConnectProperties::default()
        },
    }))
}
