//! Live copies: what connected sessions receive.

use bytes::Bytes;
use quorate_domain::{Delivery, Seq};

use super::fixtures::{create, live_until, party, publish, read, session, soon, tx};
use crate::{Backbone, MAILBOX_CAPACITY};

/// Each session of each party receives exactly what the party may read, in that order, with the same `prev`.
pub async fn live_copies_equal_the_log(backbone: Backbone) {
    let tx = tx("live");
    let keys = [("alice", "a1"), ("alice", "a2"), ("bob", "b1"), ("carol", "c1")];
    let mut mailboxes: Vec<_> =
        keys.iter().map(|(name, client_id)| (*name, backbone.fanout.mailbox(&session(name, client_id)))).collect();
    let mut stranger = backbone.fanout.mailbox(&session("mallory", "m1"));
    create(&backbone, &tx).await;
    for n in 0..40 {
        publish(&backbone, &tx, "alice", &format!("p2p/{n}/alice/bob"), "x").await.expect("ok");
        publish(&backbone, &tx, "bob", "msg/bob/n", n.to_string()).await.expect("ok");
        publish(&backbone, &tx, "carol", &format!("broadcast/{n}/carol"), "y").await.expect("ok");
    }
    publish(&backbone, &tx, "carol", "abort/carol", "enough").await.expect("ok");
    for (name, mailbox) in &mut mailboxes {
        let page = read(&backbone, &tx, name, Seq::ZERO).await;
        let last = page.messages.last().expect("there is a log").message.seq;
        assert_eq!(live_until(mailbox, last).await, page.messages, "the copies of {name}");
    }
    // Invariant 2, with something sent to the stranger last to show that nothing came before it.
    backbone.fanout.publish_state(&[party("mallory")], &tx, Seq(1), Bytes::new());
    assert!(matches!(soon(stranger.recv()).await, Delivery::State { .. }));
}

/// A session that does not read holds a bounded mailbox; it is told that it is behind, and the log has all.
pub async fn an_overflowing_mailbox_is_told_and_the_log_has_all(backbone: Backbone) {
    let tx = tx("overflow");
    create(&backbone, &tx).await;
    let mut mailbox = backbone.fanout.mailbox(&session("bob", "slow"));
    let mut other = backbone.fanout.mailbox(&session("carol", "quick"));
    let count = MAILBOX_CAPACITY + 20;
    for n in 0..count {
        let appended = publish(&backbone, &tx, "alice", "msg/alice/n", n.to_string()).await;
        let seq = appended.expect("accepted").seq;
        // Hearing it elsewhere means that it has been put into the slow mailbox, or is about to be. (What was
        // acknowledged before a mailbox was registered may still come to it.)
        live_until(&mut other, seq).await;
    }
    let mut behind = false;
    let mut copies = 0;
    while !behind || copies < MAILBOX_CAPACITY {
        match soon(mailbox.recv()).await {
            Delivery::Behind => behind = true,
            Delivery::Log(_) => copies += 1,
            Delivery::State { .. } | Delivery::Queued(_) | Delivery::Purged(_) => panic!("nothing else was published"),
        }
    }
    let page = read(&backbone, &tx, "bob", Seq::ZERO).await;
    assert_eq!(page.messages.len(), count + 1);
}

/// Interim states go to the sessions of those named, and to nobody else.
pub async fn state_documents_reach_their_addressees(backbone: Backbone) {
    let tx = tx("state");
    let mut alice = backbone.fanout.mailbox(&session("alice", "a1"));
    let mut bob = backbone.fanout.mailbox(&session("bob", "b1"));
    let document = Bytes::from_static(b"{}");
    backbone.fanout.publish_state(&[party("bob")], &tx, Seq(9), document.clone());
    let both = [party("alice"), party("bob")];
    backbone.fanout.publish_state(&both, &tx, Seq(10), document.clone());
    let state = |seq| Delivery::State { tx: tx.clone(), seq, document: document.clone() };
    assert_eq!(soon(bob.recv()).await, state(Seq(9)));
    assert_eq!(soon(bob.recv()).await, state(Seq(10)));
    assert_eq!(soon(alice.recv()).await, state(Seq(10)));
}

/// Whoever registers and then reads the head has everything: in the log what was before, in the mailbox what comes.
pub async fn a_mailbox_that_comes_later_finds_the_rest_in_the_log(backbone: Backbone) {
    const MESSAGES: usize = 200;
    let tx = tx("joining");
    create(&backbone, &tx).await;
    let writer = tokio::spawn({
        let (backbone, tx) = (backbone.clone(), tx.clone());
        async move {
            for n in 0..MESSAGES {
                publish(&backbone, &tx, "alice", "msg/alice/n", n.to_string()).await.expect("ok");
            }
        }
    });
    // Wait for a beginning, so that the session comes in the middle.
    while read(&backbone, &tx, "bob", Seq::ZERO).await.messages.len() < 5 {
        tokio::task::yield_now().await;
    }
    let mut mailbox = backbone.fanout.mailbox(&session("bob", "late"));
    let mut heard = read(&backbone, &tx, "bob", Seq::ZERO).await.messages;
    while heard.len() < MESSAGES + 1 {
        let position = heard.last().map_or(Seq::ZERO, |last| last.message.seq);
        match soon(mailbox.recv()).await {
            Delivery::Log(addressed) if addressed.message.seq > position => {
                assert_eq!(addressed.prev, position, "no gap between log and mailbox");
                heard.push(addressed);
            }
            Delivery::Log(_) => {}
            Delivery::Behind => heard.extend(read(&backbone, &tx, "bob", position).await.messages),
            Delivery::State { .. } | Delivery::Queued(_) | Delivery::Purged(_) => panic!("nothing else was published"),
        }
    }
    soon(writer).await.expect("the writer ends well");
    assert_eq!(heard, read(&backbone, &tx, "bob", Seq::ZERO).await.messages);
}
