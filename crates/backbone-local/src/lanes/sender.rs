//! The thread that sends along one lane: it numbers the copies, puts them into the router's hands, and sends a marker
//! while some have not come out.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::Packet;
use tokio::sync::mpsc;

use super::Traffic;
use super::header::{Count, Encoder};
use super::link::Router;
use crate::movement::LiveCopy;

/// How long the loss of the last copy may stay unnoticed.
const MARKER_AFTER: Duration = Duration::from_millis(50);
/// Copies put into the router's hands at once.
const SEND_AT_ONCE: usize = 128;
/// How long to wait before linking again, where the router does not take a link.
const LINK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The sending side of a lane.
pub(super) struct Sender {
    lane: usize,
    router: Arc<Router>,
    link: LinkTx,
    fresh_links: mpsc::Sender<LinkRx>,
    traffic: Arc<Traffic>,
    drop_every: Option<NonZeroU32>,
    encoder: Encoder,
    count: Count,
}

impl Sender {
    pub(super) fn new(
        lane: usize,
        router: Arc<Router>,
        link: LinkTx,
        fresh_links: mpsc::Sender<LinkRx>,
        traffic: Arc<Traffic>,
        drop_every: Option<NonZeroU32>,
    ) -> Self {
        let encoder = Encoder::new(lane);
        Self { lane, router, link, fresh_links, traffic, drop_every, encoder, count: Count::default() }
    }

    /// Starts the thread; it ends when nobody can send any more.
    pub(super) fn spawn(mut self, copies: Receiver<LiveCopy>) -> std::io::Result<()> {
        let name = format!("lane-{}", self.lane);
        thread::Builder::new().name(name).spawn(move || self.run(&copies)).map(drop)
    }

    fn run(&mut self, copies: &Receiver<LiveCopy>) {
        loop {
            match self.next(copies) {
                Ok(Some(copy)) => self.send_with_those_that_wait(copy, copies),
                Ok(None) => self.send_marker(),
                Err(RecvError) => return,
            }
            if self.traffic.link_lost.load(Ordering::Acquire) {
                self.link_again();
            }
        }
    }

    /// The next copy, or none if it is time for a marker.
    fn next(&self, copies: &Receiver<LiveCopy>) -> Result<Option<LiveCopy>, RecvError> {
        if self.traffic.left_messages.load(Ordering::Acquire) == self.count.messages {
            return copies.recv().map(Some);
        }
        match copies.recv_timeout(MARKER_AFTER) {
            Ok(copy) => Ok(Some(copy)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(RecvError),
        }
    }

    fn send_with_those_that_wait(&mut self, first: LiveCopy, copies: &Receiver<LiveCopy>) {
        let mut packets = Vec::new();
        for copy in std::iter::once(first).chain(copies.try_iter()).take(SEND_AT_ONCE) {
            self.count.messages += 1;
            self.count.bytes += copy.weight();
            let dropped = self.drop_every.is_some_and(|every| self.count.messages.is_multiple_of(every.get().into()));
            // One that is not sent has its number all the same: the gap tells of it.
            let message = if dropped { None } else { self.encoder.copy(copy, self.count) };
            packets.extend(message.map(|(publish, properties)| Packet::Publish(publish, Some(properties))));
        }
        self.send(packets);
    }

    fn send_marker(&mut self) {
        let marker = self.encoder.marker(self.count);
        self.send(marker.map(|(publish, properties)| Packet::Publish(publish, Some(properties))).into_iter().collect());
    }

    fn send(&mut self, mut packets: Vec<Packet>) {
        let Some(last) = packets.pop() else { return };
        self.link.buffer().extend(packets);
        // `send` tells the router of all that is in the buffer. It is an `async fn` that blocks and never waits.
        let sent = {
            let mut send = pin!(self.link.send(last));
            send.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        if !matches!(sent, Poll::Ready(Ok(_))) {
            self.traffic.link_lost.store(true, Ordering::Release);
        }
    }

    /// Takes a new link; its receiving end goes to the dispatcher, which marks the sessions of the lane behind.
    fn link_again(&mut self) {
        match self.router.link(self.lane) {
            Ok((sender, receiver)) => {
                self.link = sender;
                self.traffic.link_lost.store(false, Ordering::Release);
                // An error means that the dispatcher has ended, and with it the lane.
                let _ = self.fresh_links.blocking_send(receiver);
            }
            Err(error) => {
                tracing::error!(lane = self.lane, %error, "a lane cannot be linked");
                thread::sleep(LINK_AGAIN_AFTER);
            }
        }
    }
}
