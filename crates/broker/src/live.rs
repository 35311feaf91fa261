//! Who is connected here and now: at most one connection a session key, and only so many of one party at a listener.
//!
//! A new connection of the same key asks the old one to end and waits, for a bounded time, until it has saved what it
//! knew; only then does it take the session over (MQTT5 3.1.4-3). That the old one cannot write afterwards, should it
//! be too slow, is the matter of the session store's epochs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_domain::{PartyId, SessionKey};
use thiserror::Error;
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
    /// How many seats a party has at a listener; no entry: none.
    taken: HashMap<(ListenerNumber, PartyId), usize>,
    next_ticket: u64,
}

/// A listener's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ListenerNumber(pub(crate) usize);

/// How many seats one party may have at a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartyRoom {
    pub(crate) listener: ListenerNumber,
    pub(crate) connections_max: usize,
}

/// The party has all the connections that it may have at this listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the party has {connections_max} connections at this listener, and may not have more")]
pub(crate) struct PartyFull {
    connections_max: usize,
}

#[derive(Debug)]
struct Occupant {
    ticket: u64,
    listener: ListenerNumber,
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
    /// Takes the seat of `key` and waits until whoever sat there is gone. A seat that is taken over at the same listener
    /// is not one more: who lost a connection without the broker's knowledge comes in again.
    ///
    /// # Errors
    /// When the party has all the seats that it may have there.
    pub(crate) async fn take_seat(
        self: &Arc<Self>,
        key: &SessionKey,
        room: PartyRoom,
    ) -> Result<(Seat, Predecessor), PartyFull> {
        let (seat, previous) = self.replace(key, room)?;
        let Some(previous) = previous else {
            return Ok((seat, Predecessor::None));
        };
        previous.leave.send_replace(true);
        let mut gone = previous.gone;
        // Nothing is ever sent: `changed` ends when the seat, and with it the sender, is dropped.
        let waited = timeout(PREDECESSOR_LIMIT, gone.changed()).await;
        Ok((seat, if waited.is_ok() { Predecessor::Gone } else { Predecessor::Stuck }))
    }

    fn replace(self: &Arc<Self>, key: &SessionKey, room: PartyRoom) -> Result<(Seat, Option<Occupant>), PartyFull> {
        let (leave_sender, leave) = watch::channel(false);
        let (here, gone) = watch::channel(());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let PartyRoom { listener, connections_max } = room;
        let is_here = state.occupants.get(key).is_some_and(|occupant| occupant.listener == listener);
        let place = (listener, key.party.clone());
        if !is_here && state.taken.get(&place).is_some_and(|taken| *taken >= connections_max) {
            return Err(PartyFull { connections_max });
        }
        let previous = state.remove(key);
        *state.taken.entry(place).or_default() += 1;
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.occupants.insert(key.clone(), Occupant { ticket, listener, leave: leave_sender, gone });
        Ok((Seat { live: Arc::clone(self), key: key.clone(), ticket, leave, _here: here }, previous))
    }
}

impl State {
    fn remove(&mut self, key: &SessionKey) -> Option<Occupant> {
        let occupant = self.occupants.remove(key)?;
        if let Entry::Occupied(mut taken) = self.taken.entry((occupant.listener, key.party.clone())) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
        Some(occupant)
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
            state.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::PartyId;

    const ROOM: PartyRoom = PartyRoom { listener: ListenerNumber(0), connections_max: 2 };

    fn key(client_id: &str) -> SessionKey {
        SessionKey { party: PartyId::new("alice").unwrap(), client_id: client_id.to_owned() }
    }

    #[tokio::test]
    async fn a_free_seat_is_taken_at_once() {
        let live = Arc::new(LiveSessions::default());
        let (_one, predecessor) = live.take_seat(&key("a"), ROOM).await.unwrap();
        assert_eq!(predecessor, Predecessor::None);
        let (_other, predecessor) = live.take_seat(&key("b"), ROOM).await.unwrap();
        assert_eq!(predecessor, Predecessor::None);
    }

    #[tokio::test]
    async fn a_successor_waits_until_the_old_connection_is_gone() {
        let live = Arc::new(LiveSessions::default());
        let (mut old, _) = live.take_seat(&key("a"), ROOM).await.unwrap();
        let successor = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.take_seat(&key("a"), ROOM).await.unwrap() }
        });
        old.asked_to_leave().await;
        assert!(!successor.is_finished());
        drop(old);
        let (seat, predecessor) = successor.await.unwrap();
        assert_eq!(predecessor, Predecessor::Gone);
        assert!(!seat.is_asked_to_leave());
        drop(seat);
        assert!(live.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_predecessor_is_waited_for_only_so_long() {
        let live = Arc::new(LiveSessions::default());
        let (old, _) = live.take_seat(&key("a"), ROOM).await.unwrap();
        let (seat, predecessor) = live.take_seat(&key("a"), ROOM).await.unwrap();
        assert_eq!(predecessor, Predecessor::Stuck);
        drop(old);
        assert_eq!(live.state.lock().unwrap().occupants.len(), 1, "the old seat must not free the new one's place");
        drop(seat);
    }

    impl LiveSessions {
        fn is_empty(&self) -> bool {
            let state = self.state.lock().unwrap();
            state.occupants.is_empty() && state.taken.is_empty()
        }
    }

    #[tokio::test]
    async fn a_party_has_only_so_many_seats_at_a_listener_and_a_free_one_is_given_again() {
        let live = Arc::new(LiveSessions::default());
        let (one, _) = live.take_seat(&key("a"), ROOM).await.unwrap();
        let (_other, _) = live.take_seat(&key("b"), ROOM).await.unwrap();
        assert_eq!(live.take_seat(&key("c"), ROOM).await.map(drop), Err(PartyFull { connections_max: 2 }));

        let of_bob = SessionKey { party: PartyId::new("bob").unwrap(), client_id: "c".to_owned() };
        assert!(live.take_seat(&of_bob, ROOM).await.is_ok(), "another party has seats of its own");
        let next_door = PartyRoom { listener: ListenerNumber(1), ..ROOM };
        assert!(live.take_seat(&key("c"), next_door).await.is_ok(), "another listener has seats of its own");
        drop(one);
        assert!(live.take_seat(&key("c"), ROOM).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn taking_over_ones_own_seat_is_not_one_more() {
        let live = Arc::new(LiveSessions::default());
        let (old, _) = live.take_seat(&key("a"), ROOM).await.unwrap();
        let (other, _) = live.take_seat(&key("b"), ROOM).await.unwrap();
        let (new, predecessor) = live.take_seat(&key("a"), ROOM).await.unwrap();
        assert_eq!(predecessor, Predecessor::Stuck);
        let next_door = PartyRoom { listener: ListenerNumber(1), ..ROOM };
        let (moved, _) = live.take_seat(&key("b"), next_door).await.unwrap();
        assert!(live.take_seat(&key("c"), ROOM).await.is_ok(), "who moved left a seat");
        drop((old, other, new, moved));
        assert!(live.is_empty());
    }
}
