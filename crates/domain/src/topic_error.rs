//! Why a topic or a filter is malformed, said so that a person finds the place. Levels are counted from 1.

use crate::identifier::IdentifierError;
use crate::topic::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// Why a topic or a filter is refused as malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has no characters (MQTT5 4.7.3-1).
    #[error("the topic is empty")]
    Empty,
    /// It is longer than [`TOPIC_BYTES_MAX`].
    #[error("the topic has {bytes} bytes, where {TOPIC_BYTES_MAX} are allowed")]
    TooLong {
        /// The length that was found.
        bytes: usize,
    },
    /// It has more levels than [`TOPIC_LEVELS_MAX`].
    #[error("the topic has {levels} levels, where {TOPIC_LEVELS_MAX} are allowed")]
    TooDeep {
        /// How many were found.
        levels: usize,
    },
    /// It holds U+0000 (MQTT5 4.7.3-2).
    #[error("the topic holds the character U+0000")]
    Nul,
    /// A topic to publish to holds `+` or `#` (MQTT5 3.3.2-2).
    #[error("level {level}: a topic to publish to holds no `+` or `#`")]
    WildcardInTopic {
        /// Where.
        level: usize,
    },
    /// `+` or `#` does not fill its level, or `#` is not the last one (MQTT5 4.7.1-1, 4.7.1-2).
    #[error("level {level}: `+` and `#` stand alone in their level, and nothing follows `#`")]
    WildcardPlacement {
        /// Where.
        level: usize,
    },
    /// A level is not the identifier that belongs there.
    #[error("level {level}: {source}")]
    Identifier {
        /// Where.
        level: usize,
        /// What is wrong with it.
        source: IdentifierError,
    },
    /// A level that belongs there is missing.
    #[error("level {level} is missing: {expected} belongs there")]
    Missing {
        /// Where.
        level: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// Something follows where nothing may.
    #[error("nothing may follow level {level}")]
    Surplus {
        /// The last level that may be.
        level: usize,
    },
    /// A transaction has no such topic.
    #[error(
        "level 3: a transaction has manifest, state, join, broadcast, echo, p2p, result, abort and msg, not `{word}`"
    )]
    UnknownPlace {
        /// What stands there.
        word: String,
    },
    /// A party has no such topic.
    #[error("level 3: a party has inbox and presence, not `{word}`")]
    UnknownPartyTopic {
        /// What stands there.
        word: String,
    },
    /// A party would address itself.
    #[error("level 6: a party does not address itself")]
    ToSelf,
    /// A filter under `tx/` or `party/` that no topic can match.
    #[error("no topic under `{under}/` could match this filter")]
    NothingMatches {
        /// `tx` or `party`.
        under: &'static str,
    },
    /// `$share/{group}/{filter}` without a group or filter, or with a wildcard in the group (MQTT5 4.8.2-1, 4.8.2-2).
    #[error("a shared filter is `$share/{{group}}/{{filter}}`, with a group that holds no `+` or `#`")]
    Share,
}
