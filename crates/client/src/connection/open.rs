//! How a connection begins: TCP, TLS, CONNECT, CONNACK.

use std::{num::NonZeroU16, time::Duration};

use bytes::BytesMut;
use quorate_wire::{ConnAck, Connect, ConnectProperties, Decoder, Packet, encode};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{ClientError, ConnectOptions, client::lost};

/// From the first SYN to CONNACK.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest packet that is read: twice the largest message of a transaction.
const PACKET_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What a server without a Receive Maximum takes (MQTT5 3.2.2.3.3).
const RECEIVE_MAXIMUM_DEFAULT: usize = 65_535;

/// A connection that the server has accepted.
pub(crate) struct Opened {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) decoder: Decoder,
    /// What was read after CONNACK.
    pub(super) input: BytesMut,
    connack: Box<ConnAck>,
}

impl Opened {
    pub(crate) fn session_present(&self) -> bool {
        self.connack.session_present
    }

    pub(super) fn receive_maximum(&self) -> usize {
        self.connack.properties.receive_maximum.map_or(RECEIVE_MAXIMUM_DEFAULT, |most| usize::from(most.get()))
    }

    pub(super) fn packet_bytes_max(&self) -> usize {
        self.connack
            .properties
            .maximum_packet_size
            .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    pub(super) fn keep_alive_s(&self, options: &ConnectOptions) -> u16 {
        self.connack.properties.server_keep_alive_s.unwrap_or(options.keep_alive_s)
    }
}

/// Opens a connection, or says why not.
pub(crate) async fn open(options: &ConnectOptions) -> Result<Opened, ClientError> {
    timeout(CONNECT_TIMEOUT, handshake(options)).await.map_err(|_| ClientError::Timeout("CONNECT"))?
}

async fn handshake(options: &ConnectOptions) -> Result<Opened, ClientError> {
    let address = &options.address;
    let name = ServerName::try_from(options.server_name.clone())
        .map_err(|_| ClientError::ServerName(options.server_name.clone()))?;
    let connect_error =
        |error: std::io::Error| ClientError::Connect { address: address.clone(), cause: error.to_string() };
    let tls_error = |error: std::io::Error| ClientError::Tls { address: address.clone(), cause: error.to_string() };
    let socket = TcpStream::connect(address).await.map_err(connect_error)?;
    // Small packets are the rule here, and each is waited for.
    socket.set_nodelay(true).map_err(connect_error)?;
    let mut stream = TlsConnector::from(options.identity.tls()).connect(name, socket).await.map_err(tls_error)?;

    let mut output = BytesMut::new();
    encode(&connect_packet(options), options.version, &mut output)
        .map_err(|error| ClientError::Encode(error.to_string()))?;
    stream.write_all(&output).await.map_err(tls_error)?;
    stream.flush().await.map_err(tls_error)?;

    let mut decoder = Decoder::client(options.version, PACKET_BYTES_MAX);
    let mut input = BytesMut::with_capacity(super::READ_BYTES);
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(packet)) => {
                let connack = accepted(packet)?;
                return Ok(Opened { stream, decoder, input, connack });
            }
            Ok(None) => {}
            Err(error) => return Err(lost(&format!("the server broke the protocol: {error}"))),
        }
        // In TLS 1.3 a refused client certificate shows here, not in the handshake.
        if stream.read_buf(&mut input).await.map_err(tls_error)? == 0 {
            return Err(lost("the server closed it instead of answering CONNECT"));
        }
    }
}

fn accepted(packet: Packet) -> Result<Box<ConnAck>, ClientError> {
    match packet {
        Packet::ConnAck(connack) if !connack.reason_code.is_error() => Ok(connack),
        Packet::ConnAck(connack) => Err(ClientError::Refused {
            code: connack.reason_code,
            reason: connack.properties.reason_string.map(|text| text.to_string()),
        }),
        Packet::Disconnect(disconnect) => Err(ClientError::ConnectionLost {
            code: Some(disconnect.reason_code),
            reason: disconnect.reason_string.map(|text| text.to_string()),
            cause: "the server refused the connection".to_owned(),
        }),
        _ => Err(lost("the server broke the protocol: its first packet is not CONNACK")),
    }
}

fn connect_packet(options: &ConnectOptions) -> Packet {
    let receive_maximum = NonZeroU16::new(options.receive_maximum.max(1));
    Packet::Connect(Box::new(Connect {
        version: options.version,
        clean_start: options.clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id: options.client_id.as_str().into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties {
            session_expiry_interval_s: Some(options.session_expiry_s),
            receive_maximum,
            maximum_packet_size: u32::try_from(PACKET_BYTES_MAX).ok(),
            ..ConnectProperties::default()
        },
    }))
}
