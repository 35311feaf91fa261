//! Whatever happens in whatever order, some things stay true.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "mallory"];

#[derive(Debug, Clone)]
enum Event {
    Publish { from: &'static str, place: String, payload: Vec<u8> },
    Join(&'static str),
    Close { admin: bool, name: &'static str },
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn any_event() -> impl Strategy<Value = Event> {
    let word = prop::sample::select(vec!["broadcast/1", "echo/1", "echo/2", "result", "msg", "p2p/1"]);
    let publish = (any_name(), prop::option::weighted(0.1, any_name()), any_name(), word, 0u8..3).prop_map(
        |(from, other, to, word, payload)| {
            let author = other.unwrap_or(from);
            let place = match word {
                "msg" => format!("msg/{author}/x"),
                "p2p/1" if author == to => format!("p2p/1/{author}/zoe"),
                "p2p/1" => format!("p2p/1/{author}/{to}"),
                word => format!("{word}/{author}"),
            };
            Event::Publish { from, place, payload: vec![b'x'; usize::from(payload)] }
        },
    );
    let fixed = prop::sample::select(vec!["manifest", "state", "abort/bob", "abort/mallory"]);
    prop_oneof![
        12 => publish,
        4 => any_name().prop_map(Event::Join),
        1 => (any_name(), fixed).prop_map(|(from, place)| {
            Event::Publish { from, place: place.to_owned(), payload: b"x".to_vec() }
        }),
        1 => (prop::bool::weighted(0.2), any_name()).prop_map(|(admin, name)| Event::Close { admin, name }),
    ]
}

fn any_room() -> impl Strategy<Value = Room> {
    (any::<bool>(), any::<bool>(), 1u16..=3, prop::sample::select(vec!["alice", "dave"])).prop_map(
        |(require_join, all, threshold, initiator)| {
            let complete_when = if all { "all" } else { "threshold" };
            Room::open(json!({ "initiator": initiator, "threshold": threshold, "require_join": require_join,
                "complete_when": complete_when }))
        },
    )
}

fn happen(room: &mut Room, event: &Event) {
    match event {
        Event::Publish { from, place, payload } => drop(room.publish(from, place, payload)),
        Event::Join(name) => drop(room.join(name)),
        Event::Close { admin, name } => {
            let by = if *admin { Closer::Admin(party(name)) } else { Closer::Initiator(party(name)) };
            if room.transaction.close(by, "because").is_ok() {
                room.close_if_due();
            }
        }
    }
}

/// What may never be undone between two moments.
fn check_step(before: &Room, after: &Room) -> Result<(), TestCaseError> {
    let (old, new) = (&before.transaction.progress, &after.transaction.progress);
    prop_assert_eq!(&before.transaction.charter, &after.transaction.charter, "the charter never changes");
    if old.state.is_closed() {
        prop_assert_eq!(old, new, "nothing changes after the end");
        prop_assert_eq!(before.log.len(), after.log.len(), "nothing is said after the end");
    }
    prop_assert!(new.state != TxState::Open || old.state == TxState::Open, "it never goes back to open");
    prop_assert_eq!(new.last_seq > old.last_seq, after.log.len() > before.log.len(), "a record grows the log");
    prop_assert_eq!(new.head != old.head, after.log.len() > before.log.len(), "and moves the head");
    let says = |room: &Room| {
        let mut document = room.document();
        (document.seq, document.head) = (Seq::ZERO, chain_start());
        document
    };
    prop_assert_eq!(new.changed > old.changed, says(before) != says(after), "`changed` follows the document");
    for (topic, slot) in &before.slots {
        prop_assert_eq!(after.slots.get(topic), Some(slot), "a slot never changes");
    }
    Ok(())
}

/// What is true at any moment.
fn check_state(room: &Room) -> Result<(), TestCaseError> {
    let transaction = &room.transaction;
    prop_assert!(!transaction.closing_due(), "the closing record is in the log");
    prop_assert_eq!(transaction.progress.last_seq, room.log.last().map_or(Seq::ZERO, |message| message.seq));
    for name in NAMES {
        let party = party(name);
        let heard = room.log.iter().filter(|message| may_hear(&transaction.charter, &message.topic.place, &party));
        let last = heard.map(|message| message.seq).last();
        let standing = transaction.standing(&party).map(|standing| standing.last_addressed);
        prop_assert_eq!(standing, last, "{} was addressed with what it may hear", name);
    }
    for message in &room.log {
        let author = message.from.as_ref().map(|author| &author.party);
        match &message.topic.place {
            Place::Manifest => prop_assert_eq!(author, Some(&transaction.charter.initiator)),
            Place::State => prop_assert_eq!(author, None),
            place => {
                prop_assert!(author == place.author() && author.is_some_and(|it| transaction.charter.is_party(it)))
            }
        }
    }
    let closing = room.log.iter().position(|message| message.topic.place == Place::State);
    prop_assert_eq!(closing.is_some(), room.state().is_closed());
    prop_assert!(closing.is_none_or(|at| at + 1 == room.log.len()), "nothing follows the closing record");
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_events_keeps_the_invariants(
        mut room in any_room(),
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        check_state(&room)?;
        for event in events {
            let before = room.clone();
            happen(&mut room, &event);
            check_step(&before, &room)?;
            check_state(&room)?;
        }
    }
}
