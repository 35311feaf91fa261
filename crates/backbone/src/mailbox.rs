//! The mailbox of a connected session: bounded, and never silent about a loss. What does not fit is not kept (the log
//! has it); the session is told that it is behind, and reads the log.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use quorate_domain::{Delivery, PartyId, SessionKey};
use tokio::sync::{Notify, mpsc};

/// How many deliveries wait in the mailbox of one session. A session that reads at all empties its mailbox in one turn;
/// one that does not should read the log rather than hold memory. Room is taken only as it is needed. A burst at QoS 0,
/// which nothing else keeps, has to fit in while the session's task waits for its turn: several batches of the committer.
pub const MAILBOX_CAPACITY: usize = 2_048;

/// A mailbox of the given capacity, and the end at which deliveries enter.
pub fn mailbox(capacity: usize) -> (MailboxSender, Mailbox) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let behind = Arc::new(Behind::default());
    (MailboxSender { sender, behind: behind.clone() }, Mailbox { receiver, behind, registration: None })
}

/// That something was lost, and word of it.
#[derive(Debug, Default)]
struct Behind {
    flag: AtomicBool,
    word: Notify,
}

impl Behind {
    fn mark(&self) {
        // Flag first, then word: `recv` looks at the flag before it waits, and `notify_one` leaves a permit behind for
        // a receiver that is between the two.
        self.flag.store(true, Ordering::Release);
        self.word.notify_one();
    }

    fn take(&self) -> bool {
        self.flag.swap(false, Ordering::AcqRel)
    }
}

/// The end at which deliveries enter a mailbox. Never waits.
#[derive(Debug, Clone)]
pub struct MailboxSender {
    sender: mpsc::Sender<Delivery>,
    behind: Arc<Behind>,
}

impl MailboxSender {
    /// Puts a delivery in; where it does not fit, the session is marked behind. False if the copy was lost.
    pub fn deliver(&self, delivery: Delivery) -> bool {
        match self.sender.try_send(delivery) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.behind.mark();
                false
            }
            // Nobody is there to be behind.
            Err(mpsc::error::TrySendError::Closed(_)) => true,
        }
    }

    /// Tells the session that something may have been lost on the way to it.
    pub fn mark_behind(&self) {
        self.behind.mark();
    }
}

/// What a connected session receives. Dropping it unregisters it.
pub struct Mailbox {
    receiver: mpsc::Receiver<Delivery>,
    behind: Arc<Behind>,
    registration: Option<Registration>,
}

impl Mailbox {
    /// Whether what is said in transactions comes here; it does unless this says otherwise. To be set *before* the session
    /// reads how its logs stand: what is said then is either in what it reads or comes here.
    pub fn hear_rooms(&self, hears: bool) {
        if let Some(registration) = &self.registration {
            registration.hears_rooms.store(hears, Ordering::Release);
        }
    }

    /// The next delivery. `Delivery::Behind` comes before what still waits in the mailbox: the session then reads the
    /// log and drops what it has read there already. Cancel safe. Once the backbone is gone it waits for ever.
    pub async fn recv(&mut self) -> Delivery {
        loop {
            if self.behind.take() {
                return Delivery::Behind;
            }
            tokio::select! {
                biased;
                () = self.behind.word.notified() => {}
                delivery = self.receiver.recv() => match delivery {
                    Some(delivery) => return delivery,
                    None if self.behind.take() => return Delivery::Behind,
                    None => pending().await,
                },
            }
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mailbox")
            .field("waiting", &self.receiver.len())
            .field("registered", &self.registration.is_some())
            .finish_non_exhaustive()
    }
}

/// One mailbox among those of its party.
#[derive(Debug)]
struct Registered {
    id: u64,
    client_id: String,
    sender: MailboxSender,
    hears_rooms: Arc<AtomicBool>,
}

/// The mailboxes of the connected sessions of parties. Shared by the side that delivers and the side that connects;
/// its lock is held for one look or one change, never across a wait.
#[derive(Debug, Default)]
pub struct Mailboxes {
    of_party: RwLock<HashMap<PartyId, Vec<Registered>>>,
    next_id: AtomicU64,
}

impl Mailboxes {
    /// No mailboxes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A mailbox of [`MAILBOX_CAPACITY`] for a session, registered until it is dropped.
    pub fn register(self: &Arc<Self>, key: &SessionKey) -> Mailbox {
        let (sender, mut mailbox) = mailbox(MAILBOX_CAPACITY);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let hears_rooms = Arc::new(AtomicBool::new(true));
        self.of_party
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key.party.clone())
            .or_default()
            .push(Registered { id, client_id: key.client_id.clone(), sender, hears_rooms: hears_rooms.clone() });
        let mailboxes = self.clone();
        mailbox.registration = Some(Registration { mailboxes, party: key.party.clone(), id, hears_rooms });
        mailbox
    }

