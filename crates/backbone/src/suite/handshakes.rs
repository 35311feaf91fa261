//! QoS 2: receipts of what clients publish, and steps of what is delivered to them.

use quorate_domain::{
    Agreement, BackfillMove, BackfillRecord, CursorMoves, InflightRecord, InflightStep, LogName, Refusal, Seq,
    SessionExpiry, SessionKey, SessionRecord, StoredSession, TxId, UnackedRecord,
};
use tokio::sync::mpsc;

use super::fixtures::{append, create, ms, read, session, soon, told, tx};
use crate::{Append, Appended, Backbone, Completion, Receipt, SaveError, Start, TakenOver};

async fn take_over(backbone: &Backbone, key: &SessionKey, start: Start) -> TakenOver {
    let agreement = Agreement::lasting(SessionExpiry::Never);
    let taken_over = backbone.sessions.take_over(key, start, &agreement, ms(1));
    soon(taken_over).await.expect("the session is taken over")
}

async fn resumed(backbone: &Backbone, key: &SessionKey) -> StoredSession {
    take_over(backbone, key, Start::Resume).await.stored.expect("the session goes on")
}

/// A publish at QoS 2 of the owner with this epoch.
fn qos_2(key: &SessionKey, epoch: u64, packet_id: u16, append: Append) -> Append {
    Append { receipt: Some(Receipt { session: key.clone(), epoch, packet_id }), ..append }
}

fn said(tx: &TxId, payload: &str) -> Append {
    append(tx, "alice", "msg/alice/n", payload.to_owned())
}

async fn publish(
    backbone: &Backbone,
    key: &SessionKey,
    epoch: u64,
    packet_id: u16,
    append: Append,
) -> Result<Appended, Refusal> {
    soon(backbone.log.append(qos_2(key, epoch, packet_id, append))).await
}

async fn payloads(backbone: &Backbone, tx: &TxId) -> Vec<String> {
    let page = read(backbone, tx, "bob", Seq::ZERO).await;
    told(&page).into_iter().skip(1).map(|(_, payload)| String::from_utf8_lossy(&payload).into_owned()).collect()
}

/// However often it is sent, one after the other or at once.
pub async fn a_publish_with_a_receipt_enters_the_log_once(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("receipt"));
    create(&backbone, &tx).await;
    let owner = take_over(&backbone, &key, Start::Resume).await;
    let (to, mut outcomes) = mpsc::channel(4);
    for (token, packet_id) in [7, 7, 8, 7].into_iter().enumerate() {
        let append = qos_2(&key, owner.epoch, packet_id, said(&tx, &packet_id.to_string()));
        let completion = Completion { token: token as u64, to: to.clone() };
        soon(backbone.log.submit(append, completion)).await.expect("there is room");
    }
    let mut appended = Vec::new();
    for _ in 0..4 {
        appended.push(soon(outcomes.recv()).await.expect("an outcome").outcome.expect("accepted"));
    }
    assert_eq!([0, 1, 2, 3].map(|place: usize| appended[place].repeated), [false, true, false, true]);
    let first = appended[0].seq;
    assert_eq!((appended[1].seq, appended[3].seq), (first, first));
    let later = publish(&backbone, &key, owner.epoch, 7, said(&tx, "7")).await;
    assert_eq!(later, Ok(Appended { seq: first, repeated: true }));
    assert_eq!(payloads(&backbone, &tx).await, ["7", "8"]);
}

/// Until then it is given back to whoever resumes the session; afterwards its identifier names another publish.
pub async fn a_receipt_lasts_until_it_is_released(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("release"));
    create(&backbone, &tx).await;
    let owner = take_over(&backbone, &key, Start::Resume).await;
    for packet_id in [9, 3, 5] {
        publish(&backbone, &key, owner.epoch, packet_id, said(&tx, "before")).await.expect("accepted");
    }
    let owner = take_over(&backbone, &key, Start::Resume).await;
    assert_eq!(owner.stored.expect("the session goes on").receipts, [3, 5, 9]);
    soon(backbone.sessions.release(&key, owner.epoch, &[3, 9, 1_000])).await.expect("released");
    let again = publish(&backbone, &key, owner.epoch, 5, said(&tx, "before")).await.expect("accepted");
    let anew = publish(&backbone, &key, owner.epoch, 9, said(&tx, "after")).await.expect("accepted");
    assert_eq!((again.repeated, anew.repeated), (true, false));
    assert_eq!(payloads(&backbone, &tx).await, ["before", "before", "before", "after"]);
    assert_eq!(resumed(&backbone, &key).await.receipts, [5, 9]);
}

