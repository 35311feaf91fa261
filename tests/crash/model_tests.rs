//! The model notices each fault by itself, and finds none where all is well: without that, a silent harness proves nothing.

use super::ear_record::Hears;
use super::model::{EarId, Heard, Model, SLOT_TAKEN};
use super::saying::{Audience, Kind, MouthId, RoomId, Saying, SayingId, words};

/// Alice and bob in a transaction, carol in none; alice speaks at QoS 1 and 2, each party has an ear at QoS 2.
struct Scene {
    model: Model,
    room: RoomId,
    once: MouthId,
    repeats: MouthId,
    alice: EarId,
    bob: EarId,
    carol: EarId,
    number: u64,
}

/// A delivery that tests change.
#[derive(Clone, Copy)]
struct Delivery {
    id: SayingId,
    place: Option<u64>,
}

impl Scene {
    fn open() -> Scene {
        let mut model = Model::default();
        let room = model.open_room("T", &["alice", "bob"]);
        let (once, repeats) = (model.mouth("alice-2", "alice"), model.mouth("alice-1", "alice"));
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|party| model.ear(party, party, Hears::All, 2));
        for ear in [alice, bob, carol] {
            model.connects(ear);
        }
        Scene { model, room, once, repeats, alice, bob, carol, number: 0 }
    }

    fn says(&mut self, mouth: MouthId, topic: &str, audience: Audience, kind: Kind) -> SayingId {
        self.number += 1;
        let qos = if mouth == self.once { 2 } else { 1 };
        self.model.says(Saying { mouth, number: self.number, topic: topic.to_owned(), audience, qos, kind })
    }

    fn says_in_room(&mut self, mouth: MouthId) -> SayingId {
        self.says(mouth, "tx/T/msg/alice/n", Audience::Room(self.room), Kind::Free)
    }

    fn says_in_slot(&mut self, slot: &str) -> SayingId {
        self.says(self.once, slot, Audience::Room(self.room), Kind::RacedSlot)
    }

    fn says_to_everybody(&mut self) -> SayingId {
        self.says(self.once, "news", Audience::Everybody, Kind::Free)
    }

    /// Delivers the message with the number that it was said under: messages are numbered from 1 as they are said.
    fn hears(&mut self, ear: EarId, delivery: Delivery, topic: &str, mouth: &str) {
        let number = delivery.id.0 as u64 + 1;
        let qos = if mouth == "alice-2" { 2 } else { 1 };
        let payload = words(mouth, number);
        let from = delivery.place.map(|_| "alice");
        self.model.hears(ear, &Heard { topic, payload: &payload, qos, place: delivery.place, from });
    }

    fn hears_in_room(&mut self, ear: EarId, id: SayingId, place: u64) {
        self.hears(ear, Delivery { id, place: Some(place) }, "tx/T/msg/alice/n", "alice-2");
    }

    fn hears_news(&mut self, ear: EarId, id: SayingId) {
        self.hears(ear, Delivery { id, place: None }, "news", "alice-2");
    }

    #[track_caller]
    fn expect_fault(&mut self, part: &str) {
        self.model.judge_at_rest();
        let faults = self.model.faults().expect("a fault");
        assert!(faults.contains(part), "{part:?} is in {faults}");
    }

    #[track_caller]
    fn expect_loss(&self, part: &str) {
        assert_eq!(self.model.faults(), None);
        let lost = self.model.unpaid(&self.model.owed()).expect("a loss");
        assert!(lost.contains(part), "{part:?} is in {lost}");
    }

    #[track_caller]
    fn expect_nothing(&mut self) {
        self.model.judge_at_rest();
        assert_eq!(self.model.faults(), None);
        assert_eq!(self.model.unpaid(&self.model.owed()), None);
        assert_eq!(self.model.unanswered(), 0);
    }
}

#[test]
fn where_all_is_well_there_is_no_fault() {
    let mut scene = Scene::open();
    let (said, news) = (scene.says_in_room(scene.once), scene.says_to_everybody());
    for id in [said, news] {
        scene.model.taken(id);
    }
    for ear in [scene.alice, scene.bob] {
        scene.hears_in_room(ear, said, 7);
    }
    for ear in [scene.alice, scene.bob, scene.carol] {
        scene.hears_news(ear, news);
    }
    scene.expect_nothing();
}

#[test]
fn what_was_acknowledged_and_not_heard_is_lost() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.model.taken(said);
    scene.hears_in_room(scene.alice, said, 7);
    scene.expect_loss("bob has not heard [alice-2 1");
}

#[test]
fn what_one_party_heard_all_must_hear_though_nobody_acknowledged_it() {
    let mut scene = Scene::open();
    let (given_up, forgotten) = (scene.says_in_room(scene.once), scene.says_in_room(scene.once));
    scene.model.given_up(given_up);
    scene.model.given_up(forgotten);
    scene.hears_in_room(scene.bob, given_up, 7);
    scene.expect_loss("1 lost:\nalice has not heard [alice-2 1");
    scene.hears_in_room(scene.alice, given_up, 7);
    scene.expect_nothing();
}

