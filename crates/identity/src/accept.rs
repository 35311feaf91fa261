//! The handshake of one accepted connection: under a timeout, and with a named party at its end.
//!
//! It runs in the connection's own task; the accept loop never waits for a peer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peer::{IdentityError, Peer, peer_of_chain};

/// Why a connection did not become a peer.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The handshake took too long.
    #[error("the TLS handshake was not finished within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The peers could not agree, or the client's certificate is missing, foreign, or not valid now.
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
    /// The connection broke during the handshake.
    #[error("the connection broke during the TLS handshake: {0}")]
    Connection(io::Error),
    /// The certificate was verified and names no party.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Carries out the handshake and reads the party out of the client's certificate.
///
/// # Errors
/// See [`AcceptError`]; the connection is closed.
pub async fn accept(
    config: Arc<rustls::ServerConfig>,
    socket: TcpStream,
    timeout: Duration,
) -> Result<(TlsStream<TcpStream>, Peer), AcceptError> {
    let stream = tokio::time::timeout(timeout, TlsAcceptor::from(config).accept(socket))
        .await
        .map_err(|_| AcceptError::Timeout(timeout))?
        .map_err(handshake_error)?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = peer_of_chain(chain)?;
    Ok((stream, peer))
}

/// tokio-rustls hides a `rustls::Error` in an `io::Error`; the two are the peer's fault and the network's.
fn handshake_error(error: io::Error) -> AcceptError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
    match tls {
        Some(tls) => AcceptError::Tls(tls),
        None => AcceptError::Connection(error),
    }
}
