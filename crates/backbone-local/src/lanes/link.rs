//! The router and the links to it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rumqttd::local::{LinkError, LinkRx, LinkTx};
use rumqttd::{Broker, Config, Notification, RouterConfig};
use thiserror::Error;

use super::header;

/// What the router keeps of a lane: segments of this size, in bytes of topic and payload (it leaves the header out; see
/// `header::Encoder`). It drops the oldest segment when all are full, whether it was read or not, so three full ones are
/// always there: what we let be on the way (`LANE_BYTES_MAX`) fits in them, and a reader that keeps up loses nothing.
/// It keeps what was read, too, so a lane holds up to 16 MiB, and one message above a segment's size each.
const SEGMENT_BYTES: usize = 4 << 20;
const SEGMENTS: usize = 4;
/// Messages the router hands over at once; it stops by itself at about 200 that wait.
const READ_AT_ONCE: u64 = 100;
/// Links beside one a lane: a lane that links again may briefly have two.
const SPARE_LINKS: usize = 4;
/// How long a new link may take to be ready. The router answers in microseconds; longer means that it is gone.
const LINK_WAIT: Duration = Duration::from_secs(5);

/// A lane could not be linked to the router.
#[derive(Debug, Error)]
pub(crate) enum LaneError {
    /// The router did not take the link.
    #[error("the router of the lanes: {0}")]
    Link(#[from] LinkError),
    /// The router did not confirm the subscription.
    #[error("the router of the lanes closed a new link")]
    Closed,
}

/// rumqttd's router, without any of its servers.
pub(super) struct Router {
    lanes: usize,
    broker: Mutex<Broker>,
}

impl Router {
    /// Starts the router's thread.
    pub(super) fn start(lanes: usize) -> Self {
        Self { lanes, broker: Mutex::new(new_broker(lanes)) }
    }

    /// A new link for a lane, subscribed to it. A router that is gone is started anew. Blocks: for the threads of lanes.
    pub(super) fn link(&self, lane: usize) -> Result<(LinkTx, LinkRx), LaneError> {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        link(&broker, lane).or_else(|error| {
            tracing::error!(%error, "the router of the lanes is gone; starting another");
            *broker = new_broker(self.lanes);
            link(&broker, lane)
        })
    }
}

fn new_broker(lanes: usize) -> Broker {
    Broker::new(Config {
        router: RouterConfig {
            max_connections: lanes + SPARE_LINKS,
            max_outgoing_packet_count: READ_AT_ONCE,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        ..Config::default()
    })
}

fn link(broker: &Broker, lane: usize) -> Result<(LinkTx, LinkRx), LaneError> {
    let (mut sender, mut receiver) = broker.link(&format!("lane-{lane}"))?;
    sender.subscribe(header::filter(lane))?;
    let deadline = Instant::now() + LINK_WAIT;
    loop {
        match receiver.recv_deadline(deadline)? {
            // The only acknowledgement of a link on which nothing was published.
            Some(Notification::DeviceAck(_)) => return Ok((sender, receiver)),
            Some(Notification::Disconnect(..)) => return Err(LaneError::Closed),
            _ => {}
        }
    }
}
