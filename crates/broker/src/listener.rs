//! One MQTT listener: a loop that only accepts. Each connection is a task of its own; its handshake runs there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use crate::connection::{self, Manner, Shared};
use crate::metrics::{Held, RefusedAt};

/// The pause after an accept that failed for want of something (file descriptors, memory), so that the loop does not
/// spin until some connection gives it back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Silence after which the system asks the peer whether it is still there.
const VANISHED_AFTER: Duration = Duration::from_secs(60);

/// The shortest time between two warnings of the same kind: a flood of connections is no flood of log lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts until the broker drains, then waits until every connection has ended. Dropping it ends them at once.
pub(crate) async fn serve(listener: TcpListener, connections_max: usize, manner: Manner, shared: Arc<Shared>) {
    let mut draining = shared.draining.clone();
    let mut accepting = Accepting {
        manner: Arc::new(manner),
        shared,
        places: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
        connections: JoinSet::new(),
        full: Occasionally::default(),
        failed: Occasionally::default(),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => accepting.take(socket, peer),
                Err(error) => accepting.pause_after(&error).await,
            },
            Some(ended) = accepting.connections.join_next(), if !accepting.connections.is_empty() => report(ended),
            () = draining.begun() => break,
        }
    }
    drop(listener);
    while let Some(ended) = accepting.connections.join_next().await {
        report(ended);
    }
}

/// A client of 3.x may have no keep alive. One that lost its power would then be present for ever.
fn watch_for_a_vanished_peer(socket: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(VANISHED_AFTER).with_interval(VANISHED_AFTER / 4);
    if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "TCP keep alive was not set");
    }
}

struct Accepting {
    manner: Arc<Manner>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    connections: JoinSet<()>,
    full: Occasionally,
    failed: Occasionally,
}

impl Accepting {
    /// Gives a connection its task, or closes it where all places are taken.
    fn take(&mut self, socket: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.shared.metrics.refused(RefusedAt::Cap);
            if let Some(times) = self.full.now() {
                let listener = &self.manner.listener;
                tracing::warn!(listener, %peer, times, "connection refused: connections_max is reached");
            }
            return;
        };
        self.shared.metrics.connections_accepted.inc();
        watch_for_a_vanished_peer(&socket);
        let open = Held::new(&self.shared.metrics.connections_open);
        let span = connection::span(&self.manner.listener, peer);
        let (manner, shared) = (Arc::clone(&self.manner), Arc::clone(&self.shared));
        self.connections.spawn(
            async move {
                let _held: (OwnedSemaphorePermit, Held) = (place, open);
                connection::serve(socket, manner, shared).await;
            }
            .instrument(span),
        );
    }

    async fn pause_after(&mut self, error: &io::Error) {
        // A peer that is gone before it was accepted is its own affair.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        if let Some(times) = self.failed.now() {
            tracing::error!(listener = self.manner.listener, %error, times, "connections cannot be accepted");
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// A connection's task that panicked is a fault of ours; the others go on.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// Tells when the next warning is due, and how many times there was cause since the last one.
#[derive(Debug, Default)]
struct Occasionally {
    last: Option<Instant>,
    times: u64,
}

impl Occasionally {
    fn now(&mut self) -> Option<u64> {
        self.times += 1;
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < WARNING_INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_come_at_most_once_in_an_interval_and_say_how_many_they_stand_for() {
        let mut warnings = Occasionally::default();
        assert_eq!(warnings.now(), Some(1));
        assert_eq!(warnings.now(), None);
        assert_eq!(warnings.now(), None);
        sleep(WARNING_INTERVAL).await;
        assert_eq!(warnings.now(), Some(3));
    }
}
