//! What is left where a broker was killed, a subscription was withdrawn, a queue is full.

use super::*;
use crate::LocalBackbone;
use crate::tests::options;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_time_of_a_session_that_was_connected_counts_from_the_start() {
    let (running, killed) = (directory(), directory());
    let local = open(running.path(), None);
    let backbone = local.backbone();
    let mut connected = Vec::new();
    for (name, seconds) in [("alice", 0), ("bob", 3_600)] {
        let expiry = SessionExpiry::After(seconds);
        let mut listener = Listener::connect(&backbone, name, Start::Clean, expiry, None).await;
        listener.subscribe("a", &[]).await.expect("saved");
        connected.push(listener);
    }
    copy_files(running.path(), killed.path());

    let again = open(killed.path(), None);
    let found = again.backbone();
    say(&found, "a", "after the start").await;
    assert_eq!(Listener::come_back(&found, "bob").await.waiting().await, ["after the start"]);
    let counts = found.topics.counts();
    assert_eq!((counts.queued, counts.subscriptions), (1, 1), "alice's time is over");
    soon(again.shut_down()).await;
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_does_not_come_once_it_was_unsubscribed_from() {
    const RETAINED: usize = 20;
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = local.backbone();
    // So large that one batch brings eight of them, to one session.
    for number in numbers(RETAINED) {
        let payload = Bytes::from(vec![b'x'; 64 << 10]);
        let said = Publication { retain: true, payload, ..says(&format!("kept/{number}"), "") };
        publish(&backbone, said).await.expect("taken");
    }
    let mut listeners = Vec::new();
    for name in ["bob", "carol", "dave", "erin", "alice", "last"] {
        listeners.push(Listener::connect(&backbone, name, Start::Clean, SessionExpiry::Never, None).await);
    }
    let [bob, carol, dave, erin, alice, last] = &listeners[..] else { unreachable!() };
    let without = &alice.record;
    let with = &SessionRecord { subscriptions: vec![SubscriptionRecord::new("kept/#", 2)], ..without.clone() };
    let (kept, nothing) = (&["kept/#".to_owned()][..], &[][..]);
    let save = |of: &Listener, record: &SessionRecord, replay: &[String]| {
        let (sessions, key, epoch) = (backbone.sessions.clone(), of.key.clone(), of.epoch);
        let (record, replay) = (record.clone(), replay.to_vec());
        async move { sessions.save(&key, epoch, &record, &replay).await.expect("saved") }
    };
    // All at once: before her turn comes, alice has unsubscribed, and subscribed again to what is said from now on.
    tokio::join!(
        save(bob, with, kept),
        save(carol, with, kept),
        save(dave, with, kept),
        save(erin, with, kept),
        save(alice, with, kept),
        save(alice, without, nothing),
        save(alice, with, nothing),
        save(last, with, kept),
    );
    for listener in [bob, carol, dave, erin, last] {
        listener.until_waiting(RETAINED).await;
    }
    let brought = alice.queue().await.len();
    assert!(brought < RETAINED, "{brought} came of what was not asked for any more");
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_finds_a_queue_full_is_counted() {
    let directory = directory();
    let registry = prometheus::Registry::new();
    let mut options = options(directory.path());
    options.topics.queue_messages_max = 1;
    let local = LocalBackbone::open(options, &registry).expect("it opens");
    let backbone = local.backbone();
    let not_queued = || {
        let families = registry.gather();
        let is_of_it = |family: &&prometheus::proto::MetricFamily| family.name() == "quorate_wills_not_queued_total";
        let family = families.iter().find(is_of_it).expect("it is registered");
        family.get_metric()[0].get_counter().get_value()
    };
    let carol = Listener::lasting(&backbone, "carol", "#").await;
    let bob = Listener::connect(&backbone, "bob", Start::Clean, SessionExpiry::Never, Some(will("gone"))).await;
    say(&backbone, "a", "fills").await;
    soon(backbone.sessions.say_will(&bob.key, bob.epoch)).await.expect("said");
    assert_eq!(carol.waiting().await, ["fills"]);
    assert!((not_queued() - 1.0).abs() < f64::EPSILON);
    soon(local.shut_down()).await;
}
