//! What a backbone keeps of an MQTT session. What it means, and when it changes, is `session`'s matter.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Seq, TxId};
use crate::party::PartyId;
use crate::time::UnixMs;

/// Whose session it is: another party with the same client id has another session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// The party.
    pub party: PartyId,
    /// The client id of its CONNECT.
    pub client_id: String,
}

/// How long a session outlives its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionExpiry {
    /// Not at all.
    #[default]
    AtDisconnect,
    /// This many seconds.
    After(u32),
    /// Until it is resumed.
    Never,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRecord {
    /// The filter as it was sent.
    pub filter: String,
    /// The granted QoS.
    pub qos: u8,
    /// MQTT5 3.8.3.1.
    pub no_local: bool,
    /// MQTT5 3.8.3.1.
    pub retain_as_published: bool,
    /// 0, 1 or 2 (MQTT5 3.8.3.1).
    pub retain_handling: u8,
    /// The subscription identifier (MQTT5 3.8.2.1.2).
    pub identifier: Option<u32>,
    /// With Retain Handling 2: where each log stood at the time of subscribing.
    pub starts: Vec<(TxId, Seq)>,
    /// How far it hears each log by a backfill of its own. The session's cursor may be behind that; on the cursor's way
    /// it hears only what lies beyond, so that nothing comes by both.
    pub backfilled_to: Vec<(TxId, Seq)>,
}

/// A subscription's own way through the past of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillRecord {
    /// Whose past it is.
    pub filter: String,
    /// The log.
    pub tx: TxId,
    /// The last `Seq` that was handled.
    pub next: Seq,
    /// Where it ends.
    pub until: Seq,
}

/// How far a backfill has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillMove {
    /// Whose past it is.
    pub filter: String,
    /// The log.
    pub tx: TxId,
    /// The last `Seq` that was handled; `None`: the backfill is over.
    pub next: Option<Seq>,
}

/// Where a message that is delivered stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogName {
    /// In the log of a transaction.
    Tx(TxId),
    /// In the session's own queue of ordinary messages.
    Queue,
}

/// A delivery that the client has not completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnackedRecord {
    /// Under which it was sent; it is sent again under the same (MQTT5 4.4.0-1).
    pub packet_id: u16,
    /// Where the message stands.
    pub log: LogName,
    /// The message.
    pub seq: Seq,
    /// The topic under which it was delivered.
    pub topic: String,
    /// For whose backfill; `None`: on the cursor's way.
    pub backfill: Option<String>,
}

/// How far the handshake of a QoS 2 delivery is (MQTT5 4.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InflightStep {
    /// Its PUBLISH is sent, or about to be: it is sent again, under the same identifier, until its PUBREC comes.
    Held,
    /// Its PUBREC came: the client has it, and is told PUBREL until its PUBCOMP comes.
    Released,
}

/// A QoS 2 delivery, kept from before its PUBLISH until the cursor has passed it for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InflightRecord {
    /// What is delivered.
    pub delivery: UnackedRecord,
    /// How far it is.
    pub step: InflightStep,
}

/// What moves as a session hears on. Stored at once or not at all, and not synced: whoever finds an old cursor finds the
/// QoS 2 deliveries beyond it as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CursorMoves {
    /// Cursors; `None` deletes.
    pub cursors: Vec<(TxId, Option<Seq>)>,
    /// Backfills of the session's record.
    pub backfills: Vec<BackfillMove>,
    /// Identifiers of QoS 2 deliveries that are complete and that these cursors and backfills have passed.
    pub settled: Vec<u16>,
    /// Places in the session's queue that are done with.
    pub dequeued: Vec<Seq>,
}

/// A session as it was stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredSession {
    /// The session itself.
    pub record: SessionRecord,
    /// How far it is through each log.
    pub cursors: Vec<(TxId, Seq)>,
    /// Packet identifiers of the client's QoS 2 publishes that are in their logs and that it has not released, in order.
    pub receipts: Vec<u16>,
    /// QoS 2 deliveries, in the order of their identifiers.
    pub inflight: Vec<InflightRecord>,
}

/// All that is kept of one session, beside its cursors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// How long it outlives its connection.
    pub expiry: SessionExpiry,
    /// When its connection ended; `None` while it is connected.
    pub disconnected_at: Option<UnixMs>,
    /// What it subscribes to.
    pub subscriptions: Vec<SubscriptionRecord>,
    /// What it still has to hear of the past.
    pub backfills: Vec<BackfillRecord>,
    /// What it has not acknowledged of QoS 1. (QoS 2 is kept as [`InflightRecord`]s.)
    pub unacked: Vec<UnackedRecord>,
}

impl SubscriptionRecord {
    /// A subscription with nothing special about it, at this QoS.
    pub fn new(filter: impl Into<String>, qos: u8) -> SubscriptionRecord {
        SubscriptionRecord {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
            identifier: None,
            starts: Vec::new(),
            backfilled_to: Vec::new(),
        }
    }
}

impl CursorMoves {
    /// Whether nothing moves.
    pub fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.backfills.is_empty() && self.settled.is_empty() && self.dequeued.is_empty()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.party, self.client_id)
    }
}

impl SessionRecord {
    /// Moves backfills on, and takes out those that are over.
    pub fn move_backfills(&mut self, moves: &[BackfillMove]) {
        for BackfillMove { filter, tx, next } in moves {
            let is_of_it = |backfill: &BackfillRecord| backfill.filter == *filter && backfill.tx == *tx;
            match next {
                None => self.backfills.retain(|backfill| !is_of_it(backfill)),
                Some(next) => {
                    if let Some(backfill) = self.backfills.iter_mut().find(|backfill| is_of_it(backfill)) {
                        backfill.next = *next;
                    }
                }
            }
        }
    }

    /// When it is over, if it is not resumed before. `None`: not while it is connected, or never.
    pub fn expires_at(&self) -> Option<UnixMs> {
        let disconnected_at = self.disconnected_at?;
        match self.expiry {
            SessionExpiry::AtDisconnect => Some(disconnected_at),
            SessionExpiry::After(seconds) => Some(UnixMs(disconnected_at.0.saturating_add(u64::from(seconds) * 1000))),
            SessionExpiry::Never => None,
        }
    }

    /// Whether it is over: disconnected, and its expiry passed.
    pub fn is_expired(&self, now: UnixMs) -> bool {
        self.expires_at().is_some_and(|expires_at| now >= expires_at)
    }
}
