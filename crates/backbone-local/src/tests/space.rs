//! What is over goes from the store, in the background: transactions, messages, sessions. What stays of it is a tombstone.

use std::path::Path;
use std::time::Duration;

use quorate_backbone::{Backbone, Publication, Start};
use quorate_domain::{
    Agreement, Author, Closer, CursorMoves, Delivery, MessageProperties, Qos, Refusal, Seq, SessionExpiry,
    SessionRecord, Sha256, SubscriptionRecord, TxId, TxState, UnixMs,
};

use super::{LASTING, create, directory, options, party, publish, read, session, soon, tx, until};
use crate::store::tests::count_all;
use crate::{LocalBackbone, LocalOptions, Retention};

fn open(path: &Path, purge_after: Duration, retain_closed_for: Duration) -> LocalBackbone {
    let options = LocalOptions { retention: Retention { purge_after, retain_closed_for }, ..options(path) };
    LocalBackbone::open(options, &prometheus::Registry::new()).expect("it opens")
}

async fn close(backbone: &Backbone, tx: &TxId) {
    let by = Closer::Admin(party("operator"));
    soon(backbone.log.close(tx, by, String::new())).await.expect("it is closed");
}

/// A session of a party that has acknowledged all of a log.
async fn acknowledge_all(backbone: &Backbone, name: &str, tx: &TxId) {
    let key = session(name);
    let owner = soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(1))).await.expect("taken");
    let head = read(backbone, tx, name).await.last().expect("there is a log").message.seq;
    let moves = CursorMoves { cursors: vec![(tx.clone(), Some(head))], ..CursorMoves::default() };
    soon(backbone.sessions.save_cursors(&key, owner.epoch, &moves)).await.expect("saved");
}

async fn is_purged(backbone: &Backbone, tx: &TxId) -> bool {
    soon(backbone.registry.transaction(tx)).await.expect("readable").is_none()
}

async fn until_purged(backbone: &Backbone, tx: &TxId) {
    while !is_purged(backbone, tx).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_purged_when_everybody_has_heard_its_end_and_leaves_a_tombstone() {
    let directory = directory();
    let local = open(directory.path(), Duration::ZERO, Duration::from_secs(3_600));
    let backbone = local.backbone();
    let mut mailbox = backbone.fanout.mailbox(&session("bob"));
    create(&backbone, &tx(1)).await;
    create(&backbone, &tx(2)).await;
    for n in 0..5 {
        publish(&backbone, &tx(1), "bob", &format!("broadcast/{n}/bob"), "said").await.expect("accepted");
    }
    close(&backbone, &tx(1)).await;
    let closed = soon(backbone.registry.transaction(&tx(1))).await.expect("readable").expect("it is there");
    for name in ["alice", "bob"] {
        acknowledge_all(&backbone, name, &tx(1)).await;
    }
    // carol has not heard of it: however long ago it ended, it stays for her.
    assert!(!is_purged(&backbone, &tx(1)).await);
    acknowledge_all(&backbone, "carol", &tx(1)).await;
    soon(until_purged(&backbone, &tx(1))).await;

    let tombstone = soon(backbone.registry.tombstone(&tx(1))).await.expect("readable").expect("it stays");
    assert_eq!((tombstone.state, tombstone.head), (TxState::Aborted, closed.progress.head));
    assert!(tombstone.may_read(&tx(1), &party("carol")) && !tombstone.may_read(&tx(1), &party("mallory")));
    assert!(read(&backbone, &tx(1), "carol").await.is_empty());
    let standings = soon(backbone.registry.standings(&party("bob"), None, 10)).await.expect("readable");
    assert_eq!(standings.iter().map(|standing| &standing.tx).collect::<Vec<_>>(), [&tx(2)]);
    let told = async { while !matches!(mailbox.recv().await, Delivery::Purged(purged) if purged == tx(1)) {} };
    soon(told).await;
    // An id is used once, ever.
    let again = publish(&backbone, &tx(1), "alice", "manifest", manifest(&tx(1))).await;
    assert_eq!(again, Err(Refusal::NotAuthorized));
    // A session that says so later leaves no place behind.
    acknowledge_late(&backbone, "bob", &tx(1)).await;
    soon(local.shut_down()).await;
    // One charter and progress each for what is left; three members; a manifest and its slot; its key and the common one.
    assert_eq!(count_all(directory.path(), "transactions"), 2);
    assert_eq!(count_all(directory.path(), "party_tx"), 3);
    assert_eq!((count_all(directory.path(), "log"), count_all(directory.path(), "slots")), (1, 1));
    assert_eq!((count_all(directory.path(), "keys"), count_all(directory.path(), "cursors")), (2, 0));
    assert_eq!((count_all(directory.path(), "tombstones"), count_all(directory.path(), "due")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_heard_in_time_leaves_no_time_behind() {
    let directory = directory();
    let local = open(directory.path(), Duration::from_secs(3_600), Duration::from_secs(3_600));
    let backbone = local.backbone();
    subscribe(&backbone, "bob", "news").await;
    for _ in 0..3 {
        // Retained as well, each in the place of the one before.
        say(&backbone, "heard", Some(3_600)).await;
    }
    let key = session("bob");
    let owner = soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(1))).await.expect("taken");
    let page = soon(backbone.topics.read_queue(&key, Seq::ZERO, super::EVERYTHING)).await.expect("readable");
    let dequeued: Vec<_> = page.entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(dequeued.len(), 3);
    let moves = CursorMoves { dequeued, ..CursorMoves::default() };
    soon(backbone.sessions.save_cursors(&key, owner.epoch, &moves)).await.expect("saved");
    soon(local.shut_down()).await;
    assert_eq!(count_all(directory.path(), "due"), 1, "of what is still retained");
}

async fn acknowledge_late(backbone: &Backbone, name: &str, tx: &TxId) {
    let key = session(name);
    let owner = soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(2))).await.expect("taken");
    let moves = CursorMoves { cursors: vec![(tx.clone(), Some(Seq(3)))], ..CursorMoves::default() };
    soon(backbone.sessions.save_cursors(&key, owner.epoch, &moves)).await.expect("saved");
}

