//! `quorate demo`: a real key generation and a real signature among three parties, one of them away for the first
//! half, with the broker killed in between.
//!
//! [`script`] is the story, step by step; [`stage`] holds what it needs (certificates, the broker's process, the
//! parties' processes, the operator's questions); [`visit`] is one visit of a party, a process of its own, around the
//! [`ceremony`], which does no I/O; [`intrude`] is somebody who is not invited; [`report`] is what a person or a program
//! reads.

use std::{path::PathBuf, process::ExitCode};

mod broker;
mod ceremony;
mod intrude;
mod report;
mod script;
mod stage;
mod state_file;
mod verify;
mod visit;

const EXAMPLES: &str = "\
Examples:
  quorate demo
  quorate demo --keep          look at the state files, the broker's log and its store afterwards
  quorate demo --json | jq .   one object a step

The demo starts a broker of its own, on free ports of this machine, with a store of its own:
nothing that runs already is touched. Certificates that are missing in --certs are made there.
The last line is `signature: valid` (with --json an object that says so). Exit code: 0 then, 1 otherwise.";

/// Run a key generation and a signature among three parties, one of them away for the first half.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    demo: DemoArgs,
}

/// The demo itself.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// The certificate folder.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// Where to work; kept afterwards. What an earlier demo left there is replaced. Default: a temporary folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the temporary folder (state files with secrets, the broker's store and log) and print where it is.
    #[arg(long)]
    keep: bool,
    /// One JSON object a step.
    #[arg(long)]
    json: bool,
    /// Keep the round-2 packages in the state files, and do not seal the broker's store, for the test that looks for the
    /// ones in the other.
    #[arg(long, hide = true)]
    danger_keep_round2: bool,
}

/// The processes that the demo starts.
#[derive(Debug, clap::Subcommand)]
enum Role {
    /// One visit of a party.
    #[command(hide = true)]
    Visit(visit::Args),
    /// Somebody who is not invited tries.
    #[command(hide = true)]
    Intrude(intrude::Args),
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.role {
        None => script::run(args.demo).await,
        Some(Role::Visit(args)) => visit::run(args).await,
        Some(Role::Intrude(args)) => intrude::run(args).await,
    }
}
