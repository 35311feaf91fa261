//! The two brokers: one for a party that is away and then catches up, one for a party that keeps up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quorate_client::{Client, ConnectOptions};
use quorate_testkit::{BrokerOptions, BrokerProcess};
use serde::Serialize;
use tokio::time::sleep;

use super::talk::{Talk, talk};
use crate::clock::{Clock, Tally};
use crate::disk;
use crate::fill::{Filled, fill};
use crate::listening::Listening;
use crate::phase::{self, Cost};
use crate::process::Process;
use crate::receiver::{Goal, Heard};
use crate::scene::{Load, Scene};
use crate::subject::{Kind, quorate_options};

/// How long a broker is left alone before its memory is read: compaction of what was just written ends in it.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// Resident memory of a broker's process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// With everybody connected, and nothing sent.
    pub before_bytes: u64,
    /// With everything stored, and the same connections.
    pub filled_bytes: u64,
    /// The most until then.
    pub peak_bytes: u64,
    /// Started again on that store, without connections.
    pub restarted_bytes: u64,
}

/// What the broker showed whose party was away.
#[derive(Debug)]
pub struct Away {
    pub memory: Memory,
    pub filled_per_s: f64,
    pub disk_bytes_per_message: f64,
    /// How many messages the party was behind.
    pub behind: u64,
    pub caught_up: Heard,
    pub caught_up_per_s: f64,
    /// Of the catch-up.
    pub cost: Cost,
    /// The others, with nothing else going on.
    pub alone: Tally,
    /// The others, during the catch-up.
    pub meanwhile: Tally,
}

/// Fills while the party is away, talks, and lets it catch up.
pub async fn away(kind: Kind, load: &Load, others: &Talk, alone: Duration) -> anyhow::Result<Away> {
    let mut broker = start(load).await?;
    let Scene { publishers, mut absent, .. } = scene(&broker, kind, load).await?;
    let party = absent.pop().context("the scene has an absent party")?;
    let process = Process::Id(broker.pid()?);
    sleep(SETTLED_AFTER).await;
    let (before_bytes, disk_before) = (process.resident_bytes()?, disk::bytes_below(&broker.store_path())?);
    let clock = measuring_clock();
    let (filled, fill_cost) = fill(publishers, load, &clock, process, "filling, the party away".to_owned()).await?;
    let behind = all_taken(&filled)?;
    let memory = look_and_restart(&mut broker, before_bytes, load, filled.publishers).await?;
    let disk_after = disk::bytes_below(&broker.store_path())?;
    let (alone, ()) = talk(&broker, others, "alone", async {
        sleep(alone).await;
        Ok(())
    })
    .await
    .context("the others alone")?;
    let catching_up = catch_up(party, behind, load, Process::Id(broker.pid()?));
    let (meanwhile, (caught_up, caught_up_per_s, cost)) =
        talk(&broker, others, "meanwhile", catching_up).await.context("the others, and the catch-up")?;
    end(&mut broker).await?;
    Ok(Away {
        memory,
        filled_per_s: behind as f64 / fill_cost.elapsed.as_secs_f64(),
        disk_bytes_per_message: disk_after.saturating_sub(disk_before) as f64 / behind as f64,
        behind,
        caught_up,
        caught_up_per_s,
        cost,
        alone,
        meanwhile,
    })
}

/// Fills while the party is there and keeps up.
pub async fn there(kind: Kind, load: &Load) -> anyhow::Result<Memory> {
    let mut broker = start(load).await?;
    let Scene { publishers, mut absent, .. } = scene(&broker, kind, load).await?;
    let party = absent.pop().context("the scene has an absent party")?;
    let clock = measuring_clock();
    let mut listening = Listening::start(&clock, load.publishers);
    listening.add(Client::connect(party).await?, Goal::Unknown);
    let process = Process::Id(broker.pid()?);
    sleep(SETTLED_AFTER).await;
    let before_bytes = process.resident_bytes()?;
    let (filled, _) = fill(publishers, load, &clock, process, "filling, the party there".to_owned()).await?;
    let stored = all_taken(&filled)?;
    let heard = listening.end(&[stored], load.phase_max).await?;
    ensure!(heard.messages.all >= stored, "{} of {stored} messages were heard: {:?}", heard.messages.all, heard.broken);
    let memory = look_and_restart(&mut broker, before_bytes, load, filled.publishers).await?;
    end(&mut broker).await?;
    Ok(memory)
}

async fn start(load: &Load) -> anyhow::Result<BrokerProcess> {
    let options = options(load).set("storage.durability", "os");
    BrokerProcess::start_with(options).await.context("the broker did not start")
}

fn options(load: &Load) -> BrokerOptions {
    quorate_options(load.messages)
}

async fn scene(broker: &BrokerProcess, kind: Kind, load: &Load) -> anyhow::Result<Scene> {
    Scene::build(&|name| broker.connect_options(name, name), kind, load).await
}

fn measuring_clock() -> Arc<Clock> {
    let clock = Arc::new(Clock::new());
    clock.begin_measuring();
    clock
}

/// How many messages were stored. One that was refused would leave the party less behind than asked for.
fn all_taken(filled: &Filled) -> anyhow::Result<u64> {
    let sent = &filled.sent;
    ensure!(
        sent.refused.is_empty() && sent.unanswered == 0 && sent.broken.is_empty(),
        "not all messages were taken: refused {:?}, {} unanswered, {:?}",
        sent.refused,
        sent.unanswered,
        sent.broken
    );
    ensure!(sent.acknowledged.all > 0, "no message was stored");
    Ok(sent.acknowledged.all)
}

/// Reads memory, lets the publishers go, starts the broker again with fsync, and reads it again.
async fn look_and_restart(
    broker: &mut BrokerProcess,
    before_bytes: u64,
    load: &Load,
    publishers: Vec<Client>,
) -> anyhow::Result<Memory> {
    sleep(SETTLED_AFTER).await;
    let process = Process::Id(broker.pid()?);
    let (filled_bytes, peak_bytes) = (process.resident_bytes()?, process.peak_resident_bytes()?);
    for publisher in publishers {
        publisher.disconnect().await?;
    }
    end(broker).await?;
    broker.restart_with(options(load)).await.context("starting again")?;
    sleep(SETTLED_AFTER).await;
    let restarted_bytes = Process::Id(broker.pid()?).resident_bytes()?;
    Ok(Memory { before_bytes, filled_bytes, peak_bytes, restarted_bytes })
}

async fn end(broker: &mut BrokerProcess) -> anyhow::Result<()> {
    let status = broker.terminate().await.context("ending the broker")?;
    ensure!(status.success(), "the broker ended with {status}");
    Ok(())
}

/// What was heard, how many messages a second until the last, and what it took.
async fn catch_up(
    party: ConnectOptions,
    behind: u64,
    load: &Load,
    process: Process,
) -> anyhow::Result<(Heard, f64, Cost)> {
    let clock = measuring_clock();
    let mut listening = Listening::start(&clock, load.publishers);
    let done = listening.done();
    let began = Instant::now();
    let work = async {
        listening.add(Client::connect(party).await?, Goal::Messages(behind));
        listening.end_as_told(load.phase_max).await
    };
    let (heard, cost) = phase::watch("catching up".to_owned(), behind, &done, process, work).await?;
    let heard = heard?;
    let seconds = heard.last.map_or(0.0, |last| (last - began).as_secs_f64());
    // Without a message there is no rate; a microsecond keeps it a number.
    let per_s = heard.messages.all as f64 / seconds.max(1e-6);
    Ok((heard, per_s, cost))
}
