//! A message as it stands in a log, and how it is handed to a party. How MQTT carries it is `session`'s matter.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::ids::{Seq, TxId};
use crate::party::PartyId;
use crate::time::UnixMs;
use crate::topic::TxTopic;
use crate::transaction::TxState;

/// Who published, as the TLS handshake proved it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Author {
    /// The publisher.
    pub party: PartyId,
    /// SHA-256 of its certificate (of the leaf's DER).
    pub certificate: Sha256,
}

/// The quality of service of a publish. A delivery has this or the subscription's, whichever is lower (MQTT5 3.8.4-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once. Also what the broker says itself, and what is published over HTTP: it lowers nobody's delivery.
    ExactlyOnce,
}

/// The properties of a PUBLISH that are the publisher's own and travel with the message (MQTT5 3.3.2.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageProperties {
    /// Whether the payload says that it is UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// What the payload says that it is.
    pub content_type: Option<String>,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What an answer should carry back.
    pub correlation_data: Option<Bytes>,
    /// Pairs in the order in which they came.
    pub user_properties: Vec<(String, String)>,
}

/// One record of a transaction's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogMessage {
    /// Its place in the log.
    pub seq: Seq,
    /// When the committer took it.
    pub at: UnixMs,
    /// Where it was published.
    pub topic: TxTopic,
    /// Who published it; `None`: the broker itself (the final state).
    pub from: Option<Author>,
    /// How it was published.
    pub qos: Qos,
    /// What MQTT said beside the payload.
    pub properties: MessageProperties,
    /// What was said.
    pub payload: Bytes,
}

/// A message as one party hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// What was said.
    pub message: Arc<LogMessage>,
    /// The `Seq` before it in this log that was addressed to this party; [`Seq::ZERO`]: none.
    pub prev: Seq,
}

/// A stretch of one log, as one party hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// What this party may hear, in `Seq` order.
    pub messages: Vec<Addressed>,
    /// All up to here was looked at; equal to `head`: this is the end for now.
    pub scanned_to: Seq,
    /// The last record of the log, whoever may hear it.
    pub head: Seq,
}

/// One party's place in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// The transaction.
    pub tx: TxId,
    /// How it stands.
    pub state: TxState,
    /// The last `Seq` that was addressed to this party.
    pub last_addressed: Seq,
    /// The last record of the log, whoever may hear it.
    pub head: Seq,
}

/// What arrives in a session's mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A live copy of a log record.
    Log(Addressed),
    /// The state as it is for now, latest only. The final state is a log record.
    State {
        /// The transaction.
        tx: TxId,
        /// The last record of its log when the document was made.
        seq: Seq,
        /// `StateDocument` as JSON.
        document: Bytes,
    },
    /// Something was lost on the way: the log has it.
    Behind,
}
