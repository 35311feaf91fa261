//! Who takes part in a run: publishers, sessions that subscribed and went, subscribers that stay.

use std::time::Duration;

use anyhow::Context;
use quorate_client::{Client, ConnectOptions, QoS};
use quorate_testkit::manifest;

use crate::sender::Place;
use crate::subject::Kind;

/// Deliveries that a receiver has not acknowledged, at every broker: Quorate's own limit with its defaults.
pub const DELIVERIES_INFLIGHT: u16 = 256;

/// What one run does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub publishers: u32,
    /// Unacknowledged messages a publisher.
    pub inflight: u16,
    /// Of all publishers together.
    pub messages: u64,
    pub payload_bytes: usize,
    /// Sessions that are away while messages are stored.
    pub absent: u32,
    /// Subscribers that are there meanwhile, each hearing all.
    pub present: u32,
    /// The longest that storing, and draining, may take.
    pub phase_max: Duration,
}

/// What a party of this name connects with.
pub type ConnectAs<'a> = &'a dyn Fn(&str) -> anyhow::Result<ConnectOptions>;

/// All of them, connected but for the absent.
pub struct Scene {
    /// Each with the place of its messages.
    pub publishers: Vec<(Client, Place)>,
    /// What the absent come back with.
    pub absent: Vec<ConnectOptions>,
    pub present: Vec<Client>,
}

impl Scene {
    /// The absent come first: they are known before anything is said.
    pub async fn build(connect_as: ConnectAs<'_>, kind: Kind, load: &Load) -> anyhow::Result<Scene> {
        let mut absent = Vec::new();
        for number in 0..load.absent {
            let options = durable(connect_as, &format!("absent-{number}"))?;
            let client = subscribed(&options, &filter_of_absent(kind, number)).await.context("an absent session")?;
            client.disconnect().await?;
            absent.push(options);
        }
        let mut present = Vec::new();
        for number in 0..load.present {
            let options = durable(connect_as, &present_name(number))?;
            present.push(subscribed(&options, filter_of_present(kind)).await.context("a subscriber")?);
        }
        let mut publishers = Vec::new();
        for number in 0..load.publishers {
            publishers.push(publisher(connect_as, kind, load, number).await.context("a publisher")?);
        }
        Ok(Scene { publishers, absent, present })
    }
}

/// The absent session that hears this publisher.
pub fn absent_of(publisher: usize, load: &Load) -> usize {
    publisher % load.absent as usize
}

/// A session that outlives its connection.
fn durable(connect_as: ConnectAs<'_>, name: &str) -> anyhow::Result<ConnectOptions> {
    let mut options = connect_as(name)?;
    options.receive_maximum = DELIVERIES_INFLIGHT;
    Ok(options)
}

async fn subscribed(options: &ConnectOptions, filter: &str) -> anyhow::Result<Client> {
    let client = Client::connect(options.clone()).await?;
    client.subscribe(filter, QoS::AtLeastOnce).await.with_context(|| format!("subscribing to {filter}"))?;
    Ok(client)
}

async fn publisher(connect_as: ConnectAs<'_>, kind: Kind, load: &Load, number: u32) -> anyhow::Result<(Client, Place)> {
    let party = format!("publisher-{number}");
    let absent = absent_of(number as usize, load);
    let mut options = connect_as(&party)?;
    options.clean_start = true;
    options.session_expiry_s = 0;
    let client = Client::connect(options).await?;
    let place = match kind {
        Kind::QuorateRooms => {
            let parties = [party.clone(), format!("absent-{absent}")];
            let parties: Vec<String> = parties.into_iter().chain((0..load.present).map(present_name)).collect();
            let manifest = manifest(&parties.iter().map(String::as_str).collect::<Vec<_>>()).without_join();
            client.publish(&manifest.topic(), manifest.json(), QoS::AtLeastOnce).await.context("creating its room")?;
            Place::Slots { tx: manifest.tx().to_owned(), party }
        }
        Kind::QuorateTopics | Kind::Mosquitto | Kind::Nats => Place::Topic(format!("load/{absent}/{number}")),
    };
    Ok((client, place))
}

fn present_name(number: u32) -> String {
    format!("present-{number}")
}

fn filter_of_absent(kind: Kind, number: u32) -> String {
    match kind {
        Kind::QuorateRooms => "tx/#".to_owned(),
        Kind::QuorateTopics | Kind::Mosquitto | Kind::Nats => format!("load/{number}/#"),
    }
}

fn filter_of_present(kind: Kind) -> &'static str {
    match kind {
        Kind::QuorateRooms => "tx/#",
        Kind::QuorateTopics | Kind::Mosquitto | Kind::Nats => "load/#",
    }
}
