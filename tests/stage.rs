//! What most tests here begin with: a broker of their own, and parties who create, join, speak and listen.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use quorate_client::api::ApiClient;
use quorate_client::{Client, ClientError, ConnectOptions, Identity, Message};
use quorate_domain::Sha256;
use quorate_testkit::{BrokerOptions, BrokerProcess, manifest};
use quorate_wire::{QoS, ReasonCode};
use serde_json::{Value, json};

/// How long anything that must come may take; a machine that compiles at the same time is slow.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A broker and its parties.
pub struct Stage {
    broker: BrokerProcess,
}

/// How to reach a broker, also while it is down: for tasks that outlive a kill.
#[derive(Clone)]
pub struct Reach {
    options: Vec<ConnectOptions>,
}

impl Stage {
    pub async fn open() -> Self {
        Self::open_with(BrokerOptions::default()).await
    }

    pub async fn open_with(options: BrokerOptions) -> Self {
        Self { broker: BrokerProcess::start_with(options).await.expect("a broker") }
    }

    pub fn broker(&self) -> &BrokerProcess {
        &self.broker
    }

    pub fn broker_mut(&mut self) -> &mut BrokerProcess {
        &mut self.broker
    }

    pub fn mqtt_port(&self) -> u16 {
        self.broker.mqtt_port()
    }

    /// The folder of certificates, with one for each of these parties.
    pub fn certificates(&self, parties: &[&str]) -> PathBuf {
        for party in parties {
            self.broker.ca().issue(party).expect("a certificate");
        }
        self.broker.ca().dir().to_owned()
    }

    pub async fn client(&self, party: &str) -> Client {
        self.client_as(party, "device").await
    }

    pub async fn client_as(&self, party: &str, client_id: &str) -> Client {
        let options = self.broker.connect_options(party, client_id).expect("an identity");
        self.broker.client_with(options).await.expect("a connection")
    }

    pub async fn try_identity(&self, identity: Identity) -> Result<Client, ClientError> {
        Client::connect(ConnectOptions::new(self.broker.address(), identity, "device")).await
    }

    pub fn reach(&self, party: &str, client_ids: &[&str]) -> Reach {
        let options = client_ids.iter().map(|id| self.broker.connect_options(party, id).expect("an identity"));
        Reach { options: options.collect() }
    }

    pub fn api(&self, party: &str) -> ApiClient {
        self.broker.api(party).expect("an identity")
    }

    /// Creates a transaction whose parties must join; the first of them initiates it.
    pub async fn create(&self, initiator: &Client, parties: &[&str]) -> String {
        let manifest = manifest(parties);
        publish_bytes(initiator, &manifest.topic(), manifest.json()).await.expect("created");
        manifest.tx().to_owned()
    }

    pub async fn join(&self, client: &Client, tx: &str, party: &str) {
        let shown = self.api("operator").transaction(tx).await.expect("the transaction");
        let sum: Sha256 = serde_json::from_value(shown["state"]["manifest_sha256"].clone()).expect("a sum");
        let join = json!({"manifest_sha256": sum, "data": null}).to_string();
        publish(client, &format!("tx/{tx}/join/{party}"), &join).await.expect("joined");
    }

    pub async fn state(&self, tx: &str) -> String {
        let shown = self.api("operator").transaction(tx).await.expect("the transaction");
        shown["state"]["state"].as_str().expect("a state").to_owned()
    }

    /// Ends the broker as a power cut would.
    pub fn kill(&mut self) {
        self.broker.kill9().expect("killed");
    }

    pub async fn kill_and_restart(&mut self) {
        self.kill();
        self.restart().await;
    }

    pub async fn restart(&mut self) {
        self.broker.restart().await.expect("restarted");
    }

    /// Starts the broker again, if it starts.
    pub async fn try_restart(&mut self) -> anyhow::Result<()> {
        self.broker.restart().await
    }

    pub async fn terminate(&mut self) -> ExitStatus {
        self.broker.terminate().await.expect("ended")
    }
}

impl Reach {
    /// Connects with the client id at this place.
    pub async fn try_client(&self, place: usize) -> Result<Client, ClientError> {
        Client::connect(self.options[place].clone()).await
    }
}

pub async fn publish(client: &Client, topic: &str, payload: &str) -> Result<(), ClientError> {
    publish_bytes(client, topic, payload.to_owned().into()).await
}

async fn publish_bytes(client: &Client, topic: &str, payload: bytes::Bytes) -> Result<(), ClientError> {
    let published = client.publish(topic, payload, QoS::AtLeastOnce);
    tokio::time::timeout(LIMIT, published).await.unwrap_or_else(|_| panic!("no answer to a publish to {topic}"))
}

pub async fn subscribe(client: &Client, filter: &str) -> Result<(), ClientError> {
    let subscribed = client.subscribe(filter, QoS::AtLeastOnce);
    tokio::time::timeout(LIMIT, subscribed).await.unwrap_or_else(|_| panic!("no SUBACK for {filter}"))
}

/// The code of a refusal; `None` where there was none.
pub fn refusal(outcome: Result<(), ClientError>) -> Option<ReasonCode> {
    match outcome {
        Ok(()) => None,
        Err(ClientError::Refused { code, .. }) => Some(code),
        Err(error) => panic!("neither taken nor refused: {error}"),
    }
}

/// The next message, acknowledged.
pub async fn next(client: &mut Client) -> Message {
    let message = tokio::time::timeout(LIMIT, client.next()).await.expect("nothing came").expect("a message");
    client.acknowledge(&message).await.expect("acknowledged");
    message
}

/// The next `count` messages, acknowledged.
pub async fn hear(client: &mut Client, count: usize) -> Vec<Message> {
    let mut heard = Vec::with_capacity(count);
    while heard.len() < count {
        heard.push(next(client).await);
    }
    heard
}

/// All messages up to the first that `is_last` says is the last, acknowledged.
pub async fn hear_until(client: &mut Client, is_last: impl Fn(&Message) -> bool) -> Vec<Message> {
    let mut heard = Vec::new();
    loop {
        let message = next(client).await;
        let last = is_last(&message);
        heard.push(message);
        if last {
            return heard;
        }
    }
}

pub fn seqs_grow(messages: &[Message]) -> bool {
    messages.windows(2).all(|pair| pair[0].seq < pair[1].seq)
}

/// A field of a JSON document by its path.
pub fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {document}"))
}
