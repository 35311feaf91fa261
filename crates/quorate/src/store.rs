//! `quorate store`: backups, what is put back from them, and the word that a restored store may go on.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_backbone_local::{BackupError, LocalOptions, OpenError, Restored};
use quorate_broker::config::Config;
use serde_json::{Value, json};

use crate::backbone;
use crate::connect::ApiArgs;
use crate::serve::EXIT_CONFIG_INVALID;

const EXAMPLES: &str = "\
Examples:
  A backup of a broker that runs (into `backup_folder` of its [storage]):
    quorate store backup nightly-1
  A backup of a store whose broker is stopped:
    quorate store backup --offline --to backups/nightly-1
  Put it back, with the broker stopped and the damaged store moved away:
    mv data data.damaged
    quorate store restore --from backups/nightly-1
    quorate serve &
    quorate store confirm

A restored store is another incarnation: what was said after the backup is gone, and slots that were written then would
be open again. So every transaction that was not closed is aborted (reason `restored`), and none begins before
`quorate store confirm`. The master key is in no backup: keep it apart, since without it no backup can be read.";

/// Back the store up, and put a backup in its place.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a backup, of a broker that runs or of a store whose broker is stopped.
    Backup(Backup),
    /// Put a backup in the place of the store. The broker must be stopped.
    Restore(Restore),
    /// Let transactions begin again in a restored store. The broker must run.
    Confirm(Confirm),
    /// Which incarnation of the store it is, and whether a restore waits to be confirmed. The broker must run.
    Show(Confirm),
}

#[derive(Debug, clap::Args)]
struct Backup {
    #[command(flatten)]
    api: ApiArgs,
    /// The name of the backup: a new folder in the broker's `backup_folder`.
    #[arg(value_name = "NAME", required_unless_present = "offline", conflicts_with = "offline")]
    backup: Option<String>,
    /// Of a store whose broker is stopped; asks no broker.
    #[arg(long, requires = "to")]
    offline: bool,
    /// With --offline: the folder that is made.
    #[arg(long, value_name = "DIR", requires = "offline")]
    to: Option<PathBuf>,
    /// With --offline: the configuration that names the store.
    #[arg(short, long, value_name = "FILE", default_value = "broker.toml")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Restore {
    /// The backup: a folder that `quorate store backup` made. It is left as it is.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The configuration that names the store. There must be none at its path (or one that a restore left unfinished).
    #[arg(short, long, value_name = "FILE", default_value = "broker.toml")]
    config: PathBuf,
    /// One JSON object instead of lines for a person.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Confirm {
    #[command(flatten)]
    api: ApiArgs,
}

/// Runs one of them.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Backup(args) => backup(args).await,
        Command::Restore(args) => restore(args).await,
        Command::Confirm(args) => {
            let store = args.api.client()?.confirm_restore().await?;
            tell(&args.api, &store, "transactions may begin");
            Ok(ExitCode::SUCCESS)
        }
        Command::Show(args) => {
            let store = args.api.client()?.store().await?;
            let words = match store["restore_unconfirmed"] == json!(true) {
                true => "restored; no transaction begins before `quorate store confirm`",
                false => "takes transactions",
            };
            tell(&args.api, &store, words);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tell(api: &ApiArgs, store: &Value, words: &str) {
    match api.json {
        true => println!("{store}"),
        false => println!("incarnation {}: {words}", store["incarnation"].as_str().unwrap_or_default()),
    }
}

async fn backup(args: Backup) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.backup {
        let made = args.api.client()?.back_up(name).await?;
        match args.api.json {
            true => println!("{made}"),
            false => println!("{}", made["path"].as_str().unwrap_or_default()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let to = args.to.context("--offline needs --to")?;
    let Some(options) = options(&args.config)? else { return Ok(ExitCode::from(EXIT_CONFIG_INVALID)) };
    let from = options.path.clone();
    let copied = tokio::task::spawn_blocking({
        let to = to.clone();
        move || quorate_backbone_local::backup(&options, &to)
    });
    match copied.await? {
        Ok(()) => println!("{}", to.display()),
        Err(BackupError::Open(OpenError::Locked)) => anyhow::bail!(
            "{}: a broker has it open; `quorate store backup NAME` asks that broker for the backup",
            from.display()
        ),
        Err(error) => return Err(error).with_context(|| from.display().to_string()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn restore(args: Restore) -> anyhow::Result<ExitCode> {
    let Some(options) = options(&args.config)? else { return Ok(ExitCode::from(EXIT_CONFIG_INVALID)) };
    let to = options.path.clone();
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{msg} {pos} of {len} {wide_bar} {elapsed}")?);
    let mut progress = |what: &str, done: u64, of: u64| {
        bar.set_message(what.to_owned());
        bar.set_length(of);
        bar.set_position(done);
    };
    let restored = quorate_backbone_local::restore(&args.from, options, &mut progress).await;
    bar.finish_and_clear();
    let Restored { incarnation, transactions, aborted } = restored.map_err(|error| match error {
        BackupError::Occupied(path) => anyhow::anyhow!(
            "{} is there already; move it away first (`mv {0} {0}.old`), nothing is written over",
            path.display()
        ),
        error => anyhow::Error::new(error).context(format!("{} into {}", args.from.display(), to.display())),
    })?;
    if args.json {
        let aborted = json!({
            "incarnation": incarnation, "transactions": transactions, "aborted": aborted, "restore_unconfirmed": true
        });
        println!("{aborted}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("restored  {} (incarnation {incarnation})", to.display());
    println!("aborted   {aborted} of {transactions} transactions: those that were not closed");
    println!("Start the broker; it takes no new transaction before `quorate store confirm`.");
    Ok(ExitCode::SUCCESS)
}

/// How to open the store of a configuration; `None`: its problems have been told.
pub fn options(config: &Path) -> anyhow::Result<Option<LocalOptions>> {
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(None);
        }
    };
    let folder = backbone::store_folder(&config)?;
    backbone::options(&config, &folder).map(Some)
}
