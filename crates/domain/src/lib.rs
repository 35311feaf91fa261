//! What is true: parties, transactions, topics, slots, access decisions. No I/O, no clock, no async.
//!
//! Who the parties are is decided in `identity`, what is durable in a backbone, what MQTT says in `session`; here stands
//! what all of them agree on. Identifiers validate on construction, so that holding one is proof. The one line that
//! decides who hears what is [`may_hear`], for ordinary topics [`AccessRules::may_hear`]; the one order in which a
//! publish is judged is [`Transaction::consider`].

mod access;
mod access_rules;
mod access_topic;
mod chain;
mod cn_pattern;
mod filter;
mod hash;
mod identifier;
mod ids;
mod incarnation;
mod manifest;
mod message;
mod ordinary;
mod party;
mod refusal;
mod router;
mod rules;
mod serde_text;
mod session_record;
mod subscription_index;
mod time;
mod topic;
mod topic_error;
mod transaction;

pub use access::may_hear;
pub use access_rules::{AccessRule, AccessRules, Action, Permission};
pub use access_topic::{AccessTopic, AccessTopicError};
pub use chain::{chain_start, next_head};
pub use cn_pattern::{CnPattern, CnPatternError};
pub use filter::{FilterClass, PartyFilter, Scope, TxFilter, classify_filter};
pub use hash::{Sha256, Sha256Error};
pub use identifier::IdentifierError;
pub use ids::{Round, RoundError, Seq, TxId, TxIdError};
pub use incarnation::Incarnation;
pub use manifest::{
    CompleteWhen, FINISH_WITHIN_S_MAX, MANIFEST_BYTES_MAX, MANIFEST_PAYLOAD_BYTES_MAX, Manifest, ManifestError,
    PARTIES_MAX, PARTIES_MIN,
};
pub use message::{Addressed, Author, Delivery, Lifetime, LogMessage, LogPage, MessageProperties, Qos, Standing};
pub use ordinary::{Agreement, Manner, OrdinaryMessage, QueuePage, Queued, Share, WaitingWill, Will};
pub use party::{PartyId, PartyIdError};
pub use refusal::Refusal;
pub use router::{Routed, Router, Subscriber};
pub use rules::{CreationRules, TransactionRule};
pub use session_record::{
    BackfillMove, BackfillRecord, CursorMoves, InflightRecord, InflightStep, LogName, SessionExpiry, SessionKey,
    SessionRecord, StoredSession, SubscriptionRecord, UnackedRecord,
};
pub use subscription_index::SubscriptionIndex;
pub use time::UnixMs;
pub use topic::{PartyTopic, Place, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicClass, TxTopic, classify_topic};
pub use topic_error::TopicError;
pub use transaction::{
    Charter, Closer, EQUIVOCATIONS_LISTED_MAX, Equivocation, EquivocationDocument, Equivocations,
    EquivocationsDocument, JOIN_BYTES_MAX, MESSAGE_BYTES_MAX, Offer, Progress, Quorum, REASON_BYTES_MAX,
    RESULT_BYTES_MAX, Slot, StateDocument, Tombstone, Transaction, TxLimits, TxState, TxStateError, Verdict, Volume,
};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod stored_forms;
