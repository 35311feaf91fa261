//! Quotas as a publisher meets them: a refusal with its reason, the connection that goes on, room for what ends a
//! transaction, and a number in the metrics.

use quorate_client::ClientError;
use quorate_testkit::BrokerOptions;
use quorate_wire::ReasonCode;

use crate::stage::{Stage, hear, publish, subscribe};

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_has_said_all_it_may_is_told_and_can_still_end_what_it_is_in() {
    let options = BrokerOptions::default().set("transactions.party_messages_max", 3);
    let mut stage = Stage::open_with(options).await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    for n in 0..3 {
        publish(&alice, &format!("tx/{tx}/broadcast/{n}/alice"), "said").await.expect("taken");
    }
    let refused = publish(&alice, &format!("tx/{tx}/broadcast/3/alice"), "said").await;
    let Err(ClientError::Refused { code, reason, .. }) = refused else { panic!("not refused: {refused:?}") };
    assert_eq!(code, ReasonCode::QuotaExceeded);
    assert!(reason.is_some_and(|reason| reason.contains("3 messages in one transaction")));
    // The same again is there already; it takes no room.
    publish(&alice, &format!("tx/{tx}/broadcast/2/alice"), "said").await.expect("acknowledged again");
    let metrics = stage.api("operator").text(&["metrics"]).await.expect("metrics");
    assert!(metrics.contains("quorate_quota_refusals_total{quota=\"transaction\"} 1"), "{metrics}");
    publish(&alice, &format!("tx/{tx}/abort/alice"), "enough").await.expect("an end finds room");
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/#")).await.expect("taken");
    assert_eq!(hear(&mut bob, 1 + 3 + 1 + 1).await.len(), 6, "manifest, three words, the abort, the end");
    stage.terminate().await;
}
