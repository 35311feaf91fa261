use proptest::prelude::*;

use super::*;
use crate::TOPIC_LEVELS_MAX;
use crate::fixtures::{any_place, any_tx, party};

const TX_ID: &str = "0123456789abcdef";

fn tx_filter(filter: &str) -> TxFilter {
    match classify_filter(filter) {
        Ok(FilterClass::Tx(filter)) => filter,
        other => panic!("{filter}: {other:?}"),
    }
}

fn party_filter(filter: &str) -> PartyFilter {
    match classify_filter(filter) {
        Ok(FilterClass::Party(filter)) => filter,
        other => panic!("{filter}: {other:?}"),
    }
}

fn matches(filter: &str, place: &str) -> bool {
    tx_filter(filter).matches(&format!("tx/{TX_ID}/{place}").parse().expect("a valid topic"))
}

#[test]
fn a_filter_asks_for_one_transaction_or_for_all() {
    for filter in ["tx/#", "tx/+/#", "tx/+/+", "tx/+/p2p/+/+/bob"] {
        assert_eq!(tx_filter(filter).scope(), &Scope::All, "{filter}");
        assert_eq!(tx_filter(filter).as_str(), filter);
    }
    let one = Scope::One(TX_ID.parse().expect("valid"));
    assert_eq!(tx_filter(&format!("tx/{TX_ID}/#")).scope(), &one);
    assert!(!tx_filter("tx/another-transaction/#").matches(&format!("tx/{TX_ID}/state").parse().expect("valid")));
}

#[test]
fn wildcards_match_as_in_mqtt() {
    for place in ["manifest", "join/bob", "p2p/1/alice/bob", "msg/alice/x/y"] {
        assert!(matches("tx/#", place));
        assert!(matches("tx/+/#", place));
        assert!(matches(&format!("tx/{TX_ID}/#"), place));
    }
    assert!(matches("tx/+/p2p/+/+/bob", "p2p/1/alice/bob"));
    assert!(!matches("tx/+/p2p/+/+/bob", "p2p/1/alice/carol"));
    assert!(matches("tx/+/manifest/#", "manifest"), "`#` also matches the level above it");
    assert!(matches("tx/+/+", "state") && !matches("tx/+/+", "join/bob"));
    assert!(matches("tx/+/+/+", "abort/bob") && !matches("tx/+/+/+", "state"));
    assert!(matches("tx/+/msg/+/x/#", "msg/bob/x") && matches("tx/+/msg/+/x/#", "msg/bob/x/y"));
    assert!(matches("tx/+/+/r1/alice", "broadcast/r1/alice") && matches("tx/+/+/r1/alice", "msg/r1/alice"));
}

#[test]
fn a_filter_that_nothing_could_match_is_refused_with_the_place() {
    for (filter, message) in [
        ("tx", "level 2 is missing: {tx}, `+` or `#` belongs there"),
        ("tx/", "level 2: a transaction id of 0 bytes, where 16 to 64 are allowed"),
        ("tx/+", "level 3 is missing: `#`, `manifest`, `join`, ... belongs there"),
        ("tx/short/#", "level 2: a transaction id of 5 bytes, where 16 to 64 are allowed"),
        ("tx/+/foo", "no topic under `tx/` could match this filter"),
        ("tx/+/+/+/+/+/+x", "level 7: `+` and `#` stand alone in their level, and nothing follows `#`"),
        ("tx/+/manifest/+", "nothing may follow level 3"),
        ("tx/+/join", "level 4 is missing: a party id or `+` belongs there"),
        ("tx/+/join/b!b", "level 4: a party id with '!' at byte 1, where A-Z a-z 0-9 ._@:- are allowed"),
        ("tx/+/p2p/1/+", "level 6 is missing: a party id or `+` belongs there"),
        ("tx/+/echo/r 1/+", "level 4: a round with ' ' at byte 1, where A-Z a-z 0-9 ._- are allowed"),
        ("tx/+/msg/alice", "level 5 is missing: a level or `#` belongs there"),
        ("party", "level 2 is missing: {cn}, `+` or `#` belongs there"),
        ("party/+", "level 3 is missing: `#`, `inbox` or `presence` belongs there"),
        ("party/b!b/#", "level 2: a party id with '!' at byte 1, where A-Z a-z 0-9 ._@:- are allowed"),
        ("party/bob/x", "no topic under `party/` could match this filter"),
        ("party/+/inbox/+", "nothing may follow level 3"),
    ] {
        assert_eq!(classify_filter(filter).expect_err("refused").to_string(), message, "{filter}");
    }
}

