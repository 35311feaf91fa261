//! Everything that is stored or sent is read back as it was, from postcard and from JSON.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::fixtures::{NOW, any_topic, charter, created, manifest, manifest_json, party, topic};
use crate::*;

#[track_caller]
fn assert_read_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let postcard = postcard::to_stdvec(value).expect("serialises");
    assert_eq!(&postcard::from_bytes::<T>(&postcard).expect("deserialises"), value);
    assert_read_back_from_json(value);
}

#[track_caller]
fn assert_read_back_from_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("serialises");
    assert_eq!(&serde_json::from_str::<T>(&json).expect("deserialises"), value, "{json}");
}

fn properties() -> MessageProperties {
    MessageProperties {
        payload_format_indicator: Some(true),
        content_type: Some("application/json".to_owned()),
        response_topic: None,
        correlation_data: Some(Bytes::from_static(&[0, 1, 255])),
        user_properties: vec![("a".to_owned(), "b".to_owned()), ("a".to_owned(), String::new())],
        expiry_interval_s: Some(7),
    }
}

#[test]
fn a_transaction_is_read_back_as_it_was() {
    let (mut transaction, payload) = created(manifest_json("dave", &["alice", "bob"]));
    let manifest_topic = topic("manifest");
    let author = Author { party: party("dave"), certificate: Sha256::of(b"certificate") };
    let message = LogMessage {
        seq: Seq(1 << 40),
        at: NOW,
        topic: manifest_topic.clone(),
        from: Some(author),
        qos: Qos::ExactlyOnce,
        properties: properties(),
        payload: payload.clone(),
    };
    assert_read_back(&message);
    transaction.record(&message);
    let slot = Slot { seq: message.seq, author: party("dave"), sha256: Sha256::of(&payload) };
    assert_read_back(&slot);
    let offer = Offer { topic: &manifest_topic, from: &party("dave"), payload: &payload, now: NOW };
    transaction.note_equivocation(&offer, &slot);
    transaction.progress.results[1] = Some(Sha256::of(b"result"));
    transaction.close(Closer::Admin(party("operator")), "because").expect("may be closed");
    assert_read_back(&transaction);
    assert_read_back(&transaction.progress);
    assert_read_back(&transaction.state_document(Incarnation([7; 16]), &|_| true));
    assert_read_back(&transaction.standing(&party("alice")));
}

#[test]
fn a_charter_with_every_field_is_read_back_as_it_was() {
    let mut charter = charter("alice", &["alice", "bob"]);
    assert_read_back(&charter);
    charter.purpose = Some("treasury".to_owned());
    charter.key_id = Some(charter.tx.clone());
    charter.ready_by = Some(NOW);
    charter.finish_within_s = Some(1);
    charter.complete_when = CompleteWhen::Threshold;
    assert_read_back(&charter);
}

#[test]
fn a_session_is_read_back_as_it_was() {
    let tx = topic("state").tx;
    assert_read_back(&SessionKey { party: party("alice"), client_id: "phone/1".to_owned() });
    assert_read_back(&SessionRecord::default());
    for expiry in [SessionExpiry::AtDisconnect, SessionExpiry::After(3600), SessionExpiry::Never] {
        assert_read_back(&SessionRecord {
            expiry,
            disconnected_at: Some(NOW),
            subscriptions: vec![SubscriptionRecord {
                filter: "tx/#".to_owned(),
                qos: 1,
                no_local: true,
                retain_as_published: false,
                retain_handling: 2,
                identifier: Some(268_435_455),
                starts: vec![(tx.clone(), Seq(3))],
                backfilled_to: vec![(tx.clone(), Seq(2))],
            }],
            backfills: vec![BackfillRecord {
                filter: "tx/+/manifest".to_owned(),
                tx: tx.clone(),
                next: Seq(1),
                until: Seq(2),
            }],
            unacked: vec![UnackedRecord {
                packet_id: 65_535,
                log: LogName::Queue,
                seq: Seq(9),
                topic: "party/alice/inbox".to_owned(),
                backfill: Some("party/#".to_owned()),
            }],
        });
    }
    for step in [InflightStep::Held, InflightStep::Released] {
        let delivery = UnackedRecord {
            packet_id: 1,
            log: LogName::Tx(tx.clone()),
            seq: Seq(9),
            topic: "t".to_owned(),
            backfill: None,
        };
        assert_read_back(&InflightRecord { delivery, step });
    }
}

