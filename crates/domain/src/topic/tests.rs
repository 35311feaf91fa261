use proptest::prelude::*;

use super::*;
use crate::fixtures::any_topic;

const TX_ID: &str = "0123456789abcdef";

fn error(topic: &str) -> String {
    classify_topic(topic).expect_err("malformed").to_string()
}

#[test]
fn every_topic_of_the_contract_is_read() {
    let party = |name: &str| PartyId::new(name).expect("valid");
    let round = || Round::new("r1").expect("valid");
    let from = party("alice");
    for (text, place) in [
        ("manifest", Place::Manifest),
        ("state", Place::State),
        ("join/alice", Place::Join { from: from.clone() }),
        ("broadcast/r1/alice", Place::Broadcast { round: round(), from: from.clone() }),
        ("echo/r1/alice", Place::Echo { round: round(), from: from.clone() }),
        ("p2p/r1/alice/bob", Place::P2p { round: round(), from: from.clone(), to: party("bob") }),
        ("result/alice", Place::Result { from: from.clone() }),
        ("abort/alice", Place::Abort { from: from.clone() }),
        ("msg/alice/x", Place::Message { from: from.clone(), rest: "x".into() }),
        ("msg/alice/x//y/", Place::Message { from, rest: "x//y/".into() }),
    ] {
        let topic = TxTopic { tx: TX_ID.parse().expect("valid"), place };
        assert_eq!(classify_topic(&format!("tx/{TX_ID}/{text}")), Ok(TopicClass::Tx(topic.clone())), "{text}");
        assert_eq!(text.parse(), Ok(topic.place), "{text}");
    }
    let bob = || party("bob");
    assert_eq!(classify_topic("party/bob/inbox"), Ok(TopicClass::Party(PartyTopic::Inbox(bob()))));
    assert_eq!(classify_topic("party/bob/presence"), Ok(TopicClass::Party(PartyTopic::Presence(bob()))));
    assert_eq!(PartyTopic::Presence(bob()).to_string(), "party/bob/presence");
}

#[test]
fn slots_are_all_but_state_and_free_messages() {
    for (place, is_slot) in [
        ("manifest", true),
        ("state", false),
        ("join/a", true),
        ("broadcast/1/a", true),
        ("echo/1/a", true),
        ("p2p/1/a/b", true),
        ("result/a", true),
        ("abort/a", true),
        ("msg/a/x", false),
    ] {
        assert_eq!(place.parse::<Place>().expect("valid").is_slot(), is_slot, "{place}");
    }
}

#[test]
fn other_topics_are_ordinary() {
    for topic in ["/", "a", "a/b", "txx/y", "/tx/y", "TX/y", "partys", "$SYS/x", "$share/g/tx/a"] {
        assert_eq!(classify_topic(topic), Ok(TopicClass::Ordinary), "{topic}");
    }
}

#[test]
fn what_the_contract_does_not_name_is_refused_with_the_place() {
    for (place, message) in [
        (
            "foo",
            "level 3: a transaction has manifest, state, join, broadcast, echo, p2p, result, abort and msg, not `foo`",
        ),
        ("manifest/", "nothing may follow level 3"),
        ("state/x", "nothing may follow level 3"),
        ("join", "level 4 is missing: {from} belongs there"),
        ("join/", "level 4: a party id of 0 bytes, where 1 to 64 are allowed"),
        ("join/alice/x", "nothing may follow level 4"),
        ("broadcast/r1", "level 5 is missing: {from} belongs there"),
        ("echo//alice", "level 4: a round of 0 bytes, where 1 to 32 are allowed"),
        ("p2p/r1/alice", "level 6 is missing: {to} belongs there"),
        ("p2p/r1/alice/alice", "level 6: a party does not address itself"),
        ("p2p/r1/alice/bob/x", "nothing may follow level 6"),
        ("msg/alice", "level 5 is missing: a level of your own belongs there"),
        ("msg/alice/", "level 5 is missing: a level of your own belongs there"),
        ("join/+", "level 4: a topic to publish to holds no `+` or `#`"),
    ] {
        assert_eq!(error(&format!("tx/{TX_ID}/{place}")), message, "{place}");
        assert_eq!(place.parse::<Place>().expect_err("malformed").to_string(), message, "{place}");
    }
    assert_eq!(error("tx"), "level 2 is missing: {tx} belongs there");
    assert_eq!(error("tx/"), "level 2: a transaction id of 0 bytes, where 16 to 64 are allowed");
    assert_eq!(error("tx/short/manifest"), "level 2: a transaction id of 5 bytes, where 16 to 64 are allowed");
    assert_eq!(error(&format!("tx/{TX_ID}")), "level 3 is missing: `manifest`, `join`, ... belongs there");
    assert_eq!(error("party"), "level 2 is missing: {cn} belongs there");
    assert_eq!(error("party/bob"), "level 3 is missing: `inbox` or `presence` belongs there");
    assert_eq!(error("party/bob/outbox"), "level 3: a party has inbox and presence, not `outbox`");
    assert_eq!(error("party/bob/inbox/x"), "nothing may follow level 3");
}

