//! Appending: order, slots, rights, closing.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_domain::{Closer, Place, Refusal, Seq, Sha256, TxState};
use tokio::sync::mpsc;

use super::fixtures::{append, create, create_running, manifest, party, publish, read, soon, told, tx};
use crate::{Backbone, Completed, Completion};

/// `Seq` strictly grows, outcomes come in the order of submission, and each acknowledged message is there.
pub async fn appends_are_numbered_in_order(backbone: Backbone) {
    const COUNT: u64 = 100;
    let tx = tx("order");
    let manifest = create(&backbone, &tx).await;
    let (to, mut outcomes) = mpsc::channel(100);
    for token in 0..COUNT {
        let message = append(&tx, "alice", "msg/alice/n", token.to_string());
        let to = to.clone();
        soon(backbone.log.submit(message, Completion { token, to })).await.expect("there is room");
    }
    let mut last = manifest.seq;
    for expected in 0..COUNT {
        let Completed { token, outcome } = soon(outcomes.recv()).await.expect("an outcome");
        let appended = outcome.expect("the message is accepted");
        assert_eq!(token, expected);
        assert!(appended.seq > last, "Seq grows");
        assert!(!appended.repeated);
        last = appended.seq;
    }
    let page = read(&backbone, &tx, "bob", manifest.seq).await;
    let payloads: Vec<_> = told(&page).into_iter().map(|(_, bytes)| bytes).collect();
    let expected: Vec<_> = (0..COUNT).map(|n| Bytes::from(n.to_string())).collect();
    assert_eq!(payloads, expected);
    assert_eq!((page.head, page.scanned_to), (last, last));
}

/// First write wins; the same bytes again are acknowledged and stored once; other bytes are refused with both sums.
pub async fn a_slot_takes_one_message(backbone: Backbone) {
    let tx = tx("slot");
    create(&backbone, &tx).await;
    let slot = "broadcast/1/alice";
    let first = publish(&backbone, &tx, "alice", slot, "one").await.expect("a free slot");
    let again = publish(&backbone, &tx, "alice", slot, "one").await.expect("the same bytes");
    assert_eq!((again.seq, again.repeated), (first.seq, true));
    let refusal = publish(&backbone, &tx, "alice", slot, "two").await.expect_err("other bytes");
    assert_eq!(refusal, Refusal::SlotTaken { stored: Sha256::of(b"one"), offered: Sha256::of(b"two") });
    let page = read(&backbone, &tx, "bob", Seq::ZERO).await;
    assert_eq!(page.messages.len(), 2, "the manifest and one message");
    let transaction = soon(backbone.registry.transaction(&tx)).await.expect("readable");
    let progress = transaction.expect("it exists").progress;
    assert_eq!(progress.equivocations.count, 1);
}

/// Two writes that are both submitted before either is decided: one is in, the other is judged against it.
pub async fn two_writes_to_one_slot_at_once_leave_one(backbone: Backbone) {
    let tx = tx("race");
    create(&backbone, &tx).await;
    let (to, mut outcomes) = mpsc::channel(3);
    for (token, payload) in ["one", "two", "one"].into_iter().enumerate() {
        let message = append(&tx, "alice", "broadcast/1/alice", payload);
        let completion = Completion { token: token as u64, to: to.clone() };
        soon(backbone.log.submit(message, completion)).await.expect("there is room");
    }
    let mut next = async || soon(outcomes.recv()).await.expect("an outcome").outcome;
    let first = next().await.expect("the slot was free");
    assert!(matches!(next().await, Err(Refusal::SlotTaken { .. })));
    let third = next().await.expect("the same bytes");
    assert_eq!((third.seq, third.repeated), (first.seq, true));
    let page = read(&backbone, &tx, "bob", Seq::ZERO).await;
    assert_eq!(told(&page)[1..], [("broadcast/1/alice".to_owned(), Bytes::from("one"))]);
}

