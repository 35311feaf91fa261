//! The order of PUBLISH, step by step.

use super::*;
use crate::fixtures::open_rules;

const REFUSED: Verdict = Verdict::Refuse(Refusal::NotAuthorized);

fn create(from: &str, topic: &str, payload: &str, rules: &CreationRules) -> Result<Transaction, Refusal> {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let topic = topic.parse().expect("a valid topic");
    Transaction::create(&Offer { topic: &topic, from: &party(from), payload: &payload, now: NOW }, rules)
}

#[test]
fn a_manifest_creates_what_it_says() {
    let (transaction, payload) = created(manifest_json("alice", &["alice", "bob"]));
    let charter = &transaction.charter;
    assert_eq!(charter.manifest_sha256, Sha256::of(&payload));
    assert_eq!(charter.created_at, NOW);
    assert_eq!(charter.members().collect::<Vec<_>>(), [&party("alice"), &party("bob")]);
    assert_eq!(transaction.progress.last_seq, Seq::ZERO);
}

#[test]
fn only_the_initiator_itself_creates_and_only_under_its_own_topic() {
    let json = manifest_json("alice", &["alice", "bob"]).to_string();
    let manifest = topic("manifest").to_string();
    assert_eq!(create("bob", &manifest, &json, &open_rules()), Err(Refusal::NotAuthorized));
    let other = "tx/another-transaction/manifest";
    assert!(matches!(create("alice", other, &json, &open_rules()), Err(Refusal::PayloadInvalid(_))));
    for place in ["state", "join/alice", "msg/alice/x"] {
        let topic = topic(place).to_string();
        assert_eq!(create("alice", &topic, &json, &open_rules()), Err(Refusal::NotAuthorized), "{place}");
    }
    let Err(Refusal::PayloadInvalid(reason)) = create("alice", &manifest, "{}", &open_rules()) else {
        panic!("an empty object is no manifest")
    };
    assert!(reason.starts_with("manifest: .: missing field `tx`"), "{reason}");
}

#[test]
fn who_may_create_nothing_learns_nothing_from_a_manifest() {
    let rules = CreationRules(vec![TransactionRule {
        initiator: vec!["alice".parse().expect("a pattern")],
        may_invite: vec!["bob".parse().expect("a pattern")],
    }]);
    let manifest = topic("manifest").to_string();
    assert_eq!(create("mallory", &manifest, "not even JSON", &rules), Err(Refusal::NotAuthorized));
    let json = manifest_json("alice", &["alice", "carol"]).to_string();
    assert_eq!(create("alice", &manifest, &json, &rules), Err(Refusal::NotAuthorized), "carol may not be invited");
    let room = Room::open(json!({}));
    assert_eq!(room.consider("mallory", "manifest", b"not even JSON"), REFUSED);
}

#[test]
fn the_identical_retry_is_acknowledged_in_every_state() {
    let mut room = Room::running();
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"x"), Verdict::Accept);
    let seq = room.slots[&topic("broadcast/1/bob")].seq;
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"x"), Verdict::Repeated(seq));
    room.publish("carol", "abort/carol", b"enough");
    assert_eq!(room.state(), TxState::Aborted);
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"x"), Verdict::Repeated(seq));
    let manifest = room.log[0].payload.clone();
    assert_eq!(room.consider("alice", "manifest", &manifest), Verdict::Repeated(Seq(7)));
    assert_eq!(room.consider("bob", "manifest", &manifest), REFUSED, "it is not his");
    assert_eq!(room.consider("carol", "broadcast/1/bob", b"x"), REFUSED, "it is not hers");
}

#[test]
fn a_free_message_is_said_again_each_time() {
    let mut room = Room::running();
    assert_eq!(room.publish("bob", "msg/bob/x", b"x"), Verdict::Accept);
    assert_eq!(room.publish("bob", "msg/bob/x", b"x"), Verdict::Accept);
    assert_eq!(room.publish("bob", "msg/bob/x", b""), Verdict::Accept, "and may be empty");
}

#[test]
fn nobody_speaks_for_another_and_nobody_from_outside() {
    let room = Room::open(json!({ "initiator": "dave", "require_join": false }));
    for place in ["broadcast/1/alice", "echo/1/alice", "p2p/1/alice/bob", "result/alice", "abort/alice", "msg/alice/x"]
    {
        assert_eq!(room.consider("alice", place, b"x"), Verdict::Accept, "{place}");
        for name in ["bob", "dave", "mallory", "Alice"] {
            assert_eq!(room.consider(name, place, b"x"), REFUSED, "{name} at {place}");
        }
    }
    for name in ["dave", "mallory"] {
        assert_eq!(room.consider(name, &format!("msg/{name}/x"), b"x"), REFUSED, "{name} is no party");
    }
    assert_eq!(room.consider("alice", "p2p/1/alice/dave", b"x"), REFUSED, "the addressee is no party");
    for name in ["alice", "dave", "mallory"] {
        assert_eq!(room.consider(name, "state", b"x"), REFUSED, "only the broker tells the state");
        assert_eq!(room.consider(name, "manifest", b"x"), REFUSED, "the manifest is written");
    }
}

