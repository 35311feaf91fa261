//! The topics that the broker gives a meaning to, and the strict way to read them: under `tx/` and `party/` whatever is
//! not written down in `docs/transactions.md` is refused. Who may use them is decided in `access` and `transaction`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ids::{Round, TxId};
use crate::party::PartyId;
use crate::serde_text::serde_as_text;
use crate::topic_error::TopicError;

/// Longest topic or filter, in bytes. The longest slot has 234; the rest leaves room for free forms.
/// A longer one is refused as malformed.
pub const TOPIC_BYTES_MAX: usize = 1024;

/// Most levels of a topic or filter, those of `$share/{group}/` among them; one with more is refused as malformed. Each
/// level of a filter is a node in memory, and may double what a message has to be compared with.
pub const TOPIC_LEVELS_MAX: usize = 128;

/// The first level of every topic of a transaction.
pub(crate) const TX: &str = "tx";
/// The first level of every topic of a party.
pub(crate) const PARTY: &str = "party";

/// A topic of a transaction. Its text is `tx/{tx}/{place}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxTopic {
    /// The transaction.
    pub tx: TxId,
    /// The topic within it.
    pub place: Place,
}

/// A topic within a transaction: what follows `tx/{tx}/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// What the transaction is. Slot of the initiator.
    Manifest,
    /// How the transaction stands, told by the broker.
    State,
    /// A party takes part. Slot.
    Join {
        /// Who joins.
        from: PartyId,
    },
    /// To all parties, once a round. Slot.
    Broadcast {
        /// The protocol's round.
        round: Round,
        /// Who speaks.
        from: PartyId,
    },
    /// What a party heard in a round, told to all. Slot.
    Echo {
        /// The protocol's round.
        round: Round,
        /// Who speaks.
        from: PartyId,
    },
    /// To one party alone. Slot.
    P2p {
        /// The protocol's round.
        round: Round,
        /// Who speaks.
        from: PartyId,
        /// Who alone hears it. Not `from`.
        to: PartyId,
    },
    /// What a party computed. Slot, while the transaction is running.
    Result {
        /// Whose result it is.
        from: PartyId,
    },
    /// A party ends the transaction. Slot.
    Abort {
        /// Who ends it.
        from: PartyId,
    },
    /// Free form, to all parties. Not a slot.
    Message {
        /// Who speaks.
        from: PartyId,
        /// One level or more, without wildcards.
        rest: Arc<str>,
    },
}

/// A topic of one party.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartyTopic {
    /// The manifests of the transactions that list the party.
    Inbox(PartyId),
    /// Whether the party is present.
    Presence(PartyId),
}

/// What a topic to publish to is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicClass {
    /// Under `tx/`.
    Tx(TxTopic),
    /// Under `party/`. Only the broker speaks there.
    Party(PartyTopic),
    /// Anything else: plain MQTT.
    Ordinary,
}

/// Reads a topic to publish to. Refuses what is malformed under `tx/` and `party/` (also `tx` and `party` alone) and
/// what MQTT forbids anywhere.
pub fn classify_topic(topic: &str) -> Result<TopicClass, TopicError> {
    check_text(topic)?;
    check_levels(topic)?;
    if let Some(level) = topic.split('/').position(|level| level.contains(['+', '#'])) {
        return Err(TopicError::WildcardInTopic { level: level + 1 });
    }
    let mut levels = Levels::new(topic, 1);
    match levels.next_level() {
        Some(TX) => Ok(TopicClass::Tx(TxTopic { tx: levels.tx()?, place: levels.place()? })),
        Some(PARTY) => levels.party_topic().map(TopicClass::Party),
        _ => Ok(TopicClass::Ordinary),
    }
}

impl Place {
    /// The party whose word this is; `None` for the manifest (the initiator's) and the state (the broker's).
    pub fn author(&self) -> Option<&PartyId> {
        match self {
            Place::Manifest | Place::State => None,
            Place::Join { from }
            | Place::Broadcast { from, .. }
            | Place::Echo { from, .. }
            | Place::P2p { from, .. }
            | Place::Result { from }
            | Place::Abort { from }
            | Place::Message { from, .. } => Some(from),
        }
    }

    /// Whether it is written once: all but the state and free messages.
    pub fn is_slot(&self) -> bool {
        !matches!(self, Place::State | Place::Message { .. })
    }

    /// The levels of its text.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &str> {
        let (head, rest): ([Option<&str>; 4], Option<&str>) = match self {
            Place::Manifest => ([Some("manifest"), None, None, None], None),
            Place::State => ([Some("state"), None, None, None], None),
            Place::Join { from } => ([Some("join"), Some(from.as_str()), None, None], None),
            Place::Broadcast { round, from } => {
                ([Some("broadcast"), Some(round.as_str()), Some(from.as_str()), None], None)
            }
            Place::Echo { round, from } => ([Some("echo"), Some(round.as_str()), Some(from.as_str()), None], None),
            Place::P2p { round, from, to } => {
                ([Some("p2p"), Some(round.as_str()), Some(from.as_str()), Some(to.as_str())], None)
            }
            Place::Result { from } => ([Some("result"), Some(from.as_str()), None, None], None),
            Place::Abort { from } => ([Some("abort"), Some(from.as_str()), None, None], None),
            Place::Message { from, rest } => ([Some("msg"), Some(from.as_str()), None, None], Some(rest)),
        };
        head.into_iter().flatten().chain(rest.into_iter().flat_map(|rest| rest.split('/')))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, level) in self.levels().enumerate() {
            if number > 0 {
                formatter.write_str("/")?;
            }
            formatter.write_str(level)?;
        }
        Ok(())
    }
}

