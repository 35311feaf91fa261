//! QoS 2, one test a rule: receipts of what the client publishes, steps of what it is delivered (MQTT5 4.3.3).

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

const TX: &str = "transaction-000001";

fn message(packet_id: u16) -> Packet {
    publish(&format!("tx/{TX}/msg/alice/n"), QoS::ExactlyOnce, packet_id, "said")
}

fn again(packet_id: u16) -> Packet {
    let Packet::Publish(mut publish) = message(packet_id) else { unreachable!() };
    publish.dup = true;
    Packet::Publish(publish)
}

fn ack(packet_id: u16) -> Ack {
    Ack { packet_id: PacketId::new(packet_id).unwrap(), reason_code: ReasonCode::Success, properties: None }
}

fn pubrec(packet_id: u16) -> Packet {
    Packet::PubRec(ack(packet_id))
}

fn pubrel(packet_id: u16) -> Packet {
    Packet::PubRel(ack(packet_id))
}

fn pubcomp(packet_id: u16) -> Packet {
    Packet::PubComp(ack(packet_id))
}

/// What was sent since the CONNACK, in short.
fn told(endpoint: &Endpoint) -> Vec<String> {
    let last = endpoint.sent.iter().rposition(|packet| matches!(packet, Packet::ConnAck(_))).unwrap();
    let coded = |name: &str, ack: &Ack| match ack.reason_code {
        ReasonCode::Success => format!("{name} {}", ack.packet_id),
        code => format!("{name} {} 0x{:02x}", ack.packet_id, code as u8),
    };
    let short = |packet: &Packet| match packet {
        Packet::Publish(publish) => {
            let dup = if publish.dup { " dup" } else { "" };
            let id = publish.packet_id.map_or(String::new(), |id| format!(" {id}"));
            format!("publish{id} qos {}{dup}", publish.qos as u8)
        }
        Packet::PubAck(ack) => coded("puback", ack),
        Packet::PubRec(ack) => coded("pubrec", ack),
        Packet::PubRel(ack) => coded("pubrel", ack),
        Packet::PubComp(ack) => coded("pubcomp", ack),
        Packet::Disconnect(disconnect) => format!("disconnect 0x{:02x}", disconnect.reason_code as u8),
        other => format!("{other:?}"),
    };
    endpoint.sent[last + 1..].iter().map(short).collect()
}

fn append_tokens(endpoint: &Endpoint) -> Vec<u64> {
    let appends = endpoint.calls.iter().filter_map(|call| match call {
        Call::Append { token } => Some(*token),
        _ => None,
    });
    appends.collect()
}

fn commit(endpoint: &mut Endpoint, token: u64, outcome: Result<Seq, Refusal>) {
    endpoint.input(|session, _| session.handle_committed(token, outcome));
}

#[test]
fn pubrec_waits_for_durable_append_and_for_its_turn() {
    let mut alice = connected("alice");
    alice.packet(publish(&format!("tx/{TX}/msg/alice/n"), QoS::AtLeastOnce, 9, "x"));
    alice.packet(message(1));
    let tokens = append_tokens(&alice);
    commit(&mut alice, tokens[1], Ok(Seq(2)));
    assert_eq!(told(&alice), [] as [&str; 0]);
    commit(&mut alice, tokens[0], Ok(Seq(1)));
    assert_eq!(told(&alice), ["puback 9", "pubrec 1"]);
}

#[test]
fn a_publish_that_is_here_is_answered_and_not_appended_again() {
    let mut alice = connected("alice");
    alice.packet(message(1));
    alice.packet(again(1));
    let tokens = append_tokens(&alice);
    assert_eq!(tokens.len(), 1);
    commit(&mut alice, tokens[0], Ok(Seq(1)));
    alice.packet(again(1));
    assert_eq!(append_tokens(&alice).len(), 1);
    assert_eq!(told(&alice), ["pubrec 1", "pubrec 1", "pubrec 1"]);
}

#[test]
fn pubcomp_waits_until_the_receipt_is_forgotten() {
    let (mut alice, mut logs) = (connected("alice"), Logs::default());
    logs.create(1, &["alice", "bob"].map(party));
    alice.packet(message(1));
    alice.answer_in(&mut logs);
    assert_eq!(alice.stored.receipts.len(), 1);
    alice.packet(pubrel(1));
    alice.packet(pubrel(1));
    assert!(matches!(alice.calls.front(), Some(Call::Release(_))));
    assert_eq!(told(&alice), ["pubrec 1"]);
    alice.answer_all(&logs);
    assert_eq!(told(&alice), ["pubrec 1", "pubcomp 1"]);
    assert_eq!(alice.stored.receipts.len(), 0);
    alice.packet(message(1));
    assert_eq!(append_tokens(&alice).len(), 1, "the identifier names another publish");
}

