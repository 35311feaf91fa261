//! Copies carried by a bounded channel a lane, without rumqttd: for the benchmark, to tell what the router adds.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::movement::{Carrier, LANE_BYTES_MAX, LANE_MESSAGES_MAX, LaneEnd, LiveCopy};

/// Deliveries between two yields of a dispatcher, so that a busy lane leaves others their turn.
const DISPATCH_TURN: usize = 256;

/// One channel a lane.
pub(crate) struct Channels {
    lanes: Vec<Lane>,
    drop_every: Option<NonZeroU32>,
    carried: AtomicU32,
}

struct Lane {
    sender: mpsc::Sender<LiveCopy>,
    bytes: Arc<AtomicU64>,
    dispatcher: JoinHandle<()>,
}

impl Channels {
    /// Starts a dispatcher for each lane on the current runtime.
    pub(crate) fn start(ends: Vec<LaneEnd>, drop_every: Option<NonZeroU32>) -> Self {
        let lanes = ends.into_iter().map(Lane::start).collect();
        Self { lanes, drop_every, carried: AtomicU32::new(0) }
    }
}

impl Lane {
    fn start(end: LaneEnd) -> Self {
        let capacity = usize::try_from(LANE_MESSAGES_MAX).expect("a small number");
        let (sender, mut copies) = mpsc::channel::<LiveCopy>(capacity);
        let bytes = Arc::new(AtomicU64::new(0));
        let dispatcher = tokio::spawn({
            let bytes = bytes.clone();
            async move {
                let mut delivered = 0;
                while let Some(copy) = copies.recv().await {
                    bytes.fetch_sub(copy.weight(), Ordering::Relaxed);
                    end.deliver(&copy);
                    delivered += 1;
                    if delivered % DISPATCH_TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        Self { sender, bytes, dispatcher }
    }
}

impl Carrier for Channels {
    fn carry(&self, lane: usize, copy: LiveCopy) -> Result<(), LiveCopy> {
        if let Some(every) = self.drop_every
            && self.carried.fetch_add(1, Ordering::Relaxed) % every == every.get() - 1
        {
            return Err(copy);
        }
        let Lane { sender, bytes, .. } = &self.lanes[lane];
        let weight = copy.weight();
        if bytes.fetch_add(weight, Ordering::Relaxed) + weight > LANE_BYTES_MAX {
            bytes.fetch_sub(weight, Ordering::Relaxed);
            return Err(copy);
        }
        sender.try_send(copy).map_err(|refused| {
            bytes.fetch_sub(weight, Ordering::Relaxed);
            refused.into_inner()
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}
