//! `quorate-bench publish`: starts a broker, measures idle connections, then the load, then the disk, and reports.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use quorate_testkit::{BrokerOptions, BrokerProcess};
use serde::Serialize;

use crate::disk;

mod batches;
mod idle;
mod listener;
mod load;
mod publisher;
mod report;

use batches::Look;
use report::{DiskLimit, Report};

/// Three connections each, in two processes: beyond it one machine runs out of file descriptors and patience.
const TRANSACTIONS_MAX: u32 = 5_000;
/// `receive_maximum` of the broker's defaults: more is never in flight.
const INFLIGHT_MAX: u16 = 256;
/// The stamp at the head of each payload.
const PAYLOAD_BYTES_MIN: u32 = 16;
/// A message of a transaction has at most 1 MiB.
const PAYLOAD_BYTES_MAX: u32 = 1_048_576;

/// What is measured, and what is not. Paragraphs are single lines: clap wraps them to the terminal.
const EXPLANATION: &str = "\
WHAT IS MEASURED

A broker of its own is started: the binary `quorate` beside this one, fresh certificates, a fresh store in the temporary \
folder (TMPDIR: see that it is on the disk you mean). Each transaction has three parties with a connection each, MQTT 5 \
over mutual TLS: one publishes at QoS 1, two listen at QoS 1 and acknowledge each message. Every message is a write-once \
slot unless `--to messages` says otherwise. The run fails where an acknowledged message does not reach both listeners, in \
order.

acknowledged: PUBACKs that arrived within the measured time; each is sent after the message is durable. Latency: from \
handing the publish to the client until its PUBACK is there.

delivered: messages that reached a listener within it, two for each message. Latency: from the same moment until a \
listener has it, decrypted and decoded; both ends share one clock.

broker CPU: user and system time of the broker's process over the measured time.

memory: growth of the broker's resident memory over idle connections, each of a party of its own with one subscription, \
divided by their number; measured before the load.

disk limit: append and fdatasync of as many bytes as a message, and as a mean batch, has, one after the other, on the \
store's disk, right after the load.

The loop is closed: the publishers always have as many messages in flight as told, so the latencies are those of a broker \
at its limit, waiting in queues included. For latency at rest: --transactions 1 --inflight 1. The load generator shares \
the machine with the broker; its own CPU is shown beside the broker's.

EXAMPLES
  quorate-bench publish
  quorate-bench publish --transactions 1 --inflight 1
  quorate-bench publish --movement both --json
  quorate-bench publish --durability os --seconds 30";

/// How live messages move inside the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MovementChoice {
    /// Through rumqttd's router, as a broker in use does.
    Lanes,
    /// Through plain tokio channels, to know what the router costs.
    Channels,
    /// One run each, with fresh brokers, and their ratio.
    Both,
}

/// When the broker counts a message as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityChoice {
    /// When the disk has it.
    Fsync,
    /// When the operating system has it.
    Os,
}

impl DurabilityChoice {
    fn key(self) -> &'static str {
        match self {
            DurabilityChoice::Fsync => "fsync",
            DurabilityChoice::Os => "os",
        }
    }
}

/// Where the messages go within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A write-once slot each: tx/{tx}/broadcast/{number}/{publisher}.
    Slots,
    /// One free-form topic: tx/{tx}/msg/{publisher}/load.
    Messages,
}

impl Target {
    /// What a listener subscribes to.
    fn filter(self, tx: &str) -> String {
        match self {
            Target::Slots => format!("tx/{tx}/broadcast/#"),
            Target::Messages => format!("tx/{tx}/msg/#"),
        }
    }
}

