//! One connection, one task: TLS and WebSocket where the listener speaks them, then CONNECT, then the session, then the
//! end. Each phase has its file.
//!
//! `web_socket` makes a stream of bytes out of messages; `opening` goes from a stream to a
//! [`Session`](quorate_session::Session); `running` drives it; `ending` stores what is left of it; `socket` and
//! `write_queue` are the bytes. What MQTT wants is decided in `quorate-session`, who the peer is in `quorate-identity`.

mod ending;
mod opening;
mod running;
mod socket;
#[cfg(test)]
mod tests;
mod web_socket;
mod write_queue;

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_backbone::Backbone;
use quorate_domain::AccessRules;
use quorate_identity::{DangerAnonymous, Identification};
use quorate_session::Limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tracing::field::{Empty, display};

use crate::config::Framing;
use crate::draining::Draining;
use crate::live::{LiveSessions, PartyRoom};
use crate::metrics::{Metrics, RefusedAt};
use crate::wills::Wills;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) backbone: Backbone,
    /// Who may use ordinary topics.
    pub(crate) access: Arc<AccessRules>,
    /// Where wills wait.
    pub(crate) wills: Arc<Wills>,
    pub(crate) live: Arc<LiveSessions>,
    pub(crate) metrics: Metrics,
    /// Tells when the broker drains.
    pub(crate) draining: Draining,
}

/// What the connections of one listener share.
pub(crate) struct Manner {
    pub(crate) listener: String,
    pub(crate) entrance: Entrance,
    pub(crate) framing: Framing,
    pub(crate) handshake_timeout: Duration,
    pub(crate) terms: Terms,
}

/// What an accepted socket goes through first.
pub(crate) enum Entrance {
    /// The TLS handshake, in which the client proves who it is.
    Tls(Arc<ServerConfig>),
    /// Nothing.
    DangerPlaintext(DangerAnonymous),
}

/// On which terms MQTT is spoken there.
pub(crate) struct Terms {
    pub(crate) connect_timeout: Duration,
    pub(crate) party_room: PartyRoom,
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
    let deadline = Instant::now() + manner.handshake_timeout;
    match &manner.entrance {
        Entrance::Tls(tls) => {
            let handshake = Box::pin(quorate_identity::accept(Arc::clone(tls), socket, manner.handshake_timeout));
            let Some((stream, peer)) = unless_refused(handshake, RefusedAt::Tls, &shared).await else { return };
            tracing::Span::current().record("party", display(&peer.party));
            frame(stream, Identification::Certificate(peer), deadline, &manner, shared).await;
        }
        Entrance::DangerPlaintext(danger) => {
            frame(socket, Identification::DangerAnonymous(*danger), deadline, &manner, shared).await;
        }
    }
}

/// Speaks MQTT over `stream`, or over the WebSocket that it becomes before `deadline`.
async fn frame<S>(stream: S, identification: Identification, deadline: Instant, manner: &Manner, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match &manner.framing {
        Framing::Stream => converse(stream, identification, &manner.terms, shared).await,
        Framing::WebSocket { origins } => {
            let message_bytes_max = manner.terms.limits.packet_bytes_max as usize;
            let upgrade = web_socket::accept(stream, origins, message_bytes_max, deadline);
            let Some(stream) = unless_refused(upgrade, RefusedAt::Upgrade, &shared).await else { return };
            converse(stream, identification, &manner.terms, shared).await;
        }
    }
}

/// The outcome of a handshake. `None`: it was refused, which is told here, or the broker drains.
async fn unless_refused<T, E: Display>(
    handshake: impl Future<Output = Result<T, E>>,
    at: RefusedAt,
    shared: &Shared,
) -> Option<T> {
    let mut draining = shared.draining.clone();
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        () = draining.begun() => return None,
    };
    outcome
        .inspect_err(|error| {
            shared.metrics.refused(at);
            tracing::info!(reason = %error, "connection refused");
        })
        .ok()
}

/// Speaks MQTT over a stream of bytes.
async fn converse<S>(stream: S, identification: Identification, terms: &Terms, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let opening = opening::open(socket::Socket::new(stream), identification, terms, shared);
    // What it takes to open is given back before the session, which may be idle for days, begins.
    let opened = Box::pin(opening).await;
    if let Some(connection) = opened {
        connection.run().await;
    }
}
