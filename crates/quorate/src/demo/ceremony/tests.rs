//! Three parties in memory, with a log that behaves as the broker's, in the order of the demo: never all together.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use quorate_domain::{TopicClass, classify_topic};

use super::*;

const KEY_TX: &str = "01JD3W8QK7V9N2M4X6Z8B0C1D3";
const SIGN_TX: &str = "01JD3W8QK7V9N2M4X6Z8B0C1D4";
const PAYMENT: &[u8] = b"pay 10 to dave";

fn party(name: &str) -> PartyId {
    PartyId::new(name).expect("valid")
}

fn tx(id: &str) -> TxId {
    TxId::new(id).expect("valid")
}

/// Where, by whom, what.
type Said = (TxTopic, Option<PartyId>, Vec<u8>);

/// What was published: (topic, author, payload); a message's `Seq` is 7 times its place, plus 7.
#[derive(Default)]
struct Log(Vec<Said>);

impl Log {
    fn publish(&mut self, from: Option<&str>, topic: &str, payload: &[u8]) {
        let Ok(TopicClass::Tx(topic)) = classify_topic(topic) else { panic!("{topic}") };
        self.0.push((topic, from.map(party), payload.to_vec()));
    }

    /// All that `name` may hear of one transaction, with `seq` and `prev`.
    fn heard_by(&self, name: &PartyId, of: &TxId) -> Vec<(Seq, Seq, &Said)> {
        let mut prev = Seq::ZERO;
        let mut heard = Vec::new();
        for (index, entry) in self.0.iter().enumerate() {
            let seq = Seq(7 * index as u64 + 7);
            let hears = !matches!(&entry.0.place, Place::P2p { to, .. } if to != name);
            if &entry.0.tx == of && hears {
                heard.push((seq, prev, entry));
                prev = seq;
            }
        }
        heard
    }
}

struct World {
    log: Log,
    /// As in the state files: each visit starts from text.
    parties: BTreeMap<&'static str, String>,
}

impl World {
    fn new() -> Self {
        let parties = ["alice", "bob", "carol"]
            .map(|name| (name, serde_json::to_string(&Party::new(party(name), false)).expect("serialises")));
        let mut world = Self { log: Log::default(), parties: parties.into() };
        let manifest = format!(
            r#"{{"tx":"{KEY_TX}","initiator":"alice","protocol":"{KEYGEN}","parties":["alice","bob","carol"],"threshold":2}}"#
        );
        world.log.publish(Some("alice"), &format!("tx/{KEY_TX}/manifest"), manifest.as_bytes());
        world
    }

    fn load(&self, name: &str) -> Party {
        serde_json::from_str(&self.parties[name]).expect("parses")
    }

    /// One visit: hear all (twice over what was heard before), do what can be done, leave.
    fn visit(&mut self, name: &'static str, of: &str) -> Result<Party, CeremonyError> {
        let mut visitor = self.load(name);
        let id = tx(of);
        for (seq, prev, (topic, from, payload)) in self.log.heard_by(&party(name), &id) {
            let message = Incoming { topic, from: from.as_ref(), seq: Some(seq), prev: Some(prev), payload };
            visitor.hear(&message)?;
        }
        visitor.advance(&id, Consent { payload: Some(Sha256::of(PAYMENT)) })?;
        self.parties.insert(name, serde_json::to_string(&visitor).expect("serialises"));
        while let Some(outgoing) = visitor.outgoing(&id).cloned() {
            self.log.publish(Some(name), &outgoing.topic, &outgoing.payload.0);
            visitor.sent(&id);
        }
        let text = serde_json::to_string(&visitor).expect("serialises");
        self.parties.insert(name, text.clone());
        Ok(serde_json::from_str(&text).expect("parses"))
    }

    fn make_key(&mut self) {
        for name in ["alice", "bob", "carol", "alice", "bob", "carol", "alice", "bob"] {
            self.visit(name, KEY_TX).expect("the ceremony goes on");
        }
    }

    fn announce_signing(&mut self, payload: &[u8]) {
        let manifest = serde_json::json!({
            "tx": SIGN_TX, "initiator": "alice", "protocol": SIGNING, "parties": ["alice", "carol"], "threshold": 2,
            "key_id": KEY_TX, "payload": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, payload),
        });
        self.log.publish(Some("alice"), &format!("tx/{SIGN_TX}/manifest"), manifest.to_string().as_bytes());
    }
}

#[test]
fn three_parties_that_never_meet_make_a_key_and_sign() {
    let mut world = World::new();
    world.make_key();
    let keys: Vec<_> =
        ["alice", "bob", "carol"].map(|name| world.load(name).verifying_key(&tx(KEY_TX)).expect("a key")).into();
    assert!(keys.iter().all(|key| *key == keys[0]));

    world.announce_signing(PAYMENT);
    for name in ["alice", "carol", "alice", "carol"] {
        world.visit(name, SIGN_TX).expect("the ceremony goes on");
    }
    let signature = world.load("alice").result(&tx(SIGN_TX)).expect("a signature").to_vec();
    assert_eq!(world.load("carol").result(&tx(SIGN_TX)), Some(signature.as_slice()));

    let key = VerifyingKey::from_bytes(keys[0].as_slice().try_into().expect("32 bytes")).expect("a point");
    let signature = Signature::from_slice(&signature).expect("64 bytes");
    key.verify_strict(PAYMENT, &signature).expect("an ordinary Ed25519 signature");
    assert!(key.verify_strict(b"pay 90 to dave", &signature).is_err());
}