#[test]
fn another_transactions_topic_is_refused() {
    let room = Room::running();
    let topic = "tx/another-transaction/msg/alice/x".parse().expect("a valid topic");
    let payload = Bytes::from_static(b"x");
    let offer = Offer { topic: &topic, from: &party("alice"), payload: &payload, now: NOW };
    assert_eq!(room.transaction.consider(&offer, None, &room.limits), REFUSED);
}

#[test]
fn a_result_waits_until_the_transaction_runs() {
    let mut room = Room::open(json!({}));
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"x"), Verdict::Accept, "rounds need not wait");
    assert_eq!(room.publish("bob", "result/bob", b"x"), REFUSED);
    for name in ["alice", "bob", "carol"] {
        assert_eq!(room.join(name), Verdict::Accept);
    }
    assert_eq!(room.publish("bob", "result/bob", b"x"), Verdict::Accept);
}

#[test]
fn nothing_is_accepted_after_the_end() {
    let mut room = Room::running();
    room.publish("bob", "abort/bob", b"x");
    let log = room.log.len();
    for place in ["join/carol", "broadcast/1/carol", "msg/carol/x", "abort/carol", "result/carol"] {
        assert_eq!(room.publish("carol", place, b"x"), REFUSED, "{place}");
    }
    assert_eq!(room.publish("bob", "abort/bob", b"y"), REFUSED, "also no other bytes");
    assert_eq!(room.log.len(), log);
    assert_eq!(room.transaction.progress.equivocations.count, 0);
}

#[test]
fn other_bytes_to_a_written_slot_are_an_equivocation() {
    let mut room = Room::running();
    room.publish("bob", "broadcast/1/bob", b"x");
    let refusal = Refusal::SlotTaken { stored: Sha256::of(b"x"), offered: Sha256::of(b"y") };
    assert_eq!(refusal.to_string(), "slot-taken");
    let changed = room.transaction.progress.changed;
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"y"), Verdict::Refuse(refusal));
    assert!(matches!(room.publish("bob", "broadcast/1/bob", b""), Verdict::Refuse(Refusal::SlotTaken { .. })));
    let equivocations = room.document().equivocations;
    assert_eq!((equivocations.count, equivocations.first.len()), (2, 1), "the first per slot, and a count");
    let first = &equivocations.first[0];
    assert_eq!((&first.topic, &first.party), (&topic("broadcast/1/bob"), &party("bob")));
    assert_eq!((first.stored, first.offered), (Some(Sha256::of(b"x")), Some(Sha256::of(b"y"))));
    assert!(room.transaction.progress.changed > changed, "it is to be published");
}

#[test]
fn the_sums_of_p2p_are_not_told_to_all() {
    let mut room = Room::running();
    room.publish("bob", "p2p/1/bob/alice", b"x");
    room.publish("bob", "p2p/1/bob/alice", b"y");
    let first = &room.document().equivocations.first[0];
    assert_eq!((first.stored, first.offered), (None, None));
    assert_eq!(room.transaction.progress.equivocations.first[0].stored, Sha256::of(b"x"), "but kept");
}

#[test]
fn equivocations_are_listed_up_to_a_bound_and_counted_beyond() {
    let mut room = Room::running();
    for round in 0..EQUIVOCATIONS_LISTED_MAX + 5 {
        room.publish("bob", &format!("echo/{round}/bob"), b"x");
        room.publish("bob", &format!("echo/{round}/bob"), b"y");
    }
    let equivocations = room.document().equivocations;
    assert_eq!(equivocations.count, EQUIVOCATIONS_LISTED_MAX as u64 + 5);
    assert_eq!(equivocations.first.len(), EQUIVOCATIONS_LISTED_MAX);
}

