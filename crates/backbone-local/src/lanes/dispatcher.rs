//! The task at the end of one lane: it takes copies from the router, checks their count, and puts them into mailboxes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::IntGauge;
use rumqttd::Notification;
use rumqttd::local::{LinkError, LinkRx};
use tokio::sync::mpsc;

use super::Traffic;
use super::header::{self, Count};
use crate::movement::LaneEnd;

/// Deliveries between two yields, so that a busy lane leaves others their turn.
const DISPATCH_TURN: u64 = 256;

/// The receiving side of a lane.
pub(super) struct Dispatcher {
    end: LaneEnd,
    traffic: Arc<Traffic>,
    link: Option<LinkRx>,
    links: mpsc::Receiver<LinkRx>,
    depth: IntGauge,
    count: Count,
}

impl Dispatcher {
    pub(super) fn new(
        end: LaneEnd,
        traffic: Arc<Traffic>,
        link: LinkRx,
        links: mpsc::Receiver<LinkRx>,
        depth: IntGauge,
    ) -> Self {
        Self { end, traffic, link: Some(link), links, depth, count: Count::default() }
    }

    pub(super) fn lane(&self) -> usize {
        self.end.lane
    }

    /// Dispatches until the lane is dropped.
    pub(super) async fn run(mut self) {
        let mut taken: u64 = 0;
        loop {
            tokio::select! {
                fresh = self.links.recv() => match fresh {
                    Some(link) => self.take_link(link),
                    None => return,
                },
                notification = next(self.link.as_mut()) => match notification {
                    Ok(notification) => self.handle(notification).await,
                    Err(error) => self.lose_link(&error),
                },
            }
            taken += 1;
            if taken.is_multiple_of(DISPATCH_TURN) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn handle(&mut self, notification: Option<Notification>) {
        match notification {
            Some(Notification::Forward(forward)) => match header::decode(forward.publish.payload, forward.properties) {
                Ok((count, copy)) => {
                    let expected = self.count.messages + u64::from(copy.is_some());
                    self.advance(count, expected);
                    if let Some(copy) = copy {
                        self.end.deliver(&copy);
                    }
                }
                Err(error) => {
                    tracing::error!(lane = self.end.lane, %error, "a lane message was dropped");
                    self.end.mark_all_behind();
                }
            },
            // The router stops at about 200 messages that wait, and goes on when told to.
            Some(Notification::Unschedule) => {
                if let Some(link) = &self.link
                    && let Err(error) = link.wake().await
                {
                    self.lose_link(&error);
                }
            }
            Some(Notification::Disconnect(..)) => self.lose_link(&LinkError::NotConnectionAck),
            Some(_) | None => {}
        }
    }

    /// Notes how far the count is; if it is not where it should be, something was lost.
    fn advance(&mut self, count: Count, expected: u64) {
        if count.messages != expected {
            tracing::warn!(lane = self.end.lane, expected, found = count.messages, "a lane lost messages");
            self.end.mark_all_behind();
        }
        self.count = count;
        self.traffic.left_messages.store(count.messages, Ordering::Release);
        self.traffic.left_bytes.store(count.bytes, Ordering::Release);
        let entered = self.traffic.entered_messages.load(Ordering::Acquire);
        self.depth.set(i64::try_from(entered.saturating_sub(count.messages)).unwrap_or(i64::MAX));
    }

    fn lose_link(&mut self, error: &LinkError) {
        tracing::error!(lane = self.end.lane, %error, "a lane lost its link");
        self.link = None;
        self.traffic.link_lost.store(true, Ordering::Release);
        self.end.mark_all_behind();
    }

    /// What was on the way when the link changed may be lost; what comes now continues the count or shows the gap.
    fn take_link(&mut self, link: LinkRx) {
        self.link = Some(link);
        self.end.mark_all_behind();
    }
}

/// The next notification; without a link, none ever. Cancel safe: it takes nothing before it returns.
async fn next(link: Option<&mut LinkRx>) -> Result<Option<Notification>, LinkError> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}
