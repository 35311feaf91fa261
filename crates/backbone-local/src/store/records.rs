//! What is written under the keys: compact binary (postcard), the payload of a message raw at the end of its record.

use std::sync::Arc;

use bytes::Bytes;
use quorate_domain::{
    Author, LogMessage, MessageProperties, Place, Progress, Qos, Seq, SessionRecord, Slot, Transaction, TxId, TxTopic,
    UnixMs,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sealing::DataKey;
use super::{QueueId, StoreFault, keys};

/// One message as it stands in the log, without its key and what was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogHead {
    pub(crate) at: UnixMs,
    pub(crate) place: Place,
    pub(crate) from: Option<Author>,
    pub(crate) qos: Qos,
    /// For each addressee, as its index in the members of the charter, the message before it that it was sent.
    pub(crate) prevs: Vec<(u8, Seq)>,
    /// Whether what follows is sealed with the key of the transaction.
    pub(crate) is_sealed: bool,
}

/// What was said in one message, as it is stored: the properties, then the payload as it is; sealed where its
/// transaction has a key.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    is_sealed: bool,
}

/// What changes of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProgressRecord {
    pub(crate) progress: Progress,
    /// The time of the last message of the log; time does not run backwards in a log.
    pub(crate) last_at: UnixMs,
}

/// A transaction as the committer holds it.
#[derive(Debug, Clone)]
pub(crate) struct Resident {
    pub(crate) transaction: Transaction,
    pub(crate) last_at: UnixMs,
    /// Seals what is said in it.
    pub(crate) key: Option<Arc<DataKey>>,
}

/// What is kept of a session: who owns it, and what was saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionValue {
    pub(crate) epoch: u64,
    /// Where what it hears of ordinary topics waits: the epoch with which it began.
    pub(crate) queue: QueueId,
    /// `None`: nothing of it outlives its connection.
    pub(crate) record: Option<SessionRecord>,
}

/// What is kept of the presence of a party.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PresenceValue {
    pub(crate) epoch: u64,
    pub(crate) online: bool,
    pub(crate) since: UnixMs,
    pub(crate) last_seen: UnixMs,
}

/// Encodes a record. None of ours can fail: they are plain data of known length.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("plain data of known length is always encoded")
}

/// Decodes a record of the named kind.
pub(crate) fn decode<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, StoreFault> {
    postcard::from_bytes(bytes).map_err(|_| StoreFault::Corrupt { kind })
}

/// The value of a slot. (Its place is in the key.)
pub(crate) fn decode_slot(bytes: &[u8]) -> Result<Slot, StoreFault> {
    decode("slot", bytes)
}

impl Body {
    /// What was said at one place of a log, as it is to be stored.
    pub(crate) fn of(
        key: Option<&DataKey>,
        tx: &TxId,
        seq: Seq,
        place: &Place,
        properties: &MessageProperties,
        payload: &[u8],
    ) -> Result<Self, StoreFault> {
        let mut plain = encode(properties);
        plain.extend_from_slice(payload);
        let Some(key) = key else { return Ok(Self { bytes: plain, is_sealed: false }) };
        Ok(Self { bytes: key.seal(&sealed_place(tx, seq, place), &plain)?, is_sealed: true })
    }
}

/// To what a sealed message is bound: transaction, place in the log, topic.
fn sealed_place(tx: &TxId, seq: Seq, place: &Place) -> Vec<u8> {
    let mut bound = keys::log(tx, seq);
    bound.extend_from_slice(place.to_string().as_bytes());
    bound
}

/// The value of a log record: the head, then what was said.
pub(crate) fn encode_message(message: &LogMessage, prevs: Vec<(u8, Seq)>, body: &Body) -> Vec<u8> {
    let head = LogHead {
        at: message.at,
        place: message.topic.place.clone(),
        from: message.from.clone(),
        qos: message.qos,
        prevs,
        is_sealed: body.is_sealed,
    };
    let mut value = encode(&head);
    value.extend_from_slice(&body.bytes);
    value
}

/// The head of a log record, and where what was said begins.
pub(crate) fn decode_head(value: &[u8]) -> Result<(LogHead, &[u8]), StoreFault> {
    postcard::take_from_bytes(value).map_err(|_| StoreFault::Corrupt { kind: "log record" })
}

impl LogHead {
    /// The whole message again.
    pub(crate) fn into_message(
        self,
        tx: &TxId,
        seq: Seq,
        body: &[u8],
        key: Option<&DataKey>,
    ) -> Result<LogMessage, StoreFault> {
        let opened;
        let plain = match (self.is_sealed, key) {
            (false, _) => body,
            (true, None) => return Err(StoreFault::Sealed),
            (true, Some(key)) => {
                opened = key.open(&sealed_place(tx, seq, &self.place), body)?;
                &opened
            }
        };
        let (properties, payload) =
            postcard::take_from_bytes(plain).map_err(|_| StoreFault::Corrupt { kind: "message" })?;
        Ok(LogMessage {
            seq,
            at: self.at,
            topic: TxTopic { tx: tx.clone(), place: self.place },
            from: self.from,
            qos: self.qos,
            properties,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    /// The message before this one that the member was sent.
    pub(crate) fn prev_of(&self, member: usize) -> Seq {
        self.prevs.iter().find(|(index, _)| usize::from(*index) == member).map_or(Seq::ZERO, |(_, prev)| *prev)
    }
}

#[cfg(test)]
mod tests {
    use quorate_domain::{PartyId, Sha256};

    use super::*;
    use crate::store::MasterKey;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let message = LogMessage {
            seq: Seq(12),
            at: UnixMs(34),
            topic: "tx/01JD3W8QK7V9N2M4/p2p/1/alice/bob".parse().expect("a valid topic"),
            from: Some(Author { party: PartyId::new("alice").expect("valid"), certificate: Sha256::of(b"c") }),
            qos: Qos::AtLeastOnce,
            properties: MessageProperties {
                payload_format_indicator: Some(true),
                content_type: Some("text".to_owned()),
                response_topic: None,
                correlation_data: Some(Bytes::from_static(b"\0\xff")),
                user_properties: vec![("a".to_owned(), "b".to_owned())],
                expiry_interval_s: Some(9),
            },
            payload: Bytes::from_static(b"\0payload\0"),
        };
        let tx = &message.topic.tx;
        let master: MasterKey = MasterKey::generate().expect("random bytes").parse().expect("a key");
        let (key, _) = master.new_key(b"tx").expect("a key");
        for key in [None, Some(&*key)] {
            let place = &message.topic.place;
            let body = Body::of(key, tx, Seq(12), place, &message.properties, &message.payload).expect("sealed");
            let value = encode_message(&message, vec![(1, Seq(9))], &body);
            assert_eq!(value.windows(7).any(|window| window == b"payload"), key.is_none());
            let (head, body) = decode_head(&value).expect("what was encoded");
            assert_eq!((head.prev_of(1), head.prev_of(0)), (Seq(9), Seq::ZERO));
            let elsewhere = head.clone().into_message(tx, Seq(13), body, key);
            assert_eq!(elsewhere.is_err(), key.is_some(), "what is sealed cannot be moved");
            assert_eq!(head.into_message(tx, Seq(12), body, key).expect("opened"), message);
        }
    }

    #[test]
    fn what_is_cut_short_is_called_corrupt() {
        let value = encode(&SessionValue { epoch: 300, queue: 300, record: None });
        let cut = decode::<SessionValue>("session", &value[..1]);
        assert!(matches!(cut, Err(StoreFault::Corrupt { kind: "session" })));
    }
}
