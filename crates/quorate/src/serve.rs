//! `quorate serve`: the composition root. It reads the configuration, opens the backbone, runs the broker, and ends it
//! on a signal. It is the only place that names a concrete backbone.

use std::future::Future;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use quorate_backbone_local::LocalBackbone;
use quorate_broker::config::{Config, LogConfig, LogFormat, StorePlace};
use quorate_broker::{Broker, BrokerError};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::backbone;

/// Exit code for a configuration that is not valid: `EX_USAGE` of sysexits.h.
pub const EXIT_CONFIG_INVALID: u8 = 64;

/// Exit code where a second signal cut the drain short.
const EXIT_CUT_SHORT: i32 = 1;

/// The embedded router is not heard, whatever the level: it speaks of packets as it sees them, and payloads are never
/// logged (invariant 10). It also formats a span of level ERROR for every publish, which any wider filter pays for.
const ROUTER_LOG: &str = "rumqttd=off";

/// Run the broker.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The broker runs until SIGTERM or SIGINT (Ctrl-C); then it stops accepting, tells its clients, stores what is pending and
exits with 0. A second signal ends it at once.

A [[listener]] speaks MQTT over TLS (\"tls\") or over WebSocket with TLS (\"wss\"), both with a client certificate; \"tcp\"
and \"ws\" are without either, on loopback addresses alone and in a broker of their own, for conformance suites.

Exit codes: 0 ended on a signal, 1 could not start (or ended at once), 64 the configuration is not valid.

Examples:
  quorate certs init --dir certs        make the certificates that the shipped broker.toml names
  quorate serve -c broker.toml --check  is the configuration valid?
  quorate serve -c broker.toml          run")]
pub struct Args {
    /// The configuration file. Every field is explained in the broker.toml that ships with Quorate.
    #[arg(short, long, value_name = "FILE", default_value = "broker.toml")]
    config: PathBuf,
    /// Only check the configuration: print all that is wrong with it, or that it is valid, and exit.
    #[arg(long)]
    check: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(EXIT_CONFIG_INVALID));
        }
    };
    if args.check {
        println!("{} is valid", args.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    start_log(&config.log)?;
    // Before anything is opened: a signal that comes while the broker starts is not lost.
    let stop = stop_signals()?;
    serve(config, &args.config, stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config, path: &Path, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "starting");
    let metrics = prometheus::default_registry().clone();
    let folder = store_folder(&config.storage.place)?;
    let local = open_backbone(&config, folder.path(), &metrics).await?;
    let outcome = match Broker::bind(config, local.backbone(), metrics).await {
        Ok(broker) => {
            broker.run(stop).await;
            Ok(())
        }
        Err(error) => Err(cannot_start(&error)),
    };
    // Whatever ended the broker, the store is closed in order.
    local.shut_down().await;
    folder.give_up();
    if outcome.is_ok() {
        tracing::info!("ended");
    }
    outcome
}

/// An error's text holds that of its sources; as a chain it would say everything twice.
fn cannot_start(error: &BrokerError) -> anyhow::Error {
    let hint = match error {
        BrokerError::Tls { .. } => "\n(`quorate certs init --dir certs` makes certificates for development)",
        _ => "",
    };
    anyhow::anyhow!("the broker cannot start: {error}{hint}")
}

/// Where the store is. A temporary one is deleted when this is given up, or dropped on the way.
enum StoreFolder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl StoreFolder {
    fn path(&self) -> &Path {
        match self {
            StoreFolder::Kept(path) => path,
            StoreFolder::Temporary(folder) => folder.path(),
        }
    }

    /// The store is closed and nobody needs its folder any more.
    fn give_up(self) {
        let StoreFolder::Temporary(folder) = self else { return };
        let path = folder.path().to_owned();
        if let Err(error) = folder.close() {
            tracing::warn!(path = %path.display(), %error, "the temporary store could not be deleted");
        }
    }
}

fn store_folder(place: &StorePlace) -> anyhow::Result<StoreFolder> {
    let path = match place {
        StorePlace::Folder(path) => return Ok(StoreFolder::Kept(path.clone())),
        StorePlace::Temporary => std::env::temp_dir(),
    };
    let folder = tempfile::Builder::new()
        .prefix("quorate-store-")
        .tempdir_in(&path)
        .with_context(|| format!("[storage] temporary: no folder can be made in {}", path.display()))?;
    tracing::warn!(path = %folder.path().display(), "the store is temporary: it is deleted when the broker ends");
    Ok(StoreFolder::Temporary(folder))
}

async fn open_backbone(config: &Config, path: &Path, metrics: &prometheus::Registry) -> anyhow::Result<LocalBackbone> {
    let options = backbone::options(config, path)?;
    if let Some(every) = options.danger_drop_every {
        tracing::warn!(every, "[danger] drop_lane_message_every is set: live messages are lost on purpose");
    }
    match &options.master_key {
        Some(key) => tracing::info!(master_key = key.id(), "what parties say is sealed before it is stored"),
        None => tracing::warn!("[storage] names no master key: what parties say is stored as they say it"),
    }
    let metrics = metrics.clone();
    let path = options.path.clone();
    // RocksDB opens with reads and perhaps a repair of its log; that is no work for an async worker.
    tokio::task::spawn_blocking(move || LocalBackbone::open(options, &metrics))
        .await
        .context("opening the store was cut short")?
        .map_err(|error| anyhow::anyhow!("[storage] {}: {error}", path.display()))
}

/// Standard error gets the log. The environment (`RUST_LOG`) is not asked: what is logged stands in the configuration.
fn start_log(log: &LogConfig) -> anyhow::Result<()> {
    let directives = format!("{},{ROUTER_LOG}", log.level);
    let filter = EnvFilter::try_new(&directives).with_context(|| format!("[log] level {:?}", log.level))?;
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process, however far it has come.
fn stop_signals() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "ending");
        let _ = tell.send(());
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "a second signal: ending at once");
        std::process::exit(EXIT_CUT_SHORT);
    });
    // The task above holds the sender for as long as the process lives.
    Ok(async move {
        let _ = told.await;
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
