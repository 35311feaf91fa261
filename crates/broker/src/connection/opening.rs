//! From a socket to a session: the first packet within its time, the seat, the take-over, the presence.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_backbone::{Start, StoreError};
use quorate_domain::{Author, SessionKey};
use quorate_identity::Identification;
use quorate_session::{Handshake, Hello, Rejected};
use quorate_wire::{DecodeError, Decoder, Packet, ReasonCode};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::field::{debug, display};

use super::running::{Connection, Parts};
use super::socket::{Reading, Socket, SocketEvent};
use super::{Shared, Terms};
use crate::clock::unix_now;
use crate::effects::log_not_discarded;
use crate::live::{Predecessor, Seat};
use crate::metrics::RefusedAt;

/// Why there was no first packet.
#[derive(Debug, Error)]
enum NoPacket {
    /// It took too long.
    #[error("no CONNECT within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The peer went away.
    #[error("the peer closed the connection before its CONNECT was complete")]
    Ended,
    /// The connection broke.
    #[error("the connection broke before its CONNECT was complete: {0}")]
    Broken(#[from] io::Error),
    /// It is not MQTT as the specification has it.
    #[error("the first packet is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The broker ends.
    #[error("the broker is shutting down")]
    Draining,
}

/// Why the backbone, or the broker, cannot serve a session that MQTT would allow.
struct CannotServe {
    code: ReasonCode,
    /// Told to the client; no more than it may know.
    reason: &'static str,
}

/// Takes a connection up to its session. `None`: it was refused and is closed.
pub(super) async fn open<S>(
    mut socket: Socket<S>,
    identification: Identification,
    terms: &Terms,
    shared: Arc<Shared>,
) -> Option<Connection<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::server(terms.limits.packet_bytes_max as usize);
    let packet = match first_packet(&mut socket, &mut decoder, terms.connect_timeout, &shared).await {
        Ok(packet) => packet,
        Err(error) => {
            shared.metrics.refused(RefusedAt::Connect);
            tracing::info!(reason = %error, "connection refused");
            answer_no_packet(&mut socket, &error);
            socket.close().await;
            return None;
        }
    };
    let (author, hello) = match greet(packet, &identification, terms, &shared) {
        Ok(greeted) => greeted,
        Err(rejected) => return refuse(socket, rejected, &shared).await,
    };
    if let Identification::DangerAnonymous(_) = identification {
        tracing::Span::current().record("party", display(&author.party));
    }
    tracing::Span::current().record("client_id", debug(&hello.key().client_id));
    if let Err(CannotServe { code, reason }) = check_will(&hello, &shared).await {
        return refuse(socket, hello.reject(code, reason), &shared).await;
    }
    let (seat, predecessor) = match shared.live.take_seat(hello.key(), terms.party_room).await {
        Ok(taken) => taken,
        // In 3.x the code becomes "server unavailable" (MQTT3.1.1 3.2.2.3).
        Err(full) => return refuse(socket, hello.reject(ReasonCode::QuotaExceeded, &full.to_string()), &shared).await,
    };
    match begin(&hello, &seat, predecessor, &shared).await {
        Ok(taken) => {
            let parts = Parts { socket, decoder, author, seat, limits: terms.limits.clone(), shared };
            Some(Connection::begin(hello, taken, parts))
        }
        Err(CannotServe { code, reason }) => {
            drop(seat);
            refuse(socket, hello.reject(code, reason), &shared).await
        }
    }
}

/// Reads until the first packet is complete. Nothing that comes after it is decoded yet.
async fn first_packet<S>(
    socket: &mut Socket<S>,
    decoder: &mut Decoder,
    limit: Duration,
    shared: &Shared,
) -> Result<Packet, NoPacket>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut draining = shared.draining.clone();
    let read = async {
        loop {
            if let Some(packet) = socket.decode(decoder)? {
                return Ok(packet);
            }
            match socket.progress(Reading::On).await? {
                SocketEvent::Read(bytes) => shared.metrics.bytes_received.inc_by(bytes as u64),
                SocketEvent::Ended => return Err(NoPacket::Ended),
                SocketEvent::Wrote => {}
            }
        }
    };
    tokio::select! {
        read = timeout(limit, read) => read.unwrap_or(Err(NoPacket::Timeout(limit))),
        () = draining.begun() => Err(NoPacket::Draining),
    }
}

/// Who speaks, and what they want, if the first packet is a CONNECT that may be accepted.
fn greet(
    packet: Packet,
    identification: &Identification,
    terms: &Terms,
    shared: &Shared,
) -> Result<(Author, Hello), Rejected> {
    let fallback = fallback_client_id();
    let author = identify(&packet, identification, &fallback);
    let handshake = Handshake::new(terms.limits.clone(), Arc::clone(&shared.access));
    let hello = handshake.handle_packet(packet, author.clone(), fallback)?;
    Ok((author, hello))
}

