//! Wills: kept with their sessions, said once or not at all.

use bytes::Bytes;
use quorate_domain::{MessageProperties, Qos, Seq, SessionExpiry, WaitingWill, Will};

use super::fixtures::{QUEUE_MESSAGES_MAX, author, create, read, soon, told, tx};
use super::listener::{Listener, say, says, to};
use crate::{Backbone, SaveError, Start};

fn will(topic: &str) -> Will {
    Will {
        author: author("alice"),
        topic: topic.to_owned(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: MessageProperties::default(),
        payload: Bytes::from_static(b"gone"),
        delay_s: 9,
    }
}

async fn leave(backbone: &Backbone, start: Start, will: Option<Will>) -> Listener {
    Listener::connect(backbone, "alice", start, SessionExpiry::Never, will).await
}

/// It is kept from the CONNECT on, and told to whoever starts.
pub async fn a_will_is_kept_from_the_connect_on(backbone: Backbone) {
    let alice = leave(&backbone, Start::Clean, Some(will("status"))).await;
    let expected = WaitingWill { key: alice.key.clone(), epoch: alice.epoch, delay_s: 9 };
    assert_eq!(soon(backbone.sessions.wills()).await, Ok(vec![expected]));
    soon(backbone.sessions.discard_will(&alice.key, alice.epoch)).await.expect("discarded");
    assert_eq!(soon(backbone.sessions.wills()).await, Ok(Vec::new()));
}

/// It is said once, to those who hear its topic, and retained if it says so.
pub async fn a_will_is_said_once(backbone: Backbone) {
    let bob = Listener::lasting(&backbone, "bob", "status").await;
    let alice = leave(&backbone, Start::Clean, Some(Will { retain: true, ..will("status") })).await;
    for _ in 0..2 {
        soon(backbone.sessions.say_will(&alice.key, alice.epoch)).await.expect("said");
    }
    assert_eq!(bob.waiting().await, ["gone"]);
    assert_eq!(backbone.topics.counts().retained, 1);
    let queued = &bob.queue().await[0];
    assert_eq!(queued.message.from, Some(author("alice")));
}

/// Without Will Retain it is heard and not kept for later.
pub async fn a_will_without_retain_is_not_retained(backbone: Backbone) {
    let bob = Listener::lasting(&backbone, "bob", "status").await;
    let alice = leave(&backbone, Start::Clean, Some(will("status"))).await;
    soon(backbone.sessions.say_will(&alice.key, alice.epoch)).await.expect("said");
    assert_eq!(bob.waiting().await, ["gone"]);
    assert_eq!(backbone.topics.counts().retained, 0);
}

/// Whoever has no more room does not hear it, and keeps nobody else from it: nobody is there to say it again.
pub async fn a_will_is_heard_by_all_who_have_room(backbone: Backbone) {
    let mut full = Listener::lasting(&backbone, "carol", "fill").await;
    full.subscribe(to("status"), &[]).await;
    for _ in 0..QUEUE_MESSAGES_MAX {
        say(&backbone, says("dave", "fill", "fills")).await;
    }
    let bob = Listener::lasting(&backbone, "bob", "status").await;
    let alice = leave(&backbone, Start::Clean, Some(Will { retain: true, ..will("status") })).await;
    soon(backbone.sessions.say_will(&alice.key, alice.epoch)).await.expect("said");
    assert_eq!(bob.waiting().await, ["gone"]);
    assert_eq!(backbone.topics.counts().retained, 1);
    assert_eq!(full.queue().await.len() as u64, QUEUE_MESSAGES_MAX);
    assert_eq!(soon(backbone.sessions.wills()).await, Ok(Vec::new()));
}

/// What was discarded, or is of another epoch, is not said.
pub async fn a_will_that_is_not_there_is_not_said(backbone: Backbone) {
    let bob = Listener::lasting(&backbone, "bob", "status").await;
    let old = leave(&backbone, Start::Clean, Some(will("status"))).await;
    let new = leave(&backbone, Start::Resume, Some(will("status"))).await;
    soon(backbone.sessions.say_will(&old.key, old.epoch)).await.expect("nothing to say");
    let superseded = soon(backbone.sessions.discard_will(&old.key, old.epoch)).await;
    assert_eq!(superseded, Err(SaveError::Superseded));
    soon(backbone.sessions.discard_will(&new.key, new.epoch)).await.expect("discarded");
    soon(backbone.sessions.say_will(&new.key, new.epoch)).await.expect("nothing to say");
    assert!(bob.queue().await.is_empty());
}

/// A session that goes on takes its will back; one that begins anew says it at once.
pub async fn a_take_over_takes_a_will_back_or_says_it(backbone: Backbone) {
    let bob = Listener::lasting(&backbone, "bob", "status").await;
    leave(&backbone, Start::Clean, Some(will("status"))).await;
    leave(&backbone, Start::Resume, None).await;
    assert!(bob.queue().await.is_empty());
    assert_eq!(soon(backbone.sessions.wills()).await, Ok(Vec::new()));
    leave(&backbone, Start::Resume, Some(will("status"))).await;
    leave(&backbone, Start::Clean, None).await;
    assert_eq!(bob.waiting().await, ["gone"]);
}

/// Under `tx/` whoever comes back takes its will back, also with a clean start.
pub async fn a_will_under_tx_is_taken_back_by_whoever_comes_back(backbone: Backbone) {
    let tx = tx("will");
    create(&backbone, &tx).await;
    leave(&backbone, Start::Clean, Some(will(&format!("tx/{tx}/abort/alice")))).await;
    leave(&backbone, Start::Clean, None).await;
    assert_eq!(read(&backbone, &tx, "bob", Seq::ZERO).await.messages.len(), 1, "the manifest alone");
}

/// Under `tx/` it is a message of its author, with all that follows from it.
pub async fn a_will_under_tx_enters_the_log(backbone: Backbone) {
    let tx = tx("abort");
    create(&backbone, &tx).await;
    let alice = leave(&backbone, Start::Clean, Some(will(&format!("tx/{tx}/abort/alice")))).await;
    soon(backbone.sessions.say_will(&alice.key, alice.epoch)).await.expect("said");
    let page = read(&backbone, &tx, "bob", Seq::ZERO).await;
    let topics: Vec<String> = told(&page).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["manifest", "abort/alice", "state"]);
}

/// Rights are checked again when it is said: what is not allowed is forgotten.
pub async fn a_will_without_rights_is_forgotten(backbone: Backbone) {
    let bob = Listener::lasting(&backbone, "bob", "#").await;
    for topic in ["closed/a", "tx/suite-transaction-nowhere/msg/alice/x", "party/bob/inbox"] {
        let alice = leave(&backbone, Start::Clean, Some(will(topic))).await;
        soon(backbone.sessions.say_will(&alice.key, alice.epoch)).await.expect("forgotten");
        assert_eq!(soon(backbone.sessions.wills()).await, Ok(Vec::new()), "{topic}");
    }
    assert!(bob.queue().await.is_empty());
}