#[test]
fn a_resumed_session_knows_what_it_received() {
    let (mut alice, mut logs) = (connected("alice"), Logs::default());
    logs.create(1, &["alice", "bob"].map(party));
    alice.packet(message(1));
    alice.packet(message(2));
    alice.commit_unheard(&mut logs);
    alice.kill(0);
    alice.connect_with(connect(false, 3_600), limits()).unwrap();
    alice.packet(again(1));
    alice.packet(again(2));
    assert_eq!(append_tokens(&alice).len(), 1, "the second never reached its log");
    while alice.answer_in(&mut logs).0 {}
    assert_eq!(told(&alice), ["pubrec 1", "pubrec 2"]);
    assert_eq!(logs.0[&tx_id(1)].records.len(), 3);
}

#[test]
fn a_pubrel_to_nothing_is_answered_with_0x92() {
    let mut alice = connected("alice");
    alice.packet(pubrel(7));
    alice.packet(pubrec(7));
    alice.packet(pubcomp(7));
    assert_eq!(told(&alice), ["pubcomp 7 0x92", "pubrel 7 0x92"]);
}

#[test]
fn a_refusal_at_qos_2_is_a_pubrec_and_the_identifier_is_free() {
    let mut alice = connected("alice");
    alice.packet(message(1));
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Err(Refusal::NotAuthorized));
    alice.packet(message(1));
    assert_eq!(append_tokens(&alice).len(), 2);
    alice.packet(publish(&format!("tx/{TX}/msg/bob/n"), QoS::ExactlyOnce, 2, "forged"));
    let token = append_tokens(&alice)[1];
    commit(&mut alice, token, Ok(Seq(1)));
    assert_eq!(told(&alice), ["pubrec 1 0x87", "pubrec 1", "pubrec 2 0x87"]);
}

#[test]
fn in_3_1_1_a_refusal_at_qos_2_closes_the_connection() {
    let mut alice = Endpoint::new("alice");
    alice.connect_with(Connect { version: Version::V3_1_1, ..connect(false, 0) }, limits()).unwrap();
    alice.packet(publish(&format!("tx/{TX}/msg/bob/n"), QoS::ExactlyOnce, 2, "forged"));
    assert_eq!(told(&alice), [] as [&str; 0]);
    assert_eq!(alice.closed, Some(CloseCause::Refused(Refusal::NotAuthorized)));
}

#[test]
fn a_storage_fault_at_qos_2_ends_the_connection_since_a_receipt_may_be_there() {
    let mut alice = connected("alice");
    alice.packet(message(1));
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Err(Refusal::StorageFault("disk".into())));
    assert_eq!(told(&alice), ["disconnect 0x80"]);
}

#[test]
fn a_publish_that_came_too_late_ends_the_connection_as_taken_over() {
    let mut alice = connected("alice");
    alice.packet(message(1));
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Err(Refusal::Superseded));
    assert_eq!(told(&alice), ["disconnect 0x8e"]);
    assert_eq!(alice.closed, Some(CloseCause::TakenOver));
}

#[test]
fn a_publish_counts_against_the_receive_maximum_until_its_pubcomp() {
    let (mut alice, mut logs) = (connected("alice"), Logs::default());
    logs.create(1, &["alice", "bob"].map(party));
    for packet_id in 1..=4 {
        alice.packet(message(packet_id));
        alice.answer_in(&mut logs);
    }
    alice.packet(again(4));
    alice.packet(pubrel(1));
    alice.answer_all(&logs);
    alice.packet(message(5));
    assert_eq!(alice.closed, None);
    alice.packet(message(6));
    assert_eq!(alice.last_reason(), Some(ReasonCode::ReceiveMaximumExceeded));
}

#[test]
fn a_pubrel_before_its_pubrec_and_an_identifier_before_its_pubcomp_are_protocol_errors() {
    let mut alice = connected("alice");
    alice.packet(message(1));
    alice.packet(pubrel(1));
    assert_eq!(alice.last_reason(), Some(ReasonCode::ProtocolError));
    let mut alice = connected("alice");
    alice.packet(message(1));
    let token = append_tokens(&alice)[0];
    commit(&mut alice, token, Ok(Seq(1)));
    alice.packet(pubrel(1));
    alice.packet(message(1));
    assert_eq!(alice.last_reason(), Some(ReasonCode::ProtocolError));
}

