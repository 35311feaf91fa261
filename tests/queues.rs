//! What waits for a session of an ordinary topic while it is away, also where the broker is killed meanwhile; and what of
//! it is left out: too large for its client, or too old.

use quorate_testkit::BrokerOptions;
use serde_json::json;

use crate::actors::{Actor, Cast, Version, code, paho};
use crate::stage::{LIMIT, Stage};

const CAST: Cast = paho(Version::V5);
const VERSIONS: [Version; 2] = [Version::V3_1_1, Version::V5];
const COUNT: usize = 60;
const PACKET_IDENTIFIER_NOT_FOUND: u64 = 0x92;

async fn stage() -> Stage {
    Stage::open_with(BrokerOptions::default().with_open_topics()).await
}

fn numbers(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_session_is_there_after_a_kill() {
    for version in VERSIONS {
        let mut stage = stage().await;
        let (mut bob, present) = Actor::resumed(&stage, paho(version), "bob").await;
        assert!(!present);
        bob.subscribe("queue/#", 2).await;
        bob.disconnect().await;
        let mut alice = Actor::connected(&stage, paho(version), "alice").await;
        for number in 0..COUNT {
            alice.publish("queue/n", &number.to_string(), 1 + number as u64 % 2).await;
        }
        alice.publish("queue/n", "lost", 0).await;
        stage.kill_and_restart().await;
        let (mut bob, present) = Actor::resumed(&stage, paho(version), "bob").await;
        assert!(present, "{version:?}");
        let mut alice = Actor::connected(&stage, paho(version), "alice").await;
        alice.publish("queue/n", "end", 2).await;
        let heard = bob.hear_until("end").await;
        // A client hears a message of QoS 2 later than its PUBLISH: only those of one QoS are in order.
        let (at_2, at_1): (Vec<_>, Vec<_>) =
            heard.into_iter().partition(|number| number.parse::<usize>().unwrap() % 2 == 1);
        assert_eq!(at_1, numbers((0..COUNT).step_by(2)), "{version:?}: each once, in order");
        assert_eq!(at_2, numbers((1..COUNT).step_by(2)), "{version:?}: each once, in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_and_acknowledged_does_not_come_again_after_a_kill() {
    let mut stage = stage().await;
    let (mut bob, _) = Actor::resumed(&stage, CAST, "bob").await;
    bob.subscribe("queue/#", 2).await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    for number in 0..COUNT {
        alice.publish("queue/n", &number.to_string(), 2).await;
    }
    bob.hear(COUNT).await;
    stage.kill_and_restart().await;
    bob.closed().await;
    assert!(bob.reconnect().await, "its session");
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    alice.publish("queue/n", "end", 2).await;
    assert_eq!(bob.hear_until("end").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_qos_2_each_message_is_heard_once_over_kills_in_the_middle() {
    // How many publishes of a round are complete when the broker is killed.
    const COMPLETE_AT_KILLS: [usize; 4] = [1, 17, 33, 50];
    for version in VERSIONS {
        let mut stage = stage().await;
        let (mut bob, _) = Actor::resumed(&stage, paho(version), "bob").await;
        bob.subscribe("queue/#", 2).await;
        let (mut alice, _) = Actor::resumed(&stage, paho(version), "alice").await;
        for (round, complete_at_kill) in COMPLETE_AT_KILLS.into_iter().enumerate() {
            for number in round * COUNT..(round + 1) * COUNT {
                alice.start_publish(json!({"topic": "queue/n", "payload": number.to_string(), "qos": 2})).await;
            }
            let mut complete = 0;
            while complete < complete_at_kill {
                complete += completed(&alice.answer().await);
            }
            stage.kill();
            // Some more may have been complete before the end was noticed.
            loop {
                let answer = alice.answer().await;
                if answer["event"] == "closed" {
                    break;
                }
                complete += completed(&answer);
            }
            bob.closed().await;
            stage.restart().await;
            assert!(alice.reconnect().await && bob.reconnect().await, "{version:?}: their sessions");
            while complete < COUNT {
                complete += completed(&alice.answer().await);
            }
        }
        alice.publish("queue/n", "end", 2).await;
        let mut heard: Vec<usize> = bob.hear_until("end").await.iter().map(|number| number.parse().unwrap()).collect();
        heard.sort_unstable();
        assert_eq!(heard, (0..COUNT * COMPLETE_AT_KILLS.len()).collect::<Vec<_>>(), "{version:?}: each once");
    }
}

fn completed(answer: &serde_json::Value) -> usize {
    assert_eq!(answer["event"], "published", "{answer}");
    // The broker may have been killed between the end of a handshake and its PUBCOMP: it knows nothing of it any more.
    assert!(code(answer) < 0x80 || code(answer) == PACKET_IDENTIFIER_NOT_FOUND, "{answer}");
    1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_for_a_client_is_left_out() {
    let stage = stage().await;
    let mut bob = Actor::connected_with(&stage, CAST, "bob", json!({"packet_bytes_max": 1000})).await;
    bob.subscribe("queue", 2).await;
    let mut carol = Actor::connected(&stage, CAST, "carol").await;
    carol.subscribe("queue", 2).await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    let large = "x".repeat(1000);
    for qos in 0..=2 {
        alice.publish("queue", &large, qos).await;
    }
    // At QoS 2, so that it completes after all the others.
    alice.publish("queue", "small", 2).await;
    assert_eq!(bob.hear_until("small").await, Vec::<String>::new());
    assert_eq!(carol.hear_until("small").await, [large.clone(), large.clone(), large]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_of_a_message_counts_down_while_it_waits() {
    let stage = stage().await;
    let (mut bob, _) = Actor::resumed(&stage, CAST, "bob").await;
    bob.subscribe("queue", 1).await;
    bob.disconnect().await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    for (payload, expiry_s) in [("short", 1), ("long", 100)] {
        alice.publish_with(json!({"topic": "queue", "payload": payload, "expiry_s": expiry_s})).await;
    }
    // A clock: what is retained for a second after the others.
    alice.publish_with(json!({"topic": "clock", "payload": "tick", "expiry_s": 1, "retain": true})).await;
    let mut carol = Actor::connected(&stage, CAST, "carol").await;
    let second = async {
        loop {
            carol.subscribe("clock", 1).await;
            alice.publish("clock", "end", 1).await;
            if carol.hear_until("end").await.is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, second).await.expect("what is retained expires");
    let (mut bob, _) = Actor::resumed(&stage, CAST, "bob").await;
    let first = bob.next().await;
    assert_eq!(first.payload, "long");
    let left_s = first.properties["expiry_s"].as_u64().unwrap();
    assert!((100 - LIMIT.as_secs()..100).contains(&left_s), "{left_s} s left");
}