impl FromStr for Place {
    type Err = TopicError;

    /// Reads what follows `tx/{tx}/`, as strictly as the whole topic, but for the number of levels: what an earlier broker
    /// let in and stored is read.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_text(text)?;
        if let Some(level) = text.split('/').position(|level| level.contains(['+', '#'])) {
            return Err(TopicError::WildcardInTopic { level: level + 3 });
        }
        Levels::new(text, 3).place()
    }
}

impl fmt::Display for TxTopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{TX}/{}/{}", self.tx, self.place)
    }
}

impl FromStr for TxTopic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match classify_topic(text)? {
            TopicClass::Tx(topic) => Ok(topic),
            TopicClass::Party(_) | TopicClass::Ordinary => Err(TopicError::Missing { level: 1, expected: "`tx`" }),
        }
    }
}

impl fmt::Display for PartyTopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartyTopic::Inbox(party) => write!(formatter, "{PARTY}/{party}/inbox"),
            PartyTopic::Presence(party) => write!(formatter, "{PARTY}/{party}/presence"),
        }
    }
}

serde_as_text!(Place, TxTopic);

/// What MQTT forbids in every topic and filter, and our bound of its length.
pub(crate) fn check_text(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { bytes: topic.len() });
    }
    if topic.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

/// Our bound of the levels of every topic and filter that comes from a client.
pub(crate) fn check_levels(topic: &str) -> Result<(), TopicError> {
    match topic.split('/').count() {
        levels if levels > TOPIC_LEVELS_MAX => Err(TopicError::TooDeep { levels }),
        _ => Ok(()),
    }
}

/// Walks the levels of a topic and knows where it is.
struct Levels<'a> {
    rest: Option<&'a str>,
    /// Number of the level that comes next, as a person counts.
    number: usize,
}

impl<'a> Levels<'a> {
    fn new(text: &'a str, number: usize) -> Levels<'a> {
        Levels { rest: Some(text), number }
    }

    fn next_level(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (level, after) = rest.split_once('/').map_or((rest, None), |(level, after)| (level, Some(after)));
        self.rest = after;
        self.number += 1;
        Some(level)
    }

    /// The next level as an identifier.
    fn identifier<T>(&mut self, expected: &'static str) -> Result<T, TopicError>
    where
        T: FromStr<Err = crate::identifier::IdentifierError>,
    {
        let level = self.number;
        let text = self.next_level().ok_or(TopicError::Missing { level, expected })?;
        text.parse().map_err(|source| TopicError::Identifier { level, source })
    }

    fn tx(&mut self) -> Result<TxId, TopicError> {
        self.identifier("{tx}")
    }

    fn round(&mut self) -> Result<Round, TopicError> {
        self.identifier("{round}")
    }

    fn from(&mut self) -> Result<PartyId, TopicError> {
        self.identifier("{from}")
    }

    /// All that is left, which must be something.
    fn remainder(&mut self) -> Result<Arc<str>, TopicError> {
        match self.rest.take() {
            Some(rest) if !rest.is_empty() => Ok(rest.into()),
            _ => Err(TopicError::Missing { level: self.number, expected: "a level of your own" }),
        }
    }

    fn finish(&self) -> Result<(), TopicError> {
        match self.rest {
            Some(_) => Err(TopicError::Surplus { level: self.number - 1 }),
            None => Ok(()),
        }
    }

    fn place(&mut self) -> Result<Place, TopicError> {
        let level = self.number;
        let word = self.next_level().ok_or(TopicError::Missing { level, expected: "`manifest`, `join`, ..." })?;
        let place = match word {
            "manifest" => Place::Manifest,
            "state" => Place::State,
            "join" => Place::Join { from: self.from()? },
            "broadcast" => Place::Broadcast { round: self.round()?, from: self.from()? },
            "echo" => Place::Echo { round: self.round()?, from: self.from()? },
            "p2p" => Place::P2p { round: self.round()?, from: self.from()?, to: self.identifier("{to}")? },
            "result" => Place::Result { from: self.from()? },
            "abort" => Place::Abort { from: self.from()? },
            "msg" => Place::Message { from: self.from()?, rest: self.remainder()? },
            other => return Err(TopicError::UnknownPlace { word: other.to_owned() }),
        };
        self.finish()?;
        match &place {
            Place::P2p { from, to, .. } if from == to => Err(TopicError::ToSelf),
            _ => Ok(place),
        }
    }

    fn party_topic(&mut self) -> Result<PartyTopic, TopicError> {
        let party = self.identifier("{cn}")?;
        let level = self.number;
        let topic = match self.next_level() {
            Some("inbox") => PartyTopic::Inbox(party),
            Some("presence") => PartyTopic::Presence(party),
            Some(other) => return Err(TopicError::UnknownPartyTopic { word: other.to_owned() }),
            None => return Err(TopicError::Missing { level, expected: "`inbox` or `presence`" }),
        };
        self.finish()?;
        Ok(topic)
    }
}

#[cfg(test)]
mod tests;
