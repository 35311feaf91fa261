//! Wills (MQTT5 3.1.2.5): what a CONNECT may leave behind, and how long it waits.

use std::time::Duration;

use quorate_domain::{
    AccessRules, Author, PartyId, Place, Refusal, SessionExpiry, TopicClass, TxId, Will, classify_topic,
};
use quorate_wire::{Connect, QoS};

use crate::Limits;
use crate::publish::carried;

/// A will that a CONNECT may leave.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    pub(crate) will: Will,
    /// What the client asked for.
    delay_interval_s: u32,
    /// Of a will under `tx/`: the transaction, which has to list its author.
    pub(crate) tx: Option<TxId>,
    /// Of a will under `tx/`: how long it waits at least, whatever becomes of its session.
    delay_min_s: u32,
}

impl Left {
    /// Reads and judges the will of a CONNECT, but for what only the transaction itself can tell.
    pub(crate) fn read(
        connect: &Connect,
        author: &Author,
        access: &AccessRules,
        limits: &Limits,
    ) -> Result<Option<Left>, Refusal> {
        let Some(will) = &connect.will else { return Ok(None) };
        let class = classify_topic(&will.topic).map_err(|error| Refusal::TopicInvalid(error.to_string()))?;
        let tx = match class {
            TopicClass::Party(_) => return Err(Refusal::NotAuthorized),
            TopicClass::Tx(topic) => {
                check_place(&topic.place, &author.party, will)?;
                Some(topic.tx)
            }
            TopicClass::Ordinary if access.may_publish(&author.party, &will.topic) => None,
            TopicClass::Ordinary => return Err(Refusal::NotAuthorized),
        };
        let left = Left {
            delay_interval_s: will.delay_interval_s.unwrap_or(0),
            delay_min_s: if tx.is_some() { limits.tx_will_delay_s } else { 0 },
            tx,
            will: Will {
                author: author.clone(),
                topic: will.topic.to_string(),
                qos: crate::publish::from_wire(will.qos),
                retain: will.retain,
                properties: carried(will.properties.clone())?,
                payload: bytes::Bytes::copy_from_slice(&will.payload),
                delay_s: 0,
            },
        };
        Ok(Some(left))
    }

    /// The will, as long as its session lasts so long.
    pub(crate) fn agreed(&self, expiry: SessionExpiry) -> Will {
        Will { delay_s: self.delay_s(expiry), ..self.will.clone() }
    }

    /// How long it waits after the end of a connection: as its client asked, no longer than its session lasts
    /// (MQTT5 3.1.3.2.2), and under `tx/` at least for a while, also where the session ends at once.
    pub(crate) fn delay(&self, expiry: SessionExpiry) -> Duration {
        Duration::from_secs(u64::from(self.delay_s(expiry)))
    }

    fn delay_s(&self, expiry: SessionExpiry) -> u32 {
        let session_s = match expiry {
            SessionExpiry::AtDisconnect => 0,
            SessionExpiry::After(seconds) => seconds,
            SessionExpiry::Never => u32::MAX,
        };
        self.delay_interval_s.min(session_s).max(self.delay_min_s)
    }
}

/// Under `tx/` a will may end a transaction or say something in it, in its author's own name.
fn check_place(place: &Place, author: &PartyId, will: &quorate_wire::Will) -> Result<(), Refusal> {
    let (from, is_slot) = match place {
        Place::Abort { from } => (from, true),
        Place::Message { from, .. } => (from, false),
        _ => return Err(Refusal::NotAuthorized),
    };
    if from != author {
        return Err(Refusal::NotAuthorized);
    }
    if is_slot && will.qos == QoS::AtMostOnce {
        return Err(Refusal::QosTooLow);
    }
    if is_slot && will.payload.is_empty() {
        return Err(Refusal::PayloadInvalid("a slot needs a payload that is not empty".to_owned()));
    }
    Ok(())
}
