//! The load generator. Each subcommand measures one thing, says what, and prints it for a person or as JSON.
//!
//! It drives the built broker from outside, as a process of its own with fresh certificates and a fresh store (both the
//! testkit's matter), over the connections that parties use. It asserts nothing about speed; it fails where a message
//! that was acknowledged is not delivered.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod behind;
mod clock;
mod disk;
mod fill;
mod listening;
mod offline;
mod phase;
mod process;
mod prometheus_text;
mod publish;
mod receiver;
mod scene;
mod sender;
mod stamp;
mod subject;

/// Measures the Quorate broker. Build both with `cargo build --release` first; the broker is started by itself.
#[derive(Debug, Parser)]
#[command(name = "quorate-bench", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages a second, latency, CPU and memory of transactions of three parties.
    Publish(publish::Args),
    /// Messages for absent parties, stored and drained: rates, disk, memory; beside mosquitto and nats-server.
    Offline(offline::Args),
    /// A party that is very far behind: what it costs in memory, and the others while it catches up.
    Behind(behind::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Publish(args) => publish::run(args).await,
        Command::Offline(args) => offline::run(args).await,
        Command::Behind(args) => behind::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
