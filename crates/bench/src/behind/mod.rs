//! `quorate-bench behind`: one party is very far behind. What that costs the broker in memory, how fast the party catches
//! up, and what the others notice of it.

use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use crate::scene::Load;
use crate::stamp::PAYLOAD_BYTES_MIN;
use crate::subject::Kind;

mod report;
mod run;
mod talk;

use talk::Talk;

/// A connection each: beyond it one machine runs out of file descriptors and patience.
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

Two brokers, one after the other, each with fresh certificates and a fresh store in the temporary folder (TMPDIR). Both \
are filled with the same messages for one party (durability os, so that it does not take long): at the first the party is \
away, at the second it is there and keeps up. Resident memory is read with all publishers connected: before filling, and \
when all is stored (and heard) and the broker was left alone for a while. Both are then started again, with durability \
fsync, and read again. What the first has grown beyond the second is put to the absent party's account; block cache and \
memtables have both about alike. They and the allocator differ by tens of MB from run to run all the same, so that a \
growth far below zero says little; the figures of the brokers that were started again are the plainer ones.

The first broker then goes on: other transactions, of a talker and a listener each, talk at a fixed pace, first alone, then \
while the party catches up at QoS 1. Latency: from the moment at which a message was to be sent until its listener has it, \
the same for all; a message that could not be sent in time counts from when it should have been. Load generator and broker \
share the machine: the party's own decryption and counting is part of what the others notice.

EXAMPLES
  quorate-bench behind
  quorate-bench behind --to topics --messages 100000
  quorate-bench behind --publishers 1 --json";

/// How the messages are kept for the party that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeping {
    /// In the logs of transactions, one for each publisher.
    Rooms,
    /// In the queue of a session, from ordinary topics.
    Topics,
}

impl Keeping {
    fn kind(self) -> Kind {
        match self {
            Keeping::Rooms => Kind::QuorateRooms,
            Keeping::Topics => Kind::QuorateTopics,
        }
    }
}

/// A party that is very far behind: what it costs in memory, and the others while it catches up.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_long_help = EXPLANATION)]
pub struct Args {
    /// How many messages the party is behind.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MESSAGES_MAX))]
    messages: u64,
    /// How they are kept.
    #[arg(long, default_value = "rooms")]
    to: Keeping,
    /// Publishers that fill, each its own room or topic.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PUBLISHERS_MAX)))]
    publishers: u32,
    /// Unacknowledged messages a publisher.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(INFLIGHT_MAX)))]
    inflight: u16,
    /// Bytes of payload a message.
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(i64::from(PAYLOAD_BYTES_MIN)..=i64::from(PAYLOAD_BYTES_MAX)))]
    payload_bytes: u32,
    /// Other transactions that talk meanwhile.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PUBLISHERS_MAX)))]
    talking: u32,
    /// Milliseconds from one message of such a transaction to its next.
    #[arg(long, default_value_t = 20, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every_ms: u64,
    /// How long they talk alone.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    alone_s: u64,
    /// The longest that filling, and catching up, may take.
    #[arg(long, default_value_t = 600, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds_max: u64,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs both brokers and prints.
pub async fn run(args: Args) -> anyhow::Result<()> {
    crate::disk::ensure_temporary_folder_is_a_disk()?;
    let load = Load {
        publishers: args.publishers,
        inflight: args.inflight,
        messages: args.messages,
        payload_bytes: args.payload_bytes as usize,
        absent: 1,
        present: 0,
        phase_max: Duration::from_secs(args.seconds_max),
    };
    let talk = Talk {
        rooms: args.talking,
        every: Duration::from_millis(args.every_ms),
        payload_bytes: args.payload_bytes as usize,
    };
    eprintln!("the party is away ...");
    let away = run::away(args.to.kind(), &load, &talk, Duration::from_secs(args.alone_s)).await?;
    eprintln!("the party is there ...");
    let there = run::there(args.to.kind(), &load).await?;
    let report = report::Report::new(&args, away, there);
    match args.json {
        true => println!("{}", report.to_json()?),
        false => print!("{}", report.to_text()),
    }
    report.verdict()
}
