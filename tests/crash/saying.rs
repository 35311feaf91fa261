//! What is said: its words are made from who says it and the how-manieth it is, so that whatever is heard can be told
//! apart from everything else and compared byte for byte.

use bytes::Bytes;

/// A transaction, in the order in which the model learnt of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub usize);

/// A publishing client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MouthId(pub usize);

/// One message, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SayingId(pub usize);

/// Who must hear a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// All parties of a transaction.
    Room(RoomId),
    /// One party of a transaction alone.
    Addressee(RoomId, &'static str),
    /// All who subscribe to ordinary topics.
    Everybody,
}

impl Audience {
    pub fn room(&self) -> Option<RoomId> {
        match self {
            Audience::Room(room) | Audience::Addressee(room, _) => Some(*room),
            Audience::Everybody => None,
        }
    }
}

/// How often a topic may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any number of times.
    Free,
    /// Once, and nobody else tries.
    Slot,
    /// Once, and another client tries with other words: one of the two is refused.
    RacedSlot,
}

/// A message as its publisher means it.
#[derive(Debug, Clone)]
pub struct Saying {
    pub mouth: MouthId,
    /// Strictly grows with each message of a mouth.
    pub number: u64,
    pub topic: String,
    pub audience: Audience,
    pub qos: u8,
    pub kind: Kind,
}

/// Sizes vary, so that records and pages do not line up.
const FILLER_BYTES: u64 = 401;
/// Now and then one is larger than what a read or a block holds.
const LARGE_EVERY: u64 = 61;
const LARGE_BYTES: u64 = 9_000;

/// The words of the message with this number.
pub fn words(mouth: &str, number: u64) -> Bytes {
    let filler = match number % LARGE_EVERY {
        0 => LARGE_BYTES,
        _ => number * 37 % FILLER_BYTES,
    };
    let filler = usize::try_from(filler).expect("small");
    format!("{mouth} {number} {}", "x".repeat(filler)).into()
}

/// Whose words these are; `None` where nobody says such.
pub fn author_of(payload: &[u8]) -> Option<(&str, u64)> {
    let mut parts = std::str::from_utf8(payload).ok()?.split(' ');
    let (mouth, number) = (parts.next()?, parts.next()?.parse().ok()?);
    (words(mouth, number) == payload).then_some((mouth, number))
}

#[test]
fn words_name_their_author_and_bear_no_change() {
    let said = words("alice-1", 61);
    assert_eq!(author_of(&said), Some(("alice-1", 61)));
    assert_eq!(author_of(&said[..said.len() - 1]), None);
    assert_eq!(author_of(b"something else"), None);
}
