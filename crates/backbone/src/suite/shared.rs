//! Shared subscriptions (MQTT5 4.8.2).

use std::collections::BTreeMap;

use quorate_domain::{Qos, Refusal, SessionExpiry, SubscriptionRecord};

use super::fixtures::QUEUE_MESSAGES_MAX;
use super::listener::{Listener, payload, publish, say, says, to};
use crate::{Backbone, Publication, Start};

const SHARED: &str = "$share/workers/jobs/+";

/// Each message goes to one member, in turn.
pub async fn each_message_goes_to_one_member_in_turn(backbone: Backbone) {
    let members = [
        Listener::lasting(&backbone, "alice", SHARED).await,
        Listener::passing(&backbone, "bob", SHARED).await,
        Listener::lasting(&backbone, "carol", SHARED).await,
    ];
    for number in 0..30 {
        say(&backbone, says("dave", "jobs/a", &format!("{number:02}"))).await;
    }
    let mut all = Vec::new();
    for member in &members {
        let waiting = member.waiting().await;
        assert_eq!(waiting.len(), 10, "{}", member.key);
        all.extend(waiting);
    }
    all.sort();
    assert_eq!(all, (0..30).map(|number: u32| format!("{number:02}")).collect::<Vec<_>>());
}

/// Two groups over one filter are two subscriptions, and each message comes to both; so it does beside one of one's own.
pub async fn groups_and_own_subscriptions_are_apart(backbone: Backbone) {
    let mut alice = Listener::lasting(&backbone, "alice", "other").await;
    alice.subscribe(SubscriptionRecord { qos: 1, identifier: Some(1), ..to("jobs/#") }, &[]).await;
    alice.subscribe(SubscriptionRecord { qos: 2, identifier: Some(2), ..to(SHARED) }, &[]).await;
    let bob = Listener::lasting(&backbone, "bob", "$share/others/jobs/+").await;
    say(&backbone, Publication { qos: Qos::ExactlyOnce, ..says("carol", "jobs/a", "x") }).await;
    let heard: BTreeMap<Vec<u32>, Qos> =
        alice.queue().await.into_iter().map(|queued| (queued.manner.identifiers, queued.manner.qos)).collect();
    assert_eq!(heard, BTreeMap::from([(vec![1], Qos::AtLeastOnce), (vec![2], Qos::ExactlyOnce)]));
    assert_eq!(bob.waiting().await, ["x"]);
}

/// A member that is away gets nothing while another is there; where none is, one that comes back has it.
pub async fn members_that_are_there_come_first(backbone: Backbone) {
    Listener::lasting(&backbone, "alice", SHARED).await.leave().await;
    let bob = Listener::passing(&backbone, "bob", SHARED).await;
    for _ in 0..4 {
        say(&backbone, says("carol", "jobs/a", "now")).await;
    }
    assert_eq!(bob.waiting().await.len(), 4);
    let seqs: Vec<_> = bob.queue().await.iter().map(|queued| queued.seq).collect();
    bob.dequeue(&seqs).await;
    bob.leave().await;
    say(&backbone, says("carol", "jobs/a", "later")).await;
    assert_eq!(Listener::come_back(&backbone, "alice").await.waiting().await, ["later"]);
}

/// What a member leaves unacknowledged reaches another, whether its session goes on or not.
pub async fn what_a_member_leaves_reaches_another(backbone: Backbone) {
    for lasting in [true, false] {
        let alice = match lasting {
            true => Listener::lasting(&backbone, "alice", SHARED).await,
            false => Listener::passing(&backbone, "alice", SHARED).await,
        };
        for number in 0..3 {
            say(&backbone, says("carol", "jobs/a", &number.to_string())).await;
        }
        let done = alice.queue().await[0].seq;
        alice.dequeue(&[done]).await;
        let bob = Listener::passing(&backbone, "bob", SHARED).await;
        alice.leave().await;
        assert_eq!(bob.until_waiting(2).await, ["1", "2"]);
        let seqs: Vec<_> = bob.queue().await.iter().map(|queued| queued.seq).collect();
        bob.dequeue(&seqs).await;
        bob.leave().await;
        let again = Listener::come_back(&backbone, "alice").await;
        assert!(again.queue().await.is_empty(), "it has moved");
    }
}

/// Where nobody else is, it waits for a member that comes back.
pub async fn without_another_member_it_waits(backbone: Backbone) {
    let alice = Listener::lasting(&backbone, "alice", SHARED).await;
    say(&backbone, says("carol", "jobs/a", "hers")).await;
    alice.leave().await;
    assert_eq!(Listener::come_back(&backbone, "alice").await.waiting().await, ["hers"]);
}

