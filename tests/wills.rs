//! Wills from outside: when they are said, when they are not, and over the end of the broker.

use std::time::{Duration, Instant};

use quorate_testkit::BrokerOptions;
use serde_json::{Value, json};

use crate::actors::{Actor, Cast, Version, lasting, paho, payloads, with};
use crate::stage::{Stage, hear, publish, subscribe};

const CAST: Cast = paho(Version::V5);
const NOT_AUTHORIZED: u64 = 0x87;
const SESSION_TAKEN_OVER: u64 = 0x8e;
const WITH_WILL: u64 = 0x04;
/// Longer than any test.
const LATE_S: u64 = 600;

fn open_topics() -> BrokerOptions {
    BrokerOptions::default().with_open_topics()
}

async fn stage() -> Stage {
    Stage::open_with(open_topics()).await
}

/// What a CONNECT says to leave a will at `gone`.
fn leaving(payload: &str) -> Value {
    leaving_at("gone", payload, json!({}))
}

fn leaving_at(topic: &str, payload: &str, more: Value) -> Value {
    json!({"will": with(json!({"topic": topic, "payload": payload, "qos": 1, "retain": false}), more)})
}

/// A will that waits, of a session that waits longer.
fn leaving_late(payload: &str, delay_s: u64) -> Value {
    with(lasting(), leaving_at("gone", payload, json!({"delay_s": delay_s})))
}

/// One who hears the wills, also what is said while the broker or he is away.
async fn listener(stage: &Stage) -> Actor {
    let (mut bob, _) = Actor::resumed(stage, CAST, "bob").await;
    bob.subscribe("gone", 2).await;
    bob
}

/// A client that has begun, and so is fast to come back: it has connected already, as another session.
async fn ready(stage: &Stage, party: &str) -> Actor {
    Actor::connected_with(stage, CAST, party, json!({"client_id": "another"})).await
}

