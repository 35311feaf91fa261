//! Parties, transactions and waits that the behaviours share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_domain::{
    AccessRule, AccessRules, Action, Addressed, Author, CreationRules, Delivery, LogPage, MessageProperties, PartyId,
    Permission, Qos, Refusal, Seq, SessionKey, Sha256, TransactionRule, TxId, TxTopic, UnixMs,
};

use crate::{Append, Appended, Backbone, Mailbox, ReadLimit, TopicRules};

/// How long a behaviour waits for what must happen, before it says that it did not.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Messages that wait in one queue at most.
pub(super) const QUEUE_MESSAGES_MAX: u64 = 3_000;

/// Room for a whole log of the suite.
pub(super) const EVERYTHING: ReadLimit = ReadLimit { messages: 100_000, bytes: 1 << 30 };

/// Rules under which every party may invite every party: what the suite needs.
pub fn open_rules() -> CreationRules {
    let anyone = || vec!["*".parse().expect("a pattern")];
    CreationRules(vec![TransactionRule { initiator: anyone(), may_invite: anyone() }])
}

/// Rules under which every party may use every ordinary topic but those under `closed/`, and so many
/// messages wait in a queue: what the suite needs.
pub fn open_topic_rules() -> TopicRules {
    let rule = |permission, topic: &str| AccessRule {
        permission,
        actions: vec![Action::Publish, Action::Subscribe],
        topics: vec![topic.parse().expect("a topic")],
        parties: vec!["*".parse().expect("a pattern")],
    };
    let rules = vec![rule(Permission::Deny, "closed/#"), rule(Permission::Allow, "#")];
    TopicRules {
        access: Arc::new(AccessRules::new(rules, Vec::new())),
        queue_messages_max: QUEUE_MESSAGES_MAX,
        ..TopicRules::default()
    }
}

pub(super) fn party(name: &str) -> PartyId {
    PartyId::new(name).expect("a valid party")
}

pub(super) fn author(name: &str) -> Author {
    Author { party: party(name), certificate: Sha256::of(name.as_bytes()) }
}

pub(super) fn session(name: &str, client_id: &str) -> SessionKey {
    SessionKey { party: party(name), client_id: client_id.to_owned() }
}

pub(super) fn tx(name: &str) -> TxId {
    TxId::new(&format!("suite-transaction-{name}")).expect("a valid id")
}

pub(super) fn topic(tx: &TxId, rest: &str) -> TxTopic {
    format!("tx/{tx}/{rest}").parse().expect("a valid topic")
}

/// A manifest that lists alice, bob and carol. Where no join is required, the transaction runs at once.
pub(super) fn manifest(tx: &TxId, initiator: &str, require_join: bool) -> Bytes {
    let text = format!(
        r#"{{"tx":"{tx}","initiator":"{initiator}","protocol":"suite/1","parties":["alice","bob","carol"],"threshold":2,"complete_when":"all","require_join":{require_join}}}"#
    );
    Bytes::from(text)
}

pub(super) fn append(tx: &TxId, from: &str, rest: &str, payload: impl Into<Bytes>) -> Append {
    Append {
        topic: topic(tx, rest),
        author: author(from),
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        properties: MessageProperties::default(),
        receipt: None,
    }
}

/// Creates a transaction of alice, bob and carol, by alice, that awaits joins.
pub(super) async fn create(backbone: &Backbone, tx: &TxId) -> Appended {
    publish(backbone, tx, "alice", "manifest", manifest(tx, "alice", true)).await.expect("the manifest is accepted")
}

/// The same, without joins.
pub(super) async fn create_running(backbone: &Backbone, tx: &TxId) -> Appended {
    publish(backbone, tx, "alice", "manifest", manifest(tx, "alice", false)).await.expect("the manifest is accepted")
}

pub(super) async fn publish(
    backbone: &Backbone,
    tx: &TxId,
    from: &str,
    rest: &str,
    payload: impl Into<Bytes>,
) -> Result<Appended, Refusal> {
    soon(backbone.log.append(append(tx, from, rest, payload))).await
}

pub(super) async fn read(backbone: &Backbone, tx: &TxId, reader: &str, after: Seq) -> LogPage {
    soon(backbone.log.read(tx, &party(reader), after, EVERYTHING)).await.expect("the log can be read")
}

/// Topics (without `tx/{tx}/`) and payload of a page, for comparison.
pub(super) fn told(page: &LogPage) -> Vec<(String, Bytes)> {
    page.messages.iter().map(line).collect()
}

fn line(addressed: &Addressed) -> (String, Bytes) {
    let topic = addressed.message.topic.to_string();
    let rest = topic.splitn(3, '/').nth(2).unwrap_or_default().to_owned();
    (rest, addressed.message.payload.clone())
}

/// What comes in a mailbox until the message `last` has come.
pub(super) async fn live_until(mailbox: &mut Mailbox, last: Seq) -> Vec<Addressed> {
    let mut received = Vec::new();
    loop {
        match soon(mailbox.recv()).await {
            Delivery::Log(addressed) => {
                let seq = addressed.message.seq;
                received.push(addressed);
                if seq >= last {
                    return received;
                }
            }
            other => panic!("a live copy was expected, not {other:?}"),
        }
    }
}

/// Waits for what must happen, with a limit.
pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(WAIT_MAX, future).await.expect("it happens within the limit")
}

/// The clock of a behaviour that has one of its own: far ahead of the backbone's, which otherwise would take away in the
/// background what is over by its own.
pub(super) fn ms(ms: u64) -> UnixMs {
    const YEAR_2100_MS: u64 = 4_102_444_800_000;
    UnixMs(YEAR_2100_MS + ms)
}
