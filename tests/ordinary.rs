//! Ordinary topics from outside: who may use which, what a filter hears, and what the options of a subscription do.

use quorate_testkit::BrokerOptions;
use serde_json::json;

use crate::actors::{Actor, Cast, Version, code, paho, payloads};
use crate::stage::{Stage, publish};

const CAST: Cast = paho(Version::V5);
const NOT_AUTHORIZED: u64 = 0x87;

async fn open_stage() -> Stage {
    Stage::open_with(BrokerOptions::default().with_open_topics()).await
}

/// What a publish to this topic is answered.
async fn told(actor: &mut Actor, topic: &str) -> u64 {
    code(&actor.try_publish(json!({"topic": topic, "payload": topic})).await)
}

async fn granted(actor: &mut Actor, filter: &str) -> u64 {
    actor.try_subscribe(json!({"filter": filter, "qos": 1})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_ordinary_topics_are_closed() {
    let stage = Stage::open().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    assert_eq!(told(&mut alice, "news/today").await, NOT_AUTHORIZED);
    for filter in ["news/today", "#", "$SYS/#", "$share/group/news/today"] {
        assert_eq!(granted(&mut alice, filter).await, NOT_AUTHORIZED, "{filter}");
    }
    let mut bob = Actor::connected(&stage, paho(Version::V3_1_1), "bob").await;
    assert_eq!(granted(&mut bob, "news/today").await, 0x80);
    let refused = bob.try_publish(json!({"topic": "news/today", "payload": "x"})).await;
    assert_eq!(refused["event"], "closed", "3.1.1 has no other way to be told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_that_names_party_action_and_topic_decides() {
    let options = BrokerOptions::default()
        .with_access_rule("deny", "publish", &["news/#"], &["b*"])
        .with_access_rule("allow", "both", &["news/#"], &["*"])
        .with_access_rule("deny", "both", &["news/late"], &["*"]);
    let stage = Stage::open_with(options).await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    let mut bob = Actor::connected(&stage, CAST, "bob").await;
    bob.subscribe("news/#", 1).await;
    assert_eq!(told(&mut bob, "news/today").await, NOT_AUTHORIZED);
    alice.publish("news/today", "by alice", 1).await;
    alice.publish("news/late", "an earlier rule has decided", 1).await;
    assert_eq!(payloads(&bob.hear(2).await), ["by alice", "an earlier rule has decided"]);
    assert_eq!(told(&mut alice, "elsewhere").await, NOT_AUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_the_partys_name_is_its_own() {
    let stage =
        Stage::open_with(BrokerOptions::default().with_access_rule("allow", "both", &["home/%u/#"], &["*"])).await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    let mut bob = Actor::connected(&stage, CAST, "bob").await;
    assert_eq!(told(&mut bob, "home/alice/lamp").await, NOT_AUTHORIZED);
    assert_eq!(granted(&mut bob, "home/alice/#").await, NOT_AUTHORIZED);
    assert_eq!(granted(&mut bob, "home/#").await, 1, "of which bob's is a part");
    alice.publish("home/alice/lamp", "alice's", 1).await;
    bob.publish("home/bob/lamp", "bob's", 1).await;
    assert_eq!(bob.next().await.payload, "bob's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_inside_of_an_allowed_wildcard_is_not_delivered() {
    let options = BrokerOptions::default()
        .with_access_rule("deny", "subscribe", &["home/+/secret"], &["bob"])
        .with_access_rule("allow", "both", &["home/#"], &["*"]);
    let stage = Stage::open_with(options).await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish_with(json!({"topic": "home/a/secret", "payload": "retained", "retain": true})).await;
    let mut bob = Actor::connected(&stage, CAST, "bob").await;
    let mut carol = Actor::connected(&stage, CAST, "carol").await;
    bob.subscribe("home/#", 2).await;
    carol.subscribe("home/#", 2).await;
    for qos in 0..=2 {
        alice.publish("home/a/secret", "hidden", qos).await;
    }
    // At QoS 2, so that it completes after all the others.
    alice.publish("home/a/lamp", "shown", 2).await;
    assert_eq!(bob.hear_until("shown").await, Vec::<String>::new());
    let mut heard = carol.hear_until("shown").await;
    // What comes at QoS 0 has no order with the rest.
    heard.sort_unstable();
    assert_eq!(heard, ["hidden", "hidden", "hidden", "retained"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leading_wildcard_hears_neither_transactions_nor_parties_nor_the_broker() {
    let options = BrokerOptions::default().with_open_topics().set("sys.interval_s", 1);
    let stage = Stage::open_with(options).await;
    let mut operator = Actor::connected(&stage, CAST, "operator").await;
    // Which filter a message came by is told by its identifiers.
    for (filter, identifier) in
        [("#", 1), ("+/+/#", 2), ("tx/+/broadcast/#", 3), ("party/operator/#", 4), ("$SYS/#", 5)]
    {
        operator.subscribe_with(json!({"filter": filter, "qos": 1, "identifier": identifier})).await;
    }
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "operator"]).await;
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "to all").await.unwrap();
    let (mut awaited, mut elsewhere) = (vec!["tx/", "party/", "$SYS/"], 0);
    while !awaited.is_empty() || elsewhere == 0 {
        let heard = operator.next().await;
        let identifiers = &heard.properties["identifiers"];
        let expected = match heard.topic.split('/').next() {
            Some("tx") => json!([3]),
            Some("party") => json!([4]),
            Some("$SYS") => json!([5]),
            _ => json!([1, 2]),
        };
        assert_eq!(*identifiers, expected, "{}", heard.topic);
        elsewhere += usize::from(heard.topic == "else/where");
        awaited.retain(|prefix| !heard.topic.starts_with(prefix));
        if awaited.is_empty() && elsewhere == 0 {
            operator.publish("else/where", "ordinary", 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_leaves_out_what_the_session_itself_said() {
    let stage = open_stage().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    let mut other = Actor::enter(&stage, CAST, "alice");
    other.connect(json!({"client_id": "other"})).await;
    for actor in [&mut alice, &mut other] {
        actor.subscribe_with(json!({"filter": "room", "qos": 1, "no_local": true})).await;
    }
    alice.publish("room", "by alice", 1).await;
    other.publish("room", "by the other", 1).await;
    assert_eq!(alice.next().await.payload, "by the other");
    assert_eq!(other.next().await.payload, "by alice");
    alice.subscribe("room", 1).await;
    alice.publish("room", "heard", 1).await;
    assert_eq!(alice.next().await.payload, "heard", "the option is that of the last SUBSCRIBE");
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subscriptions_bring_a_message_once_with_all_identifiers() {
    let stage = open_stage().await;
    let mut bob = Actor::connected(&stage, CAST, "bob").await;
    for (filter, qos, identifier) in [("a/#", 0, 10), ("a/+", 2, 20), ("a/b", 1, 30)] {
        bob.subscribe_with(json!({"filter": filter, "qos": qos, "identifier": identifier})).await;
    }
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish("a/b", "three", 2).await;
    alice.publish("a/b/c", "one", 2).await;
    alice.publish("a/b", "three again", 1).await;
    let mut shown = Vec::new();
    // What comes at QoS 0 has no order with the rest.
    let mut heard = bob.hear(3).await;
    heard.sort_by(|one, other| one.payload.cmp(&other.payload));
    for message in heard {
        let mut identifiers: Vec<u64> = serde_json::from_value(message.properties["identifiers"].clone()).unwrap();
        identifiers.sort_unstable();
        shown.push((message.payload, message.qos, identifiers));
    }
    let all = vec![10, 20, 30];
    assert_eq!(
        shown,
        [("one".to_owned(), 0, vec![10]), ("three".to_owned(), 2, all.clone()), ("three again".to_owned(), 1, all)]
    );
    bob.unsubscribe("a/+").await;
    alice.publish("a/b", "fewer", 2).await;
    let fewer = bob.next().await;
    assert_eq!((fewer.payload.as_str(), fewer.qos), ("fewer", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_tells_about_itself_to_admins_and_to_whom_a_rule_names() {
    let options = BrokerOptions::default()
        .with_open_topics()
        .with_access_rule("allow", "both", &["$SYS/broker/version"], &["alice"])
        .set("sys.interval_s", 1);
    let stage = Stage::open_with(options).await;
    let mut operator = Actor::connected(&stage, CAST, "operator").await;
    operator.subscribe("$SYS/broker/#", 1).await;
    let mut topics = Vec::new();
    for wanted in ["version", "uptime", "clients/connected", "publish/messages/received"] {
        let wanted = format!("$SYS/broker/{wanted}");
        while !topics.contains(&wanted) {
            topics.push(operator.next().await.topic);
        }
    }
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.subscribe("$SYS/#", 1).await;
    let version = alice.next().await;
    assert_eq!((version.topic.as_str(), version.retain), ("$SYS/broker/version", true));
    assert_eq!(version.payload, format!("quorate version {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(granted(&mut alice, "$SYS/broker/uptime").await, NOT_AUTHORIZED);
    let mut bob = Actor::connected(&stage, CAST, "bob").await;
    assert_eq!(granted(&mut bob, "$SYS/#").await, NOT_AUTHORIZED);
    for actor in [&mut operator, &mut alice] {
        assert_eq!(told(actor, "$SYS/broker/version").await, NOT_AUTHORIZED);
    }
}
