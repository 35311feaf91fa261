//! Crashes under load: SIGKILL at random moments, also while the broker starts and while its clients come back, and now and
//! then an orderly stop. Whatever happens, no promise is broken; what is promised stands in [`model`].
//!
//! `QUORATE_CRASH_SEED` sets the seed (what is said and when the broker is killed; how far it has come by then is the
//! machine's), `QUORATE_CRASH_CYCLES` the number of cycles. `make crash-test` runs many.

mod ear_record;
mod ground;
mod line;
mod listener;
pub mod load;
mod model;
mod model_tests;
mod mouth;
mod rumqttc_v4;
mod rumqttc_v5;
mod saying;

use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::stage::Stage;
use load::{Load, options};

const CYCLES: u32 = 20;
/// After so many cycles all is brought to rest and heard again from the beginning, and other transactions are opened.
const CYCLES_BETWEEN_RESTS: u32 = 25;
/// Cycles in a test that acknowledge fewer messages than this show little.
const TAKEN_PER_CYCLE_MIN: usize = 20;

/// How a broker ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// SIGKILL after some load.
    Kill,
    /// SIGKILL once more, or several times, before it is ready again.
    KillWhileStarting(u32),
    /// SIGKILL, and the next cycle does not wait until all is heard that was said before.
    KillBehind,
    /// SIGTERM.
    Stop,
}

impl End {
    fn choose(rng: &mut StdRng) -> End {
        match rng.gen_range(0..20) {
            0..11 => End::Kill,
            11..14 => End::KillWhileStarting(rng.gen_range(1..4)),
            14..17 => End::KillBehind,
            _ => End::Stop,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds_over_crashes_at_random_moments() {
    let (seed, cycles) = (setting("QUORATE_CRASH_SEED", rand::random()), setting("QUORATE_CRASH_CYCLES", CYCLES));
    println!("seed {seed}, {cycles} cycles");
    let outcome = crash(seed, cycles).await;
    outcome.unwrap_or_else(|error| panic!("QUORATE_CRASH_SEED={seed}: {error:#}"));
}

/// What a variable of the environment sets.
pub fn setting<T: FromStr<Err: Display>>(name: &str, default: T) -> T {
    let Ok(value) = std::env::var(name) else { return default };
    value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}"))
}

async fn crash(seed: u64, cycles: u32) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stage = Stage::open_with(options()).await;
    let mut load = Load::begin(&stage, &mut rng).await;
    let began = Instant::now();
    for cycle in 1..=cycles {
        let end = End::choose(&mut rng);
        cycle_once(&mut stage, &load, end, &mut rng).await.with_context(|| format!("cycle {cycle}, {end:?}"))?;
        if cycle % CYCLES_BETWEEN_RESTS == 0 || cycle == cycles {
            load.rest(&stage).await.with_context(|| format!("at rest after cycle {cycle}"))?;
            println!("{cycle} cycles in {:.0?}: {}", began.elapsed(), load.summary());
            load.open_rooms(&stage).await;
        }
    }
    ensure!(load.taken_count() >= TAKEN_PER_CYCLE_MIN * cycles as usize, "too little load: {}", load.summary());
    Ok(())
}

async fn cycle_once(stage: &mut Stage, load: &Load, end: End, rng: &mut StdRng) -> anyhow::Result<()> {
    load.speak();
    load.wander(rng);
    let moment = match end {
        End::KillBehind => 0..60,
        _ => 20..600,
    };
    sleep(Duration::from_millis(rng.gen_range(moment))).await;
    match end {
        End::Stop => {
            let status = stage.broker_mut().terminate().await?;
            ensure!(status.success(), "an orderly stop ended with {status}");
        }
        _ => stage.broker_mut().kill9()?,
    }
    if let End::KillWhileStarting(times) = end {
        for _ in 0..times {
            stage.broker_mut().launch()?;
            sleep(Duration::from_millis(rng.gen_range(0..250))).await;
            stage.broker_mut().kill9()?;
        }
    }
    let owed = load.owed();
    stage.broker_mut().restart().await?;
    match end {
        End::KillBehind => load.check(),
        _ => load.paid(&owed).await,
    }
}
