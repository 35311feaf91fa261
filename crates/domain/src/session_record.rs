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

/// A QoS 1 delivery that waits for its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnackedRecord {
    /// Under which it was sent; it is sent again under the same (MQTT5 4.4.0-1).
    pub packet_id: u16,
    /// The log.
    pub tx: TxId,
    /// The message.
    pub seq: Seq,
    /// The topic under which it was delivered.
    pub topic: String,
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
    /// What it has not acknowledged.
    pub unacked: Vec<UnackedRecord>,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.party, self.client_id)
    }
}

impl SessionRecord {
    /// Whether it is over: disconnected, and its expiry passed.
    pub fn is_expired(&self, now: UnixMs) -> bool {
        let Some(disconnected_at) = self.disconnected_at else { return false };
        match self.expiry {
            SessionExpiry::AtDisconnect => true,
            SessionExpiry::After(seconds) => now.0 >= disconnected_at.0.saturating_add(u64::from(seconds) * 1000),
            SessionExpiry::Never => false,
        }
    }
}