#[test]
fn what_mqtt_forbids_is_refused_everywhere() {
    assert_eq!(classify_topic(""), Err(TopicError::Empty));
    assert_eq!(classify_topic("a\0b"), Err(TopicError::Nul));
    assert_eq!(classify_topic("a/b#"), Err(TopicError::WildcardInTopic { level: 2 }));
    assert_eq!(classify_topic("+"), Err(TopicError::WildcardInTopic { level: 1 }));
    assert_eq!(classify_topic(&"x".repeat(TOPIC_BYTES_MAX)), Ok(TopicClass::Ordinary));
    assert_eq!(classify_topic(&"x".repeat(TOPIC_BYTES_MAX + 1)), Err(TopicError::TooLong { bytes: 1025 }));
}

#[test]
fn a_topic_has_so_many_levels_at_most() {
    let levels = |count: usize| vec!["a"; count].join("/");
    assert_eq!(classify_topic(&levels(TOPIC_LEVELS_MAX)), Ok(TopicClass::Ordinary));
    assert_eq!(error(&levels(TOPIC_LEVELS_MAX + 1)), "the topic has 129 levels, where 128 are allowed");
    assert_eq!(classify_topic(&"/".repeat(TOPIC_LEVELS_MAX)), Err(TopicError::TooDeep { levels: 129 }));
    let within_tx = |count: usize| format!("tx/{TX_ID}/msg/alice/{}", levels(count - 4));
    assert!(matches!(classify_topic(&within_tx(TOPIC_LEVELS_MAX)), Ok(TopicClass::Tx(_))));
    assert_eq!(classify_topic(&within_tx(TOPIC_LEVELS_MAX + 1)), Err(TopicError::TooDeep { levels: 129 }));
    assert!(format!("msg/alice/{}", levels(200)).parse::<Place>().is_ok(), "what is stored is read");
}

proptest! {
    #[test]
    fn a_topic_is_read_back_from_its_text(topic in any_topic()) {
        let text = topic.to_string();
        prop_assert_eq!(classify_topic(&text), Ok(TopicClass::Tx(topic.clone())));
        prop_assert_eq!(topic.place.to_string().parse(), Ok(topic.place.clone()));
        let levels: Vec<_> = topic.place.levels().collect();
        prop_assert_eq!(levels.join("/"), topic.place.to_string());
    }

    /// Whatever is accepted is exactly what it says; whatever is not under `tx/` or `party/` is ordinary or forbidden.
    #[test]
    fn no_text_is_read_as_another_topic(
        text in prop_oneof![".*", "(tx|party)(/[a-z0-9.+#]{0,18}){0,6}", "tx/[a-z]{16}/(join|p2p|msg|state)(/[ab]?){0,4}"],
    ) {
        match classify_topic(&text) {
            Ok(TopicClass::Tx(topic)) => prop_assert_eq!(topic.to_string(), text),
            Ok(TopicClass::Party(topic)) => prop_assert_eq!(topic.to_string(), text),
            Ok(TopicClass::Ordinary) => prop_assert!(!matches!(text.split('/').next(), Some("tx" | "party"))),
            Err(_) => {}
        }
    }
}