/// The client may try the same identifier again, with something else.
pub async fn a_refusal_leaves_no_receipt(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("refused"));
    create(&backbone, &tx).await;
    let owner = take_over(&backbone, &key, Start::Resume).await;
    let refused = publish(&backbone, &key, owner.epoch, 4, append(&tx, "alice", "msg/bob/n", "forged")).await;
    assert_eq!(refused, Err(Refusal::NotAuthorized));
    assert_eq!(resumed(&backbone, &key).await.receipts, [] as [u16; 0]);
    let owner = take_over(&backbone, &key, Start::Resume).await;
    let accepted = publish(&backbone, &key, owner.epoch, 4, said(&tx, "own")).await.expect("accepted");
    assert!(!accepted.repeated);
}

/// The identical retry to a written slot is a publish like any other: acknowledged, remembered, and stored once.
pub async fn a_repeated_slot_has_its_receipt(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("repeated-slot"));
    create(&backbone, &tx).await;
    let owner = take_over(&backbone, &key, Start::Resume).await;
    let slot = || append(&tx, "alice", "broadcast/1/alice", "said");
    let first = publish(&backbone, &key, owner.epoch, 1, slot()).await.expect("accepted");
    let second = publish(&backbone, &key, owner.epoch, 2, slot()).await.expect("accepted");
    assert_eq!((second.seq, second.repeated), (first.seq, true));
    assert_eq!(resumed(&backbone, &key).await.receipts, [1, 2]);
    assert_eq!(payloads(&backbone, &tx).await, ["said"]);
}

/// What an owner of before still has under way changes nothing.
pub async fn a_take_over_fences_receipts_and_steps(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("fenced-receipt"));
    create(&backbone, &tx).await;
    let old = take_over(&backbone, &key, Start::Resume).await;
    publish(&backbone, &key, old.epoch, 1, said(&tx, "in time")).await.expect("accepted");
    let new = take_over(&backbone, &key, Start::Resume).await;
    assert_eq!(publish(&backbone, &key, old.epoch, 2, said(&tx, "late")).await, Err(Refusal::Superseded));
    assert_eq!(publish(&backbone, &key, old.epoch, 1, said(&tx, "late")).await, Err(Refusal::Superseded));
    let superseded = Err(SaveError::Superseded);
    assert_eq!(soon(backbone.sessions.release(&key, old.epoch, &[1])).await, superseded);
    assert_eq!(soon(backbone.sessions.hold(&key, old.epoch, &[held(&tx, 1, 7)])).await, superseded);
    let settled = CursorMoves { settled: vec![1], ..CursorMoves::default() };
    assert_eq!(soon(backbone.sessions.save_cursors(&key, old.epoch, &settled)).await, superseded);
    let found = publish(&backbone, &key, new.epoch, 1, said(&tx, "in time")).await.expect("accepted");
    assert!(found.repeated);
    let stranger = session("alice", "never-connected");
    assert_eq!(publish(&backbone, &stranger, new.epoch, 1, said(&tx, "x")).await, Err(Refusal::Superseded));
    assert_eq!(payloads(&backbone, &tx).await, ["in time"]);
}

/// With everything queued at once: the publish before the take-over is in and its receipt is handed over, the one after it
/// is refused.
pub async fn a_take_over_in_the_middle_of_queued_publishes_divides_them(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("divided"));
    create(&backbone, &tx).await;
    let old = take_over(&backbone, &key, Start::Resume).await;
    let (to, mut outcomes) = mpsc::channel(2);
    let submit = async |packet_id: u16| {
        let append = qos_2(&key, old.epoch, packet_id, said(&tx, &packet_id.to_string()));
        let completion = Completion { token: u64::from(packet_id), to: to.clone() };
        soon(backbone.log.submit(append, completion)).await.expect("there is room");
    };
    submit(1).await;
    let new = take_over(&backbone, &key, Start::Resume).await;
    submit(2).await;
    assert_eq!(new.stored.expect("the session goes on").receipts, [1]);
    let mut outcome = async || soon(outcomes.recv()).await.expect("an outcome").outcome;
    assert!(outcome().await.is_ok());
    assert_eq!(outcome().await, Err(Refusal::Superseded));
    assert_eq!(payloads(&backbone, &tx).await, ["1"]);
}