/// Nobody can learn from a refusal whether a transaction exists.
pub async fn an_unknown_transaction_is_refused_like_a_foreign_one(backbone: Backbone) {
    let (known, unknown) = (tx("known"), tx("unknown"));
    create(&backbone, &known).await;
    for place in ["msg/mallory/x", "broadcast/1/mallory", "join/mallory"] {
        let foreign = publish(&backbone, &known, "mallory", place, "x").await;
        let missing = publish(&backbone, &unknown, "mallory", place, "x").await;
        assert_eq!(foreign, Err(Refusal::NotAuthorized));
        assert_eq!(missing, foreign);
    }
    let close = |tx| {
        let log = backbone.log.clone();
        async move { log.close(&tx, Closer::Initiator(party("mallory")), String::new()).await }
    };
    let foreign = soon(close(known)).await;
    assert_eq!(foreign, Err(Refusal::NotAuthorized));
    assert_eq!(soon(close(unknown)).await, foreign);
}

/// One id, two initiators at once: one has it, the other is refused, and the list of parties is the winner's.
pub async fn one_id_created_twice_at_once_is_created_once(backbone: Backbone) {
    let tx = tx("contested");
    let (to, mut outcomes) = mpsc::channel(2);
    for (token, initiator) in ["alice", "bob"].into_iter().enumerate() {
        let message = append(&tx, initiator, "manifest", manifest(&tx, initiator, true));
        let completion = Completion { token: token as u64, to: to.clone() };
        soon(backbone.log.submit(message, completion)).await.expect("there is room");
    }
    let first = soon(outcomes.recv()).await.expect("an outcome").outcome;
    let second = soon(outcomes.recv()).await.expect("an outcome").outcome;
    assert!(first.is_ok());
    assert_eq!(second, Err(Refusal::NotAuthorized));
    let transaction = soon(backbone.registry.transaction(&tx)).await.expect("readable");
    assert_eq!(transaction.expect("it exists").charter.initiator, party("alice"));
    // Invariant 6: neither later nor with the same bytes by somebody else.
    let later = publish(&backbone, &tx, "bob", "manifest", manifest(&tx, "bob", true)).await;
    assert_eq!(later, Err(Refusal::NotAuthorized));
    assert_eq!(read(&backbone, &tx, "carol", Seq::ZERO).await.messages.len(), 1);
}

/// Many writers in many transactions at once: every log has all of its messages, in the order of its writer.
pub async fn appends_to_many_transactions_at_once_all_arrive(backbone: Backbone) {
    const TRANSACTIONS: usize = 40;
    const MESSAGES: usize = 25;
    let mut writers = Vec::new();
    for n in 0..TRANSACTIONS {
        let backbone = backbone.clone();
        writers.push(tokio::spawn(async move {
            let tx = tx(&format!("many-{n}"));
            create(&backbone, &tx).await;
            for m in 0..MESSAGES {
                publish(&backbone, &tx, "bob", "msg/bob/n", format!("{n}/{m}")).await.expect("the message is accepted");
            }
        }));
    }
    for writer in writers {
        soon(writer).await.expect("the writer ends well");
    }
    for n in 0..TRANSACTIONS {
        let page = read(&backbone, &tx(&format!("many-{n}")), "carol", Seq::ZERO).await;
        let payloads: Vec<_> = told(&page).into_iter().skip(1).map(|(_, bytes)| bytes).collect();
        let expected: Vec<_> = (0..MESSAGES).map(|m| Bytes::from(format!("{n}/{m}"))).collect();
        assert_eq!(payloads, expected);
    }
}

/// An abort closes: the closing record follows it in the same log, by the broker.
pub async fn an_abort_is_followed_by_the_closing_record(backbone: Backbone) {
    let tx = tx("abort");
    create(&backbone, &tx).await;
    let abort = publish(&backbone, &tx, "bob", "abort/bob", "no").await.expect("a party may");
    let page = read(&backbone, &tx, "alice", abort.seq).await;
    assert_eq!(page.messages.len(), 1);
    let closing = &page.messages[0];
    assert_eq!(closing.message.topic.place, Place::State);
    assert_eq!(closing.message.from, None);
    assert_eq!(closing.prev, abort.seq);
    assert_eq!(closing.message.seq, page.head);
    let transaction = soon(backbone.registry.transaction(&tx)).await.expect("readable");
    assert_eq!(transaction.expect("it exists").progress.state, TxState::Aborted);
    let late = publish(&backbone, &tx, "alice", "msg/alice/x", "late").await;
    assert_eq!(late, Err(Refusal::NotAuthorized));
    let again = publish(&backbone, &tx, "bob", "abort/bob", "no").await.expect("a repetition");
    assert!(again.repeated);
}