#[test]
fn a_new_ear_must_hear_what_was_said_in_its_transactions_before() {
    let mut scene = Scene::open();
    let (said, news) = (scene.says_in_room(scene.once), scene.says_to_everybody());
    for id in [said, news] {
        scene.model.taken(id);
    }
    let before = scene.model.owed();
    let late = scene.model.ear("late", "bob", Hears::Rooms(vec![scene.room]), 1);
    let lost = scene.model.unpaid(&scene.model.owed()).expect("a loss");
    assert!(lost.contains("late has not heard [alice-2 1") && !lost.contains("late has not heard [alice-2 2"));
    scene.model.retire(late);
    assert!(!scene.model.unpaid(&before).expect("what others lack").contains("late"));
}

#[test]
fn nothing_is_owed_at_once_to_who_is_away() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.model.taken(said);
    scene.hears_in_room(scene.alice, said, 7);
    scene.model.set_away(scene.bob, true);
    scene.expect_nothing();
    scene.model.set_away(scene.bob, false);
    scene.expect_loss("bob");
}

#[test]
fn a_second_delivery_at_qos_2_is_a_fault_also_after_a_reconnect() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.hears_in_room(scene.bob, said, 7);
    scene.model.connects(scene.bob);
    scene.hears_in_room(scene.bob, said, 7);
    scene.expect_fault("twice at QoS 2");
}

#[test]
fn a_second_delivery_at_qos_1_is_one_only_on_the_same_connection() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.repeats);
    scene.model.taken(said);
    let delivery = Delivery { id: said, place: Some(7) };
    for ear in [scene.alice, scene.bob] {
        scene.hears(ear, delivery, "tx/T/msg/alice/n", "alice-1");
    }
    scene.model.connects(scene.bob);
    scene.hears(scene.bob, delivery, "tx/T/msg/alice/n", "alice-1");
    scene.expect_nothing();
    scene.hears(scene.bob, delivery, "tx/T/msg/alice/n", "alice-1");
    scene.expect_fault("twice on one connection");
}

#[test]
fn what_was_sent_twice_at_qos_1_may_be_stored_twice_and_no_more() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.repeats);
    scene.model.says_again(said);
    scene.model.taken(said);
    for place in [7, 8] {
        for ear in [scene.alice, scene.bob] {
            scene.hears(ear, Delivery { id: said, place: Some(place) }, "tx/T/msg/alice/n", "alice-1");
        }
    }
    scene.expect_nothing();
    scene.hears(scene.bob, Delivery { id: said, place: Some(9) }, "tx/T/msg/alice/n", "alice-1");
    scene.expect_fault("is stored at [7, 8, 9]");
}

#[test]
fn a_publish_at_qos_2_that_is_stored_twice_is_a_fault() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.model.says_again(said);
    scene.hears_in_room(scene.alice, said, 7);
    scene.hears_in_room(scene.bob, said, 9);
    scene.expect_fault("is stored at [7, 9]");
}

#[test]
fn two_messages_at_one_place_are_a_fault() {
    let mut scene = Scene::open();
    let (one, other) = (scene.says_in_room(scene.once), scene.says_in_room(scene.once));
    scene.hears_in_room(scene.alice, one, 7);
    scene.hears_in_room(scene.bob, other, 7);
    scene.expect_fault("have both place 7");
}

#[test]
fn messages_out_of_the_order_of_their_log_are_a_fault() {
    let mut scene = Scene::open();
    let (one, other) = (scene.says_in_room(scene.once), scene.says_in_room(scene.repeats));
    scene.hears(scene.bob, Delivery { id: other, place: Some(8) }, "tx/T/msg/alice/n", "alice-1");
    scene.hears_in_room(scene.bob, one, 7);
    scene.expect_fault("was heard after place 8");
}

#[test]
fn the_same_is_noticed_where_no_places_are_told() {
    let mut scene = Scene::open();
    let (one, other) = (scene.says_in_room(scene.once), scene.says_in_room(scene.repeats));
    for (ear, place) in [(scene.alice, [Some(7), Some(8)]), (scene.bob, [None, None])] {
        let mut deliveries = vec![(one, place[0], "alice-2"), (other, place[1], "alice-1")];
        if ear == scene.bob {
            deliveries.reverse();
        }
        for (id, place, mouth) in deliveries {
            scene.hears(ear, Delivery { id, place }, "tx/T/msg/alice/n", mouth);
        }
    }
    assert_eq!(scene.model.faults(), None, "it is not known yet");
    scene.expect_fault("bob heard [alice-1 2");
}

