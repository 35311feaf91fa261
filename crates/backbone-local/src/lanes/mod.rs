//! The only place that knows rumqttd. Its router carries live copies along a fixed number of lanes; each lane has one
//! link, one thread that sends (sending to the router blocks) and one task that dispatches to mailboxes.
//!
//! The router may lose copies (a full log drops its oldest, a link may be dropped), and says nothing. So each lane
//! message carries a count; a gap in it, a new link, or a marker that finds copies missing marks the sessions of the lane
//! behind, and they read the log. Nothing here needs to be reliable, but a loss must be noticed: also that of the last
//! copy, after which nothing comes (the marker).

mod dispatcher;
mod header;
mod link;
mod sender;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::OpenError;
use crate::movement::{Carrier, LANE_BYTES_MAX, LANE_MESSAGES_MAX, LaneEnd, LiveCopy};
use dispatcher::Dispatcher;
use header::HEADER_BYTES_MAX;
use link::Router;
use sender::Sender;

/// The lanes of a backbone.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
}

struct Lane {
    entrance: SyncSender<LiveCopy>,
    traffic: Arc<Traffic>,
    dispatcher: JoinHandle<()>,
}

/// What is counted of one lane. Entered less left is what is on the way.
#[derive(Debug, Default)]
struct Traffic {
    entered_messages: AtomicU64,
    entered_bytes: AtomicU64,
    /// The count of the last message that came out: all before it have come out or were lost.
    left_messages: AtomicU64,
    left_bytes: AtomicU64,
    /// The dispatcher lost its link and waits for another.
    link_lost: AtomicBool,
}

impl Traffic {
    /// Counts a copy in; false if there is no room.
    fn enter(&self, weight: u64) -> bool {
        let messages = self.entered_messages.fetch_add(1, Ordering::AcqRel) + 1;
        let bytes = self.entered_bytes.fetch_add(weight, Ordering::AcqRel) + weight;
        let on_the_way = messages.saturating_sub(self.left_messages.load(Ordering::Acquire));
        let bytes_on_the_way = bytes.saturating_sub(self.left_bytes.load(Ordering::Acquire));
        if on_the_way > LANE_MESSAGES_MAX || bytes_on_the_way > LANE_BYTES_MAX {
            self.turn_back(weight);
            return false;
        }
        true
    }

    /// Takes back a copy that was counted in.
    fn turn_back(&self, weight: u64) {
        self.entered_messages.fetch_sub(1, Ordering::AcqRel);
        self.entered_bytes.fetch_sub(weight, Ordering::AcqRel);
    }
}

impl Lanes {
    /// Starts the router, and a sender and a dispatcher for each lane, the latter on the current runtime.
    /// With `drop_every`, each such copy is lost on the way (danger: for tests).
    pub(crate) fn start(ends: Vec<LaneEnd>, drop_every: Option<NonZeroU32>) -> Result<Self, OpenError> {
        let router = Arc::new(Router::start(ends.len()));
        let lanes = ends.into_iter().map(|end| Lane::start(end, &router, drop_every)).collect::<Result<_, _>>()?;
        Ok(Self { lanes })
    }
}

impl Lane {
    fn start(end: LaneEnd, router: &Arc<Router>, drop_every: Option<NonZeroU32>) -> Result<Self, OpenError> {
        let traffic = Arc::new(Traffic::default());
        let capacity = usize::try_from(LANE_MESSAGES_MAX).expect("a small number");
        let (entrance, copies) = sync_channel(capacity);
        let (fresh_links, links) = mpsc::channel(1);
        let (link_tx, link_rx) = router.link(end.lane).map_err(|error| OpenError::Lane(error.to_string()))?;
        let depth = end.metrics.lane_depth(end.lane);
        let dispatcher = Dispatcher::new(end, traffic.clone(), link_rx, links, depth);
        let sender = Sender::new(dispatcher.lane(), router.clone(), link_tx, fresh_links, traffic.clone(), drop_every);
        sender.spawn(copies).map_err(OpenError::Thread)?;
        let dispatcher = tokio::spawn(dispatcher.run());
        Ok(Self { entrance, traffic, dispatcher })
    }
}

impl Carrier for Lanes {
    fn carry(&self, lane: usize, copy: LiveCopy) -> Result<(), LiveCopy> {
        let Lane { entrance, traffic, .. } = &self.lanes[lane];
        let weight = copy.weight();
        if copy.header_bytes() > HEADER_BYTES_MAX || !traffic.enter(weight) {
            return Err(copy);
        }
        entrance.try_send(copy).map_err(|refused| {
            traffic.turn_back(weight);
            match refused {
                TrySendError::Full(copy) | TrySendError::Disconnected(copy) => copy,
            }
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // The sender's thread ends with the entrance; the router has no stop and stays (design.md).
        self.dispatcher.abort();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_backbone::Mailboxes;
    use quorate_domain::{Delivery, PartyId, Seq, SessionKey, TxId};

    use super::*;
    use crate::metrics::Metrics;
    use crate::movement::Cargo;

    const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(30);

    fn state(seq: u64) -> LiveCopy {
        let tx = TxId::new("lane-transaction-1").expect("a valid id");
        let addressees = vec![(PartyId::new("alice").expect("a valid party"), Seq::ZERO)];
        LiveCopy { cargo: Cargo::State { tx, seq: Seq(seq), document: Bytes::from_static(b"{}") }, addressees }
    }

    #[test]
    fn what_is_on_the_way_is_bounded_in_bytes_and_in_messages() {
        let traffic = Traffic::default();
        assert!(traffic.enter(LANE_BYTES_MAX));
        assert!(!traffic.enter(1));
        traffic.left_messages.store(1, Ordering::Release);
        traffic.left_bytes.store(LANE_BYTES_MAX, Ordering::Release);
        for _ in 0..LANE_MESSAGES_MAX {
            assert!(traffic.enter(1));
        }
        assert!(!traffic.enter(1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lane_that_loses_its_link_says_so_and_takes_another() {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
        let mailboxes = Arc::new(Mailboxes::new());
        let party = PartyId::new("alice").expect("a valid party");
        let mut mailbox = mailboxes.register(&SessionKey { party, client_id: "one".to_owned() });
        let router = Arc::new(Router::start(1));
        let end = LaneEnd { lane: 0, mailboxes, metrics };
        let lanes = Lanes { lanes: vec![Lane::start(end, &router, None).expect("a lane")] };
        let mut next = async || tokio::time::timeout(WAIT_MAX, mailbox.recv()).await.expect("something comes");

        lanes.carry(0, state(1)).expect("there is room");
        assert!(matches!(next().await, Delivery::State { seq: Seq(1), .. }));
        // A second client of the same name: the router drops the first one's link.
        let stolen = router.link(0).expect("a link");
        assert!(matches!(next().await, Delivery::Behind));
        drop(stolen);
        // What is sent now may be lost with the old link, but then that is told; in the end copies come again.
        for seq in 2.. {
            lanes.carry(0, state(seq)).expect("there is room");
            match next().await {
                Delivery::State { .. } => break,
                _ => assert!(seq < 10, "copies come again"),
            }
        }
    }
}
