//! One visit of a party: connect, hear what was said, say what can be said, go. A process of its own, which keeps
//! nothing but its state file.
//!
//! The order that makes a crash harmless: what was heard is saved before it is acknowledged, and what is to be said is
//! saved before it is published. Progress goes to standard output, one JSON object a line.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use quorate_client::{Client, ConnectOptions, Message, QoS};
use quorate_domain::{PartyId, Place, Sha256, TopicClass, TxId, TxTopic, classify_topic};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    ceremony::{Consent, Heard, Incoming, Milestone, Party},
    state_file::StateFile,
};
use crate::connect::load_identity;

/// The session of every visit: the broker remembers how far it has heard.
const CLIENT_ID: &str = "demo";
/// One subscription hears every transaction that lists the party, also those to come.
const ALL_MY_TRANSACTIONS: &str = "tx/+/#";

/// Where the broker of the demo is, and who comes.
#[derive(Debug, clap::Args)]
pub struct VisitorArgs {
    #[arg(long)]
    pub party: PartyId,
    #[arg(long)]
    pub certs: PathBuf,
    #[arg(long)]
    pub broker: String,
    #[arg(long)]
    pub server_name: String,
    /// The transaction that the visit is about.
    #[arg(long)]
    pub tx: TxId,
    /// Seconds without progress after which the visit fails.
    #[arg(long, default_value_t = 20)]
    pub patience: u64,
}

/// One visit of a party.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    visitor: VisitorArgs,
    #[arg(long)]
    state: PathBuf,
    /// Create the transaction with this manifest.
    #[arg(long)]
    create: Option<PathBuf>,
    /// Go when this has been reached.
    #[arg(long)]
    until: Milestone,
    /// The only payload that may be signed.
    #[arg(long)]
    approve: Option<Sha256>,
    /// Stay connected until standard input ends.
    #[arg(long)]
    hold: bool,
    #[arg(long)]
    danger_keep_round2: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (file, party) = StateFile::open(&args.state, &args.visitor.party, args.danger_keep_round2)?;
    let client = args.visitor.connect().await?;
    tell(&json!({ "event": "connected", "session_present": client.session_present() }));
    let mut visit = Visit { args, file, party, client, heard: 0 };
    visit.take_part().await?;
    tell(&visit.summary()?);
    if visit.args.hold {
        hold().await?;
    }
    visit.client.disconnect().await?;
    Ok(ExitCode::SUCCESS)
}

impl VisitorArgs {
    /// Connects with a session that outlives the visit.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let identity = load_identity(&self.certs, self.party.as_str())?;
        let mut options = ConnectOptions::new(&self.broker, identity, CLIENT_ID);
        options.server_name.clone_from(&self.server_name);
        Client::connect(options).await.with_context(|| format!("{} cannot connect to {}", self.party, self.broker))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

struct Visit {
    args: Args,
    file: StateFile,
    party: Party,
    client: Client,
    heard: u64,
}

impl Visit {
    async fn take_part(&mut self) -> anyhow::Result<()> {
        let subscribed = self.client.subscribe(ALL_MY_TRANSACTIONS, QoS::AtLeastOnce).await;
        subscribed.with_context(|| format!("no subscription to {ALL_MY_TRANSACTIONS}"))?;
        if let Some(path) = &self.args.create {
            self.create(&path.clone()).await?;
        }
        loop {
            self.say_what_can_be_said().await?;
            if self.party.reached(&self.args.visitor.tx, self.args.until) {
                return Ok(());
            }
            let message = timeout(self.args.visitor.patience(), self.client.next()).await;
            let message = message.map_err(|_| self.stuck())?.context("while waiting for messages")?;
            self.hear(&message).await?;
        }
    }

    /// The file has the same bytes on every attempt, so a repetition is acknowledged as such.
    async fn create(&self, path: &std::path::Path) -> anyhow::Result<()> {
        let manifest = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let topic = TxTopic { tx: self.args.visitor.tx.clone(), place: Place::Manifest }.to_string();
        let created = self.client.publish(&topic, Bytes::from(manifest), QoS::AtLeastOnce).await;
        created.with_context(|| format!("{topic} was not taken"))?;
        tell(&json!({ "event": "published", "topic": topic }));
        Ok(())
    }

    async fn say_what_can_be_said(&mut self) -> anyhow::Result<()> {
        let tx = self.args.visitor.tx.clone();
        self.party.advance(&tx, Consent { payload: self.args.approve })?;
        if self.party.outgoing(&tx).is_none() {
            return Ok(());
        }
        self.file.save(&self.party)?;
        while let Some(outgoing) = self.party.outgoing(&tx) {
            let payload = Bytes::copy_from_slice(&outgoing.payload.0);
            let published = self.client.publish(&outgoing.topic, payload, QoS::AtLeastOnce).await;
            published.with_context(|| format!("{} was not taken", outgoing.topic))?;
            tell(&json!({ "event": "published", "topic": outgoing.topic, "bytes": outgoing.payload.0.len() }));
            self.party.sent(&tx);
        }
        self.file.save(&self.party)
    }

    async fn hear(&mut self, message: &Message) -> anyhow::Result<()> {
        let topic = match classify_topic(&message.topic) {
            Ok(TopicClass::Tx(topic)) => topic,
            _ => bail!("the broker sent {}, which nobody asked for", message.topic),
        };
        let incoming = Incoming {
            topic: &topic,
            from: message.from.as_ref(),
            seq: message.seq,
            prev: message.prev,
            payload: &message.payload,
        };
        let heard = self.party.hear(&incoming).with_context(|| format!("in {}", message.topic))?;
        if heard == Heard::New {
            self.heard += 1;
            self.file.save(&self.party)?;
            tell(&json!({ "event": "heard", "topic": message.topic, "from": message.from, "seq": message.seq }));
        }
        Ok(self.client.acknowledge(message).await?)
    }

    fn summary(&self) -> anyhow::Result<Value> {
        let tx = &self.args.visitor.tx;
        Ok(json!({
            "event": "done",
            "heard": self.heard,
            "state": self.party.state(tx),
            "result": self.party.result(tx).map(hex::encode),
            "key": self.party.verifying_key(tx).ok().map(hex::encode),
        }))
    }

    fn stuck(&self) -> anyhow::Error {
        let Args { visitor, until, .. } = &self.args;
        anyhow::anyhow!(
            "nothing came for {} s, and {until:?} of {} is not reached (heard {} messages in this visit; state {:?})",
            visitor.patience,
            visitor.tx,
            self.heard,
            self.party.state(&visitor.tx)
        )
    }
}

/// One event for the demo to read.
pub fn tell(event: &Value) {
    println!("{event}");
}

async fn hold() -> anyhow::Result<()> {
    // Whatever is written is of no interest: its end is.
    let until_end = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    tokio::task::spawn_blocking(until_end).await?.context("cannot read standard input")?;
    Ok(())
}
