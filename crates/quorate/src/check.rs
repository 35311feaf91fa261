//! `quorate check`: is it as it should be? Looks, and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_backbone_local::{CheckReport, OpenError};
use quorate_broker::config::Config;
use serde_json::json;

use crate::serve::EXIT_CONFIG_INVALID;
use crate::store;

const EXAMPLES: &str = "\
Examples:
  Is the configuration valid?
    quorate check config -c broker.toml
  Is the store sound? (The broker must be stopped; a backup can be looked at any time.)
    quorate check store -c broker.toml
    quorate check store -c broker.toml --path backups/nightly-1

Exit codes: 0 all is well, 1 something is wrong, 64 the configuration is not valid.";

/// Look whether a configuration or a store is as it should be.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Whether a configuration is valid; all that is wrong is told at once.
    Config(ConfigArgs),
    /// Whether a store is sound: checksums, sequences, hash chains, slots, cursors, queues, sums.
    Store(StoreArgs),
}

#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "broker.toml")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// The configuration that names the store and its master key.
    #[arg(short, long, value_name = "FILE", default_value = "broker.toml")]
    config: PathBuf,
    /// Another store or a backup, under the same master key.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// One JSON object instead of lines for a person.
    #[arg(long)]
    json: bool,
}

/// Runs one of them.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Config(args) => Ok(config(&args)),
        Command::Store(args) => check_store(args).await,
    }
}

fn config(args: &ConfigArgs) -> ExitCode {
    match Config::load(&args.config) {
        Ok(_) => {
            println!("{} is valid", args.config.display());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::from(EXIT_CONFIG_INVALID)
        }
    }
}

async fn check_store(args: StoreArgs) -> anyhow::Result<ExitCode> {
    let Some(mut options) = store::options(&args.config)? else { return Ok(ExitCode::from(EXIT_CONFIG_INVALID)) };
    options.path = args.path.unwrap_or(options.path);
    let path = options.path.clone();
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}: {pos} records, {elapsed}")?);
    let looking = tokio::task::spawn_blocking(move || {
        let mut progress = |family: &str, done: u64, _: u64| {
            bar.set_message(family.to_owned());
            bar.set_position(done);
        };
        let report = quorate_backbone_local::check(&options, &mut progress);
        bar.finish_and_clear();
        report
    });
    let report = looking.await?.map_err(|error| match error {
        OpenError::Locked => anyhow::anyhow!(
            "a broker has it open: stop it, or look at a backup (`quorate store backup`, `quorate check store --path`)"
        ),
        error => error.into(),
    });
    let report = report.with_context(|| path.display().to_string())?;
    match args.json {
        true => println!("{}", as_json(&report)),
        false => tell(&report),
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(report: &CheckReport) -> serde_json::Value {
    let findings = report
        .findings
        .iter()
        .map(|finding| json!({ "family": finding.family, "place": finding.place, "problem": finding.problem }));
    json!({
        "sound": report.is_sound(),
        "records": report.records,
        "transactions": report.transactions,
        "chained": report.chained,
        "unopened": report.unopened,
        "findings": findings.collect::<Vec<_>>(),
        "more_findings": report.more_findings,
    })
}

fn tell(report: &CheckReport) {
    for finding in &report.findings {
        println!("{finding}");
    }
    if report.more_findings > 0 {
        println!("and {} more", report.more_findings);
    }
    let CheckReport { records, transactions, chained, unopened, .. } = report;
    println!("{records} records; {transactions} transactions, {chained} messages in their hash chains");
    if *unopened > 0 {
        println!("{unopened} transactions are sealed and could not be opened: their hash chains were not computed");
    }
    match report.is_sound() {
        true => println!("The store is sound."),
        false => println!("The store is damaged. `quorate store restore` puts a backup in its place."),
    }
}