/// Who speaks. Where nothing but the client identifier tells it, a client that leaves the identifier to the broker is
/// known by the one that it gets. Whether such a client, or such a packet, is accepted is the handshake's matter.
fn identify(packet: &Packet, identification: &Identification, fallback_client_id: &str) -> Author {
    match packet {
        Packet::Connect(connect) if !connect.client_id.is_empty() => identification.author(&connect.client_id),
        _ => identification.author(fallback_client_id),
    }
}

/// A will under `tx/` is taken where its transaction lists the author, before anything of an older connection is
/// touched. A transaction that is unknown and one that is foreign look the same.
async fn check_will(hello: &Hello, shared: &Shared) -> Result<(), CannotServe> {
    let Some(tx) = hello.will_transaction() else { return Ok(()) };
    let transaction = shared.backbone.registry.transaction(tx).await.map_err(|error| storage_fault(&error))?;
    match transaction {
        Some(transaction) if transaction.charter.is_party(&hello.key().party) => Ok(()),
        _ => Err(CannotServe { code: ReasonCode::NotAuthorized, reason: "the will is refused: not authorized" }),
    }
}

/// Logs the fault, and says no more of it than a client may know.
fn storage_fault(error: &StoreError) -> CannotServe {
    tracing::warn!(%error, "the session cannot be served");
    CannotServe { code: ReasonCode::ServerUnavailable, reason: "storage fault, retry later" }
}

/// What is said to a peer whose first packet is no CONNECT that can be understood: what the specification wants said
/// (an unsupported version, a missing identifier), else nothing, which MQTT5 4.13.1 allows.
fn answer_no_packet<S>(socket: &mut Socket<S>, error: &NoPacket)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let NoPacket::Malformed(error) = error
        && let Some(bytes) = error.answer()
    {
        socket.send_raw(&bytes);
    }
}

async fn refuse<S>(mut socket: Socket<S>, rejected: Rejected, shared: &Shared) -> Option<Connection<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    shared.metrics.refused(RefusedAt::Session);
    tracing::info!(reason = %rejected, "connection refused");
    if let Some(answer) = &rejected.answer
        && let Err(error) = socket.send(answer, rejected.version)
    {
        // In 3.x not every refusal has a return code; the end of the connection says it then.
        tracing::debug!(%error, "the refusal of a CONNECT has no form in the version of its client");
    }
    socket.close().await;
    None
}

/// What a session begins with, besides its CONNECT.
pub(super) struct Taken {
    pub(super) epoch: u64,
    pub(super) stored: Option<quorate_domain::StoredSession>,
    pub(super) mailbox: quorate_backbone::Mailbox,
}

/// Takes the session over in the store and announces the party, both in one commit where the backbone groups them. The
/// party is present before its CONNACK leaves: whoever hears from it finds it present.
async fn begin(hello: &Hello, seat: &Seat, predecessor: Predecessor, shared: &Shared) -> Result<Taken, CannotServe> {
    match predecessor {
        Predecessor::None => {}
        Predecessor::Gone => shared.metrics.take_overs.inc(),
        Predecessor::Stuck => {
            shared.metrics.take_overs.inc();
            tracing::warn!("the session's old connection did not end in time; it can store nothing any more");
        }
    }
    if seat.is_asked_to_leave() {
        return Err(CannotServe { code: ReasonCode::ServerBusy, reason: "a newer connection took the session" });
    }
    let key = hello.key();
    // Registered before anything is read: a message is either in what is read or in the mailbox.
    let mailbox = shared.backbone.fanout.mailbox(key);
    let start = if hello.starts_clean() { Start::Clean } else { Start::Resume };
    let (agreement, now) = (hello.agreement(), unix_now());
    let (taken, announced) = tokio::join!(
        shared.backbone.sessions.take_over(key, start, &agreement, now),
        shared.backbone.presence.announce(key, now),
    );
    match (taken, announced) {
        (Ok(taken), Ok(())) => Ok(Taken { epoch: taken.epoch, stored: taken.stored, mailbox }),
        (Ok(taken), Err(error)) => {
            // A connection that is refused leaves no will.
            if let Err(error) = shared.backbone.sessions.discard_will(key, taken.epoch).await {
                log_not_discarded(&error);
            }
            Err(storage_fault(&error))
        }
        (Err(error), announced) => {
            if announced.is_ok() {
                leave(key, shared).await;
            }
            Err(storage_fault(&error))
        }
    }
}

/// Takes back an announcement.
pub(super) async fn leave(key: &SessionKey, shared: &Shared) {
    if let Err(error) = shared.backbone.presence.leave(key, unix_now()).await {
        tracing::warn!(%error, "the end of a party's presence was not stored");
    }
}

/// The session of a client that leaves its name to the broker.
fn fallback_client_id() -> String {
    format!("q-{}", ulid::Ulid::new().to_string().to_ascii_lowercase())
}