/// Messages a second, latency, CPU and memory of transactions of three parties.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_long_help = EXPLANATION)]
pub struct Args {
    /// Transactions, each with a publisher and two listeners of its own.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(TRANSACTIONS_MAX)))]
    transactions: u32,
    /// How long to measure, after a warm-up.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How long to load before measuring begins.
    #[arg(long, default_value_t = 2, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Measure this many messages a transaction instead of a time, from the first on.
    #[arg(long, value_name = "M", conflicts_with_all = ["seconds", "warm_up"], value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Bytes of payload a message.
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(i64::from(PAYLOAD_BYTES_MIN)..=i64::from(PAYLOAD_BYTES_MAX)))]
    payload: u32,
    /// Unacknowledged messages a publisher.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(INFLIGHT_MAX)))]
    inflight: u16,
    /// How live messages move inside the broker.
    #[arg(long, default_value = "lanes")]
    movement: MovementChoice,
    /// When the broker counts a message as stored.
    #[arg(long, default_value = "fsync")]
    durability: DurabilityChoice,
    /// Where the messages go within a transaction.
    #[arg(long, default_value = "slots")]
    to: Target,
    /// Idle connections for the memory figure; 0 leaves it out.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(TRANSACTIONS_MAX)))]
    connections: u32,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// What one run moves its messages with, as the broker's `[lanes] movement` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Movement {
    Rumqttd,
    Channels,
}

impl Movement {
    fn key(self) -> &'static str {
        match self {
            Movement::Rumqttd => "rumqttd",
            Movement::Channels => "channels",
        }
    }
}

/// Runs once for each movement asked for, and prints.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let movements: &[Movement] = match args.movement {
        MovementChoice::Lanes => &[Movement::Rumqttd],
        MovementChoice::Channels => &[Movement::Channels],
        MovementChoice::Both => &[Movement::Rumqttd, Movement::Channels],
    };
    let mut reports = Vec::new();
    for &movement in movements {
        eprintln!("measuring with {} ...", movement.key());
        reports.push(measure(&args, movement).await?);
    }
    if args.json {
        println!("{}", report::to_json(&reports)?);
    } else {
        print!("{}", report::to_text(&reports));
    }
    Ok(())
}

async fn measure(args: &Args, movement: Movement) -> anyhow::Result<Report> {
    let options = BrokerOptions::default()
        .set("lanes.movement", movement.key())
        .set("storage.durability", args.durability.key())
        .set("log.level", "warn");
    let mut broker = BrokerProcess::start_with(options).await.context("the broker did not start")?;
    let idle = match args.connections {
        0 => None,
        connections => Some(idle::measure(&broker, connections).await.context("measuring idle connections")?),
    };
    let load = load::run(&broker, &load_of(args)).await.context("under load")?;
    let batch_bytes = load.batches.map(|batches| batches.mean_jobs * f64::from(args.payload));
    let disk = disk_limit(&broker, args.payload, batch_bytes).await?;
    let status = broker.terminate().await.context("ending the broker")?;
    anyhow::ensure!(status.success(), "the broker ended with {status}");
    Ok(Report::new(args, movement, idle, load, disk))
}

fn load_of(args: &Args) -> load::Load {
    let amount = match args.messages {
        Some(messages) => load::Amount::Messages(messages),
        None => load::Amount::Time {
            warm_up: Duration::from_secs(args.warm_up),
            measured: Duration::from_secs(args.seconds),
        },
    };
    load::Load {
        transactions: args.transactions,
        payload_bytes: args.payload as usize,
        inflight: args.inflight,
        target: args.to,
        amount,
    }
}

/// Measured on the disk of the store, while the broker is idle.
async fn disk_limit(broker: &BrokerProcess, message_bytes: u32, batch_bytes: Option<f64>) -> anyhow::Result<DiskLimit> {
    let folder = broker.store_path();
    let folder = folder.parent().context("the store lies in a folder")?.to_owned();
    // A mean of sizes; a byte more or less changes nothing.
    let batch_bytes = batch_bytes.map(|bytes| bytes.round() as usize);
    let measured = tokio::task::spawn_blocking(move || -> anyhow::Result<DiskLimit> {
        let of_a_message = disk::synced_appends_per_second(&folder, message_bytes as usize)?;
        let of_a_batch = batch_bytes.map(|bytes| disk::synced_appends_per_second(&folder, bytes)).transpose()?;
        Ok(DiskLimit { message_syncs_per_s: of_a_message, batch_syncs_per_s: of_a_batch })
    });
    measured.await?
}

/// The committer's counters, as `/metrics` tells them now.
async fn look(broker: &BrokerProcess) -> anyhow::Result<Option<Look>> {
    let text = broker.api("operator")?.text(&["metrics"]).await?;
    Ok(Look::read(&text, Instant::now()))
}
