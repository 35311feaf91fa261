//! Shared subscriptions from outside: each message goes to one member, in turn; what a member leaves without having
//! acknowledged it goes to another.

use quorate_testkit::BrokerOptions;
use serde_json::{Value, json};

use crate::actors::{Actor, Cast, Version, lasting, paho, with};
use crate::mosquitto::Subscriber;
use crate::stage::Stage;

const CAST: Cast = paho(Version::V5);
const MEMBERS: [&str; 3] = ["bob", "carol", "dave"];
/// A multiple of every number of members.
const COUNT: usize = 60;

async fn stage() -> Stage {
    Stage::open_with(BrokerOptions::default().with_open_topics()).await
}

async fn member(stage: &Stage, party: &str, more: Value) -> Actor {
    let mut member = Actor::connected_with(stage, CAST, party, more).await;
    member.subscribe("$share/group/work/#", 2).await;
    member
}

async fn say(alice: &mut Actor, numbers: std::ops::Range<usize>) {
    for number in numbers {
        alice.publish("work/n", &number.to_string(), 1 + number as u64 % 2).await;
    }
}

fn sorted(numbers: Vec<String>) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn all() -> Vec<usize> {
    (0..COUNT).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_and_three_members_get_equal_shares() {
    for count in [2, 3] {
        let stage = stage().await;
        let mut members = Vec::new();
        for party in &MEMBERS[..count] {
            members.push(member(&stage, party, json!({})).await);
        }
        let mut alice = Actor::connected(&stage, CAST, "alice").await;
        say(&mut alice, 0..COUNT).await;
        for _ in 0..count {
            alice.publish("work/n", "end", 2).await;
        }
        let mut heard = Vec::new();
        for member in &mut members {
            let share = member.hear_until("end").await;
            assert_eq!(share.len(), COUNT / count, "{share:?}");
            heard.extend(share);
        }
        assert_eq!(sorted(heard), all());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_group_hears_everything_and_so_does_a_subscription_of_ones_own() {
    let stage = stage().await;
    let mut bob = member(&stage, "bob", json!({})).await;
    let mut carol = Actor::connected(&stage, CAST, "carol").await;
    carol.subscribe("$share/other/work/#", 1).await;
    let mut dave = Actor::connected(&stage, CAST, "dave").await;
    dave.subscribe("work/n", 1).await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    say(&mut alice, 0..COUNT).await;
    for actor in [&mut bob, &mut carol, &mut dave] {
        let heard = actor.hear(COUNT).await.into_iter().map(|message| message.payload).collect();
        assert_eq!(sorted(heard), all());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_leaves_without_acknowledging_it_reaches_another() {
    let sessions = [("ends with its connection", json!({})), ("goes on", lasting())];
    for (session, more) in sessions {
        let stage = stage().await;
        let mut bob = member(&stage, "bob", with(more, json!({"silent": true}))).await;
        let mut carol = member(&stage, "carol", json!({})).await;
        let mut carol_heard = Vec::new();
        let mut alice = Actor::connected(&stage, CAST, "alice").await;
        for number in 0..COUNT {
            alice.publish("work/n", &number.to_string(), 1).await;
        }
        // Each has its half; bob has acknowledged nothing of his.
        bob.hear(COUNT / 2).await;
        carol_heard.extend(carol.hear(COUNT / 2).await);
        bob.kill().await;
        carol_heard.extend(carol.hear(COUNT / 2).await);
        let heard = carol_heard.into_iter().map(|message| message.payload).collect();
        assert_eq!(sorted(heard), all(), "a session that {session}");
        alice.publish("work/n", "end", 2).await;
        assert_eq!(carol.hear_until("end").await, Vec::<String>::new(), "a session that {session}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_unsubscribes_leaves_the_rest_to_the_others() {
    let stage = stage().await;
    let mut bob = member(&stage, "bob", json!({})).await;
    let mut carol = member(&stage, "carol", json!({})).await;
    bob.unsubscribe("$share/group/work/#").await;
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    say(&mut alice, 0..COUNT).await;
    alice.publish("work/n", "end", 2).await;
    assert_eq!(sorted(carol.hear_until("end").await), all());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_away_have_their_shares_kept_over_a_kill() {
    let mut stage = stage().await;
    for party in ["bob", "carol"] {
        member(&stage, party, lasting()).await.disconnect().await;
    }
    let mut alice = Actor::connected(&stage, CAST, "alice").await;
    say(&mut alice, 0..COUNT).await;
    stage.kill_and_restart().await;
    let mut heard = Vec::new();
    // The first who comes back may be given what waits for the other.
    let (mut bob, _) = Actor::resumed(&stage, CAST, "bob").await;
    let (mut carol, _) = Actor::resumed(&stage, CAST, "carol").await;
    while heard.len() < COUNT {
        tokio::select! {
            message = bob.next() => heard.push(message.payload),
            message = carol.next() => heard.push(message.payload),
        }
    }
    assert_eq!(sorted(heard), all());
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_and_paho_share_the_work() {
    for version in ["mqttv311", "5"] {
        let stage = stage().await;
        let mut bob = member(&stage, "bob", json!({})).await;
        let half = (COUNT / 2).to_string();
        let arguments = ["-t", "$share/group/work/#", "-F", "said %p", "-C", &half];
        let mut carol = Subscriber::begin(&stage, "carol", version, "1", &arguments).await;
        let mut alice = Actor::connected(&stage, CAST, "alice").await;
        say(&mut alice, 0..COUNT).await;
        let mut heard: Vec<String> = bob.hear(COUNT / 2).await.into_iter().map(|message| message.payload).collect();
        while let Some(number) = carol.said().await {
            heard.push(number);
        }
        assert_eq!(sorted(heard), all(), "{version}");
    }
}
