//! One receiver: acknowledges what it hears and counts each message once, until it has heard enough or is told to stop.

use std::sync::Arc;
use std::time::Instant;

use quorate_client::{Client, ClientError, Message};
use tokio::sync::watch;

use crate::clock::{Clock, Tally};
use crate::phase::Counter;
use crate::stamp::Stamp;

/// When a receiver has heard enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It is not known yet.
    Unknown,
    /// After so many messages.
    Messages(u64),
    /// Now.
    Stop,
}

/// What one receiver heard, or all of them together.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Each message once, with the time from its stamp.
    pub messages: Tally,
    /// Messages that had come before, or behind a later one of the same sender.
    pub again: u64,
    /// When the last message came.
    pub last: Option<Instant>,
    /// Why receivers ended before their time.
    pub broken: Vec<String>,
}

impl Heard {
    pub fn new() -> Self {
        Heard { messages: Tally::new(), again: 0, last: None, broken: Vec::new() }
    }

    pub fn add(&mut self, other: Heard) {
        self.messages.add(&other.messages);
        self.again += other.again;
        self.last = self.last.max(other.last);
        self.broken.extend(other.broken);
    }
}

/// Hears over `client`, which is closed at the end. `senders` is how many there are; `done` counts what is heard, for
/// those who watch.
pub async fn receive(
    client: Client,
    mut goal: watch::Receiver<Goal>,
    senders: u32,
    clock: Arc<Clock>,
    done: Arc<Counter>,
) -> Heard {
    let mut ears = Ears { heard: Heard::new(), highest: vec![0; senders as usize], clock, done };
    if let Err(error) = ears.listen(client, &mut goal).await {
        ears.heard.broken.push(error.to_string());
    }
    ears.heard
}

struct Ears {
    heard: Heard,
    /// The highest number heard of each sender.
    highest: Vec<u64>,
    clock: Arc<Clock>,
    done: Arc<Counter>,
}

impl Ears {
    async fn listen(&mut self, mut client: Client, goal: &mut watch::Receiver<Goal>) -> Result<(), ClientError> {
        loop {
            let is_enough = match *goal.borrow_and_update() {
                Goal::Unknown => false,
                Goal::Messages(enough) => self.heard.messages.all >= enough,
                Goal::Stop => true,
            };
            if is_enough {
                // The acknowledgements that are queued leave before the goodbye.
                return client.disconnect().await;
            }
            tokio::select! {
                message = client.next() => {
                    let message = message?;
                    self.note(&message);
                    client.acknowledge(&message).await?;
                }
                told = goal.changed() => if told.is_err() {
                    // The run was given up, and its error says why.
                    return Ok(());
                },
            }
        }
    }

    /// Manifests and state documents come by the same subscription as the load; they are not counted.
    fn note(&mut self, message: &Message) {
        let Some(stamp) = Stamp::read(&message.payload) else {
            return;
        };
        let Some(highest) = self.highest.get_mut(stamp.sender as usize) else {
            return;
        };
        if stamp.number <= *highest {
            self.heard.again += 1;
            return;
        }
        *highest = stamp.number;
        self.heard.messages.record(&self.clock, stamp.began_ns);
        self.heard.last = Some(Instant::now());
        self.done.add(1);
    }
}
