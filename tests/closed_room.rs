//! Only the parties that a transaction lists may publish to it or hear it.

use quorate_client::Client;
use quorate_testkit::manifest;
use quorate_wire::ReasonCode;

use crate::stage::{Stage, next, publish, refusal, subscribe};

const NOT_AUTHORIZED: Option<ReasonCode> = Some(ReasonCode::NotAuthorized);

async fn room(stage: &Stage) -> (Client, Client, String) {
    let alice = stage.client("alice").await;
    let mallory = stage.client("mallory").await;
    let tx = stage.create(&alice, &["alice", "bob", "carol"]).await;
    (alice, mallory, tx)
}

#[tokio::test]
async fn an_unknown_transaction_and_a_foreign_one_look_the_same() {
    let stage = Stage::open().await;
    let (_alice, mallory, tx) = room(&stage).await;
    let unknown = manifest(&["alice", "bob"]).tx().to_owned();
    for tx in [&tx, &unknown] {
        assert_eq!(refusal(subscribe(&mallory, &format!("tx/{tx}/#")).await), NOT_AUTHORIZED);
        assert_eq!(refusal(publish(&mallory, &format!("tx/{tx}/msg/mallory/x"), "x").await), NOT_AUTHORIZED);
        assert_eq!(refusal(publish(&mallory, &format!("tx/{tx}/broadcast/1/mallory"), "x").await), NOT_AUTHORIZED);
    }
    let foreign = stage.api("mallory").transaction(&tx).await.unwrap_err().to_string();
    let nothing = stage.api("mallory").transaction(&unknown).await.unwrap_err().to_string();
    assert_eq!(foreign.replace(&tx, "TX"), nothing.replace(&unknown, "TX"));
    assert!(foreign.contains("404"), "{foreign}");
}

#[tokio::test]
async fn wildcards_of_a_stranger_hear_nothing() {
    let stage = Stage::open().await;
    let (alice, mut mallory, tx) = room(&stage).await;
    subscribe(&mallory, "tx/#").await.unwrap();
    subscribe(&mallory, "tx/+/p2p/+/+/bob").await.unwrap();
    subscribe(&mallory, "party/+/inbox").await.unwrap();
    for filter in ["#", "+/+/#", "party/bob/inbox"] {
        assert_eq!(refusal(subscribe(&mallory, filter).await), NOT_AUTHORIZED, "{filter}");
    }
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "secret").await.unwrap();
    publish(&alice, &format!("tx/{tx}/p2p/1/alice/bob"), "secret").await.unwrap();
    // Mallory's own room is heard; whatever came before it on the same connection would have been, too.
    let own = stage.create(&mallory, &["mallory", "bob"]).await;
    let first = next(&mut mallory).await;
    assert!(first.topic.contains(&own) || first.topic == "party/mallory/inbox", "{}", first.topic);
}

#[tokio::test]
async fn p2p_reaches_its_addressee_alone() {
    let stage = Stage::open().await;
    let (alice, _, tx) = room(&stage).await;
    let mut bob = stage.client("bob").await;
    let mut carol = stage.client("carol").await;
    for client in [&bob, &carol] {
        subscribe(client, "tx/+/p2p/#").await.unwrap();
        subscribe(client, "tx/+/msg/#").await.unwrap();
    }
    publish(&alice, &format!("tx/{tx}/p2p/2/alice/bob"), "for bob").await.unwrap();
    publish(&alice, &format!("tx/{tx}/msg/alice/end"), "end").await.unwrap();
    let to_bob = next(&mut bob).await;
    assert_eq!(
        (to_bob.topic.as_str(), &to_bob.payload[..]),
        (format!("tx/{tx}/p2p/2/alice/bob").as_str(), &b"for bob"[..])
    );
    assert_eq!(to_bob.from.as_ref().map(|party| party.as_str()), Some("alice"));
    assert_eq!(next(&mut carol).await.topic, format!("tx/{tx}/msg/alice/end"));
}

#[tokio::test]
async fn a_from_other_than_the_cn_is_refused() {
    let stage = Stage::open().await;
    let (alice, _, tx) = room(&stage).await;
    for place in
        ["join/bob", "broadcast/1/bob", "echo/1/bob", "p2p/1/bob/carol", "result/bob", "abort/bob", "msg/bob/x"]
    {
        assert_eq!(refusal(publish(&alice, &format!("tx/{tx}/{place}"), "x").await), NOT_AUTHORIZED, "{place}");
    }
}

#[tokio::test]
async fn an_id_is_created_once_and_by_its_initiator_alone() {
    let stage = Stage::open().await;
    let (_, mallory, tx) = room(&stage).await;
    let stolen = manifest(&["mallory", "bob"]).with_tx(&tx);
    let forged = manifest(&["alice", "mallory"]);
    for attempt in [stolen, forged] {
        let bytes = attempt.value().to_string();
        assert_eq!(refusal(publish(&mallory, &attempt.topic(), &bytes).await), NOT_AUTHORIZED);
    }
}

#[tokio::test]
async fn malformed_topics_are_named_as_such() {
    let stage = Stage::open().await;
    let (alice, _, tx) = room(&stage).await;
    for topic in ["tx/short/msg/alice/x", &format!("tx/{tx}/nonsense/alice"), &format!("tx/{tx}//x"), "party/alice"] {
        let code = refusal(publish(&alice, topic, "x").await);
        assert_eq!(code, Some(ReasonCode::TopicNameInvalid), "{topic}");
    }
    assert_eq!(refusal(subscribe(&alice, "tx//#").await), Some(ReasonCode::TopicFilterInvalid));
}

#[tokio::test]
async fn the_inbox_brings_the_manifest_byte_for_byte() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let built = manifest(&["alice", "bob"]);
    let manifest = format!("  {}\n", built.value());
    publish(&alice, &built.topic(), &manifest).await.unwrap();
    let mut bob = stage.client("bob").await;
    subscribe(&bob, "party/bob/inbox").await.unwrap();
    let invitation = next(&mut bob).await;
    assert_eq!((invitation.topic.as_str(), &invitation.payload[..]), ("party/bob/inbox", manifest.as_bytes()));
}