#[test]
fn sizes_are_bounded_at_every_place() {
    let room = Room::running();
    let charter = &room.transaction.charter;
    let join = |bytes: usize| {
        let join = json!({ "manifest_sha256": charter.manifest_sha256, "data": "" }).to_string();
        join.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - join.len())))
    };
    for (place, most) in [
        ("join/bob", JOIN_BYTES_MAX),
        ("result/bob", RESULT_BYTES_MAX),
        ("broadcast/1/bob", MESSAGE_BYTES_MAX),
        ("p2p/1/bob/alice", MESSAGE_BYTES_MAX),
        ("msg/bob/x", MESSAGE_BYTES_MAX),
    ] {
        let payload = |bytes| if place == "join/bob" { join(bytes).into_bytes() } else { vec![0; bytes] };
        assert_eq!(room.consider("bob", place, &payload(most)), Verdict::Accept, "{place}");
        let refused = Verdict::Refuse(Refusal::PayloadInvalid(format!("{} bytes, where {most} are allowed", most + 1)));
        assert_eq!(room.consider("bob", place, &payload(most + 1)), refused, "{place}");
    }
}

#[test]
fn an_empty_slot_is_refused_and_stays_free() {
    let mut room = Room::running();
    let empty = Refusal::PayloadInvalid("a slot needs a payload that is not empty".to_owned());
    for place in ["join/bob", "broadcast/1/bob", "echo/1/bob", "p2p/1/bob/alice", "result/bob", "abort/bob"] {
        assert_eq!(room.publish("bob", place, b""), Verdict::Refuse(empty.clone()), "{place}");
    }
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"x"), Verdict::Accept);
}

#[test]
fn a_join_must_name_this_manifest_and_nothing_unknown() {
    let mut room = Room::open(json!({}));
    let sum = room.transaction.charter.manifest_sha256;
    for (join, reason) in [
        ("x".to_owned(), "join: expected value at line 1 column 1"),
        ("{}".to_owned(), "join: missing field `manifest_sha256` at line 1 column 2"),
        (json!({ "manifest_sha256": sum, "date": 1 }).to_string(), "join: unknown field `date`"),
        (json!({ "manifest_sha256": "abc", "data": 1 }).to_string(), "join: a SHA-256 sum is written"),
        (
            json!({ "manifest_sha256": Sha256::of(b"x"), "data": 1 }).to_string(),
            "join: manifest_sha256: is not the sum of this transaction's manifest",
        ),
    ] {
        match room.publish("bob", "join/bob", join.as_bytes()) {
            Verdict::Refuse(Refusal::PayloadInvalid(found)) => assert!(found.starts_with(reason), "{found}"),
            other => panic!("{join}: {other:?}"),
        }
    }
    assert_eq!(room.join("bob"), Verdict::Accept, "the slot stayed free");
    let bare = json!({ "manifest_sha256": sum }).to_string();
    assert_eq!(room.publish("carol", "join/carol", bare.as_bytes()), Verdict::Accept, "data is optional");
}

#[test]
fn what_a_party_says_is_bounded_but_for_what_ends_it_and_what_joins_it() {
    let mut room = Room::open(json!({}));
    room.limits = TxLimits { messages_per_party_max: 2, bytes_per_party_max: 10 };
    assert_eq!(room.publish("bob", "msg/bob/x", b"12345678"), Verdict::Accept);
    let refused = |verdict| matches!(verdict, Verdict::Refuse(Refusal::QuotaExceeded(_)));
    assert!(refused(room.publish("bob", "broadcast/1/bob", b"123")), "11 bytes");
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"12"), Verdict::Accept);
    assert!(refused(room.publish("bob", "msg/bob/x", b"")), "a third message");
    assert_eq!(room.publish("bob", "broadcast/1/bob", b"12"), Verdict::Repeated(Seq(21)), "it is there already");
    assert_eq!(room.publish("alice", "msg/alice/x", b"1234567890"), Verdict::Accept, "each has its own");
    for name in ["alice", "bob", "carol"] {
        assert_eq!(room.join(name), Verdict::Accept, "{name}");
    }
    assert_eq!(room.publish("bob", "result/bob", b"a long result"), Verdict::Accept);
    assert_eq!(room.publish("bob", "abort/bob", b"a long reason"), Verdict::Accept);
}

#[test]
fn the_end_is_heard_when_every_party_has_acknowledged_it() {
    let mut room = Room::open(json!({ "initiator": "dave" }));
    room.publish("bob", "abort/bob", b"x");
    let closed_at = room.transaction.progress.closed_at.expect("closed");
    let transaction = &mut room.transaction;
    assert!(!transaction.note_heard(&party("alice"), Seq(closed_at.0 - 1)), "not the last");
    for name in ["alice", "bob", "carol"] {
        assert!(!transaction.everybody_heard_the_end());
        assert!(transaction.note_heard(&party(name), closed_at), "{name}");
        assert!(!transaction.note_heard(&party(name), closed_at), "{name}, again");
    }
    assert!(!transaction.note_heard(&party("dave"), closed_at), "the initiator is no party");
    assert!(transaction.everybody_heard_the_end());
}
