//! Ordinary topics: who hears what, and what waits for those who are away.

use quorate_domain::{Qos, Refusal, Seq, SessionExpiry, SubscriptionRecord};

use super::fixtures::{QUEUE_MESSAGES_MAX, session};
use super::listener::{Listener, payload, publish, say, says, to};
use crate::{Backbone, Publication, ReadLimit, Receipt, Start};

/// What is said while a session is away waits for it in order, each place after the one before.
pub async fn what_is_said_waits_for_a_session_that_is_away(backbone: Backbone) {
    Listener::lasting(&backbone, "alice", "news/+").await.leave().await;
    for number in 0..5 {
        say(&backbone, says("bob", "news/today", &number.to_string())).await;
    }
    let alice = Listener::come_back(&backbone, "alice").await;
    let queue = alice.queue().await;
    assert_eq!(queue.iter().map(payload).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert!(queue.is_sorted_by(|one, next| one.seq < next.seq && next.prev == one.seq));
    let limit = ReadLimit { messages: 2, bytes: usize::MAX };
    let page = backbone.topics.read_queue(&alice.key, queue[1].seq, limit).await.expect("readable");
    assert_eq!((page.entries, page.is_end), (queue[2..4].to_vec(), false));
    let page = backbone.topics.read_queue(&alice.key, queue[2].seq, limit).await.expect("readable");
    assert_eq!((page.entries, page.is_end), (queue[3..].to_vec(), true));
}

/// A connected session hears at once what is also in its queue; what is done with leaves it.
pub async fn live_copies_are_what_the_queue_holds_until_it_is_done_with(backbone: Backbone) {
    for lasting in [true, false] {
        let mut listener = match lasting {
            true => Listener::lasting(&backbone, "alice", "#").await,
            false => Listener::passing(&backbone, "bob", "#").await,
        };
        say(&backbone, says("carol", "a", "1")).await;
        say(&backbone, says("carol", "a", "2")).await;
        let (first, second) = (listener.next().await, listener.next().await);
        assert_eq!((payload(&first), payload(&second), second.prev), ("1".into(), "2".into(), first.seq));
        assert_eq!(listener.queue().await, [first.clone(), second.clone()]);
        listener.dequeue(&[first.seq, first.seq, Seq(u64::MAX)]).await;
        let second_seq = second.seq;
        assert_eq!(listener.queue().await, [second]);
        listener.dequeue(&[second_seq]).await;
        assert!(listener.queue().await.is_empty());
        listener.leave().await;
    }
}

/// Of a message that several queues hold, each lets go by itself.
pub async fn a_message_lasts_until_the_last_queue_lets_go(backbone: Backbone) {
    let alice = Listener::lasting(&backbone, "alice", "a").await;
    let bob = Listener::lasting(&backbone, "bob", "a").await;
    say(&backbone, says("carol", "a", "shared")).await;
    let of_alice = alice.queue().await;
    alice.dequeue(&[of_alice[0].seq]).await;
    assert_eq!(bob.waiting().await, ["shared"]);
    assert_eq!(backbone.topics.counts().queued, 1);
    let of_bob = bob.queue().await;
    bob.dequeue(&[of_bob[0].seq]).await;
    assert_eq!(backbone.topics.counts().queued, 0);
}

/// Delivery at QoS 0 is a live copy and nothing else.
pub async fn at_qos_0_nothing_waits(backbone: Backbone) {
    let mut alice = Listener::lasting(&backbone, "alice", "a").await;
    alice.subscribe(SubscriptionRecord { qos: 0, ..to("b") }, &[]).await;
    say(&backbone, Publication { qos: Qos::AtMostOnce, ..says("bob", "a", "by its publisher") }).await;
    say(&backbone, says("bob", "b", "by its subscriber")).await;
    for expected in ["by its publisher", "by its subscriber"] {
        let queued = alice.next().await;
        assert_eq!((payload(&queued).as_str(), queued.seq, queued.manner.qos), (expected, Seq::ZERO, Qos::AtMostOnce));
    }
    assert!(alice.queue().await.is_empty());
    alice.leave().await;
    say(&backbone, says("bob", "b", "nobody is there")).await;
    assert!(Listener::come_back(&backbone, "alice").await.queue().await.is_empty());
}

/// Subscriptions that overlap bring one delivery, at the highest QoS and with all identifiers.
pub async fn overlapping_subscriptions_bring_one_delivery(backbone: Backbone) {
    let mut alice = Listener::lasting(&backbone, "alice", "other").await;
    alice.subscribe(SubscriptionRecord { qos: 0, identifier: Some(3), ..to("a/#") }, &[]).await;
    alice.subscribe(SubscriptionRecord { qos: 1, identifier: Some(9), ..to("a/+") }, &[]).await;
    say(&backbone, Publication { qos: Qos::ExactlyOnce, ..says("bob", "a/b", "once") }).await;
    let queued = alice.next().await;
    let mut identifiers = queued.manner.identifiers.clone();
    identifiers.sort_unstable();
    assert_eq!((queued.manner.qos, identifiers), (Qos::AtLeastOnce, vec![3, 9]));
    assert_eq!(alice.queue().await, [queued]);
}

/// No Local leaves out what the session itself published, and that alone.
pub async fn no_local_leaves_out_what_the_session_published(backbone: Backbone) {
    let mut alice = Listener::lasting(&backbone, "alice", "other").await;
    alice.subscribe(SubscriptionRecord { no_local: true, ..to("a") }, &[]).await;
    let of_hers = |client_id: &str| Some(session("alice", client_id));
    say(&backbone, Publication { session: of_hers("listener"), ..says("alice", "a", "own") }).await;
    say(&backbone, Publication { session: of_hers("phone"), ..says("alice", "a", "from her phone") }).await;
    assert_eq!(alice.waiting().await, ["from her phone"]);
}

/// RETAIN comes through to established subscriptions only where they ask for it.
pub async fn retain_is_forwarded_as_published_only_where_asked_for(backbone: Backbone) {
    for asked in [false, true] {
        let mut alice = Listener::lasting(&backbone, "alice", "other").await;
        alice.subscribe(SubscriptionRecord { retain_as_published: asked, ..to("a") }, &[]).await;
        say(&backbone, Publication { retain: true, ..says("bob", "a", "kept") }).await;
        assert_eq!(alice.next().await.manner.retain, asked);
    }
}

/// Each message is checked when it is delivered, whatever the filter is.
pub async fn nobody_hears_what_no_rule_lets_them_hear(backbone: Backbone) {
    let alice = Listener::lasting(&backbone, "alice", "#").await;
    say(&backbone, says("bob", "closed/a", "secret")).await;
    say(&backbone, says("bob", "open", "said")).await;
    assert_eq!(alice.waiting().await, ["said"]);
}

/// After an UNSUBSCRIBE nothing is added; after a session ends nothing is left for the next of its name.
pub async fn nothing_is_added_after_an_unsubscribe_or_an_end(backbone: Backbone) {
    let mut alice = Listener::lasting(&backbone, "alice", "a").await;
    say(&backbone, says("bob", "a", "before")).await;
    alice.unsubscribe("a").await;
    say(&backbone, says("bob", "a", "after")).await;
    assert_eq!(alice.waiting().await, ["before"]);
    alice.leave().await;
    let anew = Listener::lasting(&backbone, "alice", "a").await;
    assert!(anew.queue().await.is_empty());
    say(&backbone, says("bob", "a", "anew")).await;
    assert_eq!(anew.waiting().await, ["anew"]);
    anew.leave().await;
    let passing = Listener::passing(&backbone, "carol", "a").await;
    say(&backbone, says("bob", "a", "for carol")).await;
    passing.leave().await;
    assert!(Listener::passing(&backbone, "carol", "a").await.queue().await.is_empty());
}

/// A session whose time is over is not waited for.
pub async fn nothing_waits_for_a_session_that_has_expired(backbone: Backbone) {
    let start = Start::Clean;
    let mut alice = Listener::connect(&backbone, "alice", start, SessionExpiry::After(0), None).await;
    alice.subscribe(to("a"), &[]).await;
    let record = quorate_domain::SessionRecord {
        expiry: SessionExpiry::After(0),
        disconnected_at: Some(quorate_domain::UnixMs(1)),
        subscriptions: vec![to("a")],
        ..quorate_domain::SessionRecord::default()
    };
    backbone.sessions.save(&alice.key, alice.epoch, &record, &[]).await.expect("saved");
    say(&backbone, says("bob", "a", "too late")).await;
    assert!(alice.queue().await.is_empty());
}

/// At the bound of a queue the publish is refused as a whole, for all who would hear it.
pub async fn a_full_queue_refuses_the_publish_and_nothing_of_it_is_kept(backbone: Backbone) {
    Listener::lasting(&backbone, "alice", "a").await.leave().await;
    for _ in 0..QUEUE_MESSAGES_MAX {
        say(&backbone, says("carol", "a", "fills")).await;
    }
    let bob = Listener::lasting(&backbone, "bob", "a").await;
    let refused = publish(&backbone, Publication { retain: true, ..says("carol", "a", "too much") }).await;
    assert!(matches!(refused, Err(Refusal::QuotaExceeded(_))), "{refused:?}");
    assert!(bob.queue().await.is_empty());
    assert_eq!(backbone.topics.counts().retained, 0);
    let alice = Listener::come_back(&backbone, "alice").await;
    let first = alice.queue().await[0].seq;
    alice.dequeue(&[first]).await;
    say(&backbone, says("carol", "a", "fits")).await;
    assert_eq!(bob.waiting().await, ["fits"]);
}

/// A publish at QoS 2 is made once, however often it comes, until its receipt is released.
pub async fn a_publish_with_a_receipt_is_made_once(backbone: Backbone) {
    let alice = Listener::lasting(&backbone, "alice", "a").await;
    let receipt = || Some(Receipt { session: alice.key.clone(), epoch: alice.epoch, packet_id: 7 });
    let publication = || Publication { receipt: receipt(), qos: Qos::ExactlyOnce, ..says("alice", "a", "once") };
    let mut repeated = Vec::new();
    for _ in 0..3 {
        repeated.push(publish(&backbone, publication()).await.expect("taken").repeated);
    }
    assert_eq!(repeated, [false, true, true]);
    assert_eq!(alice.waiting().await, ["once"]);
    backbone.sessions.release(&alice.key, alice.epoch, &[7]).await.expect("released");
    say(&backbone, publication()).await;
    assert_eq!(alice.waiting().await, ["once", "once"]);
    let again = Listener::come_back(&backbone, "alice").await;
    assert_eq!(publish(&backbone, publication()).await, Err(Refusal::Superseded));
    assert_eq!(again.waiting().await.len(), 2);
}

/// Publishes of one caller reach every session in the order in which they were made, whatever is stored of them.
pub async fn the_order_of_a_publisher_is_kept(backbone: Backbone) {
    let mut alice = Listener::passing(&backbone, "alice", "a").await;
    let bob = Listener::lasting(&backbone, "bob", "a").await;
    for number in 0..100 {
        say(&backbone, Publication { retain: number % 3 == 0, ..says("carol", "a", &number.to_string()) }).await;
    }
    let expected: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
    let mut heard = Vec::new();
    while heard.len() < 100 {
        heard.push(payload(&alice.next().await));
    }
    assert_eq!(heard, expected);
    assert_eq!(bob.waiting().await, expected);
}

/// A filter that is sent again while messages flow misses none of them.
pub async fn a_subscription_that_is_made_again_misses_nothing(backbone: Backbone) {
    let mut alice = Listener::lasting(&backbone, "alice", "a").await;
    let speaker = backbone.clone();
    let speaking = tokio::spawn(async move {
        for number in 0..200 {
            say(&speaker, says("bob", "a", &number.to_string())).await;
        }
    });
    for qos in [1, 2].into_iter().cycle().take(40) {
        alice.subscribe(SubscriptionRecord { qos, ..to("a") }, &["a"]).await;
    }
    speaking.await.expect("all is said");
    assert_eq!(alice.waiting().await, (0..200).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}
