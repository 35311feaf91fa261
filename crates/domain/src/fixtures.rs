//! What the tests of this crate share.

use bytes::Bytes;
use proptest::prelude::*;

use crate::*;

pub const TX: &str = "01JD3W8QK7V9N2M4X6Z8B0C1D3";
pub const NOW: UnixMs = UnixMs(1_800_000_000_000);

pub fn party(name: &str) -> PartyId {
    PartyId::new(name).expect("a valid party id")
}

pub fn topic(place: &str) -> TxTopic {
    format!("tx/{TX}/{place}").parse().expect("a valid topic")
}

pub fn manifest_json(initiator: &str, parties: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "tx": TX, "initiator": initiator, "protocol": "frost-ed25519/dkg", "parties": parties, "threshold": 2,
    })
}

pub fn manifest(initiator: &str, parties: &[&str]) -> Manifest {
    Manifest::parse(manifest_json(initiator, parties).to_string().as_bytes(), NOW).expect("a valid manifest")
}

pub fn charter(initiator: &str, parties: &[&str]) -> Charter {
    Charter::clone(&created(manifest_json(initiator, parties)).0.charter)
}

/// Everybody may create everything.
pub fn open_rules() -> CreationRules {
    let all: Vec<CnPattern> = vec!["*".parse().expect("a pattern")];
    CreationRules(vec![TransactionRule { initiator: all.clone(), may_invite: all }])
}

/// A transaction that was created and not yet recorded, with its manifest as published.
pub fn created(manifest: serde_json::Value) -> (Transaction, Bytes) {
    let payload = Bytes::from(manifest.to_string());
    let initiator = party(manifest["initiator"].as_str().expect("a string"));
    let offer = Offer { topic: &topic("manifest"), from: &initiator, payload: &payload, now: NOW };
    (Transaction::create(&offer, &open_rules()).expect("may be created"), payload)
}

pub fn any_party() -> impl Strategy<Value = PartyId> {
    "[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}".prop_map(|text| party(&text))
}

pub fn any_round() -> impl Strategy<Value = Round> {
    "[A-Za-z0-9._-]{1,32}".prop_map(|text| text.parse().expect("a valid round"))
}

pub fn any_tx() -> impl Strategy<Value = TxId> {
    "[A-Za-z0-9_-]{16,64}".prop_map(|text| text.parse().expect("a valid id"))
}

pub fn any_place() -> impl Strategy<Value = Place> {
    let words = || (any_round(), any_party());
    prop_oneof![
        Just(Place::Manifest),
        Just(Place::State),
        any_party().prop_map(|from| Place::Join { from }),
        words().prop_map(|(round, from)| Place::Broadcast { round, from }),
        words().prop_map(|(round, from)| Place::Echo { round, from }),
        (any_round(), any_party(), any_party())
            .prop_filter("not to oneself", |(_, from, to)| from != to)
            .prop_map(|(round, from, to)| Place::P2p { round, from, to }),
        any_party().prop_map(|from| Place::Result { from }),
        any_party().prop_map(|from| Place::Abort { from }),
        (any_party(), "[a-zé /$]{1,20}").prop_map(|(from, rest)| Place::Message { from, rest: rest.into() }),
    ]
}

pub fn any_topic() -> impl Strategy<Value = TxTopic> {
    (any_tx(), any_place()).prop_map(|(tx, place)| TxTopic { tx, place })
}

/// MQTT5 4.7, written down without thought for speed.
pub fn matches_naively(filter: &str, topic: &str) -> bool {
    fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
            ([literal, filter @ ..], [level, topic @ ..]) if literal == level => levels_match(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    let reserved = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
    !reserved && levels_match(&filter, &topic)
}
