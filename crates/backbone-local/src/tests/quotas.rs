//! What is full refuses, tells why, and loses nothing of what it holds; when there is room again it goes on by itself.

use std::time::Duration;

use quorate_backbone::{Backbone, Publication, Start};
use quorate_domain::{
    Author, Closer, MessageProperties, Qos, Refusal, SessionRecord, Sha256, SubscriptionRecord, TxLimits, UnixMs,
    Volume,
};

use super::{LASTING, create, directory, options, party, publish, read, session, soon, tx};
use crate::{Bounds, LocalBackbone, LocalOptions, Retention};

fn open(path: &std::path::Path, bounds: Bounds) -> (LocalBackbone, prometheus::Registry) {
    let retention = Retention { purge_after: Duration::ZERO, retain_closed_for: Duration::ZERO };
    let metrics = prometheus::Registry::new();
    let local = LocalBackbone::open(LocalOptions { bounds, retention, ..options(path) }, &metrics);
    (local.expect("it opens"), metrics)
}

fn is_quota(refused: &Result<quorate_backbone::Appended, Refusal>) -> bool {
    matches!(refused, Err(Refusal::QuotaExceeded(_)))
}

fn refusals(metrics: &prometheus::Registry, quota: &str) -> f64 {
    let families = metrics.gather();
    let family = families.iter().find(|family| family.name() == "quorate_quota_refusals_total");
    let metric = family.and_then(|family| family.get_metric().iter().find(|it| it.get_label()[0].value() == quota));
    metric.map_or(0.0, |metric| metric.get_counter().get_value())
}

async fn close(backbone: &Backbone, n: usize) {
    let by = Closer::Admin(party("operator"));
    soon(backbone.log.close(&tx(n), by, String::new())).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_fills_its_place_in_one_transaction_and_no_other() {
    let directory = directory();
    let transaction = TxLimits { messages_per_party_max: 3, bytes_per_party_max: 1_000 };
    let (local, metrics) = open(directory.path(), Bounds { transaction, ..Bounds::default() });
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    create(&backbone, &tx(2)).await;
    for _ in 0..3 {
        publish(&backbone, &tx(1), "bob", "msg/bob/n", "said").await.expect("accepted");
    }
    let refused = publish(&backbone, &tx(1), "bob", "msg/bob/n", "too much").await;
    assert!(is_quota(&refused), "{refused:?}");
    assert_eq!(refusals(&metrics, "transaction"), 1.0);
    publish(&backbone, &tx(1), "alice", "msg/alice/n", "said").await.expect("another party");
    publish(&backbone, &tx(2), "bob", "msg/bob/n", "said").await.expect("another transaction");
    publish(&backbone, &tx(1), "bob", "abort/bob", "x").await.expect("an end finds room");
    assert_eq!(read(&backbone, &tx(1), "carol").await.len(), 1 + 3 + 1 + 2, "nothing is lost");
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_party_said_counts_until_the_purge_and_over_a_restart() {
    let directory = directory();
    let bounds = Bounds { party: Volume { messages: 100, bytes: 10 }, ..Bounds::default() };
    let (local, _) = open(directory.path(), bounds);
    create(&local.backbone(), &tx(1)).await;
    publish(&local.backbone(), &tx(1), "bob", "msg/bob/n", "12345678").await.expect("accepted");
    soon(local.shut_down()).await;

    let (local, metrics) = open(directory.path(), bounds);
    let backbone = local.backbone();
    create(&backbone, &tx(2)).await;
    let refused = publish(&backbone, &tx(2), "bob", "msg/bob/n", "123").await;
    assert!(is_quota(&refused), "{refused:?}");
    assert_eq!(refusals(&metrics, "party"), 1.0);
    publish(&backbone, &tx(2), "alice", "msg/alice/n", "1234567890").await.expect("each has its own");
    close(&backbone, 1).await;
    let until_room = async {
        while publish(&backbone, &tx(2), "bob", "msg/bob/n", "123").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(until_room).await;
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_full_takes_neither_rooms_nor_words_nor_what_is_retained_nor_queued() {
    let directory = directory();
    let bounds = Bounds { store: Volume { messages: 4, bytes: u64::MAX }, ..Bounds::default() };
    let (local, metrics) = open(directory.path(), bounds);
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    let key = session("bob");
    let owner = soon(backbone.sessions.take_over(&key, Start::Clean, &LASTING, UnixMs(1))).await.expect("taken");
    let record = SessionRecord {
        expiry: LASTING.expiry,
        subscriptions: vec![SubscriptionRecord::new("news", 1)],
        ..SessionRecord::default()
    };
    soon(backbone.sessions.save(&key, owner.epoch, &record, &[])).await.expect("saved");
    publish(&backbone, &tx(1), "bob", "msg/bob/n", "two").await.expect("accepted");
    say(&backbone, "news", false).await.expect("three: in a queue");
    say(&backbone, "kept", true).await.expect("four: retained");
    assert!(is_quota(&say(&backbone, "news", false).await));
    assert!(is_quota(&say(&backbone, "other", true).await));
    assert!(is_quota(&publish(&backbone, &tx(1), "bob", "msg/bob/n", "five").await));
    let manifest =
        format!(r#"{{"tx":"{}","initiator":"alice","protocol":"t","parties":["alice","bob"],"threshold":2}}"#, tx(2));
    assert!(is_quota(&publish(&backbone, &tx(2), "alice", "manifest", manifest).await));
    assert_eq!(refusals(&metrics, "store"), 4.0);
    say(&backbone, "nobody hears it", false).await.expect("what is not kept takes no room");
    publish(&backbone, &tx(1), "bob", "abort/bob", "x").await.expect("an end finds room");
    soon(local.shut_down()).await;
}

async fn say(backbone: &Backbone, topic: &str, retain: bool) -> Result<quorate_backbone::Appended, Refusal> {
    let publication = Publication {
        topic: topic.to_owned(),
        author: Some(Author { party: party("alice"), certificate: Sha256::of(b"alice") }),
        session: None,
        payload: "said".into(),
        qos: Qos::AtLeastOnce,
        retain,
        properties: MessageProperties::default(),
        receipt: None,
    };
    soon(backbone.topics.publish(publication)).await
}