/// What `bob` heard before this moment.
async fn heard_by_now(stage: &Stage, bob: &mut Actor) -> Vec<String> {
    let mut carol = Actor::connected(stage, CAST, "carol").await;
    carol.publish("gone", "now", 1).await;
    carol.disconnect().await;
    bob.hear_until("now").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_said_when_the_connection_breaks() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let stage = stage().await;
        let mut bob = listener(&stage).await;
        for (qos, retain) in [(0, false), (1, false), (2, true)] {
            let will = leaving_at("gone", &format!("at {qos}"), json!({"qos": qos, "retain": retain}));
            let alice = Actor::connected_with(&stage, paho(version), "alice", will).await;
            alice.kill().await;
            let will = bob.next().await;
            assert_eq!((will.payload, will.qos, will.retain), (format!("at {qos}"), qos, false), "{version:?}");
        }
        let mut carol = Actor::connected(&stage, paho(version), "carol").await;
        carol.subscribe("gone", 1).await;
        let kept = carol.next().await;
        assert_eq!((kept.payload.as_str(), kept.retain), ("at 2", true), "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_keeps_what_its_client_said_about_it() {
    let stage = stage().await;
    let mut bob = listener(&stage).await;
    let properties = json!({
        "content_type": "text/plain", "response_topic": "why", "correlation": "7", "user": [["a", "1"], ["a", "2"]],
    });
    let will = leaving_at("gone", "said", properties.clone());
    Actor::connected_with(&stage, CAST, "alice", will).await.kill().await;
    assert_eq!(bob.next().await.properties, properties);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_discards_the_will_unless_it_asks_for_it() {
    for version in [Version::V3_1_1, Version::V5] {
        let stage = stage().await;
        let mut bob = listener(&stage).await;
        let alice = Actor::connected_with(&stage, paho(version), "alice", leaving("discarded")).await;
        alice.disconnect().await;
        // The next connection of the session begins when the one before has ended with all it does.
        Actor::connected(&stage, paho(version), "alice").await.disconnect().await;
        assert_eq!(heard_by_now(&stage, &mut bob).await, Vec::<String>::new(), "{version:?}");
        if version == Version::V5 {
            let alice = Actor::connected_with(&stage, CAST, "alice", leaving("asked for")).await;
            alice.disconnect_with(json!({"code": WITH_WILL})).await;
            assert_eq!(bob.next().await.payload, "asked for");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_waits_for_its_delay_or_the_end_of_its_session() {
    let stage = stage().await;
    let mut bob = listener(&stage).await;
    for (delay_s, session_expiry_s) in [(1, 3600), (LATE_S, 1)] {
        let late = with(leaving_late("late", delay_s), json!({"session_expiry_s": session_expiry_s}));
        let alice = Actor::connected_with(&stage, CAST, "alice", late).await;
        let begin = Instant::now();
        alice.kill().await;
        assert_eq!(bob.next().await.payload, "late");
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_secs(1), "{waited:?} of {delay_s} s in a session of {session_expiry_s} s");
    }
    // Nothing is left to wait for.
    let alice = Actor::connected_with(
        &stage,
        CAST,
        "alice",
        with(leaving_late("at once", LATE_S), json!({"session_expiry_s": 0})),
    );
    alice.await.kill().await;
    assert_eq!(bob.next().await.payload, "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_in_time_leaves_no_will() {
    const DELAY_S: u64 = 3;
    let stage = stage().await;
    let mut bob = listener(&stage).await;
    let alice = Actor::connected_with(&stage, CAST, "alice", leaving_late("alice's", DELAY_S)).await;
    let mut back = ready(&stage, "alice").await;
    alice.kill().await;
    assert!(back.connect(lasting()).await, "her session");
    let carol = Actor::connected_with(&stage, CAST, "carol", leaving_late("carol's", DELAY_S)).await;
    carol.kill().await;
    // Hers would have been said before.
    assert_eq!(bob.next().await.payload, "carol's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_says_the_will_unless_it_waits_and_the_session_goes_on() {
    let stage = stage().await;
    let mut bob = listener(&stage).await;
    let clean = || json!({"clean": true});
    let cases = [
        ("without delay", leaving_late("without delay", 0), lasting(), true),
        ("goes on", leaving_late("goes on", LATE_S), lasting(), false),
        ("ends", leaving_late("ends", LATE_S), clean(), true),
    ];
    for (name, first, second, is_said) in cases {
        let mut first = Actor::connected_with(&stage, CAST, "alice", first).await;
        let second = Actor::connected_with(&stage, CAST, "alice", second).await;
        assert_eq!(first.closed().await, Some(SESSION_TAKEN_OVER), "{name}");
        let expected: &[&str] = if is_said { &[name] } else { &[] };
        assert_eq!(heard_by_now(&stage, &mut bob).await, expected, "{name}");
        second.disconnect_with(json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_outlives_the_broker_and_is_said_to_have_been_left_unless_its_client_comes_back() {
    const DELAY_S: u64 = 4;
    let mut stage = Stage::open_with(open_topics().set("transactions.will_delay_s", DELAY_S)).await;
    let mut bob = listener(&stage).await;
    let mut alice = Actor::connected_with(&stage, CAST, "alice", with(lasting(), leaving("alice's"))).await;
    let carol = Actor::connected_with(&stage, CAST, "carol", with(lasting(), leaving("carol's"))).await;
    stage.kill();
    carol.kill().await;
    for away in [&mut alice, &mut bob] {
        away.closed().await;
    }
    let begin = Instant::now();
    stage.restart().await;
    assert!(alice.reconnect().await, "her session");
    assert!(bob.reconnect().await, "his session");
    let will = bob.next().await;
    assert_eq!(will.payload, "carol's", "hers comes at its time, alice's never");
    assert!(begin.elapsed() >= Duration::from_secs(DELAY_S), "she had that long to come back");
    assert_eq!(heard_by_now(&stage, &mut bob).await, Vec::<String>::new());
    alice.kill().await;
    assert_eq!(bob.next().await.payload, "alice's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_no_wills() {
    let mut stage = stage().await;
    let mut bob = listener(&stage).await;
    let mut alice = Actor::connected_with(&stage, CAST, "alice", with(lasting(), leaving("gone"))).await;
    assert!(stage.terminate().await.success());
    for away in [&mut alice, &mut bob] {
        away.closed().await;
    }
    stage.restart().await;
    assert!(alice.reconnect().await && bob.reconnect().await, "their sessions");
    assert_eq!(heard_by_now(&stage, &mut bob).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_in_a_transaction_is_said_after_the_configured_delay() {
    let stage = Stage::open_with(BrokerOptions::default().set("transactions.will_delay_s", 1)).await;
    for version in [Version::V3_1_1, Version::V5] {
        let mut alice = stage.client("alice").await;
        let tx = stage.create(&alice, &["alice", "bob"]).await;
        subscribe(&alice, &format!("tx/{tx}/msg/#")).await.unwrap();
        let will = leaving_at(&format!("tx/{tx}/msg/bob/gone"), "gone", json!({}));
        let bob = Actor::connected_with(&stage, paho(version), "bob", will).await;
        let begin = Instant::now();
        bob.kill().await;
        let message = hear(&mut alice, 1).await.remove(0);
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
        assert_eq!((message.payload.as_ref(), message.from.unwrap().as_str()), (&b"gone"[..], "bob"));

        subscribe(&alice, &format!("tx/{tx}/abort/#")).await.unwrap();
        let reason = json!({"reason": "gone"}).to_string();
        let will = leaving_at(&format!("tx/{tx}/abort/bob"), &reason, json!({}));
        Actor::connected_with(&stage, paho(version), "bob", will).await.kill().await;
        assert_eq!(hear(&mut alice, 1).await[0].payload, reason);
        assert_eq!(stage.state(&tx).await, "aborted", "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_transaction_a_party_that_comes_back_leaves_no_will() {
    const DELAY_S: u64 = 3;
    let stage = Stage::open_with(BrokerOptions::default().set("transactions.will_delay_s", DELAY_S)).await;
    let mut alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob", "carol"]).await;
    subscribe(&alice, &format!("tx/{tx}/msg/#")).await.unwrap();
    let will = |party: &str| leaving_at(&format!("tx/{tx}/msg/{party}/gone"), party, json!({}));
    let bob = Actor::connected_with(&stage, CAST, "bob", with(lasting(), will("bob"))).await;
    let mut back = ready(&stage, "bob").await;
    bob.kill().await;
    assert!(back.connect(lasting()).await, "his session");
    Actor::connected_with(&stage, CAST, "carol", will("carol")).await.kill().await;
    // His would have been said before.
    assert_eq!(hear(&mut alice, 1).await[0].payload, "carol");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_its_client_may_not_say_is_refused_at_connect() {
    let stage =
        Stage::open_with(BrokerOptions::default().with_access_rule("allow", "both", &["home/%u"], &["*"])).await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let topics = [
        ("mallory", "home/alice".to_owned()),
        ("mallory", "gone".to_owned()),
        ("mallory", "$SYS/broker/uptime".to_owned()),
        ("mallory", "party/mallory/inbox".to_owned()),
        ("mallory", format!("tx/{tx}/abort/mallory")),
        ("mallory", format!("tx/{tx}/msg/mallory/gone")),
        ("bob", format!("tx/{tx}/abort/alice")),
        ("bob", format!("tx/{tx}/join/bob")),
        ("bob", "tx/0123456789abcdef/abort/bob".to_owned()),
    ];
    for version in [Version::V3_1_1, Version::V5] {
        for (party, topic) in &topics {
            let mut actor = Actor::enter(&stage, paho(version), party);
            let answer = actor.try_connect(leaving_at(topic, "gone", json!({}))).await;
            assert_eq!((&answer["event"], &answer["code"]), (&json!("refused"), &json!(NOT_AUTHORIZED)), "{topic}");
        }
        let bob = Actor::connected_with(&stage, paho(version), "bob", leaving_at("home/bob", "gone", json!({})));
        bob.await.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_whose_transaction_is_over_is_not_said() {
    let stage = Stage::open_with(open_topics().set("transactions.will_delay_s", 1)).await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    subscribe(&alice, &format!("tx/{tx}/+/#")).await.unwrap();
    let will = leaving_at(&format!("tx/{tx}/msg/bob/gone"), "bob's will", json!({}));
    let bob = Actor::connected_with(&stage, CAST, "bob", will).await;
    publish(&alice, &format!("tx/{tx}/abort/alice"), "enough").await.unwrap();
    bob.kill().await;
    let mut listener = listener(&stage).await;
    let carol = Actor::connected_with(&stage, CAST, "carol", leaving_late("carol's", 2)).await;
    carol.kill().await;
    // Hers is due after bob's.
    assert_eq!(payloads(&listener.hear(1).await), ["carol's"]);
    let log = stage.api("operator").log(&tx, 0).await.unwrap().to_string();
    assert!(!log.contains("msg/bob"), "{log}");
}
