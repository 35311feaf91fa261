//! How a connection ends: why, and what is done after it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quorate_backbone::Mailbox;
use quorate_domain::SessionKey;
use quorate_session::{CloseCause, Effect, Session};
use quorate_wire::{DecodeError, EncodeError};
use thiserror::Error;
use tokio::time::timeout;

use super::Shared;
use super::opening::leave;
use crate::clock::unix_now;
use crate::effects::Dealings;
use crate::live::Seat;

/// How long a successor is kept waiting while a session is stored at the end of its connection. Shorter than a
/// successor's patience (`PREDECESSOR_LIMIT`).
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum Ending {
    /// The session closed it.
    #[error("{0}")]
    Closed(CloseCause),
    /// The peer went away without DISCONNECT.
    #[error("the peer closed the connection without a DISCONNECT")]
    Ended,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is not MQTT.
    #[error("a packet is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The peer takes no bytes.
    #[error("the peer took no bytes for {} s", .0.as_secs())]
    Stuck(Duration),
    /// A packet of ours has no form in the version that the client speaks.
    #[error("an answer cannot be encoded: {0}")]
    Unencodable(#[from] EncodeError),
}

impl Ending {
    /// The word under which it is counted.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Ending::Closed(CloseCause::ClientDisconnected) => "disconnected",
            Ending::Closed(CloseCause::Protocol { .. }) | Ending::Malformed(_) => "protocol",
            Ending::Closed(CloseCause::Refused(_)) | Ending::Unencodable(_) => "refused",
            Ending::Closed(CloseCause::KeepAlive) => "keep_alive",
            Ending::Closed(CloseCause::TakenOver) => "taken_over",
            Ending::Closed(CloseCause::Draining) => "draining",
            Ending::Closed(CloseCause::Fault(_)) => "fault",
            // What a layer beneath MQTT could not understand: a TLS record, a WebSocket message.
            Ending::Broken(error) if error.kind() == io::ErrorKind::InvalidData => "protocol",
            Ending::Ended | Ending::Broken(_) => "lost",
            Ending::Stuck(_) => "stuck",
        }
    }

    /// Whether what still waits is written before the socket is closed.
    pub(super) fn wants_flush(&self) -> bool {
        matches!(self, Ending::Closed(_) | Ending::Malformed(_) | Ending::Unencodable(_))
    }
}

/// What is left of a connection when its socket is not its own any more.
pub(super) struct Rest {
    pub(super) session: Session,
    pub(super) dealings: Dealings,
    pub(super) key: SessionKey,
    pub(super) seat: Seat,
    pub(super) mailbox: Mailbox,
    pub(super) shared: Arc<Shared>,
}

impl Rest {
    /// Stores what outlives the connection, says that the party left, and then lets a successor go on.
    pub(super) async fn finish(mut self) {
        drop(self.mailbox);
        self.session.handle_connection_lost(unix_now());
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::DiscardWill => self.dealings.discard_will(),
                Effect::LeaveWill { delay } => leave_will(&mut self.dealings, delay, &self.shared),
                Effect::Save { record, replay } => self.dealings.save(record, replay),
                Effect::SaveCursors(moves) => self.dealings.save_cursors(moves),
                Effect::Remove => self.dealings.remove(),
                other => tracing::error!(effect = kind(&other), "an effect that no connection is left for"),
            }
        }
        let mut stored = pin!(async {
            tokio::join!(self.dealings.finish(), leave(&self.key, &self.shared));
        });
        if timeout(FINISH_LIMIT, stored.as_mut()).await.is_err() {
            tracing::warn!(limit_s = FINISH_LIMIT.as_secs(), "the store is slow: the session may repeat messages");
            drop(self.seat);
            // The task goes on, so that the party does not stay present; it holds its place among the listener's
            // connections meanwhile, which bounds how many such tasks there are.
            stored.await;
        }
    }
}

/// Leaves a will to be said. Not while the broker drains: what ends its clients' connections then is the broker, and
/// they come back to the next one, which finds the wills in the store.
pub(super) fn leave_will(dealings: &mut Dealings, delay: Duration, shared: &Shared) {
    if !shared.draining.has_begun() {
        shared.metrics.wills_left.inc();
        dealings.leave_will(delay, &shared.wills);
    }
}

/// An effect without what it carries: payloads are never logged.
fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Send(_) => "Send",
        Effect::Append { .. } => "Append",
        Effect::Publish { .. } => "Publish",
        Effect::LookUp { .. } => "LookUp",
        Effect::ReadStandings => "ReadStandings",
        Effect::ReadLog { .. } => "ReadLog",
        Effect::ReadState { .. } => "ReadState",
        Effect::ReadQueue { .. } => "ReadQueue",
        Effect::Save { .. } => "Save",
        Effect::Release(_) => "Release",
        Effect::Hold(_) => "Hold",
        Effect::SaveCursors(_) => "SaveCursors",
        Effect::LeftOut { .. } => "LeftOut",
        Effect::DiscardWill => "DiscardWill",
        Effect::LeaveWill { .. } => "LeaveWill",
        Effect::Remove => "Remove",
        Effect::Close(_) => "Close",
    }
}