/// Neither receipts nor steps are found by a later session of the same key.
pub async fn a_clean_start_and_an_end_forget_handshakes(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("forgotten"));
    create(&backbone, &tx).await;
    for removes in [false, true] {
        let owner = take_over(&backbone, &key, Start::Clean).await;
        publish(&backbone, &key, owner.epoch, 1, said(&tx, "x")).await.expect("accepted");
        soon(backbone.sessions.hold(&key, owner.epoch, &[held(&tx, 1, 7)])).await.expect("held");
        if removes {
            soon(backbone.sessions.remove(&key, owner.epoch)).await.expect("removed");
        }
        let next = take_over(&backbone, &key, if removes { Start::Resume } else { Start::Clean }).await;
        assert_eq!(next.stored, None);
        let stored = resumed(&backbone, &key).await;
        assert_eq!((stored.receipts, stored.inflight), (vec![], vec![]));
    }
}

/// One party, one packet identifier, two sessions.
pub async fn receipts_of_two_sessions_are_two(backbone: Backbone) {
    let tx = tx("two-sessions");
    create(&backbone, &tx).await;
    for client_id in ["phone", "tablet"] {
        let key = session("alice", client_id);
        let owner = take_over(&backbone, &key, Start::Resume).await;
        let appended = publish(&backbone, &key, owner.epoch, 1, said(&tx, client_id)).await.expect("accepted");
        assert!(!appended.repeated);
    }
    assert_eq!(payloads(&backbone, &tx).await, ["phone", "tablet"]);
}

fn held(tx: &TxId, packet_id: u16, seq: u64) -> InflightRecord {
    let topic = format!("tx/{tx}/msg/alice/n");
    let delivery = UnackedRecord { packet_id, log: LogName::Tx(tx.clone()), seq: Seq(seq), topic, backfill: None };
    InflightRecord { delivery, step: InflightStep::Held }
}

fn released(tx: &TxId, packet_id: u16, seq: u64) -> InflightRecord {
    InflightRecord { step: InflightStep::Released, ..held(tx, packet_id, seq) }
}

/// Each with the last step that was kept, in the order of their identifiers.
pub async fn steps_of_deliveries_are_found_again(backbone: Backbone) {
    let (key, tx) = (session("bob", "phone"), tx("steps"));
    let owner = take_over(&backbone, &key, Start::Resume).await;
    let keep = async |records: &[InflightRecord]| {
        soon(backbone.sessions.hold(&key, owner.epoch, records)).await.expect("held");
    };
    keep(&[held(&tx, 300, 7), held(&tx, 2, 14)]).await;
    keep(&[released(&tx, 300, 7), held(&tx, 3, 21)]).await;
    let expected = vec![held(&tx, 2, 14), held(&tx, 3, 21), released(&tx, 300, 7)];
    assert_eq!(resumed(&backbone, &key).await.inflight, expected);
    assert_eq!(resumed(&backbone, &key).await.inflight, expected, "until it is settled");
}

/// Cursors, backfills and what they have passed are one write, and the record keeps all else.
pub async fn what_is_settled_goes_with_the_cursors_that_passed_it(backbone: Backbone) {
    let (key, tx) = (session("bob", "phone"), tx("settled"));
    let owner = take_over(&backbone, &key, Start::Resume).await;
    let backfill = |filter: &str, next| BackfillRecord {
        filter: filter.to_owned(),
        tx: tx.clone(),
        next: Seq(next),
        until: Seq(50),
    };
    let record = SessionRecord {
        expiry: SessionExpiry::Never,
        backfills: vec![backfill("tx/#", 0), backfill("tx/+/msg/#", 7), backfill("tx/+/manifest", 3)],
        ..SessionRecord::default()
    };
    soon(backbone.sessions.save(&key, owner.epoch, &record, &[])).await.expect("saved");
    soon(backbone.sessions.hold(&key, owner.epoch, &[released(&tx, 1, 7), held(&tx, 2, 14)])).await.expect("held");
    let moved = |filter: &str, next| BackfillMove { filter: filter.to_owned(), tx: tx.clone(), next };
    let moves = CursorMoves {
        cursors: vec![(tx.clone(), Some(Seq(9)))],
        backfills: vec![moved("tx/#", Some(Seq(14))), moved("tx/+/msg/#", None)],
        settled: vec![1],
        dequeued: Vec::new(),
    };
    soon(backbone.sessions.save_cursors(&key, owner.epoch, &moves)).await.expect("saved");
    let stored = resumed(&backbone, &key).await;
    assert_eq!(stored.cursors, [(tx.clone(), Seq(9))]);
    assert_eq!(stored.inflight, [held(&tx, 2, 14)]);
    assert_eq!(stored.record.backfills, [backfill("tx/#", 14), backfill("tx/+/manifest", 3)]);
}
