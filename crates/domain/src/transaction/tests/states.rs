//! The edges between states, and what the state document says of each.

use super::*;

fn results(room: &mut Room, results: &[(&str, &[u8])]) {
    for (name, result) in results {
        assert_eq!(room.publish(name, &format!("result/{name}"), result), Verdict::Accept, "{name}");
    }
}

#[test]
fn it_runs_when_every_party_has_joined() {
    let mut room = Room::open(json!({}));
    for name in ["carol", "alice"] {
        room.join(name);
        assert_eq!(room.state(), TxState::Open);
    }
    assert_eq!(room.document().joined, [party("alice"), party("carol")], "in the manifest's order");
    assert_eq!(room.document().waiting_for, ["join/bob"]);
    room.join("bob");
    assert_eq!(room.state(), TxState::Running);
    assert_eq!(room.document().waiting_for, ["result/alice", "result/bob", "result/carol"]);
}

#[test]
fn it_runs_at_once_where_nobody_needs_to_join() {
    let mut room = Room::running();
    assert_eq!(room.state(), TxState::Running);
    assert_eq!(room.join("bob"), Verdict::Accept, "but one may");
    assert_eq!(room.document().joined, [party("bob")]);
    assert_eq!(room.document().waiting_for, ["result/alice", "result/bob", "result/carol"]);
}

#[test]
fn all_equal_results_complete_it() {
    let mut room = Room::running();
    results(&mut room, &[("alice", b"key"), ("carol", b"key")]);
    assert_eq!(room.document().waiting_for, ["result/bob"]);
    results(&mut room, &[("bob", b"key")]);
    assert_eq!((room.state(), room.document().reason), (TxState::Completed, None));
    assert_eq!(room.document().waiting_for, Vec::<String>::new());
}

#[test]
fn any_two_different_results_dispute_it_where_all_must_be_equal() {
    let mut room = Room::running();
    results(&mut room, &[("alice", b"key"), ("carol", b"other")]);
    assert_eq!(room.state(), TxState::Disputed);
    assert_eq!(room.document().reason.as_deref(), Some("results differ"));
}

#[test]
fn as_many_equal_results_as_the_threshold_complete_it_where_that_suffices() {
    let mut room = Room::open(json!({ "require_join": false, "complete_when": "threshold" }));
    results(&mut room, &[("alice", b"one"), ("bob", b"two")]);
    assert_eq!(room.state(), TxState::Running, "carol may still agree with one of them");
    results(&mut room, &[("carol", b"two")]);
    assert_eq!(room.state(), TxState::Completed);
}

#[test]
fn it_is_disputed_as_soon_as_no_result_can_reach_the_threshold() {
    let fields = json!({ "require_join": false, "complete_when": "threshold", "threshold": 3,
        "parties": ["alice", "bob", "carol", "dave"] });
    let mut room = Room::open(fields);
    results(&mut room, &[("alice", b"one"), ("bob", b"two")]);
    assert_eq!(room.state(), TxState::Running, "one more of each would still do");
    results(&mut room, &[("carol", b"three")]);
    assert_eq!(room.state(), TxState::Disputed, "before dave says anything");
}

#[test]
fn a_threshold_of_one_completes_with_the_first_result() {
    let mut room = Room::open(json!({ "require_join": false, "complete_when": "threshold", "threshold": 1 }));
    results(&mut room, &[("bob", b"key")]);
    assert_eq!(room.state(), TxState::Completed);
}

#[test]
fn a_party_aborts_it_in_both_open_states() {
    for mut room in [Room::open(json!({})), Room::running()] {
        assert_eq!(room.publish("bob", "abort/bob", b"my secret reason"), Verdict::Accept);
        assert_eq!(room.state(), TxState::Aborted);
        assert_eq!(room.document().reason.as_deref(), Some("aborted by bob"), "payloads are told to nobody else");
    }
}

#[test]
fn the_initiator_closes_it_while_it_is_open_and_an_admin_at_any_time() {
    let initiator = || Closer::Initiator(party("alice"));
    let admin = || Closer::Admin(party("operator"));
    let mut room = Room::open(json!({}));
    assert_eq!(room.transaction.close(Closer::Initiator(party("bob")), ""), Err(Refusal::NotAuthorized));
    assert!(matches!(
        room.transaction.close(initiator(), &"x".repeat(REASON_BYTES_MAX + 1)),
        Err(Refusal::PayloadInvalid(_))
    ));
    assert!(!room.transaction.closing_due());
    assert_eq!(room.transaction.close(initiator(), "wrong amount"), Ok(()));
    assert_eq!(room.document().reason.as_deref(), Some("closed by its initiator alice: wrong amount"));
    assert_eq!(room.transaction.close(admin(), ""), Err(Refusal::NotAuthorized), "it is closed");

    let mut room = Room::running();
    assert_eq!(room.transaction.close(initiator(), ""), Err(Refusal::NotAuthorized), "it runs");
    assert_eq!(room.transaction.close(admin(), ""), Ok(()));
    assert_eq!(room.document().reason.as_deref(), Some("closed by the operator operator"));
    assert_eq!(room.state(), TxState::Aborted);
}