fn manifest(tx: &TxId) -> String {
    format!(r#"{{"tx":"{tx}","initiator":"alice","protocol":"test","parties":["alice","bob"],"threshold":2}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_asks_for_is_purged_at_the_latest_and_also_after_a_restart() {
    const MESSAGES: usize = 1_200;
    let directory = directory();
    let local = open(directory.path(), Duration::from_secs(3_600), Duration::from_secs(3_600));
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    for n in 0..MESSAGES {
        let place = if n % 2 == 0 { format!("broadcast/{n}/bob") } else { "msg/bob/n".to_owned() };
        publish(&backbone, &tx(1), "bob", &place, "said").await.expect("accepted");
    }
    close(&backbone, &tx(1)).await;
    soon(local.shut_down()).await;
    assert_eq!(count_all(directory.path(), "due"), 1);

    let again = open(directory.path(), Duration::from_secs(3_600), Duration::from_millis(1));
    // What was written down as due in an hour is found when its time has come, not before.
    assert!(!is_purged(&again.backbone(), &tx(1)).await);
    soon(again.shut_down()).await;
    crate::store::tests::make_due(directory.path());
    let again = open(directory.path(), Duration::from_secs(3_600), Duration::from_millis(1));
    soon(until_purged(&again.backbone(), &tx(1))).await;
    soon(again.shut_down()).await;
    for family in ["log", "slots", "transactions", "party_tx", "due", "usage"] {
        let left = count_all(directory.path(), family);
        assert_eq!(left, usize::from(family == "usage"), "{family}: all but the sum of all logs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_sessions_that_are_over_go_without_anybody_asking() {
    let directory = directory();
    let local = open(directory.path(), Duration::from_secs(3_600), Duration::from_secs(3_600));
    let backbone = local.backbone();
    leave_subscribed(&backbone, "bob", "news", SessionExpiry::Never).await;
    leave_subscribed(&backbone, "carol", "news", SessionExpiry::After(1)).await;
    for (payload, expiry_interval_s) in [("stays", None), ("goes", Some(1))] {
        say(&backbone, payload, expiry_interval_s).await;
    }
    assert_eq!((backbone.topics.counts().queued, backbone.topics.counts().subscriptions), (4, 2));
    until("carol's session and the message are over", || {
        let counts = backbone.topics.counts();
        (counts.queued, counts.subscriptions) == (1, 1)
    })
    .await;
    assert_eq!(backbone.topics.counts().retained, 0, "it was retained, too");
    soon(local.shut_down()).await;
    assert_eq!((count_all(directory.path(), "sessions"), count_all(directory.path(), "due")), (1, 0));
    assert_eq!(count_all(directory.path(), "ordinary"), 2, "what bob still is to hear was for two");
}

/// A session that subscribes, and leaves.
pub(super) async fn subscribe(backbone: &Backbone, name: &str, filter: &str) {
    leave_subscribed(backbone, name, filter, SessionExpiry::Never).await;
}

async fn leave_subscribed(backbone: &Backbone, name: &str, filter: &str, expiry: SessionExpiry) {
    let key = session(name);
    let agreement = Agreement { expiry, will: None };
    let owner = soon(backbone.sessions.take_over(&key, Start::Clean, &agreement, UnixMs(1))).await.expect("taken");
    let record = SessionRecord {
        expiry,
        disconnected_at: Some(crate::clock::now()),
        subscriptions: vec![SubscriptionRecord::new(filter, 1)],
        ..SessionRecord::default()
    };
    soon(backbone.sessions.save(&key, owner.epoch, &record, &[])).await.expect("saved");
}

pub(super) async fn say(backbone: &Backbone, payload: &str, expiry_interval_s: Option<u32>) {
    let publication = Publication {
        topic: "news".to_owned(),
        author: Some(Author { party: party("alice"), certificate: Sha256::of(b"alice") }),
        session: None,
        payload: payload.to_owned().into(),
        qos: Qos::AtLeastOnce,
        retain: expiry_interval_s.is_some(),
        properties: MessageProperties { expiry_interval_s, ..MessageProperties::default() },
        receipt: None,
    };
    soon(backbone.topics.publish(publication)).await.expect("taken");
}