/// Where every other member is away too, it stays where it is: one that is away is no better than another.
pub async fn what_is_left_stays_where_every_member_is_away(backbone: Backbone) {
    Listener::lasting(&backbone, "bob", SHARED).await.leave().await;
    let alice = Listener::lasting(&backbone, "alice", SHARED).await;
    for number in 0..3 {
        say(&backbone, says("carol", "jobs/a", &number.to_string())).await;
    }
    alice.leave().await;
    // What follows from the end of a connection comes before what is said later.
    say(&backbone, says("carol", "jobs", "nobody hears it")).await;
    let bob = Listener::come_back(&backbone, "bob").await;
    assert_eq!(bob.waiting().await, [""; 0]);
    assert_eq!(Listener::come_back(&backbone, "alice").await.waiting().await, ["0", "1", "2"]);
}

/// A delivery at QoS 2 that is under way stays with its member, and ends with its session.
pub async fn what_is_under_way_at_qos_2_stays_with_its_member(backbone: Backbone) {
    let job = |text: &str| Publication { qos: Qos::ExactlyOnce, ..says("carol", "jobs/a", text) };
    let alice = Listener::lasting(&backbone, "alice", SHARED).await;
    say(&backbone, job("begun")).await;
    say(&backbone, job("not begun")).await;
    alice.hold(&alice.queue().await[0]).await;
    let bob = Listener::lasting(&backbone, "bob", SHARED).await;
    alice.leave().await;
    assert_eq!(bob.until_waiting(1).await, ["not begun"]);
    let again = Listener::come_back(&backbone, "alice").await;
    assert_eq!(again.waiting().await, ["begun"]);
    backbone.sessions.remove(&again.key, again.epoch).await.expect("removed");
    say(&backbone, job("next")).await;
    let waiting: Vec<String> = bob.queue().await.iter().map(payload).collect();
    assert_eq!(waiting, ["not begun", "next"]);
}

/// A member whose session is over swallows nothing, neither of what is published nor of what another member leaves.
pub async fn a_member_that_has_expired_is_passed_over(backbone: Backbone) {
    for name in ["alice", "bob"] {
        let mut member = Listener::connect(&backbone, name, Start::Clean, SessionExpiry::After(0), None).await;
        member.subscribe(to(SHARED), &[]).await;
        member.expire().await;
    }
    Listener::lasting(&backbone, "carol", SHARED).await.leave().await;
    for number in 0..4 {
        say(&backbone, says("dave", "jobs/a", &number.to_string())).await;
    }
    let carol = Listener::come_back(&backbone, "carol").await;
    assert_eq!(carol.until_waiting(4).await, ["0", "1", "2", "3"]);
    let mut erin = Listener::connect(&backbone, "erin", Start::Clean, SessionExpiry::After(0), None).await;
    erin.subscribe(to(SHARED), &[]).await;
    erin.expire().await;
    Listener::lasting(&backbone, "frank", SHARED).await.leave().await;
    backbone.sessions.remove(&carol.key, carol.epoch).await.expect("removed");
    let frank = Listener::come_back(&backbone, "frank").await;
    // By a share, in whatever order (MQTT5 4.6.0-6 speaks of the others).
    let mut handed_on = frank.until_waiting(4).await;
    handed_on.sort();
    assert_eq!(handed_on, ["0", "1", "2", "3"]);
}

/// A session that hears a message by a share and by a subscription of its own has room for both, or the publish is
/// refused.
pub async fn the_bound_of_a_queue_holds_where_a_message_comes_twice(backbone: Backbone) {
    let mut alice = Listener::passing(&backbone, "alice", SHARED).await;
    alice.subscribe(to("#"), &[]).await;
    say(&backbone, says("bob", "once", "first")).await;
    for _ in 0..(QUEUE_MESSAGES_MAX - 1) / 2 {
        say(&backbone, says("bob", "jobs/a", "twice")).await;
    }
    let waiting = alice.queue().await;
    assert_eq!(waiting.len() as u64, QUEUE_MESSAGES_MAX - 1);
    let refused = publish(&backbone, says("bob", "jobs/a", "too much")).await;
    assert!(matches!(refused, Err(Refusal::QuotaExceeded(_))), "{refused:?}");
    say(&backbone, says("bob", "once", "last")).await;
    assert_eq!(alice.queue().await.len() as u64, QUEUE_MESSAGES_MAX);
    alice.dequeue(&[waiting[0].seq, waiting[1].seq]).await;
    say(&backbone, says("bob", "jobs/a", "fits")).await;
    let last: Vec<String> = alice.waiting().await.split_off(waiting.len() - 2);
    assert_eq!(last, ["last", "fits", "fits"]);
}

/// Each member hears at the QoS that it was granted.
pub async fn each_member_hears_at_its_own_qos(backbone: Backbone) {
    let mut members = Vec::new();
    for (name, qos) in [("alice", 0), ("bob", 1), ("carol", 2)] {
        let mut member = Listener::passing(&backbone, name, "other").await;
        member.subscribe(SubscriptionRecord { qos, ..to(SHARED) }, &[]).await;
        members.push(member);
    }
    for _ in &members {
        say(&backbone, Publication { qos: Qos::ExactlyOnce, ..says("dave", "jobs/a", "x") }).await;
    }
    for (member, qos) in members.iter_mut().zip([Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]) {
        assert_eq!(member.next().await.manner.qos, qos);
    }
}