#[test]
fn an_ordinary_message_is_read_back_as_it_was() {
    let author = Author { party: party("alice"), certificate: Sha256::of(b"certificate") };
    for (from, retain, properties) in
        [(Some(author.clone()), true, properties()), (None, false, MessageProperties::default())]
    {
        assert_read_back(&OrdinaryMessage {
            at: NOW,
            topic: "home/lämp".to_owned(),
            from,
            qos: Qos::AtLeastOnce,
            retain,
            properties,
            payload: Bytes::from_static(&[0, 1, 255]),
        });
    }
    assert_read_back(&Will {
        author,
        topic: "home/gone".to_owned(),
        qos: Qos::ExactlyOnce,
        retain: true,
        properties: properties(),
        payload: Bytes::from_static(b"gone"),
        delay_s: u32::MAX,
    });
}

#[test]
fn how_a_message_is_heard_is_read_back_as_it_was() {
    let share = Share { group: "workers".to_owned(), filter: "jobs/#".to_owned() };
    assert_read_back(&share);
    for share in [Some(share), None] {
        let identifiers = vec![1, 268_435_455];
        assert_read_back(&Manner { qos: Qos::ExactlyOnce, retain: true, identifiers, share });
    }
    assert_read_back(&Manner { qos: Qos::AtMostOnce, retain: false, identifiers: Vec::new(), share: None });
}

#[test]
fn manifests_and_rules_are_read_back_from_json() {
    assert_read_back_from_json(&manifest("alice", &["alice", "bob"]));
    let mut full = manifest_json("alice", &["alice", "bob"]);
    for (field, value) in [
        ("payload", json!("AAECAwQ=")),
        ("ready_by", json!("2030-01-01T00:00:00.123Z")),
        ("roles", json!({ "new": ["zoe"] })),
        ("ext", json!({ "a": [1, null] })),
    ] {
        full[field] = value;
    }
    assert_read_back_from_json(&Manifest::parse(full.to_string().as_bytes(), NOW).expect("valid"));
    assert_read_back(&fixtures::open_rules());
    assert!(serde_json::from_str::<TransactionRule>(r#"{"initiator":[],"may_invite":[],"x":1}"#).is_err());
}

#[test]
fn identifiers_are_checked_when_they_are_read_back() {
    assert!(serde_json::from_str::<PartyId>("\"a/b\"").is_err());
    assert!(serde_json::from_str::<PartyId>("1").is_err());
    assert!(serde_json::from_str::<TxId>("\"short\"").is_err());
    assert!(serde_json::from_str::<TxTopic>("\"a/b\"").is_err());
    let party_id = postcard::to_stdvec("a/b").expect("serialises");
    assert!(postcard::from_bytes::<PartyId>(&party_id).is_err());
}

#[test]
fn states_are_words() {
    for (state, word) in [(TxState::Open, "open"), (TxState::Disputed, "disputed"), (TxState::Expired, "expired")] {
        assert_eq!(serde_json::to_value(state).expect("serialises"), word);
        assert_eq!(word.parse(), Ok(state));
        assert_eq!(state.to_string(), word);
    }
    assert_eq!("Open".parse::<TxState>(), Err(TxStateError));
}

#[test]
fn sessions_expire_as_they_said() {
    let record = |expiry, disconnected_at| SessionRecord { expiry, disconnected_at, ..SessionRecord::default() };
    let at = |ms| Some(UnixMs(ms));
    assert!(!record(SessionExpiry::AtDisconnect, None).is_expired(NOW), "a connected session does not expire");
    assert!(record(SessionExpiry::AtDisconnect, at(5)).is_expired(UnixMs(5)));
    assert!(!record(SessionExpiry::After(2), at(5)).is_expired(UnixMs(2004)));
    assert!(record(SessionExpiry::After(2), at(5)).is_expired(UnixMs(2005)));
    assert!(!record(SessionExpiry::Never, at(5)).is_expired(UnixMs(u64::MAX)));
}

proptest! {
    #[test]
    fn topics_are_read_back_as_they_were(topic in any_topic()) {
        assert_read_back(&topic);
        assert_read_back(&topic.place);
    }
}