#[test]
fn nonces_are_gone_before_the_share_can_be_sent() {
    let mut world = World::new();
    world.make_key();
    world.announce_signing(PAYMENT);
    world.visit("alice", SIGN_TX).expect("commits");
    assert!(!world.parties["alice"].contains(r#""nonces":null"#));

    let mut carol = world.load("carol");
    for (seq, prev, (topic, from, payload)) in world.log.heard_by(&party("carol"), &tx(SIGN_TX)) {
        let message = Incoming { topic, from: from.as_ref(), seq: Some(seq), prev: Some(prev), payload };
        carol.hear(&message).expect("fine");
    }
    carol.advance(&tx(SIGN_TX), Consent { payload: Some(Sha256::of(PAYMENT)) }).expect("signs");
    assert!(carol.outgoing(&tx(SIGN_TX)).is_some(), "the share still waits to be published");
    assert!(serde_json::to_string(&carol).expect("serialises").contains(r#""nonces":null"#));
}

#[test]
fn another_payload_than_agreed_is_not_signed() {
    let mut world = World::new();
    world.make_key();
    world.announce_signing(b"pay 90 to mallory");
    assert!(matches!(world.visit("carol", SIGN_TX), Err(CeremonyError::NotAgreed)));
}

#[test]
fn secrets_of_the_key_generation_are_dropped_when_it_is_done() {
    let mut world = World::new();
    world.make_key();
    for name in ["alice", "bob", "carol"] {
        let state: serde_json::Value = serde_json::from_str(&world.parties[name]).expect("parses");
        let keygen = &state["rooms"][KEY_TX]["protocol"]["keygen"];
        for secret in ["envelope", "round1_secret", "round2_secret"] {
            assert!(keygen[secret].is_null(), "{secret} of {name}");
        }
        assert_eq!(keygen["round2"], serde_json::json!({}));
        assert!(keygen["share"].is_object());
    }
}

#[test]
fn a_missing_message_is_noticed() {
    let world = World::new();
    let mut bob = world.load("bob");
    let Ok(TopicClass::Tx(topic)) = classify_topic(&format!("tx/{KEY_TX}/join/alice")) else { panic!("a topic") };
    let manifest = world.log.heard_by(&party("bob"), &tx(KEY_TX));
    let (seq, prev, (manifest_topic, from, payload)) = manifest[0];
    let message = Incoming { topic: manifest_topic, from: from.as_ref(), seq: Some(seq), prev: Some(prev), payload };
    assert_eq!(bob.hear(&message).expect("fine"), Heard::New);
    assert_eq!(bob.hear(&message).expect("fine"), Heard::Repeated);
    let alice = party("alice");
    let late = Incoming { topic: &topic, from: Some(&alice), seq: Some(Seq(70)), prev: Some(Seq(63)), payload: b"{}" };
    assert!(matches!(bob.hear(&late), Err(CeremonyError::Missing { prev: Seq(63), .. })));
}

#[test]
fn an_interim_state_does_not_count_as_heard() {
    let world = World::new();
    let mut bob = world.load("bob");
    let Ok(TopicClass::Tx(state)) = classify_topic(&format!("tx/{KEY_TX}/state")) else { panic!("a topic") };
    let interim =
        Incoming { topic: &state, from: None, seq: Some(Seq(70)), prev: None, payload: br#"{"state":"open"}"# };
    assert_eq!(bob.hear(&interim).expect("it may overtake the manifest"), Heard::Repeated);
    let (seq, prev, (topic, from, payload)) = world.log.heard_by(&party("bob"), &tx(KEY_TX))[0];
    bob.hear(&Incoming { topic, from: from.as_ref(), seq: Some(seq), prev: Some(prev), payload }).expect("fine");
    bob.hear(&interim).expect("fine");
    assert_eq!(bob.state(&tx(KEY_TX)), Some(TxState::Open));
    assert_eq!(bob.rooms[&tx(KEY_TX)].heard_to, seq);
}

#[test]
fn a_topic_that_names_another_author_is_refused() {
    let mut world = World::new();
    world.visit("alice", KEY_TX).expect("joins");
    let mut bob = world.load("bob");
    let heard = world.log.heard_by(&party("bob"), &tx(KEY_TX));
    let (mallory, mut outcome) = (party("mallory"), Ok(Heard::New));
    for (seq, prev, (topic, from, payload)) in heard {
        let from = if topic.place == Place::Manifest { from.as_ref() } else { Some(&mallory) };
        outcome = bob.hear(&Incoming { topic, from, seq: Some(seq), prev: Some(prev), payload });
        if outcome.is_err() {
            break;
        }
    }
    assert!(matches!(outcome, Err(CeremonyError::NotTheAuthor(_))));
}
