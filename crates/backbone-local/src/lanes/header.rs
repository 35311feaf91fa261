//! A lane message: a rumqttd publish whose payload is the payload as it is, and whose header, all the rest, rides in the
//! correlation data as compact binary.

use std::sync::Arc;

use bytes::Bytes;
use quorate_domain::{
    Author, LogMessage, MessageProperties, OrdinaryMessage, PartyId, Qos, Seq, TxId, TxTopic, UnixMs,
};
use rumqttd::protocol::{Publish, PublishProperties};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::movement::{Cargo, Hearer, LiveCopy};

/// A longer header is not sent (`Lanes::carry` gives it back): properties of that size are read from the log.
pub(super) const HEADER_BYTES_MAX: usize = 64 << 10;
/// The shortest weight of a topic; each next one is twice as long.
const TOPIC_BYTES_MIN: usize = 256;

/// A lane message did not hold what this side writes.
#[derive(Debug, Error)]
pub(super) enum HeaderError {
    /// There is no header.
    #[error("a lane message has no header")]
    Missing,
    /// The header cannot be read.
    #[error("the header of a lane message cannot be read: {0}")]
    Malformed(#[from] postcard::Error),
}

/// What stands before the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Header {
    /// Copies that entered this lane up to and with this one.
    messages: u64,
    /// Their weight.
    bytes: u64,
    contents: Contents,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Contents {
    Message {
        seq: Seq,
        at: UnixMs,
        topic: TxTopic,
        from: Option<Author>,
        qos: Qos,
        properties: MessageProperties,
        addressees: Vec<(PartyId, Seq)>,
    },
    State {
        tx: TxId,
        seq: Seq,
        addressees: Vec<(PartyId, Seq)>,
    },
    Ordinary {
        /// Without its payload.
        message: OrdinaryMessage,
        hearers: Vec<Hearer>,
    },
    /// Nothing: so that who waits learns how far the count is.
    Marker,
}

/// The count with which a message travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Turns copies into lane messages of one lane.
pub(super) struct Encoder {
    /// rumqttd weighs a message by its topic and payload and leaves the properties, where the header is, out. So the
    /// topic is as long as the header: the bytes that its log may hold then bound what it does hold. One text, of which
    /// each topic is a slice: no copies, and few different topics (rumqttd remembers every topic for ever).
    topics: Bytes,
    shortest: usize,
}

/// The filter of a lane, which matches all of its topics.
pub(super) fn filter(lane: usize) -> String {
    format!("lane/{lane}/#")
}

impl Encoder {
    pub(super) fn new(lane: usize) -> Self {
        let mut topics = format!("lane/{lane}/");
        let shortest = topics.len() + TOPIC_BYTES_MIN;
        topics.extend(std::iter::repeat_n('-', HEADER_BYTES_MAX));
        Self { topics: topics.into(), shortest }
    }

    /// A copy as a lane message; `None` if its header is too long to be sent.
    pub(super) fn copy(&self, copy: LiveCopy, count: Count) -> Option<(Publish, PublishProperties)> {
        let LiveCopy { cargo, addressees } = copy;
        let (contents, payload) = match cargo {
            Cargo::Message(message) => {
                let payload = message.payload.clone();
                let message = Arc::unwrap_or_clone(message);
                let LogMessage { seq, at, topic, from, qos, properties, .. } = message;
                (Contents::Message { seq, at, topic, from, qos, properties, addressees }, payload)
            }
            Cargo::State { tx, seq, document } => (Contents::State { tx, seq, addressees }, document),
            Cargo::Ordinary { message, hearers } => {
                let mut message = Arc::unwrap_or_clone(message);
                let payload = std::mem::take(&mut message.payload);
                (Contents::Ordinary { message, hearers }, payload)
            }
        };
        self.publish(contents, payload, count)
    }

    /// A message that carries nothing but the count.
    pub(super) fn marker(&self, count: Count) -> Option<(Publish, PublishProperties)> {
        self.publish(Contents::Marker, Bytes::new(), count)
    }

    fn publish(&self, contents: Contents, payload: Bytes, count: Count) -> Option<(Publish, PublishProperties)> {
        let Count { messages, bytes } = count;
        let header = postcard::to_stdvec(&Header { messages, bytes, contents }).ok()?;
        if header.len() > HEADER_BYTES_MAX {
            return None;
        }
        let publish = Publish::new(self.topic(header.len()), payload, false);
        let properties = PublishProperties { correlation_data: Some(header.into()), ..PublishProperties::default() };
        Some((publish, properties))
    }

