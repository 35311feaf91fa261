//! The one binary. Each subcommand is a module with `Args` and `run`; nothing else lives here.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backbone;
mod certs;
mod check;
mod connect;
mod demo;
mod party;
mod publish;
mod serve;
mod store;
mod subscribe;
mod table;
mod tx;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FIRST_STEPS: &str = "\
First steps:
  quorate demo                       see three parties generate a key and sign
  quorate certs init                 make a development CA and certificates in ./certs
  quorate serve -c broker.toml       run the broker
  quorate tx create --as alice --parties alice,bob --threshold 2 --protocol test --no-join
  quorate sub --as bob -t 'tx/#'     hear all that was said to bob, also before he came";

/// Quorate: the MQTT broker in which a transaction is a closed room.
///
/// Only the parties that a transaction lists can speak or listen there. What the broker acknowledged is on disk and
/// reaches every party, however late. Who a party is, its certificate says (mutual TLS).
#[derive(Debug, Parser)]
#[command(version, after_help = FIRST_STEPS, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(serve::Args),
    /// Make and read certificates: a development CA, one certificate a party.
    Certs(certs::Args),
    /// Create, show, list and close transactions.
    Tx(tx::Args),
    /// Ask who is present.
    Party(party::Args),
    /// Back the store up, and put a backup in its place.
    Store(store::Args),
    /// Look whether a configuration or a store is as it should be.
    Check(check::Args),
    /// Publish one message.
    Pub(publish::Args),
    /// Subscribe and print what arrives.
    Sub(subscribe::Args),
    /// Run a key generation and a signature among three parties, one of them away for the first half.
    Demo(demo::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(args).await,
        Command::Certs(args) => certs::run(args).await,
        Command::Tx(args) => tx::run(args).await,
        Command::Party(args) => party::run(args).await,
        Command::Store(args) => store::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Pub(args) => publish::run(args).await,
        Command::Sub(args) => subscribe::run(args).await,
        Command::Demo(args) => demo::run(args).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("quorate: {error:#}");
        ExitCode::FAILURE
    })
}
