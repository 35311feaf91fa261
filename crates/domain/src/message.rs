//! A message as it stands in a log, and how it is handed to a party. How MQTT carries it is `session`'s matter.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::ids::{Seq, TxId};
use crate::ordinary::Queued;
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
    /// For how many seconds it is worth delivering, from when the broker took it (MQTT5 3.3.2.3.3).
    pub expiry_interval_s: Option<u32>,
}

/// How long a message is still worth delivering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// For ever.
    Unbounded,
    /// So many more seconds: what a delivery says (MQTT5 3.3.2-6).
    Left(u32),
    /// It is not delivered any more (MQTT5 3.3.2-5).
    Over,
}

impl MessageProperties {
    /// When a message that the broker took at `at` is not delivered any more.
    pub fn ends_at(&self, at: UnixMs) -> Option<UnixMs> {
        let interval_s = self.expiry_interval_s?;
        Some(UnixMs(at.0.saturating_add(u64::from(interval_s) * 1_000)))
    }

    /// The lifetime at `now` of a message that the broker took at `at`. A second that has begun counts as left.
    pub fn lifetime(&self, at: UnixMs, now: UnixMs) -> Lifetime {
        let Some(interval_s) = self.expiry_interval_s else { return Lifetime::Unbounded };
        let ends_at = self.ends_at(at).unwrap_or(at);
        let left_s = ends_at.0.saturating_sub(now.0).div_ceil(1_000);
        // A clock that was set back lengthens no message's life.
        match u32::try_from(left_s).unwrap_or(u32::MAX).min(interval_s) {
            0 => Lifetime::Over,
            left_s => Lifetime::Left(left_s),
        }
    }
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
    /// A message of an ordinary topic.
    Queued(Box<Queued>),
    /// A transaction was purged: nothing more comes of it.
    Purged(TxId),
    /// Something was lost on the way: the log, or the session's queue, has it.
    Behind,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(interval_s: impl Into<Option<u32>>, at: u64, now: u64) -> Lifetime {
        let properties = MessageProperties { expiry_interval_s: interval_s.into(), ..MessageProperties::default() };
        properties.lifetime(UnixMs(at), UnixMs(now))
    }

    #[test]
    fn without_an_expiry_a_message_lives_for_ever() {
        assert_eq!(lifetime(None, 0, u64::MAX), Lifetime::Unbounded);
    }

    #[test]
    fn seconds_are_counted_down_and_a_second_that_has_begun_is_left() {
        for (now, left) in [(10_000, 3), (10_001, 3), (10_999, 3), (11_000, 2), (12_000, 1), (12_999, 1)] {
            assert_eq!(lifetime(3, 10_000, now), Lifetime::Left(left), "at {now}");
        }
        assert_eq!(lifetime(3, 10_000, 13_000), Lifetime::Over);
        assert_eq!(lifetime(3, 10_000, u64::MAX), Lifetime::Over);
    }

    #[test]
    fn a_clock_that_was_set_back_lengthens_no_life() {
        assert_eq!(lifetime(3, 10_000, 0), Lifetime::Left(3));
        assert_eq!(lifetime(0, 10_000, 0), Lifetime::Over);
        assert_eq!(lifetime(0, 10_000, 10_000), Lifetime::Over);
    }

    #[test]
    fn the_longest_interval_does_not_overflow() {
        assert_eq!(lifetime(u32::MAX, 0, 0), Lifetime::Left(u32::MAX));
        assert_eq!(lifetime(u32::MAX, u64::MAX, u64::MAX - 1_000), Lifetime::Left(1));
        assert_eq!(lifetime(u32::MAX, u64::MAX, u64::MAX), Lifetime::Over);
    }
}
