//! One sender: keeps its window full until it has sent enough or the time is up, and counts every answer once, refusals
//! and answers that never came included.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use quorate_client::{Client, ClientError, PublishTicket, QoS};
use tokio::time::timeout_at;

use crate::clock::{Clock, Tally};
use crate::phase::Counter;
use crate::stamp::Stamp;

/// How long the answers to the last messages of a window may take once the time is up. The slowest peer that is known
/// needs five seconds for them.
const LAST_ANSWERS_LIMIT: Duration = Duration::from_secs(30);

/// Where a sender's messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Write-once slots of a transaction: `tx/{tx}/broadcast/{number}/{party}`.
    Slots { tx: String, party: String },
    /// One topic.
    Topic(String),
}

impl Place {
    pub fn topic(&self, number: u64) -> String {
        match self {
            Place::Slots { tx, party } => format!("tx/{tx}/broadcast/{number}/{party}"),
            Place::Topic(topic) => topic.clone(),
        }
    }
}

/// What a sender does.
#[derive(Debug, Clone)]
pub struct Task {
    pub sender: u32,
    pub place: Place,
    pub payload_bytes: usize,
    pub inflight: u16,
    /// Ends after so many, or at `until`.
    pub messages: u64,
    pub until: Instant,
}

/// What became of a sender's messages, or of all senders'.
#[derive(Debug, Clone)]
pub struct Sent {
    /// One for each PUBACK without a refusal, with the time from handing over the publish.
    pub acknowledged: Tally,
    /// How often each refusal came.
    pub refused: BTreeMap<String, u64>,
    /// Sent, and neither acknowledged nor refused when the sender ended.
    pub unanswered: u64,
    /// Why senders ended before their time.
    pub broken: Vec<String>,
}

impl Sent {
    pub fn new() -> Self {
        Sent { acknowledged: Tally::new(), refused: BTreeMap::new(), unanswered: 0, broken: Vec::new() }
    }

    pub fn add(&mut self, other: Sent) {
        self.acknowledged.add(&other.acknowledged);
        for (refusal, count) in other.refused {
            *self.refused.entry(refusal).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.broken.extend(other.broken);
    }

    /// Counts one answer. A broken connection is told once, however many answers it takes with it.
    fn note(&mut self, answer: Result<(), ClientError>, began_ns: u64, clock: &Clock) {
        match answer {
            Ok(()) => self.acknowledged.record(clock, began_ns),
            Err(error @ (ClientError::Refused { .. } | ClientError::TooLarge { .. } | ClientError::Encode(_))) => {
                *self.refused.entry(error.to_string()).or_default() += 1;
            }
            Err(error) => {
                self.unanswered += 1;
                if self.broken.is_empty() {
                    self.broken.push(error.to_string());
                }
            }
        }
    }
}

/// Sends over `client`; the connection stays open. `done` counts what is acknowledged, for those who watch.
pub async fn send(client: &Client, task: &Task, clock: &Clock, done: &Counter) -> Sent {
    let mut sent = Sent::new();
    let mut underway: VecDeque<Underway> = VecDeque::with_capacity(usize::from(task.inflight));
    let mut number: u64 = 0;
    loop {
        let has_more = number < task.messages && Instant::now() < task.until && sent.broken.is_empty();
        if has_more && underway.len() < usize::from(task.inflight) {
            number += 1;
            let began_ns = clock.now_ns();
            let payload = Stamp { sender: task.sender, number, began_ns }.payload(task.payload_bytes);
            match client.start_publish(&task.place.topic(number), payload, QoS::AtLeastOnce).await {
                Ok(ticket) => underway.push_back(Underway { ticket, began_ns }),
                Err(error) => sent.note(Err(error), began_ns, clock),
            }
            continue;
        }
        // PUBACKs come in the order of the publishes (MQTT5 4.6.0-2), so the oldest is the next to be free.
        let Some(Underway { ticket, began_ns }) = underway.pop_front() else {
            return sent;
        };
        let limit = task.until + LAST_ANSWERS_LIMIT;
        match timeout_at(limit.into(), ticket.acknowledged()).await {
            Ok(answer) => {
                done.add(u64::from(answer.is_ok()));
                sent.note(answer, began_ns, clock);
            }
            Err(_) => sent.unanswered += 1,
        }
    }
}

/// A publish on its way.
struct Underway {
    ticket: PublishTicket,
    began_ns: u64,
}

#[cfg(test)]
mod tests {
    use quorate_client::ReasonCode;

    use super::*;

    #[test]
    fn a_refusal_is_counted_and_a_broken_connection_told_once() {
        let clock = Clock::new();
        clock.begin_measuring();
        let mut sent = Sent::new();
        let full = || Err(ClientError::Refused { code: ReasonCode::QuotaExceeded, reason: None });
        let lost = || Err(ClientError::ConnectionLost { code: None, reason: None, cause: "gone".to_owned() });
        for answer in [Ok(()), full(), full(), lost(), lost()] {
            sent.note(answer, 0, &clock);
        }
        let mut sum = Sent::new();
        sum.add(sent);
        assert_eq!((sum.acknowledged.all, sum.unanswered), (1, 2));
        assert_eq!(sum.refused.values().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(sum.broken, ["connection lost: gone"]);
    }

    #[test]
    fn every_message_of_a_transaction_has_a_slot_of_its_own() {
        let place = Place::Slots { tx: "t".to_owned(), party: "p".to_owned() };
        assert_eq!(place.topic(7), "tx/t/broadcast/7/p");
        assert_eq!(Place::Topic("load/0/1".to_owned()).topic(7), "load/0/1");
    }
}
