//! `quorate-bench offline`: messages for absent parties are stored, then drained; Quorate and its peers, one after the
//! other, in one run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args as ClapArgs, ValueEnum};

use crate::disk;
use crate::scene::Load;
use crate::stamp::PAYLOAD_BYTES_MIN;
use crate::subject::{Kind, Programs};

mod figures;
mod report;
mod run;

use report::{Entry, Outcome, Report};

/// Two connections and a certificate each: beyond it one machine runs out of file descriptors and patience.
const PUBLISHERS_MAX: u32 = 5_000;
/// `receive_maximum` of the broker's defaults: more is never in flight.
const INFLIGHT_MAX: u16 = 256;
/// A message of a transaction has at most 1 MiB.
const PAYLOAD_BYTES_MAX: u32 = 1_048_576;
/// `session.queue_messages_max` has this limit.
const MESSAGES_MAX: u64 = 100_000_000;

/// What is measured, and what is not. Paragraphs are single lines: clap wraps them to the terminal.
const EXPLANATION: &str = "\
WHAT IS MEASURED

One broker after the other is started, each alone, with fresh certificates, mutual TLS, and a fresh store in the temporary \
folder (TMPDIR: it must be a disk). Sessions that outlive their connection subscribe at QoS 1 and go. Publishers then send \
at QoS 1 until all messages are sent or --seconds-max are over; `stored` is what was acknowledged. Then those who were \
absent come back and acknowledge what they hear, until they have all of it or --seconds-max are over; `drained` is what \
came, each message counted once.

quorate-rooms: every publisher has a transaction of its own, in which an absent party is listed; every message is a \
write-once slot. quorate-topics, mosquitto, nats: every publisher has a topic, and the absent session a filter over all of \
them. nats-server is spoken to in MQTT 3.1.1, the others in MQTT 5.

Acknowledgements do not mean the same: the report says what each stands for. syncs/s: appends of one message's bytes, \
each synced, that the disk does without a broker, measured right before each run. Where disks are shared it varies by a \
factor of ten from one minute to the next, and rates with a sync follow it: compare runs with like figures.

memory: resident memory of the broker's process: with all connections open and nothing sent; after storing, before \
anything was drained; the most that was seen while draining; the most that it ever had. disk: length of all files of the \
store after storing, less what they had before, divided by the messages stored; mosquitto is told to write its memory \
before (SIGUSR1).

cores: CPU used by the broker, by this load generator, which shares the machine, and by everything else on it. Where the \
generator uses more than the broker, and all are used, a faster broker would not have been noticed; where the others use \
much, something disturbs the measurement.

Payloads do not compress, as ciphertext does not. Refused publishes, and such as were never answered, are shown.

Peers are looked for in target/venv/bin, PATH and /usr/sbin. One that is not installed is named, and the rest runs.

EXAMPLES
  quorate-bench offline
  quorate-bench offline --messages 1000000 --seconds-max 120 --brokers quorate-rooms,mosquitto
  quorate-bench offline --absent 100 --subscribers-present 0 --json";

/// How many subscribers listen while messages are stored for those who do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Present {
    /// Nobody.
    #[value(name = "0")]
    Nobody,
    /// Two, each hearing all.
    #[value(name = "2")]
    Two,
}

impl Present {
    fn count(self) -> u32 {
        match self {
            Present::Nobody => 0,
            Present::Two => 2,
        }
    }
}

/// Messages a second, in and out, disk and memory of what is kept for absent parties; beside mosquitto and nats-server.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_long_help = EXPLANATION)]
pub struct Args {
    /// Publishers, each with a connection.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PUBLISHERS_MAX)))]
    publishers: u32,
    /// Unacknowledged messages a publisher.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(INFLIGHT_MAX)))]
    inflight: u16,
    /// Messages of all publishers together.
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MESSAGES_MAX))]
    messages: u64,
    /// Bytes of payload a message.
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(i64::from(PAYLOAD_BYTES_MIN)..=i64::from(PAYLOAD_BYTES_MAX)))]
    payload_bytes: u32,
    /// Absent sessions, among which the publishers are divided.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PUBLISHERS_MAX)))]
    absent: u32,
    /// Subscribers that are there while messages are stored; both are measured unless one is named.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0,2")]
    subscribers_present: Vec<Present>,
    /// What is measured, in this order.
    #[arg(
        long,
        value_name = "BROKER",
        value_delimiter = ',',
        default_value = "quorate-rooms,quorate-topics,mosquitto,nats"
    )]
    brokers: Vec<Kind>,
    /// The longest that storing, and draining, may take.
    #[arg(long, default_value_t = 20, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds_max: u64,
    /// The program, where it lies nowhere usual.
    #[arg(long, value_name = "PATH")]
    mosquitto: Option<PathBuf>,
    /// The program, where it lies nowhere usual.
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs everything that is asked for and installed, prints, and fails where Quorate did.
pub async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.absent <= args.publishers, "--absent: every absent session needs a publisher");
    disk::ensure_temporary_folder_is_a_disk()?;
    let programs = Programs { mosquitto: args.mosquitto.clone(), nats: args.nats_server.clone() };
    let mut entries = Vec::new();
    for &present in &args.subscribers_present {
        for &kind in &args.brokers {
            let load = load_of(&args, present);
            eprintln!("{}, {} subscribers present ...", kind.name(), load.present);
            let outcome = match kind.is_installed(&programs) {
                false => Outcome::Missing,
                true => match run::measure(kind, &programs, &load).await {
                    Ok(figures) => Outcome::Measured(Box::new(figures)),
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                },
            };
            entries.push(Entry { kind, present: load.present, outcome });
        }
    }
    let report = Report::new(&args, entries);
    match args.json {
        true => println!("{}", report.to_json()?),
        false => print!("{}", report.to_text()),
    }
    match report.faults() {
        faults if faults.is_empty() => Ok(()),
        faults => bail!("{}", faults.join("; ")),
    }
}

fn load_of(args: &Args, present: Present) -> Load {
    Load {
        publishers: args.publishers,
        inflight: args.inflight,
        messages: args.messages,
        payload_bytes: args.payload_bytes as usize,
        absent: args.absent,
        present: present.count(),
        phase_max: Duration::from_secs(args.seconds_max),
    }
}
