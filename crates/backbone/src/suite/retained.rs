//! Retained messages.

use quorate_domain::{MessageProperties, Qos, SubscriptionRecord};

use super::listener::{Listener, payload, publish, say, says, to};
use crate::{Backbone, Publication};

fn keep(topic: &str, text: &str) -> Publication {
    Publication { retain: true, ..says("bob", topic, text) }
}

/// What a new subscription to `filter` brings.
async fn brought(backbone: &Backbone, filter: &str, count: usize) -> Vec<String> {
    let mut carol = Listener::passing(backbone, "carol", "nothing").await;
    carol.subscribe(to(filter), &[filter]).await;
    say(backbone, says("bob", "nothing", "end")).await;
    let mut waiting = carol.until_waiting(count + 1).await;
    carol.leave().await;
    waiting.retain(|payload| payload != "end");
    waiting.sort();
    waiting
}

/// The last one of a topic comes with RETAIN, whoever asks, at the lower QoS.
pub async fn a_new_subscription_brings_the_last_one_of_each_topic(backbone: Backbone) {
    for (topic, text) in [("a/1", "old"), ("a/1", "new"), ("a/2", "other"), ("b", "elsewhere")] {
        say(&backbone, keep(topic, text)).await;
    }
    assert_eq!(backbone.topics.counts().retained, 3);
    let mut alice = Listener::lasting(&backbone, "alice", "other").await;
    alice.subscribe(SubscriptionRecord { qos: 2, identifier: Some(4), ..to("a/+") }, &["a/+"]).await;
    alice.until_waiting(2).await;
    for (queued, text) in alice.queue().await.iter().zip(["new", "other"]) {
        let manner = &queued.manner;
        assert_eq!((payload(queued).as_str(), manner.retain, manner.qos), (text, true, Qos::AtLeastOnce));
        assert_eq!(manner.identifiers, [4]);
    }
    assert_eq!(brought(&backbone, "a/1", 1).await, ["new"]);
    assert_eq!(brought(&backbone, "#", 3).await, ["elsewhere", "new", "other"]);
    assert_eq!(brought(&backbone, "a/#", 2).await, ["new", "other"]);
}

/// An empty payload clears, is delivered to those who are there, and is itself not kept.
pub async fn an_empty_payload_clears_and_is_delivered(backbone: Backbone) {
    let mut alice = Listener::passing(&backbone, "alice", "a").await;
    say(&backbone, keep("a", "kept")).await;
    say(&backbone, keep("a", "")).await;
    assert_eq!((payload(&alice.next().await).as_str(), payload(&alice.next().await).as_str()), ("kept", ""));
    assert_eq!(backbone.topics.counts().retained, 0);
    say(&backbone, keep("a", "")).await;
    assert_eq!(backbone.topics.counts().retained, 0);
    assert!(brought(&backbone, "a", 0).await.is_empty());
}

/// A publish without RETAIN leaves it as it is; one at QoS 0 replaces it.
pub async fn only_a_publish_with_retain_touches_it(backbone: Backbone) {
    say(&backbone, keep("a", "first")).await;
    say(&backbone, says("bob", "a", "passing")).await;
    assert_eq!(brought(&backbone, "a", 1).await, ["first"]);
    say(&backbone, Publication { qos: Qos::AtMostOnce, ..keep("a", "second") }).await;
    assert_eq!(brought(&backbone, "a", 1).await, ["second"]);
}

/// What was retained at QoS 0 comes through the queue too, and so is not lost for want of room.
pub async fn at_qos_0_it_comes_through_the_queue(backbone: Backbone) {
    say(&backbone, Publication { qos: Qos::AtMostOnce, ..keep("a", "kept") }).await;
    let mut alice = Listener::passing(&backbone, "alice", "other").await;
    alice.subscribe(to("a"), &["a"]).await;
    alice.until_waiting(1).await;
    assert_eq!(alice.queue().await[0].manner.qos, Qos::AtMostOnce);
}

/// One whose time is over is not brought any more.
pub async fn an_expired_one_is_not_brought(backbone: Backbone) {
    let properties = |expiry_interval_s| MessageProperties { expiry_interval_s, ..MessageProperties::default() };
    say(&backbone, Publication { properties: properties(Some(0)), ..keep("a/over", "over") }).await;
    say(&backbone, Publication { properties: properties(Some(1_000)), ..keep("a/left", "left") }).await;
    assert_eq!(brought(&backbone, "a/+", 1).await, ["left"]);
    assert_eq!(backbone.topics.counts().retained, 1, "it is forgotten when it is met");
}

/// What is said after the subscription comes after what was retained before it.
pub async fn it_comes_before_what_is_said_later(backbone: Backbone) {
    say(&backbone, keep("a", "kept")).await;
    let mut alice = Listener::lasting(&backbone, "alice", "other").await;
    alice.subscribe(to("a"), &["a"]).await;
    alice.until_waiting(1).await;
    say(&backbone, says("bob", "a", "later")).await;
    assert_eq!(alice.waiting().await, ["kept", "later"]);
}

/// Nobody is brought what no rule lets them hear.
pub async fn rights_are_checked_when_it_is_brought(backbone: Backbone) {
    say(&backbone, keep("closed/a", "secret")).await;
    say(&backbone, keep("open", "said")).await;
    assert_eq!(brought(&backbone, "#", 1).await, ["said"]);
}

/// There may be very many: all of them come, and others are served meanwhile.
pub async fn very_many_come_in_slices(backbone: Backbone) {
    const COUNT: usize = 1_200;
    for number in 0..COUNT {
        say(&backbone, keep(&format!("a/{number:04}"), &format!("{number:04}"))).await;
    }
    let mut alice = Listener::lasting(&backbone, "alice", "other").await;
    alice.subscribe(to("a/#"), &["a/#"]).await;
    publish(&backbone, says("bob", "elsewhere", "meanwhile")).await.expect("taken");
    let expected: Vec<String> = (0..COUNT).map(|number| format!("{number:04}")).collect();
    assert_eq!(alice.until_waiting(COUNT).await, expected);
}
