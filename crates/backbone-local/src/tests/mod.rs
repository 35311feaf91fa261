//! Tests of the whole backbone: the suite, and what only this one has: a disk, lanes, and a process that may be killed.

mod backups;
mod checks;
mod durability;
mod faults;
mod live;
mod quotas;
mod sealing;
mod space;
mod topics;

use std::future::Future;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use quorate_backbone::{Append, Appended, Backbone, ReadLimit, suite};
use quorate_domain::{
    Addressed, Agreement, Author, MessageProperties, PartyId, Qos, Refusal, Seq, SessionExpiry, SessionKey, Sha256,
    TxId,
};
use tempfile::TempDir;

use crate::{Bounds, Durability, Identities, LocalBackbone, LocalOptions, MasterKey, Movement, Retention};

/// How long a test waits for what must happen.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A session that outlives its connections.
const LASTING: Agreement = Agreement { expiry: SessionExpiry::Never, will: None };
const EVERYTHING: ReadLimit = ReadLimit { messages: usize::MAX, bytes: usize::MAX };

#[tokio::test(flavor = "multi_thread")]
async fn lanes_pass_the_suite() {
    run_suite(Movement::Lanes { count: 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_pass_the_suite() {
    run_suite(Movement::Channels).await;
}

async fn run_suite(movement: Movement) {
    // Held until the end: the stores of the suite live in these directories.
    let held: Mutex<Vec<(TempDir, LocalBackbone)>> = Mutex::default();
    suite::run(async || {
        let directory = directory();
        let options = LocalOptions { movement, ..options(directory.path()) };
        let local = LocalBackbone::open(options, &prometheus::Registry::new()).expect("it opens");
        let backbone = local.backbone();
        held.lock().expect("not poisoned").push((directory, local));
        backbone
    })
    .await;
    let ended = held.into_inner().expect("not poisoned");
    for (_directory, local) in ended {
        soon(local.shut_down()).await;
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The same for all stores of a test run.
pub(crate) fn master_key() -> MasterKey {
    "5e".repeat(32).parse().expect("a key")
}

fn options(path: &Path) -> LocalOptions {
    LocalOptions {
        path: path.to_owned(),
        identities: Identities::Certificates,
        durability: Durability::Fsync,
        rules: suite::open_rules(),
        topics: suite::open_topic_rules(),
        bounds: Bounds::default(),
        retention: Retention::default(),
        master_key: Some(master_key()),
        backup_folder: Some(path.with_extension("backups")),
        movement: Movement::Lanes { count: 2 },
        queue_max: 4_096,
        batch_max: 1_024,
        danger_drop_every: None,
    }
}

fn open(path: &Path, drop_every: Option<u32>) -> LocalBackbone {
    let options = LocalOptions { danger_drop_every: drop_every.and_then(NonZeroU32::new), ..options(path) };
    LocalBackbone::open(options, &prometheus::Registry::new()).expect("it opens")
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(WAIT_MAX, future).await.expect("it happens within the limit")
}

/// Looks until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(WAIT_MAX, looking).await.is_err() {
        panic!("not within the limit: {what}");
    }
}

fn party(name: &str) -> PartyId {
    PartyId::new(name).expect("a valid party")
}

fn session(name: &str) -> SessionKey {
    SessionKey { party: party(name), client_id: "test".to_owned() }
}

fn tx(n: usize) -> TxId {
    TxId::new(&format!("local-transaction-{n:06}")).expect("a valid id")
}

fn append(tx: &TxId, from: &str, rest: &str, payload: impl Into<Bytes>) -> Append {
    Append {
        topic: format!("tx/{tx}/{rest}").parse().expect("a valid topic"),
        author: Author { party: party(from), certificate: Sha256::of(from.as_bytes()) },
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        properties: MessageProperties::default(),
        receipt: None,
    }
}

async fn publish(
    backbone: &Backbone,
    tx: &TxId,
    from: &str,
    rest: &str,
    payload: impl Into<Bytes>,
) -> Result<Appended, Refusal> {
    soon(backbone.log.append(append(tx, from, rest, payload))).await
}

/// A transaction of alice, bob and carol, by alice.
async fn create(backbone: &Backbone, tx: &TxId) -> Appended {
    let manifest = format!(
        r#"{{"tx":"{tx}","initiator":"alice","protocol":"test","parties":["alice","bob","carol"],"threshold":2,"complete_when":"all","require_join":true}}"#
    );
    publish(backbone, tx, "alice", "manifest", manifest).await.expect("the manifest is accepted")
}

/// What a party may hear of a log after a place, to its end.
async fn read_after(backbone: &Backbone, tx: &TxId, reader: &str, mut after: Seq) -> Vec<Addressed> {
    let mut messages = Vec::new();
    loop {
        let page = soon(backbone.log.read(tx, &party(reader), after, EVERYTHING)).await.expect("readable");
        messages.extend(page.messages);
        if page.scanned_to == page.head {
            return messages;
        }
        after = page.scanned_to;
    }
}

/// All of a log that a party may hear.
async fn read(backbone: &Backbone, tx: &TxId, reader: &str) -> Vec<Addressed> {
    read_after(backbone, tx, reader, Seq::ZERO).await
}
