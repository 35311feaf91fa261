//! Messages of ordinary topics: those that neither `tx/` nor `party/` hold. How they find the sessions that hear them is
//! [`Router`](crate::Router)'s matter, who may hear them [`AccessRules`](crate::AccessRules)'.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::Seq;
use crate::message::{Author, MessageProperties, Qos};
use crate::session_record::{SessionExpiry, SessionKey};
use crate::time::UnixMs;

/// What was published to an ordinary topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrdinaryMessage {
    /// When the broker took it: from here its expiry counts.
    pub at: UnixMs,
    /// Where it was published.
    pub topic: String,
    /// Who published it; `None`: the broker itself (`$SYS/`).
    pub from: Option<Author>,
    /// How it was published.
    pub qos: Qos,
    /// Whether it was published to be retained.
    pub retain: bool,
    /// What MQTT said beside the payload.
    pub properties: MessageProperties,
    /// What was said.
    pub payload: Bytes,
}

/// A message of an ordinary topic as one session is to hear it. Everything about it was decided when it was routed:
/// the session only sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its place in the queue of this session, which grows strictly. [`Seq::ZERO`]: it is not in the queue, since its
    /// delivery is at QoS 0: this copy is all there is.
    pub seq: Seq,
    /// The place before it in this session's queue; [`Seq::ZERO`]: none that is known.
    pub prev: Seq,
    /// With which QoS and flags it is delivered.
    pub manner: Manner,
    /// What was said.
    pub message: Arc<OrdinaryMessage>,
}

/// How one session hears one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manner {
    /// The lesser of the publish's and the subscription's; the greatest where several subscriptions match (MQTT5 3.3.4-2).
    pub qos: Qos,
    /// The RETAIN flag of the delivery (MQTT5 3.3.1.3).
    pub retain: bool,
    /// The identifiers of all subscriptions that match (MQTT5 3.3.4-3).
    pub identifiers: Vec<u32>,
    /// By which shared subscription it comes; `None`: by subscriptions of the session's own.
    pub share: Option<Share>,
}

/// A shared subscription (MQTT5 4.8.2): all sessions with the same name and filter are its members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// The ShareName.
    pub group: String,
    /// What is shared.
    pub filter: String,
}

/// A stretch of one session's queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuePage {
    /// What waits, in order.
    pub entries: Vec<Queued>,
    /// Nothing waited beyond it when it was read.
    pub is_end: bool,
}

/// A will (MQTT5 3.1.2.5): what the broker says in a party's name when its connection ends without DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Will {
    /// In whose name.
    pub author: Author,
    /// Where: an ordinary topic, or one of its own under `tx/`.
    pub topic: String,
    /// How.
    pub qos: Qos,
    /// Whether it is to be retained. Of no effect under `tx/`.
    pub retain: bool,
    /// What MQTT says beside the payload.
    pub properties: MessageProperties,
    /// What is said.
    pub payload: Bytes,
    /// How many seconds after the end of the connection, as it was agreed on at CONNECT.
    pub delay_s: u32,
}

/// What a CONNECT agrees on for its session beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// How long the session outlives the connection.
    pub expiry: SessionExpiry,
    /// What is to be said should the connection end without DISCONNECT.
    pub will: Option<Will>,
}

/// A will in the store whose time may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingWill {
    /// Whose session it belongs to.
    pub key: SessionKey,
    /// With what the session was taken over when the will was left.
    pub epoch: u64,
    /// [`Will::delay_s`].
    pub delay_s: u32,
}

impl Agreement {
    /// Without a will.
    pub fn lasting(expiry: SessionExpiry) -> Agreement {
        Agreement { expiry, will: None }
    }
}
