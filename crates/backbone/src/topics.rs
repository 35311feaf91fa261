//! Ordinary topics, as the rest of the house sees them: publish, and read what waits for a session.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use quorate_domain::{AccessRules, Author, MessageProperties, Qos, QueuePage, Refusal, Routed, Seq, SessionKey};
use tokio::sync::mpsc;

use crate::{Appended, Completion, ReadLimit, Receipt, StoreError};

/// What holds for ordinary topics.
#[derive(Debug, Clone)]
pub struct TopicRules {
    /// Who may publish and hear what.
    pub access: Arc<AccessRules>,
    /// Messages that wait in one session's queue; at the bound a publish that it should hear at QoS 1 or 2 is refused
    /// ([`Refusal::QuotaExceeded`]): nothing is acknowledged and then dropped.
    pub queue_messages_max: u64,
    /// The same in bytes of payload.
    pub queue_bytes_max: u64,
}

/// Closed topics, and queues of 100,000 messages or 256 MiB.
impl Default for TopicRules {
    fn default() -> Self {
        Self { access: Arc::default(), queue_messages_max: 100_000, queue_bytes_max: 256 << 20 }
    }
}

/// A message that asks to be published to an ordinary topic. That its author may has been checked
/// ([`AccessRules::may_publish`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub topic: String,
    /// Whose message it is; `None`: the broker's own (`$SYS/`). What the broker retains of its own is not synced.
    pub author: Option<Author>,
    /// The session that published it, for No Local (MQTT5 3.8.3.1).
    pub session: Option<SessionKey>,
    /// The bytes of the message.
    pub payload: Bytes,
    /// How it was published.
    pub qos: Qos,
    /// Whether it takes the place of what is retained for its topic; with no payload, whether it clears that place.
    pub retain: bool,
    /// What else the publisher said about it.
    pub properties: MessageProperties,
    /// Of a publish at QoS 2 in a session that outlives its connection: see [`Append::receipt`](crate::Append::receipt).
    pub receipt: Option<Receipt>,
}

/// What is counted of ordinary topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Topics with a retained message.
    pub retained: u64,
    /// Subscriptions to ordinary topics, of all sessions that are connected or kept.
    pub subscriptions: u64,
    /// Messages that wait in queues, those under way to connected clients included.
    pub queued: u64,
}

/// The ordinary topics: who subscribes to what stands in the records of the sessions
/// ([`SessionStore::save`](crate::SessionStore::save)).
#[async_trait]
pub trait Topics: Send + Sync {
    /// Asks for a publish. Waits only for room in the queue; the outcome comes through `completion` once the message is in
    /// the queue of every session that hears it at QoS 1 or 2, and is durable where one of these sessions is, or where it
    /// is retained. Publications and appends submitted by one caller one after the other are decided in that order.
    async fn submit(&self, publication: Publication, completion: Completion) -> Result<(), StoreError>;

    /// Publishes and waits.
    async fn publish(&self, publication: Publication) -> Result<Appended, Refusal> {
        let (to, mut outcome) = mpsc::channel(1);
        self.submit(publication, Completion { token: 0, to })
            .await
            .map_err(|error| Refusal::StorageFault(error.to_string()))?;
        match outcome.recv().await {
            Some(completed) => completed.outcome,
            None => Err(Refusal::StorageFault(StoreError::Closed.to_string())),
        }
    }

    /// What waits in the queue of a session beyond `after`, in order.
    async fn read_queue(&self, key: &SessionKey, after: Seq, limit: ReadLimit) -> Result<QueuePage, StoreError>;

    /// What there is at the moment.
    fn counts(&self) -> TopicCounts;
}

/// What becomes of a message where a session that is to hear it at QoS 1 or 2 has a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Nobody hears it: its publisher is told, and may say it again.
    Refuse,
    /// Everybody else hears it: a will, whose publisher is gone.
    LeaveOut,
}

/// How many places a message takes in the queue of each session that is to hear it: a session that hears it by
/// subscriptions of its own, and as a member of a shared one, takes more than one.
pub fn places_taken(routed: &[Routed]) -> HashMap<&SessionKey, u64> {
    let mut places = HashMap::new();
    for routed in routed.iter().filter(|routed| routed.manner.qos > Qos::AtMostOnce) {
        *places.entry(&*routed.key).or_default() += 1;
    }
    places
}
