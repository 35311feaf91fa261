//! One run: a broker is started, filled while some are absent, looked at, drained, and ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate_client::{Client, ConnectOptions};
use tokio::time::sleep;

use super::figures::{Delivered, Figures, Memory, Stored};
use crate::clock::Clock;
use crate::disk;
use crate::fill::fill;
use crate::listening::Listening;
use crate::phase::{self, Cost};
use crate::process::Process;
use crate::receiver::Goal;
use crate::scene::{Load, Scene};
use crate::subject::{Kind, Programs, Subject};

/// How long a broker is left alone before memory and disk are looked at, the same for every one: what it does in the
/// background for what has just been stored belongs to it.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Measures one broker with one load.
pub async fn measure(kind: Kind, programs: &Programs, load: &Load) -> anyhow::Result<Figures> {
    let (folder, bytes) = (std::env::temp_dir(), load.payload_bytes);
    let measuring = tokio::task::spawn_blocking(move || disk::synced_appends_per_second(&folder, bytes));
    let disk_syncs_per_s = measuring.await?.context("measuring the disk")?;
    let subject = Subject::start(kind, programs, load.messages).await.context("it did not start")?;
    let figures = measure_started(&subject, kind, load, disk_syncs_per_s).await?;
    subject.end().await.context("ending it")?;
    Ok(figures)
}

async fn measure_started(subject: &Subject, kind: Kind, load: &Load, disk_syncs_per_s: f64) -> anyhow::Result<Figures> {
    let process = subject.process()?;
    let Scene { publishers, absent, present } = Scene::build(&|name| subject.connect_options(name), kind, load).await?;
    sleep(SETTLED_AFTER).await;
    let before_bytes = process.resident_bytes()?;
    let disk_before = disk::bytes_below(&subject.store())?;

    let clock = Arc::new(Clock::new());
    clock.begin_measuring();
    let mut listening = Listening::start(&clock, load.publishers);
    for client in present {
        listening.add(client, Goal::Unknown);
    }
    let began = Instant::now();
    let (filled, cost) = fill(publishers, load, &clock, process, format!("{}: storing", kind.name())).await?;
    let acknowledged: u64 = filled.per_absent.iter().sum();
    let heard = listening.end(&vec![acknowledged; load.present as usize], load.phase_max).await?;
    let heard = (load.present > 0)
        .then(|| Delivered::new(heard, acknowledged * u64::from(load.present), began, Instant::now(), cost));
    sleep(SETTLED_AFTER).await;
    let after_storing_bytes = process.resident_bytes()?;
    subject.save().await?;
    let disk_after = disk::bytes_below(&subject.store())?;

    let (drained, drain_cost) = drain(absent, &filled.per_absent, load, process, kind).await?;
    drop(filled.publishers);
    Ok(Figures {
        disk_syncs_per_s,
        stored: Stored::new(filled.sent, cost),
        heard,
        drained,
        memory: Memory {
            before_bytes,
            after_storing_bytes,
            draining_bytes_max: drain_cost.resident_bytes_max,
            peak_bytes: process.peak_resident_bytes()?,
        },
        // Without a message there is no figure a message; 1 keeps it a number.
        disk_bytes_per_message: disk_after.saturating_sub(disk_before) as f64 / acknowledged.max(1) as f64,
    })
}

async fn drain(
    absent: Vec<ConnectOptions>,
    expected: &[u64],
    load: &Load,
    process: Process,
    kind: Kind,
) -> anyhow::Result<(Delivered, Cost)> {
    let clock = Arc::new(Clock::new());
    let mut listening = Listening::start(&clock, load.publishers);
    let done = listening.done();
    let total = expected.iter().sum();
    let began = Instant::now();
    let work = async {
        for (options, &expected) in absent.into_iter().zip(expected) {
            let client = Client::connect(options).await.context("an absent session did not come back")?;
            listening.add(client, Goal::Messages(expected));
        }
        listening.end_as_told(load.phase_max).await
    };
    let (heard, cost) = phase::watch(format!("{}: draining", kind.name()), total, &done, process, work).await?;
    Ok((Delivered::new(heard?, total, began, Instant::now(), cost), cost))
}