#[test]
fn the_closing_record_is_due_once() {
    let mut room = Room::running();
    room.transaction.close(Closer::Admin(party("operator")), "").expect("allowed");
    assert!(room.transaction.closing_due());
    let head = room.transaction.progress.head;
    room.close_if_due();
    assert!(!room.transaction.closing_due());
    let record = room.log.last().expect("a record");
    assert_eq!((&record.topic, &record.from), (&topic("state"), &None));
    assert_eq!(room.transaction.progress.closed_at, Some(record.seq));
    let document: StateDocument = serde_json::from_slice(&record.payload).expect("a state document");
    assert_eq!((document.state, document.head), (TxState::Aborted, head), "the head that it closes");
    assert_ne!(room.transaction.progress.head, head, "and it is covered itself");
}

#[test]
fn each_member_is_addressed_with_what_it_heard_before() {
    let mut room = Room::open(json!({ "initiator": "dave", "require_join": false }));
    room.publish("alice", "broadcast/1/alice", b"x"); // 14
    room.publish("alice", "p2p/1/alice/bob", b"x"); // 21
    room.publish("bob", "msg/bob/x", b"x"); // 28
    let standing = |name: &str| room.transaction.standing(&party(name)).map(|standing| standing.last_addressed);
    assert_eq!(standing("dave"), Some(Seq(7)), "the initiator hears the manifest alone so far");
    assert_eq!(standing("mallory"), None);
    let mut transaction = room.transaction.clone();
    let mut message = room.log[2].clone();
    message.seq = Seq(100);
    assert_eq!(transaction.record(&message), [(party("bob"), Seq(28))]);
    message.seq = Seq(200);
    message.topic = topic("msg/alice/y");
    assert_eq!(
        transaction.record(&message),
        [(party("alice"), Seq(28)), (party("bob"), Seq(100)), (party("carol"), Seq(28))]
    );
    let standing = transaction.standing(&party("dave")).expect("a member");
    assert_eq!((standing.last_addressed, standing.head), (Seq(7), Seq(200)));
}

#[test]
fn a_quorum_has_joined_and_is_present() {
    let quorate = |room: &Room, present: &[&str]| {
        room.transaction.state_document(Incarnation([7; 16]), &|party| present.contains(&party.as_str())).quorum.quorate
    };
    let mut room = Room::open(json!({}));
    room.join("alice");
    assert!(!quorate(&room, &["alice", "bob", "carol"]), "bob and carol have not joined");
    room.join("bob");
    assert!(quorate(&room, &["alice", "bob"]));
    assert!(!quorate(&room, &["alice", "carol"]), "carol is here, but has not joined");
    let room = Room::running();
    assert!(quorate(&room, &["bob", "carol"]), "nobody needs to join");
    assert!(!quorate(&room, &["bob", "dave"]), "dave is no party");
}

#[test]
fn the_state_document_is_the_json_of_the_contract() {
    let mut room = Room::open(json!({}));
    room.join("alice");
    room.join("bob");
    room.publish("bob", "broadcast/1/bob", b"x");
    room.publish("bob", "broadcast/1/bob", b"y");
    let document: Value = serde_json::from_slice(&room.document().to_bytes()).expect("JSON");
    let transaction = &room.transaction;
    let expected = json!({
        "tx": transaction.charter.tx, "state": "open", "seq": 28, "created_at": NOW,
        "manifest_sha256": Sha256::of(&room.log[0].payload).to_string(),
        "joined": ["alice", "bob"], "waiting_for": ["join/carol"],
        "quorum": { "threshold": 2, "quorate": true },
        "equivocations": { "count": 1, "first": [{
            "topic": topic("broadcast/1/bob").to_string(), "party": "bob", "seq": 28, "at": NOW,
            "stored": Sha256::of(b"x").to_string(), "offered": Sha256::of(b"y").to_string(),
        }] },
        "head": transaction.progress.head.to_string(), "reason": null,
            "incarnation": "07".repeat(16),
    });
    assert_eq!(document, expected);
}

#[test]
fn the_head_covers_every_record() {
    let mut room = Room::running();
    room.publish("bob", "msg/bob/x", b"x");
    let head = room.log.iter().fold(chain_start(), |head, message| next_head(&head, message));
    assert_eq!(room.transaction.progress.head, head);
}
