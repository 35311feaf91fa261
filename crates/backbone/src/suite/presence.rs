//! Who is connected.

use super::fixtures::{ms, party, session, soon};
use crate::{Backbone, PartyStatus};

async fn status(backbone: &Backbone, name: &str) -> PartyStatus {
    soon(backbone.presence.status(&party(name))).await.expect("readable").expect("the party has been seen")
}

/// Each coming online is a new epoch.
pub async fn epochs_grow_with_each_arrival(backbone: Backbone) {
    let key = session("alice", "phone");
    assert_eq!(soon(backbone.presence.status(&key.party)).await, Ok(None));
    let mut last = 0;
    for n in 1..=5_u64 {
        soon(backbone.presence.announce(&key, ms(n * 10))).await.expect("announced");
        let online = status(&backbone, "alice").await;
        assert!(online.online && online.epoch > last);
        assert_eq!((online.since, online.sessions), (ms(n * 10), 1));
        last = online.epoch;
        backbone.presence.seen(&key.party, ms(n * 10 + 3));
        soon(backbone.presence.leave(&key, ms(n * 10 + 5))).await.expect("left");
        let offline = status(&backbone, "alice").await;
        assert!(!offline.online && offline.epoch == last);
        assert_eq!((offline.since, offline.sessions), (ms(n * 10 + 5), 0));
    }
}

/// Online while one session is, and during a take-over, where the new connection announces before the old one leaves.
pub async fn a_party_is_present_while_one_session_is(backbone: Backbone) {
    let (phone, laptop) = (session("alice", "phone"), session("alice", "laptop"));
    let presence = &backbone.presence;
    assert!(!presence.is_present(&phone.party));
    for key in [&phone, &laptop, &phone] {
        soon(presence.announce(key, ms(1))).await.expect("announced");
    }
    assert_eq!(status(&backbone, "alice").await.sessions, 2);
    for key in [&phone, &laptop] {
        soon(presence.leave(key, ms(2))).await.expect("left");
        assert!(presence.is_present(&phone.party));
    }
    soon(presence.leave(&phone, ms(3))).await.expect("left");
    assert!(!presence.is_present(&phone.party));
}

/// All parties ever seen, in order and in pages, whether they are online or not.
pub async fn parties_are_listed_in_pages(backbone: Backbone) {
    for name in ["carol", "alice", "bob"] {
        soon(backbone.presence.announce(&session(name, "phone"), ms(1))).await.expect("announced");
    }
    soon(backbone.presence.leave(&session("bob", "phone"), ms(2))).await.expect("left");
    let first = soon(backbone.presence.list(None, 2)).await.expect("readable");
    let rest = soon(backbone.presence.list(Some(&party("bob")), 2)).await.expect("readable");
    let seen: Vec<_> = first.iter().chain(&rest).map(|status| (status.party.to_string(), status.online)).collect();
    let expected = [("alice", true), ("bob", false), ("carol", true)];
    assert_eq!(seen, expected.map(|(name, online)| (name.to_owned(), online)));
}

/// A watcher hears when a party comes and when it goes, and not of what is in between.
pub async fn watchers_hear_of_both_edges(backbone: Backbone) {
    let mut changes = backbone.presence.watch();
    let (phone, laptop) = (session("alice", "phone"), session("alice", "laptop"));
    let presence = &backbone.presence;
    soon(presence.announce(&phone, ms(1))).await.expect("announced");
    soon(presence.announce(&laptop, ms(2))).await.expect("announced");
    soon(presence.leave(&phone, ms(3))).await.expect("left");
    soon(presence.leave(&laptop, ms(4))).await.expect("left");
    soon(presence.announce(&session("bob", "b"), ms(5))).await.expect("announced");
    for expected in ["alice", "alice", "bob"] {
        assert_eq!(soon(changes.recv()).await, Ok(party(expected)));
    }
}
