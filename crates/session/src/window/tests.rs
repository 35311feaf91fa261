//! The window by itself.

use super::*;

const QOS_1: QoS = QoS::AtLeastOnce;
const QOS_2: QoS = QoS::ExactlyOnce;

fn item(seq: u64) -> Item {
    let tx: TxId = "01JD3W8QK7V9N2M4X6Z8B0C1D3".parse().unwrap();
    Item { topic: format!("tx/{tx}/result/alice"), log: LogName::Tx(tx), seq: Seq(seq), way: Way::Cursor }
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn new(packet_id: u16) -> Option<Admission> {
    Some(Admission { packet_id: id(packet_id), dup: false })
}

fn again(packet_id: u16) -> Option<Admission> {
    Some(Admission { packet_id: id(packet_id), dup: true })
}

#[test]
fn refuses_above_its_capacity_until_an_acknowledgement() {
    let mut window = Window::new(2, &[], &[]);
    assert_eq!(window.admit(item(1), QOS_1), new(1));
    assert_eq!(window.admit(item(2), QOS_1), new(2));
    assert_eq!(window.admit(item(3), QOS_1), None);
    assert_eq!(window.acknowledge(id(1)).unwrap().seq, Seq(1));
    assert_eq!(window.acknowledge(id(1)), None);
    assert_eq!(window.admit(item(3), QOS_1), new(3));
}

#[test]
fn identifiers_wrap_around_those_in_use() {
    let mut window = Window::new(2, &[], &[]);
    window.admit(item(1), QOS_1).unwrap();
    window.last_id = u16::MAX - 1;
    assert_eq!(window.admit(item(2), QOS_1), new(u16::MAX));
    window.acknowledge(id(u16::MAX)).unwrap();
    assert_eq!(window.admit(item(3), QOS_1), new(2));
}

#[test]
fn a_redelivery_keeps_its_identifier_and_is_marked_dup() {
    let mut before = Window::new(4, &[], &[]);
    before.admit(item(1), QOS_1).unwrap();
    before.admit(item(2), QOS_1).unwrap();
    before.acknowledge(id(1)).unwrap();
    let mut after = Window::new(4, &before.to_records(), &[]);
    assert_eq!(after.admit(item(9), QOS_1), new(1));
    assert_eq!(after.admit(item(2), QOS_1), again(2));
    assert_eq!(after.admit(item(10), QOS_1), new(3));
}

#[test]
fn what_was_never_resent_is_still_stored() {
    let mut before = Window::new(4, &[], &[]);
    before.admit(item(1), QOS_1).unwrap();
    let records = before.to_records();
    assert_eq!(Window::new(4, &records, &[]).to_records(), records);
}

/// A delivery at QoS 2 up to where its PUBLISH is out.
fn sent(window: &mut Window, seq: u64) -> PacketId {
    let packet_id = window.admit(item(seq), QOS_2).unwrap().packet_id;
    window.sent(packet_id);
    packet_id
}

#[test]
fn at_qos_2_the_window_opens_with_pubcomp_and_the_identifier_is_free_once_it_is_settled() {
    let mut window = Window::new(1, &[], &[]);
    let packet_id = sent(&mut window, 7);
    assert_eq!(window.acknowledge(packet_id), None, "a PUBACK is no answer to it");
    assert_eq!(window.receive(packet_id), Received::Release);
    assert_eq!(window.receive(packet_id), Received::Wait);
    assert!(window.released(packet_id).is_some());
    assert_eq!(window.receive(packet_id), Received::Again);
    assert_eq!(window.room(), 0);
    assert!(window.complete(packet_id));
    assert_eq!((window.room(), window.complete(packet_id)), (1, false));
    window.last_id = 0;
    assert_eq!(window.admit(item(8), QOS_1), new(2), "the first identifier is still kept");
    assert_eq!(window.settle(|_| false), []);
    assert_eq!(window.settle(|_| true), [(id(1), item(7))]);
}

#[test]
fn a_pubrec_to_a_publish_that_was_not_sent_is_unknown() {
    let mut window = Window::new(4, &[], &[]);
    let waiting = window.admit(item(7), QOS_2).unwrap().packet_id;
    assert_eq!(window.receive(waiting), Received::Unknown);
    assert_eq!(window.receive(id(99)), Received::Unknown);
    let at_qos_1 = window.admit(item(8), QOS_1).unwrap().packet_id;
    assert_eq!(window.receive(at_qos_1), Received::Unknown);
}

#[test]
fn a_resumed_window_knows_what_was_held_and_what_was_received() {
    let mut before = Window::new(4, &[], &[]);
    let (held, released) = (sent(&mut before, 7), sent(&mut before, 14));
    let records = [
        before.inflight_record(held, InflightStep::Held).unwrap(),
        before.inflight_record(released, InflightStep::Released).unwrap(),
    ];
    let mut after = Window::new(4, &[], &records);
    assert_eq!(after.to_release_again(), [released]);
    assert_eq!(after.past(&item(7)), Past::Sent(QOS_2));
    assert_eq!(after.past(&item(14)), Past::Received);
    assert_eq!(after.past(&item(21)), Past::None);
    assert_eq!(after.room(), 4, "what an earlier connection sent does not count on this one");
    assert!(after.complete(released));
    assert_eq!(after.room(), 4);
    assert_eq!(after.admit(item(7), QOS_2), again(held.get()));
    assert_eq!(after.room(), 3);
}

#[test]
fn a_pubrec_may_come_before_the_delivery_is_made_again() {
    let mut before = Window::new(4, &[], &[]);
    let held = sent(&mut before, 7);
    let record = before.inflight_record(held, InflightStep::Held).unwrap();
    let mut after = Window::new(4, &[], &[record]);
    assert_eq!(after.receive(held), Received::Release);
    assert_eq!(after.past(&item(7)), Past::Received);
    assert!(after.released(held).is_some());
}

#[test]
fn what_is_kept_beside_is_bounded_and_never_stops_everything() {
    let mut window = Window::new(3, &[], &[]);
    let first = sent(&mut window, 1);
    for seq in 0..Window::BESIDE_MAX as u64 {
        let packet_id = sent(&mut window, 2 + seq);
        window.receive(packet_id);
        window.released(packet_id).unwrap();
        window.complete(packet_id);
    }
    assert_eq!(window.room(), 0);
    window.refuse(first).unwrap();
    assert_eq!(window.room(), 1);
    window.settle(|_| true);
    assert_eq!(window.room(), 3);
}

#[test]
fn what_will_not_be_sent_again_is_given_up_and_at_qos_2_released() {
    let mut before = Window::new(4, &[], &[]);
    before.admit(item(1), QOS_1).unwrap();
    let held = sent(&mut before, 7);
    let inflight = [before.inflight_record(held, InflightStep::Held).unwrap()];
    let mut after = Window::new(4, &before.to_records(), &inflight);
    assert_eq!(after.give_up(|item| item.seq == Seq(1)), []);
    assert_eq!(after.give_up(|_| true), [held]);
    assert_eq!((after.give_up(|_| true), after.past(&item(7))), (vec![], Past::None));
    assert!(after.released(held).is_some() && after.complete(held));
    assert_eq!(after.settle(|_| true), [(held, item(7))]);
}

#[test]
fn an_identifier_that_came_to_name_a_delivery_at_qos_2_names_nothing_else() {
    let record = |seq| record_of(id(1), &item(seq)).unwrap();
    let inflight = InflightRecord { delivery: record(9), step: InflightStep::Released };
    let mut window = Window::new(4, &[record(7)], &[inflight]);
    assert_eq!((window.past(&item(7)), window.past(&item(9))), (Past::None, Past::Received));
    let admission = window.admit(item(7), QoS::AtLeastOnce).unwrap();
    assert!(admission.packet_id != id(1) && !admission.dup);
}