/// A close and appends at the same moment: each append is either before the closing record or refused.
pub async fn nothing_enters_after_a_close(backbone: Backbone) {
    const APPENDS: u64 = 50;
    let tx = tx("close");
    create(&backbone, &tx).await;
    let (to, mut outcomes) = mpsc::channel(100);
    let appends = async {
        for token in 0..APPENDS {
            let message = append(&tx, "bob", "msg/bob/n", token.to_string());
            let to = to.clone();
            backbone.log.submit(message, Completion { token, to }).await.expect("there is room");
        }
    };
    let close = async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let admin = Closer::Admin(party("operator"));
        backbone.log.close(&tx, admin, "enough".to_owned()).await
    };
    let (closed, ()) = soon(async { tokio::join!(close, appends) }).await;
    closed.expect("an admin may close");
    let mut accepted = Vec::new();
    for _ in 0..APPENDS {
        match soon(outcomes.recv()).await.expect("an outcome").outcome {
            Ok(appended) => accepted.push(appended.seq),
            Err(refusal) => assert_eq!(refusal, Refusal::NotAuthorized),
        }
    }
    let page = read(&backbone, &tx, "alice", Seq::ZERO).await;
    let (closing, before) = page.messages.split_last().expect("there is a log");
    assert_eq!(closing.message.topic.place, Place::State);
    let logged: Vec<_> = before[1..].iter().map(|addressed| addressed.message.seq).collect();
    assert_eq!(logged, accepted);
}

/// Joins make it run, equal results complete it, and the closing record says so.
pub async fn equal_results_complete_the_transaction(backbone: Backbone) {
    let tx = tx("complete");
    create(&backbone, &tx).await;
    let stored = soon(backbone.registry.transaction(&tx)).await.expect("readable");
    let sum = stored.expect("it exists").charter.manifest_sha256;
    let early = publish(&backbone, &tx, "alice", "result/alice", "r").await;
    assert!(early.is_err(), "no result before it runs");
    for name in ["alice", "bob", "carol"] {
        let join = format!(r#"{{"manifest_sha256":"{sum}","data":null}}"#);
        publish(&backbone, &tx, name, &format!("join/{name}"), join).await.expect("a valid join");
    }
    for name in ["alice", "bob", "carol"] {
        publish(&backbone, &tx, name, &format!("result/{name}"), "r").await.expect("it runs");
    }
    let stored = soon(backbone.registry.transaction(&tx)).await.expect("readable");
    let transaction = stored.expect("it exists");
    assert_eq!(transaction.progress.state, TxState::Completed);
    assert!(!transaction.closing_due(), "the closing record is in the log");
    let page = read(&backbone, &tx, "carol", Seq::ZERO).await;
    let closing = &page.messages.last().expect("there is a log").message;
    assert_eq!(closing.topic.place, Place::State);
    let document = std::str::from_utf8(&closing.payload).expect("JSON");
    assert!(document.contains("completed"), "{document}");
}

/// The initiator may close while it is open, a party may not, and a closed transaction is not closed again.
pub async fn a_close_needs_the_right_to_close(backbone: Backbone) {
    let (open, running) = (tx("still-open"), tx("is-running"));
    create(&backbone, &open).await;
    create_running(&backbone, &running).await;
    let close = async |tx, name| {
        let by = Closer::Initiator(party(name));
        soon(backbone.log.close(tx, by, "changed my mind".to_owned())).await
    };
    assert!(close(&open, "bob").await.is_err(), "bob did not initiate it");
    assert!(close(&running, "alice").await.is_err(), "it runs");
    close(&open, "alice").await.expect("alice initiated it and it is open");
    let count =
        |page: quorate_domain::LogPage| page.messages.iter().map(|m| m.message.seq).collect::<BTreeSet<_>>().len();
    assert_eq!(count(read(&backbone, &open, "bob", Seq::ZERO).await), 2);
    assert!(close(&open, "alice").await.is_err(), "it is closed");
    assert_eq!(count(read(&backbone, &open, "bob", Seq::ZERO).await), 2);
}
