//! What is measured: Quorate, by one of its two ways to keep a message, or a peer. Each is started alone, with fresh
//! certificates and a fresh store in the temporary folder.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use quorate_client::{ConnectOptions, Identity, Version};
use quorate_testkit::{BrokerOptions, BrokerProcess};
use serde::Serialize;

use crate::process::Process;

mod mosquitto;
mod nats;
mod peer;

use peer::Peer;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Quorate's transactions, one for each publisher.
    QuorateRooms,
    /// Quorate's ordinary topics.
    QuorateTopics,
    /// Eclipse mosquitto.
    Mosquitto,
    /// nats-server: JetStream behind its MQTT listener.
    Nats,
}

/// Where the peers' programs are; `None`: where they are usually.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    pub mosquitto: Option<PathBuf>,
    pub nats: Option<PathBuf>,
}

impl Kind {
    /// As the command line and the report call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::QuorateRooms => "quorate-rooms",
            Kind::QuorateTopics => "quorate-topics",
            Kind::Mosquitto => "mosquitto",
            Kind::Nats => "nats",
        }
    }

    /// Whether its failure is this house's.
    pub fn is_quorate(self) -> bool {
        matches!(self, Kind::QuorateRooms | Kind::QuorateTopics)
    }

    /// What a PUBACK says, and how it is configured.
    pub fn acknowledgement(self) -> &'static str {
        match self {
            Kind::QuorateRooms | Kind::QuorateTopics => {
                "the message is on the disk, synced (fsync); messages that come together share a sync"
            }
            Kind::Mosquitto => {
                "the message is in memory; the disk has it at the next autosave (1,800 s) or at the end, without a sync"
            }
            Kind::Nats => "the message is on the disk, synced (fsync; JetStream with sync_interval: always)",
        }
    }

    /// How to install it.
    pub fn installation(self) -> &'static str {
        match self {
            Kind::QuorateRooms | Kind::QuorateTopics => "make build",
            Kind::Mosquitto => "sudo apt-get install -y --no-install-recommends mosquitto",
            Kind::Nats => "make target/venv/nats-ready",
        }
    }

    /// The program of a peer, where it is installed. Quorate's own is the testkit's matter.
    fn program(self, programs: &Programs) -> Option<PathBuf> {
        match self {
            Kind::QuorateRooms | Kind::QuorateTopics => quorate_testkit::quorate_binary().ok(),
            Kind::Mosquitto => peer::find(programs.mosquitto.as_deref(), "mosquitto"),
            Kind::Nats => peer::find(programs.nats.as_deref(), "nats-server"),
        }
    }

    /// Whether it can be started.
    pub fn is_installed(self, programs: &Programs) -> bool {
        self.program(programs).is_some()
    }
}

/// A running broker of some kind. Dropping it kills it.
#[derive(Debug)]
pub enum Subject {
    Quorate(Box<BrokerProcess>),
    Peer(Peer),
}

impl Subject {
    /// Starts it, able to hold `messages` messages for one session, and waits until it takes connections.
    pub async fn start(kind: Kind, programs: &Programs, messages: u64) -> anyhow::Result<Subject> {
        let program = kind.program(programs).ok_or_else(|| missing(kind))?;
        Ok(match kind {
            Kind::QuorateRooms | Kind::QuorateTopics => {
                let broker = BrokerProcess::start_with(quorate_options(messages)).await?;
                Subject::Quorate(Box::new(broker))
            }
            Kind::Mosquitto => Subject::Peer(Peer::start(&program, mosquitto::invocation).await?),
            Kind::Nats => Subject::Peer(Peer::start(&program, nats::invocation).await?),
        })
    }

    /// Its process.
    pub fn process(&self) -> anyhow::Result<Process> {
        Ok(Process::Id(match self {
            Subject::Quorate(broker) => broker.pid()?,
            Subject::Peer(peer) => peer.pid(),
        }))
    }

    /// What a client of it connects with.
    pub fn connect_options(&self, name: &str) -> anyhow::Result<ConnectOptions> {
        let (address, identity): (String, Identity) = match self {
            Subject::Quorate(broker) => (broker.address(), broker.identity(name)?),
            Subject::Peer(peer) => (peer.address(), peer.identity(name)?),
        };
        let mut options = ConnectOptions::new(address, identity, name);
        options.version = match self {
            // nats-server speaks no MQTT 5.
            Subject::Peer(peer) if peer.speaks_3_1_1_alone() => Version::V3_1_1,
            _ => Version::V5,
        };
        Ok(options)
    }

    /// Makes it write what it keeps in memory alone, where it has such a thing, so that the disk can be looked at.
    pub async fn save(&self) -> anyhow::Result<()> {
        match self {
            Subject::Quorate(_) => Ok(()),
            Subject::Peer(peer) => peer.save().await,
        }
    }

    /// The folder of its store.
    pub fn store(&self) -> PathBuf {
        match self {
            Subject::Quorate(broker) => broker.store_path(),
            Subject::Peer(peer) => peer.store(),
        }
    }

    /// Ends it as an operator would; a broker that ends badly is an error.
    pub async fn end(self) -> anyhow::Result<()> {
        match self {
            Subject::Quorate(mut broker) => {
                let status = broker.terminate().await?;
                anyhow::ensure!(status.success(), "the broker ended with {status}");
                Ok(())
            }
            Subject::Peer(peer) => peer.end().await,
        }
    }
}

/// What both measurements that fill a store start Quorate with.
pub fn quorate_options(messages: u64) -> BrokerOptions {
    BrokerOptions::default()
        .with_open_topics()
        .set("session.queue_messages_max", messages.max(QUEUE_MESSAGES_DEFAULT))
        .set("log.level", "warn")
}

/// `session.queue_messages_max` of the broker's defaults.
const QUEUE_MESSAGES_DEFAULT: u64 = 100_000;

fn missing(kind: Kind) -> anyhow::Error {
    anyhow::anyhow!("{} is not installed: {}", kind.name(), kind.installation())
}

/// The files of a peer's certificate, key and CA.
pub struct Certificates<'a>(&'a Path);

impl Certificates<'_> {
    fn ca(&self) -> String {
        self.0.join("ca.pem").display().to_string()
    }

    fn certificate(&self) -> String {
        self.0.join("broker.pem").display().to_string()
    }

    fn key(&self) -> String {
        self.0.join("broker.key.pem").display().to_string()
    }
}
