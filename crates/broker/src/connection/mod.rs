//! One connection, one task: TLS, then CONNECT, then the session, then the end. Each phase has its file.
//!
//! `opening` goes from the accepted socket to a [`Session`](quorate_session::Session); `running` drives it; `ending`
//! stores what is left of it; `socket` and `write_queue` are the bytes. What MQTT wants is decided in `quorate-session`, who the peer is in
//! `quorate-identity`.

mod ending;
mod opening;
mod running;
mod socket;
#[cfg(test)]
mod tests;
mod write_queue;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_backbone::Backbone;
use quorate_domain::Author;
use quorate_session::Limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tracing::field::{Empty, display};

use crate::draining::Draining;
use crate::live::LiveSessions;
use crate::metrics::{Metrics, RefusedAt};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) backbone: Backbone,
    pub(crate) live: Arc<LiveSessions>,
    pub(crate) metrics: Metrics,
    /// Tells when the broker drains.
    pub(crate) draining: Draining,
}

/// What the connections of one listener share.
pub(crate) struct Manner {
    pub(crate) listener: String,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) terms: Terms,
}

/// On which terms MQTT is spoken there.
pub(crate) struct Terms {
    pub(crate) connect_timeout: Duration,
    pub(crate) limits: Limits,
}

/// The span of one connection; party and client id are filled in when they are known.
pub(crate) fn span(listener: &str, peer: SocketAddr) -> tracing::Span {
    tracing::info_span!("connection", listener, peer = %peer, party = Empty, client_id = Empty)
}

/// Serves one accepted socket until it is closed.
pub(crate) async fn serve(socket: TcpStream, manner: Arc<Manner>, shared: Arc<Shared>) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut draining = shared.draining.clone();
    let accepted = tokio::select! {
        accepted = quorate_identity::accept(Arc::clone(&manner.tls), socket, manner.handshake_timeout) => accepted,
        () = draining.begun() => return,
    };
    let (stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            shared.metrics.refused(RefusedAt::Tls);
            tracing::info!(reason = %error, "connection refused");
            return;
        }
    };
    tracing::Span::current().record("party", display(&peer.party));
    let author = Author { party: peer.party, certificate: peer.certificate };
    converse(stream, author, &manner.terms, shared).await;
}

/// Speaks MQTT over a stream whose other side is proven to be `author`.
async fn converse<S>(stream: S, author: Author, terms: &Terms, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(connection) = opening::open(socket::Socket::new(stream), author, terms, shared).await {
        connection.run().await;
    }
}