/// Bob, who subscribes to all messages at this QoS, and a log with so many of them.
fn listening(qos: QoS, messages: usize) -> (Endpoint, Logs, TxId) {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe_at(qos, "tx/+/broadcast/#", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    bob.sent.retain(|packet| matches!(packet, Packet::ConnAck(_)));
    for n in 0..messages {
        say(&mut bob, &mut logs, &tx, Qos::ExactlyOnce, n);
    }
    (bob, logs, tx)
}

fn say(listener: &mut Endpoint, logs: &mut Logs, tx: &TxId, qos: Qos, n: usize) {
    let place = Place::Broadcast { round: format!("{n}").parse().unwrap(), from: party("alice") };
    let seq = logs.append_at(qos, tx, &party("alice"), place, "said".into());
    let copy = logs.live_copy(tx, seq, &listener.party).unwrap();
    listener.input(|session, _| session.handle_delivery(copy));
}

fn resume(endpoint: &mut Endpoint) {
    endpoint.connect_with(connect(false, 3_600), limits()).unwrap();
}

#[test]
fn a_delivery_has_the_lower_qos_of_publish_and_subscription() {
    for (granted, published, delivered) in [
        (QoS::ExactlyOnce, Qos::AtMostOnce, "publish qos 0"),
        (QoS::ExactlyOnce, Qos::AtLeastOnce, "publish 1 qos 1"),
        (QoS::ExactlyOnce, Qos::ExactlyOnce, "publish 1 qos 2"),
        (QoS::AtLeastOnce, Qos::ExactlyOnce, "publish 1 qos 1"),
        (QoS::AtMostOnce, Qos::ExactlyOnce, "publish qos 0"),
    ] {
        let (mut bob, mut logs, tx) = listening(granted, 0);
        say(&mut bob, &mut logs, &tx, published, 0);
        bob.answer_all(&logs);
        assert_eq!(told(&bob), [delivered]);
    }
}

#[test]
fn a_publish_at_qos_2_is_held_before_it_is_sent_and_what_follows_waits_behind_it() {
    let (mut bob, mut logs, tx) = listening(QoS::ExactlyOnce, 1);
    say(&mut bob, &mut logs, &tx, Qos::AtLeastOnce, 1);
    assert_eq!(told(&bob), [] as [&str; 0]);
    assert!(matches!(bob.calls.front(), Some(Call::Hold(_))));
    bob.answer_all(&logs);
    assert_eq!(told(&bob), ["publish 1 qos 2", "publish 2 qos 1"]);
}

#[test]
fn pubrel_waits_until_the_release_is_durable() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 1);
    bob.answer_all(&logs);
    bob.packet(pubrec(1));
    bob.packet(pubrec(1));
    assert_eq!(told(&bob), ["publish 1 qos 2"]);
    bob.answer_all(&logs);
    bob.packet(pubrec(1));
    bob.packet(pubcomp(1));
    assert_eq!(told(&bob), ["publish 1 qos 2", "pubrel 1", "pubrel 1"]);
}

#[test]
fn a_hold_that_fails_ends_the_connection_and_sends_nothing() {
    let (mut bob, _, _) = listening(QoS::ExactlyOnce, 1);
    bob.input(|session, _| session.handle_held(Err(Fault("disk".into()))));
    assert_eq!(told(&bob), ["disconnect 0x80"]);
}

#[test]
fn after_a_kill_what_was_held_is_sent_again_under_its_identifier() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 2);
    bob.answer_all(&logs);
    bob.kill(9);
    resume(&mut bob);
    bob.answer_all(&logs);
    assert_eq!(told(&bob), ["publish 1 qos 2 dup", "publish 2 qos 2 dup"]);
}

#[test]
fn after_a_kill_what_was_released_is_not_sent_again_and_its_pubrel_comes_first() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 3);
    bob.answer_all(&logs);
    bob.packet(pubrec(2));
    bob.answer_all(&logs);
    bob.kill(9);
    resume(&mut bob);
    bob.answer_all(&logs);
    assert_eq!(told(&bob), ["pubrel 2", "publish 1 qos 2 dup", "publish 3 qos 2 dup"]);
}

