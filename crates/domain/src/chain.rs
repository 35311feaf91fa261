//! The hash chain of a log: each record's head covers all records up to it, so that two parties who compare heads
//! compare everything that was said.
//!
//! `head' = SHA-256(head || record)`, where `record` is, integers being big-endian:
//!
//! | bytes | |
//! | --- | --- |
//! | 8 | seq |
//! | 8 | at, Unix ms |
//! | 4 + n | topic: its length, its text |
//! | 1 | author: 0 the broker, 1 a party; with 1 follow |
//! | 4 + n | the party: the length of its id, the id |
//! | 32 | SHA-256 of its certificate |
//! | 32 | SHA-256 of the payload |
//!
//! What varies in length is preceded by its length, so that no two records have one encoding. QoS and the MQTT properties
//! are not covered: they are transport, not contract.

use sha2::Digest;

use crate::hash::Sha256;
use crate::message::LogMessage;

const AUTHOR_BROKER: u8 = 0;
const AUTHOR_PARTY: u8 = 1;

/// The head of a log in which nothing was said yet: SHA-256 of `quorate/log/v1`, which names the encoding.
pub fn chain_start() -> Sha256 {
    Sha256::of(b"quorate/log/v1")
}

/// The head of a log whose head was `head`, after this message.
pub fn next_head(head: &Sha256, message: &LogMessage) -> Sha256 {
    let mut sum = sha2::Sha256::new();
    sum.update(head.0);
    sum.update(message.seq.0.to_be_bytes());
    sum.update(message.at.0.to_be_bytes());
    update_text(&mut sum, &message.topic.to_string());
    match &message.from {
        None => sum.update([AUTHOR_BROKER]),
        Some(author) => {
            sum.update([AUTHOR_PARTY]);
            update_text(&mut sum, author.party.as_str());
            sum.update(author.certificate.0);
        }
    }
    sum.update(Sha256::of(&message.payload).0);
    Sha256(sum.finalize().into())
}

fn update_text(sum: &mut sha2::Sha256, text: &str) {
    // Topics and party ids are bounded far below 4 GiB.
    sum.update((text.len() as u32).to_be_bytes());
    sum.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Author, MessageProperties, Qos};
    use crate::{Seq, UnixMs};
    use bytes::Bytes;

    fn message() -> LogMessage {
        LogMessage {
            seq: Seq(7),
            at: UnixMs(1_700_000_000_000),
            topic: "tx/0123456789abcdef/msg/alice/x".parse().expect("a valid topic"),
            from: Some(Author { party: "alice".parse().expect("a valid id"), certificate: Sha256::of(b"cert") }),
            qos: Qos::AtLeastOnce,
            properties: MessageProperties::default(),
            payload: Bytes::from_static(b"hello"),
        }
    }

    #[test]
    fn the_head_is_computed_as_documented() {
        let mut record = chain_start().0.to_vec();
        record.extend(7u64.to_be_bytes());
        record.extend(1_700_000_000_000u64.to_be_bytes());
        record.extend(31u32.to_be_bytes());
        record.extend(b"tx/0123456789abcdef/msg/alice/x");
        record.push(1);
        record.extend(5u32.to_be_bytes());
        record.extend(b"alice");
        record.extend(Sha256::of(b"cert").0);
        record.extend(Sha256::of(b"hello").0);
        assert_eq!(next_head(&chain_start(), &message()), Sha256::of(&record));
    }

    #[test]
    fn every_covered_field_changes_the_head() {
        let head = next_head(&chain_start(), &message());
        let changes: [fn(&mut LogMessage); 6] = [
            |message| message.seq = Seq(8),
            |message| message.at = UnixMs(1),
            |message| message.topic = "tx/0123456789abcdef/msg/alice/y".parse().expect("a valid topic"),
            |message| message.from = None,
            |message| message.from.as_mut().expect("a party").certificate = Sha256::of(b"other"),
            |message| message.payload = Bytes::from_static(b"hullo"),
        ];
        for change in changes {
            let mut changed = message();
            change(&mut changed);
            assert_ne!(next_head(&chain_start(), &changed), head);
        }
        assert_ne!(next_head(&head, &message()), head, "the head before it is covered");
    }
}