#[test]
fn ordinary_messages_of_one_publisher_out_of_order_are_a_fault() {
    let mut scene = Scene::open();
    let (one, other) = (scene.says_to_everybody(), scene.says_to_everybody());
    scene.hears_news(scene.carol, other);
    scene.hears_news(scene.carol, one);
    scene.expect_fault("was heard after number 2");
}

#[test]
fn a_stranger_that_hears_anything_is_a_fault() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.hears_in_room(scene.carol, said, 7);
    scene.expect_fault("carol: a stranger heard [alice-2 1");
    let mut scene = Scene::open();
    for ear in [scene.alice, scene.carol] {
        let state = Heard { topic: "tx/T/state", payload: b"{}", qos: 1, place: None, from: None };
        scene.model.hears(ear, &state);
    }
    scene.expect_fault("carol: a stranger heard tx/T/state");
}

#[test]
fn p2p_that_anybody_but_its_addressee_hears_is_a_fault() {
    let topic = "tx/T/p2p/1/alice/bob";
    for (overhears, is_fault) in [(false, false), (true, true)] {
        let mut scene = Scene::open();
        let said = scene.says(scene.once, topic, Audience::Addressee(scene.room, "bob"), Kind::Slot);
        scene.model.taken(said);
        scene.hears(scene.bob, Delivery { id: said, place: Some(7) }, topic, "alice-2");
        if overhears {
            scene.hears(scene.alice, Delivery { id: said, place: Some(7) }, topic, "alice-2");
        }
        match is_fault {
            true => scene.expect_fault("alice: a stranger heard"),
            false => scene.expect_nothing(),
        }
    }
}

#[test]
fn a_slot_has_one_content_for_all_who_are_told_of_it() {
    let topic = "tx/T/broadcast/1/alice";
    let heard =
        |scene: &mut Scene, id| scene.hears(scene.bob, Delivery { id, place: Some(id.0 as u64 + 1) }, topic, "alice-2");
    // Acknowledged twice; heard twice; the one acknowledged, the other heard.
    let mut scene = Scene::open();
    let [one, other] = [(); 2].map(|()| scene.says_in_slot(topic));
    scene.model.taken(one);
    scene.model.taken(other);
    scene.expect_fault("one slot holds both");
    let mut scene = Scene::open();
    let [one, other] = [(); 2].map(|()| scene.says_in_slot(topic));
    heard(&mut scene, one);
    heard(&mut scene, other);
    scene.expect_fault("one slot holds both");
    let mut scene = Scene::open();
    let [one, other] = [(); 2].map(|()| scene.says_in_slot(topic));
    scene.model.taken(one);
    heard(&mut scene, other);
    scene.expect_fault("one slot holds both");
}

#[test]
fn who_loses_a_race_must_have_lost_it_to_somebody() {
    let topic = "tx/T/broadcast/1/alice";
    let mut scene = Scene::open();
    let [one, other] = [(); 2].map(|()| scene.says_in_slot(topic));
    scene.model.refused(other, SLOT_TAKEN);
    scene.model.taken(one);
    for ear in [scene.alice, scene.bob] {
        scene.hears(ear, Delivery { id: one, place: Some(1) }, topic, "alice-2");
    }
    scene.expect_nothing();
    let mut scene = Scene::open();
    let one = scene.says_in_slot(topic);
    scene.model.refused(one, SLOT_TAKEN);
    scene.expect_fault("for a slot that nobody has");
    let mut scene = Scene::open();
    let one = scene.says_in_slot(topic);
    scene.model.refused(one, SLOT_TAKEN);
    scene.hears(scene.bob, Delivery { id: one, place: Some(1) }, topic, "alice-2");
    scene.expect_fault("is in its slot, and was refused");
}

#[test]
fn a_refusal_of_what_nobody_contests_is_a_fault() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.model.refused(said, 0x97);
    scene.expect_fault("was refused with 0x97");
}

#[test]
fn other_words_topics_authors_and_qos_are_faults() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    let payload = words("alice-2", said.0 as u64 + 1);
    let right = Heard { topic: "tx/T/msg/alice/n", payload: &payload, qos: 2, place: Some(7), from: Some("alice") };
    let faults = [
        (Heard { payload: &payload[..payload.len() - 1], ..right }, "nobody said"),
        (Heard { topic: "tx/T/msg/alice/m", ..right }, "was heard on tx/T/msg/alice/m"),
        (Heard { from: Some("bob"), ..right }, "is said to be from"),
        (Heard { qos: 1, ..right }, "at QoS 1 instead of 2"),
    ];
    for (heard, fault) in faults {
        scene.model.hears(scene.bob, &heard);
        scene.expect_fault(fault);
    }
}

#[test]
fn two_answers_to_one_publish_are_a_fault() {
    let mut scene = Scene::open();
    let said = scene.says_in_room(scene.once);
    scene.model.taken(said);
    scene.model.taken(said);
    scene.expect_fault("was answered twice");
}