#[test]
fn a_completed_delivery_is_not_made_again_from_an_older_cursor() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 1);
    bob.settle(&logs);
    assert_eq!(bob.stored.inflight.len(), 1, "it is kept until the cursor is stored");
    bob.kill(9);
    resume(&mut bob);
    bob.settle(&logs);
    assert_eq!(told(&bob), ["pubrel 1"]);
    bob.now += std::time::Duration::from_millis(200);
    bob.input(|session, now| session.handle_deadline(now));
    assert_eq!(bob.stored.inflight.len(), 0);
}

#[test]
fn a_pubrec_that_says_no_ends_the_delivery() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 1);
    bob.answer_all(&logs);
    bob.packet(Packet::PubRec(Ack { reason_code: ReasonCode::QuotaExceeded, ..ack(1) }));
    bob.answer_all(&logs);
    assert_eq!(told(&bob), ["publish 1 qos 2"]);
    bob.lose_connection();
    assert_eq!(bob.stored.inflight.len(), 0);
    resume(&mut bob);
    bob.answer_all(&logs);
    assert_eq!(told(&bob), [] as [&str; 0]);
}

#[test]
fn a_pubrec_that_comes_before_the_resend_is_enough() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 1);
    bob.answer_all(&logs);
    bob.kill(0);
    resume(&mut bob);
    bob.packet(pubrec(1));
    bob.answer_all(&logs);
    assert_eq!(told(&bob), ["pubrel 1"]);
}

#[test]
fn what_no_subscription_meets_any_more_is_released_so_that_its_identifier_can_be_used() {
    let (mut bob, mut logs, tx) = listening(QoS::ExactlyOnce, 1);
    bob.answer_all(&logs);
    bob.subscribe(&format!("tx/{tx}/p2p/#"), RetainHandling::SendIfNew, 2);
    bob.answer_all(&logs);
    let filters = vec!["tx/+/broadcast/#".into()];
    bob.packet(Packet::Unsubscribe(Unsubscribe { packet_id: PacketId::MIN, user_properties: Vec::new(), filters }));
    bob.answer_all(&logs);
    bob.kill(0);
    resume(&mut bob);
    bob.answer_all(&logs);
    bob.now += std::time::Duration::from_millis(200);
    bob.input(|session, now| session.handle_deadline(now));
    bob.answer_all(&logs);
    assert_eq!(told(&bob), ["pubrel 1"]);
    let place = Place::P2p { round: "1".parse().unwrap(), from: party("alice"), to: party("bob") };
    let seq = logs.append(&tx, &party("alice"), place, "letter".into());
    let copy = logs.live_copy(&tx, seq, &bob.party).unwrap();
    bob.input(|session, _| session.handle_delivery(copy));
    bob.settle(&logs);
    assert_eq!(bob.heard.last().unwrap().seq, seq);
}

#[test]
fn a_session_that_ends_with_its_connection_holds_nothing() {
    let mut logs = Logs::default();
    let tx = logs.create(1, &["alice", "bob"].map(party));
    let mut bob = Endpoint::new("bob");
    bob.connect_with(connect(true, 0), limits()).unwrap();
    bob.subscribe_at(QoS::ExactlyOnce, "tx/+/broadcast/#", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    say(&mut bob, &mut logs, &tx, Qos::ExactlyOnce, 1);
    assert!(matches!(bob.sent.last(), Some(Packet::Publish(publish)) if publish.qos == QoS::ExactlyOnce));
    bob.packet(pubrec(1));
    assert_eq!(bob.sent.last(), Some(&pubrel(1)));
    assert!(bob.calls.is_empty());
}

#[test]
fn the_window_opens_with_pubcomp() {
    let (mut bob, logs, _) = listening(QoS::ExactlyOnce, 12);
    bob.answer_all(&logs);
    assert_eq!(told(&bob).len(), 8);
    bob.packet(pubrec(1));
    bob.answer_all(&logs);
    assert_eq!(told(&bob).len(), 9, "a PUBREL and no more");
    bob.packet(pubcomp(1));
    bob.answer_all(&logs);
    assert_eq!(told(&bob).last().unwrap(), "publish 9 qos 2");
}

#[test]
fn interim_states_come_at_qos_1() {
    let mut logs = Logs::default();
    logs.create(1, &["alice", "bob"].map(party));
    let mut bob = connected("bob");
    bob.subscribe_at(QoS::ExactlyOnce, "tx/+/state", RetainHandling::SendAtSubscribe, 1);
    bob.settle(&logs);
    assert_eq!(told(&bob).last().unwrap(), "publish 1 qos 1");
}
