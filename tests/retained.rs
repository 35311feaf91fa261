//! Retained messages from outside: over kills, for new subscriptions, and to whom they do not come.

use quorate_testkit::{BrokerOptions, eventually};
use serde_json::{Value, json};

use crate::actors::{Actor, Cast, Heard, Version, paho, with};
use crate::stage::{LIMIT, Stage};

const CAST: Cast = paho(Version::V5);

async fn stage() -> Stage {
    Stage::open_with(BrokerOptions::default().with_open_topics()).await
}

fn retained(topic: &str, payload: &str) -> Value {
    json!({"topic": topic, "payload": payload, "retain": true})
}

/// What a new subscription to `kept/#` hears before anything else, by topic.
async fn kept(stage: &Stage) -> Vec<Heard> {
    let mut alice = Actor::connected(stage, CAST, "alice").await;
    let mut bob = Actor::connected(stage, CAST, "bob").await;
    bob.subscribe("kept/#", 2).await;
    // At QoS 2, so that it completes after all the others.
    alice.publish("kept/end", "end", 2).await;
    let mut heard = Vec::new();
    loop {
        let message = bob.next().await;
        if message.topic == "kept/end" {
            assert!(!message.retain, "said while bob was subscribed");
            break;
        }
        assert!(message.retain, "{}", message.topic);
        heard.push(message);
    }
    heard.sort_by(|one, other| one.topic.cmp(&other.topic));
    heard
}

fn shown(heard: &[Heard]) -> Vec<(&str, &str, u64)> {
    heard.iter().map(|message| (message.topic.as_str(), message.payload.as_str(), message.qos)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_outlives_a_kill_and_what_was_replaced_cleared_or_has_expired_does_not() {
    let mut stage = stage().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    for (message, qos, expiry_s) in [
        (retained("kept/replaced", "first"), 1, None),
        (retained("kept/replaced", "second"), 2, None),
        (retained("kept/cleared", "first"), 1, None),
        (retained("kept/cleared", ""), 0, None),
        (retained("kept/expires", "short"), 1, Some(1)),
        (retained("kept/lasts", "long"), 1, Some(100)),
        (retained("kept/at-most-once", "once"), 0, None),
        // What is said after it without RETAIN leaves it as it is.
        (json!({"topic": "kept/at-most-once", "payload": "live"}), 1, None),
    ] {
        let more = expiry_s.map_or(json!({}), |expiry_s| json!({"expiry_s": expiry_s}));
        alice.publish_with(with(with(message, json!({"qos": qos})), more)).await;
    }
    stage.kill_and_restart().await;
    let stage = &stage;
    let kept = eventually(LIMIT, async || {
        let kept = kept(stage).await;
        let expired = kept.iter().all(|message| message.payload != "short");
        expired.then_some(kept).ok_or_else(|| anyhow::anyhow!("`short` is not over"))
    });
    let kept = kept.await.unwrap();
    assert_eq!(
        shown(&kept),
        [("kept/at-most-once", "once", 0), ("kept/lasts", "long", 1), ("kept/replaced", "second", 2)]
    );
    let left_s = kept[1].properties["expiry_s"].as_u64().unwrap();
    assert!((100 - LIMIT.as_secs()..100).contains(&left_s), "{left_s} s left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_that_was_cleared_is_not_there_after_a_kill() {
    let mut stage = stage().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish_with(retained("kept/a", "first")).await;
    stage.kill_and_restart().await;
    assert_eq!(shown(&kept(&stage).await), [("kept/a", "first", 1)]);
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish_with(retained("kept/a", "")).await;
    stage.kill_and_restart().await;
    assert_eq!(shown(&kept(&stage).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn retain_handling_says_when_a_subscription_hears_what_is_retained() {
    let stage = stage().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish_with(retained("kept", "retained")).await;
    // At SUBSCRIBE; at a new one; not at all: what the first and the second SUBSCRIBE bring.
    for (handling, first, second) in [(0, 1, 1), (1, 1, 0), (2, 0, 0)] {
        let mut bob = Actor::connected(&stage, CAST, "bob").await;
        for count in [first, second] {
            bob.subscribe_with(json!({"filter": "kept", "qos": 1, "retain_handling": handling})).await;
            alice.publish("kept", "end", 1).await;
            assert_eq!(bob.hear_until("end").await, vec!["retained"; count], "handling {handling}");
        }
        bob.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retain_as_published_keeps_the_flag_of_what_is_said_live() {
    let stage = stage().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    for (as_published, flag) in [(true, true), (false, false)] {
        let mut bob = Actor::connected(&stage, CAST, "bob").await;
        let subscription =
            json!({"filter": "kept", "qos": 1, "retain_as_published": as_published, "retain_handling": 2});
        bob.subscribe_with(subscription).await;
        alice.publish_with(retained("kept", "said")).await;
        assert_eq!(bob.next().await.retain, flag);
        alice.publish("kept", "plain", 1).await;
        assert!(!bob.next().await.retain);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_hears_nothing_that_is_retained() {
    let stage = stage().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish_with(retained("kept", "retained")).await;
    let mut bob = Actor::connected(&stage, CAST, "bob").await;
    bob.subscribe("$share/group/kept", 1).await;
    alice.publish("kept", "end", 1).await;
    assert_eq!(bob.hear_until("end").await, Vec::<String>::new());
}