    /// Whether a party has a mailbox that hears of its transactions. To be asked after the message is durable: a session
    /// that registers, or begins to hear, later then finds the message in the log.
    pub fn has(&self, party: &PartyId) -> bool {
        let of_party = self.of_party.read().unwrap_or_else(PoisonError::into_inner);
        of_party.get(party).is_some_and(|mailboxes| mailboxes.iter().any(Registered::hears_rooms))
    }

    /// Delivers to every session of a party that hears of its transactions; gives how many copies were lost to full
    /// mailboxes.
    pub fn deliver(&self, party: &PartyId, delivery: &Delivery) -> usize {
        let of_party = self.of_party.read().unwrap_or_else(PoisonError::into_inner);
        let Some(mailboxes) = of_party.get(party) else {
            return 0;
        };
        let hearing = mailboxes.iter().filter(|mailbox| mailbox.hears_rooms());
        hearing.filter(|mailbox| !mailbox.sender.deliver(delivery.clone())).count()
    }

    /// Delivers to one session; gives how many copies were lost to a full mailbox: 0 or 1.
    pub fn deliver_to(&self, key: &SessionKey, delivery: Delivery) -> usize {
        self.of_session(key, |mailbox| usize::from(!mailbox.deliver(delivery))).unwrap_or(0)
    }

    /// Whether a session has a mailbox.
    pub fn has_session(&self, key: &SessionKey) -> bool {
        self.of_session(key, |_| ()).is_some()
    }

    /// Marks one session behind.
    pub fn mark_session_behind(&self, key: &SessionKey) {
        self.of_session(key, MailboxSender::mark_behind);
    }

    /// The newest mailbox of a session: an older one is of a connection that is about to end.
    fn of_session<T>(&self, key: &SessionKey, act: impl FnOnce(&MailboxSender) -> T) -> Option<T> {
        let of_party = self.of_party.read().unwrap_or_else(PoisonError::into_inner);
        let mailboxes = of_party.get(&key.party)?;
        let newest = mailboxes.iter().rev().find(|mailbox| mailbox.client_id == key.client_id)?;
        Some(act(&newest.sender))
    }

    /// Marks every session of a party behind.
    pub fn mark_behind(&self, party: &PartyId) {
        let of_party = self.of_party.read().unwrap_or_else(PoisonError::into_inner);
        for mailbox in of_party.get(party).into_iter().flatten() {
            mailbox.sender.mark_behind();
        }
    }

    /// Marks every session behind.
    pub fn mark_all_behind(&self) {
        let of_party = self.of_party.read().unwrap_or_else(PoisonError::into_inner);
        for mailbox in of_party.values().flatten() {
            mailbox.sender.mark_behind();
        }
    }
}

impl Registered {
    fn hears_rooms(&self) -> bool {
        self.hears_rooms.load(Ordering::Acquire)
    }
}

