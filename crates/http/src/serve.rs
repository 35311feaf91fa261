//! Connections to the API: accepted, handshaken, served by hyper, and ended. What is answered is the router's matter.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate_identity::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tower_service::Service;
use tracing::Instrument;

use crate::Api;
use crate::metrics::HttpMetrics;
use crate::router::{BODY_BYTES_MAX, routes};

/// How many headers a request may have; beyond it hyper answers 431.
const HEADERS_MAX: usize = 64;
/// How many bytes of a request or an answer hyper buffers; also the bound of a request's head.
const BUFFER_BYTES_MAX: usize = 65_536;
/// How long one connection lasts. A client that keeps one open opens another after it; one that stops reading, or whose
/// certificate has ended meanwhile, does not keep its place.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);
/// How long a request that is under way has after its connection was told to end.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long accepting pauses after it failed (no file descriptors left), instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of the API's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take; also how long a connection may idle between requests.
    pub header_timeout: Duration,
    /// How many connections are held at once; further ones wait unaccepted.
    pub connections_max: usize,
    /// The largest request body in bytes; a larger one is answered 413.
    pub body_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            connections_max: 1_000,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

/// What every connection needs.
struct Door {
    tls: Arc<ServerConfig>,
    limits: HttpLimits,
    router: Router,
    metrics: HttpMetrics,
    shutdown: watch::Receiver<bool>,
}

/// Serves the API until `shutdown` says `true` (or its sender is gone), then lets what is under way end, for a few
/// seconds at most. Each connection is a task of its own, its handshake included.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: HttpLimits,
    api: Api,
    mut shutdown: watch::Receiver<bool>,
) {
    let metrics = HttpMetrics::register(&api.metrics);
    let door = Arc::new(Door {
        tls,
        limits,
        router: routes(api, metrics.clone(), limits.body_bytes_max),
        metrics,
        shutdown: shutdown.clone(),
    });
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let next = tokio::select! {
            () = told(&mut shutdown) => break,
            next = next_connection(&listener, &places) => next,
        };
        let Some((socket, address, place)) = next else {
            break;
        };
        while connections.try_join_next().is_some() {}
        let span = tracing::info_span!("api", peer = %address, party = tracing::field::Empty);
        connections.spawn(connection(door.clone(), socket, place).instrument(span));
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, ended).await.is_err() {
        tracing::warn!("API connections did not end in time and are cut");
    }
}

/// A place first, then a connection: beyond the bound, connections wait in the kernel's queue. `None`: never in practice
/// (the semaphore is not closed).
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((socket, address)) => return Some((socket, address, place)),
            Err(error) => {
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(door: Arc<Door>, socket: TcpStream, _place: OwnedSemaphorePermit) {
    let handshake = quorate_identity::accept(door.tls.clone(), socket, door.limits.handshake_timeout);
    let (stream, peer) = match handshake.await {
        Ok(accepted) => accepted,
        Err(error) => {
            door.metrics.handshakes_refused.inc();
            tracing::info!(%error, "a connection to the API was refused");
            return;
        }
    };
    tracing::Span::current().record("party", tracing::field::display(&peer.party));
    door.metrics.connections.inc();
    serve_requests(&door, TokioIo::new(stream), peer).await;
    door.metrics.connections.dec();
}

async fn serve_requests(door: &Door, stream: TokioIo<TlsStream<TcpStream>>, peer: Peer) {
    let service = service_fn(|request| answer(door.router.clone(), peer.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let mut shutdown = door.shutdown.clone();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut shutdown) => goodbye(connection).await,
        () = tokio::time::sleep(CONNECTION_LIFETIME) => goodbye(connection).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API broke");
    }
}

/// Ends a connection after the request that is under way, if there is one, and within a bound in any case.
async fn goodbye<S>(
    mut connection: std::pin::Pin<&mut http1::Connection<TokioIo<TlsStream<TcpStream>>, S>>,
) -> hyper::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
}

async fn answer(mut router: Router, peer: Peer, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    let mut request: Request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(peer);
    router.call(request).await
}

/// Resolves once the word has come, or can come no more.
async fn told(word: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: whoever would have said so has ended.
    let _ = word.wait_for(|said| *said).await;
}