#[test]
fn party_filters_name_a_party_or_match_all() {
    let bob = party("bob");
    for (filter, inbox, presence, names) in [
        ("party/#", true, true, None),
        ("party/+/#", true, true, None),
        ("party/+/+", true, true, None),
        ("party/+/presence", false, true, None),
        ("party/bob/inbox", true, false, Some(&bob)),
        ("party/bob/inbox/#", true, false, Some(&bob)),
        ("party/bob/#", true, true, Some(&bob)),
    ] {
        let filter = party_filter(filter);
        assert_eq!(filter.matches_inbox(&bob), inbox, "{filter:?}");
        assert_eq!(filter.matches_presence(&bob), presence, "{filter:?}");
        assert_eq!(filter.names(), names, "{filter:?}");
        assert_eq!(filter.matches_inbox(&party("carol")), inbox && names.is_none(), "{filter:?}");
    }
}

#[test]
fn shared_filters_are_taken_apart() {
    let shared = |group: &str, inner: &str, reserved| {
        Ok(FilterClass::Shared { group: group.to_owned(), inner: inner.to_owned(), reserved })
    };
    assert_eq!(classify_filter("$share/g/a/+"), shared("g", "a/+", false));
    assert_eq!(classify_filter("$share/g/tx/#"), shared("g", "tx/#", true));
    assert_eq!(classify_filter("$share/g/party"), shared("g", "party", true));
    assert_eq!(classify_filter("$share/g//"), shared("g", "/", false));
    for filter in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a"] {
        assert_eq!(classify_filter(filter), Err(TopicError::Share), "{filter}");
    }
    assert_eq!(classify_filter("$share/g+/a"), Err(TopicError::WildcardPlacement { level: 2 }));
}

#[test]
fn other_filters_are_ordinary_also_with_a_leading_wildcard() {
    for filter in ["#", "+", "+/manifest", "/tx/#", "a/+/b/#", "$SYS/#", "TX/#"] {
        assert_eq!(classify_filter(filter), Ok(FilterClass::Ordinary(filter.to_owned())));
    }
    for (filter, level) in [("a#", 1), ("a/#/b", 2), ("a/b+/c", 2), ("#/", 1), ("##", 1)] {
        assert_eq!(classify_filter(filter), Err(TopicError::WildcardPlacement { level }), "{filter}");
    }
    assert_eq!(classify_filter(""), Err(TopicError::Empty));
    assert_eq!(classify_filter("a\0"), Err(TopicError::Nul));
}

#[test]
fn a_filter_has_so_many_levels_at_most() {
    let levels = |count: usize| vec!["+"; count].join("/");
    let (most, too_many) = (levels(TOPIC_LEVELS_MAX), levels(TOPIC_LEVELS_MAX + 1));
    assert_eq!(classify_filter(&most), Ok(FilterClass::Ordinary(most.clone())));
    let of_share = format!("$share/group/{}", levels(TOPIC_LEVELS_MAX - 2));
    assert!(matches!(classify_filter(&of_share), Ok(FilterClass::Shared { .. })));
    for filter in [too_many, format!("$share/group/{most}"), format!("tx/+/msg/{most}"), format!("{most}/#")] {
        assert!(matches!(classify_filter(&filter), Err(TopicError::TooDeep { .. })), "{filter}");
    }
}

/// MQTT5 4.7, written down without thought for speed.
fn matches_naively(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_naively(filter, topic),
        ([literal, filter @ ..], [level, topic @ ..]) if literal == level => matches_naively(filter, topic),
        _ => false,
    }
}

/// Turns levels of a topic into a filter that may match it: some become `+`, the end may become `#`, one may go wrong.
fn filter_from(topic: &str, wild: &[bool], cut: Option<usize>, wrong: Option<usize>) -> String {
    let mut levels: Vec<&str> = topic.split('/').collect();
    for (number, level) in levels.iter_mut().enumerate().skip(1) {
        if wild[number % wild.len()] {
            *level = "+";
        }
        if wrong == Some(number) {
            *level = "wrong-but-long-enough";
        }
    }
    if let Some(cut) = cut {
        levels.truncate(cut.max(1));
        levels.push("#");
    }
    levels.join("/")
}

proptest! {
    #[test]
    fn filters_match_like_the_naive_model(
        tx in any_tx(),
        place in any_place(),
        other in any_place(),
        wild in prop::collection::vec(any::<bool>(), 8),
        cut in prop::option::of(1usize..8),
        wrong in prop::option::weighted(0.3, 1usize..8),
    ) {
        let topics = [TxTopic { tx: tx.clone(), place }, TxTopic { tx, place: other }];
        let filter = filter_from(&topics[0].to_string(), &wild, cut, wrong);
        let levels: Vec<_> = filter.split('/').collect();
        let expected = topics.clone().map(|topic| matches_naively(&levels, &topic.to_string().split('/').collect::<Vec<_>>()));
        match classify_filter(&filter) {
            Ok(FilterClass::Tx(parsed)) => prop_assert_eq!(topics.map(|topic| parsed.matches(&topic)), expected),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(_) => prop_assert_eq!(expected, [false, false], "a refused filter matches nothing: {}", filter),
        }
    }

    #[test]
    fn no_filter_text_panics(text in prop_oneof![".*", "(tx|party|[$]share)(/([+#]|[a-z]{0,18})){0,6}"]) {
        let _ = classify_filter(&text);
    }
}
