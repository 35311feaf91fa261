//! SIGTERM: clients are told, what is acknowledged is on disk, the exit code is 0.

use quorate_wire::ReasonCode;

use crate::stage::{Stage, hear, publish, subscribe};

#[tokio::test]
async fn sigterm_tells_clients_and_exits_with_0() {
    let mut stage = Stage::open().await;
    let mut alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    publish(&alice, &format!("tx/{tx}/msg/alice/x"), "said").await.unwrap();
    let status = stage.terminate().await;
    assert!(status.success(), "{status}");
    let end = alice.next().await.unwrap_err();
    assert!(
        matches!(end, quorate_client::ClientError::ConnectionLost { code: Some(ReasonCode::ServerShuttingDown), .. }),
        "{end}"
    );
    stage.restart().await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, "tx/+/msg/#").await.unwrap();
    assert_eq!(hear(&mut bob, 1).await[0].payload, "said");
}