    fn topic(&self, header_bytes: usize) -> Bytes {
        let length = self.shortest.max(header_bytes.next_power_of_two());
        self.topics.slice(..length.min(self.topics.len()))
    }
}

/// Reads a lane message; a marker gives no copy.
pub(super) fn decode(
    payload: Bytes,
    properties: Option<PublishProperties>,
) -> Result<(Count, Option<LiveCopy>), HeaderError> {
    let header = properties.and_then(|properties| properties.correlation_data).ok_or(HeaderError::Missing)?;
    let Header { messages, bytes, contents } = postcard::from_bytes(&header)?;
    let copy = match contents {
        Contents::Message { seq, at, topic, from, qos, properties, addressees } => {
            let message = Arc::new(LogMessage { seq, at, topic, from, qos, properties, payload });
            Some(LiveCopy { cargo: Cargo::Message(message), addressees })
        }
        Contents::State { tx, seq, addressees } => {
            Some(LiveCopy { cargo: Cargo::State { tx, seq, document: payload }, addressees })
        }
        Contents::Ordinary { message, hearers } => {
            let message = Arc::new(OrdinaryMessage { payload, ..message });
            Some(LiveCopy { cargo: Cargo::Ordinary { message, hearers }, addressees: Vec::new() })
        }
        Contents::Marker => None,
    };
    Ok((Count { messages, bytes }, copy))
}

#[cfg(test)]
mod tests {
    use quorate_domain::Sha256;

    use super::*;

    fn message(payload: Bytes, properties: MessageProperties) -> LiveCopy {
        let party = |name| PartyId::new(name).expect("a valid party");
        let message = LogMessage {
            seq: Seq(7),
            at: UnixMs(8),
            topic: "tx/01JD3W8QK7V9N2M4/msg/alice/a/b".parse().expect("a valid topic"),
            from: Some(Author { party: party("alice"), certificate: Sha256::of(b"c") }),
            qos: Qos::ExactlyOnce,
            properties,
            payload,
        };
        let addressees = vec![(party("bob"), Seq(5)), (party("carol"), Seq::ZERO)];
        LiveCopy { cargo: Cargo::Message(Arc::new(message)), addressees }
    }

    #[test]
    fn a_copy_comes_back_with_its_payload_not_copied() {
        let payload = Bytes::from(vec![7; 1_000]);
        let copy = message(payload.clone(), MessageProperties::default());
        let count = Count { messages: 3, bytes: 4_000 };
        let (publish, properties) = Encoder::new(5).copy(copy.clone(), count).expect("it is short");
        assert_eq!(publish.payload.as_ptr(), payload.as_ptr());
        let (decoded_count, decoded) = decode(publish.payload, Some(properties)).expect("what was encoded");
        assert_eq!((decoded_count, decoded), (count, Some(copy)));
    }

    #[test]
    fn a_marker_carries_the_count_alone() {
        let count = Count { messages: 3, bytes: 4_000 };
        let (publish, properties) = Encoder::new(0).marker(count).expect("it is short");
        assert_eq!(decode(publish.payload, Some(properties)).expect("what was encoded"), (count, None));
    }

    #[test]
    fn the_topic_weighs_as_much_as_the_header_and_there_are_few() {
        let encoder = Encoder::new(1);
        let mut topics = std::collections::BTreeSet::new();
        for length in (0..60_000).step_by(97) {
            let user_properties = vec![("n".to_owned(), "v".repeat(length))];
            let copy = message(Bytes::new(), MessageProperties { user_properties, ..MessageProperties::default() });
            let (weight, estimate) = (copy.weight(), copy.header_bytes());
            let (publish, properties) = encoder.copy(copy, Count::default()).expect("it is short enough");
            let header = properties.correlation_data.expect("the header").len();
            assert!(publish.topic.len() >= header);
            assert!(header <= estimate && weight >= publish.topic.len() as u64);
            topics.insert(publish.topic);
        }
        assert!(topics.len() <= 10);
    }

    #[test]
    fn a_header_that_is_too_long_is_not_sent() {
        let user_properties = vec![("n".to_owned(), "v".repeat(HEADER_BYTES_MAX))];
        let copy = message(Bytes::new(), MessageProperties { user_properties, ..MessageProperties::default() });
        assert!(Encoder::new(0).copy(copy, Count::default()).is_none());
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        assert!(matches!(decode(Bytes::new(), None), Err(HeaderError::Missing)));
        let properties =
            PublishProperties { correlation_data: Some(Bytes::from_static(b"\x01")), ..PublishProperties::default() };
        assert!(matches!(decode(Bytes::new(), Some(properties)), Err(HeaderError::Malformed(_))));
    }
}
