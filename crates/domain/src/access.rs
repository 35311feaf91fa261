//! Who hears what. This is the whole of it: every delivery, live or from the log, is decided by [`may_hear`] alone
//! (invariant 2 of the design).

use crate::party::PartyId;
use crate::topic::Place;
use crate::transaction::Charter;

/// Whether `party` may hear what is said at `place` of this transaction. A place that comes to be added has to be
/// decided here: there is no default.
pub fn may_hear(charter: &Charter, place: &Place, party: &PartyId) -> bool {
    match place {
        Place::Manifest | Place::State => charter.is_party(party) || charter.initiator == *party,
        Place::P2p { to, .. } => charter.is_party(party) && to == party,
        Place::Join { .. }
        | Place::Broadcast { .. }
        | Place::Echo { .. }
        | Place::Result { .. }
        | Place::Abort { .. }
        | Place::Message { .. } => charter.is_party(party),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{charter, party};

    /// Parties alice, bob, carol; dave initiates and is no party; mallory is neither.
    #[test]
    fn each_place_is_heard_by_those_whom_the_contract_names_and_nobody_else() {
        const PARTIES: &[&str] = &["alice", "bob", "carol"];
        const MEMBERS: &[&str] = &["alice", "bob", "carol", "dave"];
        let table: &[(&str, &[&str])] = &[
            ("manifest", MEMBERS),
            ("state", MEMBERS),
            ("join/alice", PARTIES),
            ("broadcast/1/alice", PARTIES),
            ("echo/1/alice", PARTIES),
            ("p2p/1/alice/bob", &["bob"]),
            ("p2p/1/bob/alice", &["alice"]),
            ("p2p/1/alice/dave", &[]),
            ("p2p/1/alice/mallory", &[]),
            ("result/alice", PARTIES),
            ("abort/alice", PARTIES),
            ("msg/alice/x", PARTIES),
        ];
        let charter = charter("dave", &["alice", "bob", "carol"]);
        for (place, hearers) in table {
            let place = place.parse().expect("a valid place");
            for name in ["alice", "bob", "carol", "dave", "mallory", "Alice"] {
                assert_eq!(may_hear(&charter, &place, &party(name)), hearers.contains(&name), "{name} at {place}");
            }
        }
    }
}