/// The place of a mailbox among the mailboxes, given back when dropped.
struct Registration {
    mailboxes: Arc<Mailboxes>,
    party: PartyId,
    id: u64,
    hears_rooms: Arc<AtomicBool>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut of_party = self.mailboxes.of_party.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailboxes) = of_party.get_mut(&self.party) {
            mailboxes.retain(|mailbox| mailbox.id != self.id);
            if mailboxes.is_empty() {
                of_party.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use bytes::Bytes;
    use quorate_domain::{Seq, TxId};

    use super::*;

    fn state(seq: u64) -> Delivery {
        Delivery::State {
            tx: TxId::new("mailbox-transaction").expect("a valid id"),
            seq: Seq(seq),
            document: Bytes::new(),
        }
    }

    fn key(party: &str) -> SessionKey {
        SessionKey { party: PartyId::new(party).expect("a valid party"), client_id: "one".to_owned() }
    }

    fn seq_of(delivery: &Delivery) -> Option<u64> {
        match delivery {
            Delivery::State { seq, .. } => Some(seq.0),
            Delivery::Log(_) | Delivery::Queued(_) | Delivery::Purged(_) | Delivery::Behind => None,
        }
    }

    #[tokio::test]
    async fn who_does_not_hear_of_transactions_is_passed_by() {
        let mailboxes = Arc::new(Mailboxes::new());
        let (deaf, key) = (mailboxes.register(&key("alice")), key("alice"));
        deaf.hear_rooms(false);
        assert!(!mailboxes.has(&key.party) && mailboxes.has_session(&key));
        assert_eq!(mailboxes.deliver(&key.party, &state(1)), 0);
        let mut hearing = mailboxes.register(&key);
        assert!(mailboxes.has(&key.party));
        mailboxes.deliver(&key.party, &state(2));
        deaf.hear_rooms(true);
        mailboxes.deliver(&key.party, &state(3));
        let mut deaf = deaf;
        assert_eq!((seq_of(&hearing.recv().await), seq_of(&deaf.recv().await)), (Some(2), Some(3)));
    }

    #[tokio::test]
    async fn deliveries_come_out_in_order() {
        let (sender, mut mailbox) = mailbox(4);
        assert!(sender.deliver(state(1)));
        assert!(sender.deliver(state(2)));
        assert_eq!(seq_of(&mailbox.recv().await), Some(1));
        assert_eq!(seq_of(&mailbox.recv().await), Some(2));
    }

    #[tokio::test]
    async fn an_overflow_is_told_and_what_fitted_still_comes() {
        let (sender, mut mailbox) = mailbox(1);
        assert!(sender.deliver(state(1)));
        assert!(!sender.deliver(state(2)));
        assert!(matches!(mailbox.recv().await, Delivery::Behind));
        assert_eq!(seq_of(&mailbox.recv().await), Some(1));
        assert!(sender.deliver(state(3)));
        assert_eq!(seq_of(&mailbox.recv().await), Some(3));
    }

    #[tokio::test]
    async fn a_mark_wakes_a_session_that_waits() {
        let (sender, mut mailbox) = mailbox(1);
        let waiter = tokio::spawn(async move { matches!(mailbox.recv().await, Delivery::Behind) });
        tokio::task::yield_now().await;
        sender.mark_behind();
        assert!(waiter.await.expect("the waiter ends"));
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_neither_mark_nor_delivery() {
        let (sender, mut mailbox) = mailbox(2);
        for round in 0..100 {
            {
                let mut wait = std::pin::pin!(mailbox.recv());
                let polled =
                    std::future::poll_fn(|context| std::task::Poll::Ready(wait.as_mut().poll(context).is_ready()));
                assert!(!polled.await, "nothing has been sent yet");
                if round % 2 == 0 {
                    sender.mark_behind();
                } else {
                    assert!(sender.deliver(state(round)));
                }
            }
            let received = mailbox.recv().await;
            let expected = (round % 2 == 1).then_some(round);
            assert_eq!(seq_of(&received), expected);
        }
    }

    #[tokio::test]
    async fn a_dropped_mailbox_is_unregistered() {
        let mailboxes = Arc::new(Mailboxes::new());
        let (alice, bob) = (key("alice"), key("bob"));
        let first = mailboxes.register(&alice);
        let mut second = mailboxes.register(&alice);
        assert!(mailboxes.has(&alice.party) && !mailboxes.has(&bob.party));
        drop(first);
        assert_eq!(mailboxes.deliver(&alice.party, &state(1)), 0);
        assert_eq!(seq_of(&second.recv().await), Some(1));
        drop(second);
        assert!(!mailboxes.has(&alice.party));
    }

    #[tokio::test]
    async fn a_full_mailbox_is_counted_and_marked() {
        let mailboxes = Arc::new(Mailboxes::new());
        let alice = key("alice");
        let mut mailbox = mailboxes.register(&alice);
        let mut lost = 0;
        for n in 0..MAILBOX_CAPACITY + 2 {
            lost += mailboxes.deliver(&alice.party, &state(n as u64));
        }
        assert_eq!(lost, 2);
        assert!(matches!(mailbox.recv().await, Delivery::Behind));
        assert_eq!(seq_of(&mailbox.recv().await), Some(0));
    }

    /// What is in a mailbox at this moment.
    async fn at_once(mailbox: &mut Mailbox) -> Option<Delivery> {
        let mut wait = std::pin::pin!(mailbox.recv());
        std::future::poll_fn(|context| match wait.as_mut().poll(context) {
            Poll::Ready(delivery) => Poll::Ready(Some(delivery)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Two sessions of alice's, the first with an older and a newer mailbox, and one of bob's with the same client id.
    fn neighbours(mailboxes: &Arc<Mailboxes>) -> [(SessionKey, Mailbox); 4] {
        let phone = SessionKey { client_id: "phone".to_owned(), ..key("alice") };
        [key("alice"), phone, key("bob"), key("alice")].map(|key| (key.clone(), mailboxes.register(&key)))
    }

    #[tokio::test]
    async fn what_is_for_one_session_comes_to_its_newest_mailbox_alone() {
        let mailboxes = Arc::new(Mailboxes::new());
        let [(alice, mut older), (_, mut phone), (_, mut bob), (_, mut newest)] = neighbours(&mailboxes);
        assert_eq!(mailboxes.deliver_to(&alice, state(1)), 0);
        mailboxes.mark_session_behind(&alice);
        assert_eq!(at_once(&mut newest).await, Some(Delivery::Behind));
        assert_eq!(at_once(&mut newest).await, Some(state(1)));
        for mailbox in [&mut newest, &mut older, &mut phone, &mut bob] {
            assert_eq!(at_once(mailbox).await, None);
        }
    }

    #[tokio::test]
    async fn while_any_mailbox_of_a_session_is_left_it_has_one() {
        let mailboxes = Arc::new(Mailboxes::new());
        let [(alice, mut older), (phone, of_phone), (bob, _of_bob), (_, newest)] = neighbours(&mailboxes);
        drop(newest);
        assert!(mailboxes.has_session(&alice));
        assert_eq!(mailboxes.deliver_to(&alice, state(1)), 0);
        assert_eq!(at_once(&mut older).await, Some(state(1)));
        drop(older);
        assert!(!mailboxes.has_session(&alice) && mailboxes.has_session(&phone) && mailboxes.has_session(&bob));
        drop(of_phone);
        assert!(!mailboxes.has(&alice.party) && mailboxes.has_session(&bob));
    }

    #[tokio::test]
    async fn a_session_without_a_mailbox_loses_no_copy_that_is_counted() {
        let mailboxes = Arc::new(Mailboxes::new());
        let [(alice, older), _phone, _bob, (_, newest)] = neighbours(&mailboxes);
        drop((older, newest));
        assert_eq!(mailboxes.deliver_to(&alice, state(1)), 0);
        mailboxes.mark_session_behind(&alice);
        assert!(!mailboxes.has_session(&alice), "a mark registers nobody");
    }

    #[tokio::test]
    async fn a_full_mailbox_of_one_session_is_counted_and_marks_that_one() {
        let mailboxes = Arc::new(Mailboxes::new());
        let [(alice, mut older), _phone, _bob, (_, mut newest)] = neighbours(&mailboxes);
        let capacity = MAILBOX_CAPACITY as u64;
        let lost: Vec<_> = (0..=capacity).map(|n| mailboxes.deliver_to(&alice, state(n))).collect();
        assert_eq!((lost.iter().sum::<usize>(), lost.last()), (1, Some(&1)));
        assert_eq!(at_once(&mut newest).await, Some(Delivery::Behind));
        assert_eq!(at_once(&mut newest).await, Some(state(0)));
        assert_eq!(at_once(&mut older).await, None, "the older one is not behind");
    }
}
