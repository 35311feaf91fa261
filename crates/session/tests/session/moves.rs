//! What the store was told of a session that hears on, and did not take: nothing of it is lost.

use crate::world::*;
use quorate_domain::*;
use quorate_wire::*;

const EVERYTHING: &str = "tx/+/#";

/// A party that hears ordinary topics.
fn hearing(expiry_s: u32) -> Endpoint {
    let mut alice = Endpoint::new("alice");
    alice.access = everything_open();
    alice.connect_with(connect(false, expiry_s), limits()).unwrap();
    alice
}

/// The store takes moves again, and the session hears of those that it did not take.
fn mend(endpoint: &mut Endpoint) {
    endpoint.moves_fail = false;
    for moves in std::mem::take(&mut endpoint.lost) {
        endpoint.input(|session, _| session.handle_cursors_lost(moves));
    }
}

#[test]
fn what_is_done_with_leaves_the_queue_once_the_store_takes_it() {
    for expiry_s in [3_600, 0] {
        let mut alice = hearing(expiry_s);
        alice.moves_fail = true;
        alice.bring(Qos::AtLeastOnce, "a", "1");
        alice.acknowledge();
        pass_time(&mut alice);
        assert_eq!(alice.lost.len(), 1);
        mend(&mut alice);
        pass_time(&mut alice);
        assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0, "expiry {expiry_s}");
    }
}

#[test]
fn what_is_done_with_is_told_with_the_last_moves_also_when_the_store_did_not_take_it() {
    let mut alice = hearing(3_600);
    alice.moves_fail = true;
    alice.bring(Qos::AtLeastOnce, "a", "1");
    alice.acknowledge();
    pass_time(&mut alice);
    mend(&mut alice);
    alice.lose_connection();
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
}

#[test]
fn a_delivery_at_qos_2_that_is_over_is_forgotten_once_the_store_takes_it() {
    let mut alice = hearing(3_600);
    alice.moves_fail = true;
    alice.bring(Qos::ExactlyOnce, "a", "1");
    alice.settle(&Logs::default());
    pass_time(&mut alice);
    assert_eq!(alice.stored.inflight.len(), 1);
    mend(&mut alice);
    pass_time(&mut alice);
    assert!(alice.stored.inflight.is_empty());
    assert_eq!(alice.queue.waiting(&alice.stored.dequeued), 0);
}

#[test]
fn an_identifier_that_names_another_delivery_by_then_is_kept() {
    let mut alice = hearing(3_600);
    alice.moves_fail = true;
    alice.bring(Qos::ExactlyOnce, "a", "first");
    alice.settle(&Logs::default());
    pass_time(&mut alice);
    // All other identifiers have their turn.
    for _ in 1..u16::MAX {
        alice.bring(Qos::AtLeastOnce, "a", "between");
        alice.acknowledge();
    }
    alice.bring(Qos::ExactlyOnce, "a", "second");
    alice.answer_all(&Logs::default());
    assert_eq!(alice.heard.last().unwrap().packet_id, alice.heard[0].packet_id);
    mend(&mut alice);
    pass_time(&mut alice);
    let kept: Vec<Seq> = alice.stored.inflight.values().map(|record| record.delivery.seq).collect();
    assert_eq!(kept.len(), 1, "a crash would bring it a second time");
    alice.settle(&Logs::default());
    pass_time(&mut alice);
    assert!(alice.stored.inflight.is_empty());
}

#[test]
fn a_backfill_that_is_over_is_over_once_the_store_takes_it() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe_at(QoS::ExactlyOnce, "tx/+/manifest", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    bob.subscribe_at(QoS::ExactlyOnce, EVERYTHING, RetainHandling::SendAtSubscribe, 2);
    bob.moves_fail = true;
    bob.settle(&logs);
    pass_time(&mut bob);
    let backfills = |bob: &Endpoint| bob.stored.record.as_ref().unwrap().backfills.len();
    assert_eq!((backfills(&bob), bob.stored.inflight.len()), (1, 2));
    mend(&mut bob);
    pass_time(&mut bob);
    assert_eq!((backfills(&bob), bob.stored.inflight.len()), (0, 0));
    let manifests = |bob: &Endpoint| bob.heard.iter().filter(|heard| heard.topic.ends_with("manifest")).count();
    assert_eq!(manifests(&bob), 2);
    bob.kill(0);
    bob.connect_with(connect(false, 3_600), limits()).unwrap();
    bob.settle(&logs);
    assert_eq!(manifests(&bob), 2, "each subscription has heard it");
}

#[test]
fn a_cursor_is_stored_as_it_stands_once_the_store_takes_it() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe(EVERYTHING, RetainHandling::SendAtSubscribe, 1);
    bob.moves_fail = true;
    bob.settle(&logs);
    pass_time(&mut bob);
    assert!(bob.stored.cursors.is_empty());
    mend(&mut bob);
    pass_time(&mut bob);
    assert_eq!(bob.stored.cursors[&tx], logs.0[&tx].head());
    // Nothing covers the log any more: its cursor goes, or what is said anew would not be heard.
    bob.moves_fail = true;
    let filters = vec![EVERYTHING.into()];
    bob.packet(Packet::Unsubscribe(Unsubscribe { packet_id: PacketId::MIN, user_properties: Vec::new(), filters }));
    bob.settle(&logs);
    mend(&mut bob);
    pass_time(&mut bob);
    assert!(bob.stored.cursors.is_empty());
}
