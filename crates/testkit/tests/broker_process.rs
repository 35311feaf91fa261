//! The kit drives the built broker: a start, a kill, a restart on the same store, an end. Needs `make build`.

use std::time::Duration;

use quorate_client::{ClientError, QoS, ReasonCode};
use quorate_testkit::{BrokerOptions, BrokerProcess, eventually, manifest};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_killed_broker_comes_back_with_what_it_acknowledged() -> anyhow::Result<()> {
    let mut broker = BrokerProcess::start().await?;
    let room = manifest(&["alice", "bob"]);
    let alice = broker.client("alice").await?;
    alice.publish(&room.topic(), room.json(), QoS::AtLeastOnce).await?;
    let ports = (broker.address(), broker.api_base());
    broker.kill9()?;
    assert!(broker.client("alice").await.is_err(), "nobody is there");

    broker.restart().await?;
    assert_eq!(ports, (broker.address(), broker.api_base()));
    let mut bob = broker.client("bob").await?;
    bob.subscribe(&format!("tx/{}/manifest", room.tx()), QoS::AtLeastOnce).await?;
    let heard = tokio::time::timeout(LIMIT, bob.next()).await??;
    assert_eq!(heard.payload, room.json());
    eventually(LIMIT, || async {
        let shown = broker.api("operator")?.transaction(room.tx()).await?;
        anyhow::ensure!(shown.to_string().contains(room.tx()));
        Ok(())
    })
    .await?;

    let status = broker.terminate().await?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn options_reach_the_broker_and_unknown_ones_are_told() -> anyhow::Result<()> {
    let options = BrokerOptions::default().set("storage.durability", "os").rules(&[(&["bob"], &["*"])]);
    let broker = BrokerProcess::start_with(options).await?;
    let room = manifest(&["alice", "bob"]);
    let alice = broker.client("alice").await?;
    let refused = alice.publish(&room.topic(), room.json(), QoS::AtLeastOnce).await;
    assert!(matches!(refused, Err(ClientError::Refused { code: ReasonCode::NotAuthorized, .. })), "{refused:?}");

    let wrong = BrokerProcess::start_with(BrokerOptions::default().set("lanes.colour", "red")).await;
    let error = format!("{:#}", wrong.expect_err("refused"));
    assert!(error.contains("lanes.colour: unknown key") && error.contains("64"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_whose_cn_is_no_party_is_refused_with_a_log_line() -> anyhow::Result<()> {
    let broker = BrokerProcess::start().await?;
    let mut options = broker.connect_options("alice", "x")?;
    options.identity = broker.ca().issue_unchecked("nobody", &["not a party"])?;
    assert!(broker.client_with(options).await.is_err());
    eventually(LIMIT, || async {
        anyhow::ensure!(broker.log().contains("not a party"), "no such line");
        Ok(())
    })
    .await
}
