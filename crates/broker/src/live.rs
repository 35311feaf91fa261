//! Who is connected here and now: at most one connection a session key.
//!
//! A new connection of the same key asks the old one to end and waits, for a bounded time, until it has saved what it
//! knew; only then does it take the session over (MQTT5 3.1.4-3). That the old one cannot write afterwards, should it
//! be too slow, is the matter of the session store's epochs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_domain::SessionKey;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a new connection waits for the old one of its session to be gone. Longer than what the old one may take to
/// save (`FINISH_LIMIT`), so that it passes only where a task is stuck.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(8);

/// The connections of this broker by session key.
#[derive(Debug, Default)]
pub(crate) struct LiveSessions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    occupants: HashMap<SessionKey, Occupant>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Occupant {
    ticket: u64,
    leave: watch::Sender<bool>,
    /// Closed when the seat is dropped.
    gone: watch::Receiver<()>,
}

/// A connection's place among the live ones. Dropping it lets a successor go on.
#[derive(Debug)]
pub(crate) struct Seat {
    live: Arc<LiveSessions>,
    key: SessionKey,
    ticket: u64,
    leave: watch::Receiver<bool>,
    _here: watch::Sender<()>,
}

/// Whether somebody had to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predecessor {
    /// There was none.
    None,
    /// It has ended.
    Gone,
    /// It did not end within the limit.
    Stuck,
}

impl LiveSessions {
    /// Takes the seat of `key` and waits until whoever sat there is gone.
    pub(crate) async fn take_seat(self: &Arc<Self>, key: &SessionKey) -> (Seat, Predecessor) {
        let (seat, previous) = self.replace(key);
        let Some(previous) = previous else {
            return (seat, Predecessor::None);
        };
        previous.leave.send_replace(true);
        let mut gone = previous.gone;
        // Nothing is ever sent: `changed` ends when the seat, and with it the sender, is dropped.
        let waited = timeout(PREDECESSOR_LIMIT, gone.changed()).await;
        (seat, if waited.is_ok() { Predecessor::Gone } else { Predecessor::Stuck })
    }

    fn replace(self: &Arc<Self>, key: &SessionKey) -> (Seat, Option<Occupant>) {
        let (leave_sender, leave) = watch::channel(false);
        let (here, gone) = watch::channel(());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let previous = state.occupants.insert(key.clone(), Occupant { ticket, leave: leave_sender, gone });
        (Seat { live: Arc::clone(self), key: key.clone(), ticket, leave, _here: here }, previous)
    }
}

impl Seat {
    /// Ends when a successor wants the seat. Dropping the wait loses nothing.
    pub(crate) async fn asked_to_leave(&mut self) {
        // An error means that the sender is gone, which happens only when a successor has replaced it.
        let _ = self.leave.wait_for(|leave| *leave).await;
    }

    /// Whether a successor wants the seat.
    pub(crate) fn is_asked_to_leave(&self) -> bool {
        *self.leave.borrow()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.live.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.occupants.get(&self.key).is_some_and(|occupant| occupant.ticket == self.ticket) {
            state.occupants.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::PartyId;

    fn key(client_id: &str) -> SessionKey {
        SessionKey { party: PartyId::new("alice").unwrap(), client_id: client_id.to_owned() }
    }

    #[tokio::test]
    async fn a_free_seat_is_taken_at_once() {
        let live = Arc::new(LiveSessions::default());
        let (_one, predecessor) = live.take_seat(&key("a")).await;
        assert_eq!(predecessor, Predecessor::None);
        let (_other, predecessor) = live.take_seat(&key("b")).await;
        assert_eq!(predecessor, Predecessor::None);
    }

    #[tokio::test]
    async fn a_successor_waits_until_the_old_connection_is_gone() {
        let live = Arc::new(LiveSessions::default());
        let (mut old, _) = live.take_seat(&key("a")).await;
        let successor = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.take_seat(&key("a")).await }
        });
        old.asked_to_leave().await;
        assert!(!successor.is_finished());
        drop(old);
        let (seat, predecessor) = successor.await.unwrap();
        assert_eq!(predecessor, Predecessor::Gone);
        assert!(!seat.is_asked_to_leave());
        drop(seat);
        assert!(live.state.lock().unwrap().occupants.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_predecessor_is_waited_for_only_so_long() {
        let live = Arc::new(LiveSessions::default());
        let (old, _) = live.take_seat(&key("a")).await;
        let (seat, predecessor) = live.take_seat(&key("a")).await;
        assert_eq!(predecessor, Predecessor::Stuck);
        drop(old);
        assert_eq!(live.state.lock().unwrap().occupants.len(), 1, "the old seat must not free the new one's place");
        drop(seat);
    }
}
