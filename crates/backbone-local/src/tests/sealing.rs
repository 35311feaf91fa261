//! What parties say is in no file of the store as they said it, and nowhere at all once its key is gone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quorate_backbone::{Publication, Start};
use quorate_domain::{Author, Closer, MessageProperties, Qos, SessionRecord, Sha256, SubscriptionRecord, UnixMs, Will};

use super::{LASTING, create, directory, master_key, options, party, publish, read, session, soon, tx, until};
use crate::store::tests::wrapped_keys;
use crate::{LocalBackbone, LocalOptions, MasterKey, OpenError, Retention};

const SECRET: &str = "a secret that is easily found";

fn open(options: LocalOptions) -> LocalBackbone {
    LocalBackbone::open(options, &prometheus::Registry::new()).expect("it opens")
}

/// Whether some bytes stand anywhere in the files of a store.
fn is_in_files(path: &Path, bytes: &[u8]) -> bool {
    let entries = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.is_file())
        .any(|path| fs::read(path).is_ok_and(|file| file.windows(bytes.len()).any(|window| window == bytes)))
}

async fn say_everywhere(local: &LocalBackbone) {
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    publish(&backbone, &tx(1), "bob", "broadcast/1/bob", SECRET).await.expect("accepted");
    let author = Author { party: party("alice"), certificate: Sha256::of(b"alice") };
    let will = Will {
        author: author.clone(),
        topic: "gone".to_owned(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: MessageProperties::default(),
        payload: SECRET.into(),
        delay_s: 0,
    };
    for name in ["bob", "carol"] {
        let agreement = quorate_domain::Agreement { will: Some(will.clone()), ..LASTING };
        let key = session(name);
        let owner = soon(backbone.sessions.take_over(&key, Start::Clean, &agreement, UnixMs(1))).await.expect("taken");
        let filters = if name == "bob" { vec!["both", "bob"] } else { vec!["both"] };
        let subscriptions = filters.into_iter().map(|filter| SubscriptionRecord::new(filter, 1)).collect();
        let record = SessionRecord { expiry: LASTING.expiry, subscriptions, ..SessionRecord::default() };
        soon(backbone.sessions.save(&key, owner.epoch, &record, &[])).await.expect("saved");
    }
    for (topic, retain) in [("both", false), ("bob", true)] {
        let publication = Publication {
            topic: topic.to_owned(),
            author: Some(author.clone()),
            session: None,
            payload: SECRET.into(),
            qos: Qos::AtLeastOnce,
            retain,
            properties: MessageProperties { content_type: Some(SECRET.to_owned()), ..MessageProperties::default() },
            receipt: None,
        };
        soon(backbone.topics.publish(publication)).await.expect("taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_master_key_nothing_that_was_said_is_in_the_files() {
    for (master_key, is_found) in [(None, true), (Some(master_key()), false)] {
        let directory = directory();
        let local = open(LocalOptions { master_key: master_key.clone(), ..options(directory.path()) });
        say_everywhere(&local).await;
        assert_eq!(is_in_files(directory.path(), SECRET.as_bytes()), is_found);
        soon(local.shut_down()).await;
        assert_eq!(is_in_files(directory.path(), SECRET.as_bytes()), is_found, "nor when it was written out");
        let again = open(LocalOptions { master_key, ..options(directory.path()) });
        let page = read(&again.backbone(), &tx(1), "carol").await;
        assert_eq!(page[1].message.payload, SECRET);
        soon(again.shut_down()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_store_opens_under_its_own_master_key_alone() {
    let directory = directory();
    soon(open(options(directory.path())).shut_down()).await;
    let other: MasterKey = "0f".repeat(32).parse().expect("a key");
    let refused = |master_key: Option<MasterKey>| {
        let options = LocalOptions { master_key, ..options(directory.path()) };
        LocalBackbone::open(options, &prometheus::Registry::new()).map(drop).expect_err("refused")
    };
    assert!(matches!(refused(None), OpenError::MasterKeyMissing { found } if found == master_key().id()));
    assert!(matches!(refused(Some(other)), OpenError::MasterKey { found, .. } if found == master_key().id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_not_sealed_seals_what_comes_once_it_has_a_master_key() {
    let directory = directory();
    let local = open(LocalOptions { master_key: None, ..options(directory.path()) });
    create(&local.backbone(), &tx(1)).await;
    publish(&local.backbone(), &tx(1), "bob", "msg/bob/n", "said in clear").await.expect("accepted");
    soon(local.shut_down()).await;
    let local = open(options(directory.path()));
    let backbone = local.backbone();
    create(&backbone, &tx(2)).await;
    publish(&backbone, &tx(2), "bob", "msg/bob/n", SECRET).await.expect("accepted");
    assert_eq!(read(&backbone, &tx(1), "bob").await[1].message.payload, "said in clear");
    assert_eq!(read(&backbone, &tx(2), "bob").await[1].message.payload, SECRET);
    assert!(!is_in_files(directory.path(), SECRET.as_bytes()));
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_the_wrapped_key_out_of_every_file() {
    let directory = directory();
    let retention = Retention { purge_after: Duration::ZERO, retain_closed_for: Duration::ZERO };
    let local = open(LocalOptions { retention, ..options(directory.path()) });
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    let [wrapped] = <[Vec<u8>; 1]>::try_from(wrapped_keys(&local)).expect("one key");
    assert!(is_in_files(directory.path(), &wrapped), "it can be found at all");
    soon(backbone.log.close(&tx(1), Closer::Admin(party("operator")), String::new())).await.expect("closed");
    until("the key is in no file", || !is_in_files(directory.path(), &wrapped)).await;
    assert!(soon(backbone.registry.tombstone(&tx(1))).await.expect("readable").is_some());
    soon(local.shut_down()).await;
}
