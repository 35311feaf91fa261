//! Power cuts under load: after a SIGKILL the store is what was synced, and no more ([`disk`] says exactly what that is and
//! is not). With `durability = "fsync"` no promise is broken; that the same cut does break one with `"os"` shows that it cuts.
//!
//! `QUORATE_CRASH_SEED` sets the seed, `QUORATE_POWER_CUT_CYCLES` the number of cycles. `make crash-test` runs many.

mod disk;
mod journal;

use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::crash::load::{Load, options};
use crate::crash::setting;
use crate::stage::Stage;
use disk::{Disk, Loss, Tail};

const CYCLES: u32 = 5;
/// After so many cycles all is brought to rest and heard again from the beginning, and other transactions are opened.
const CYCLES_BETWEEN_RESTS: u32 = 25;
/// How long what is lost is waited for.
const LOST_AFTER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fsync_a_power_cut_breaks_no_promise() {
    let (seed, cycles) = (setting("QUORATE_CRASH_SEED", rand::random()), setting("QUORATE_POWER_CUT_CYCLES", CYCLES));
    println!("seed {seed}, {cycles} cycles");
    let outcome = cut_again_and_again(seed, cycles).await;
    outcome.unwrap_or_else(|error| panic!("QUORATE_CRASH_SEED={seed}: {error:#}"));
}

async fn cut_again_and_again(seed: u64, cycles: u32) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut disk = Disk::new()?;
    let mut stage = Stage::open_with(disk.under(options().set("storage.durability", "fsync"))?).await;
    let mut load = Load::begin(&stage, &mut rng).await;
    let (began, mut loss) = (Instant::now(), Loss::default());
    for cycle in 1..=cycles {
        let tail = if rng.gen_ratio(1, 3) { Tail::Torn } else { Tail::Gone };
        let cut = cut_once(&mut stage, &mut disk, &load, tail, &mut rng).await;
        loss += cut.with_context(|| format!("cycle {cycle}, {tail:?}"))?;
        if cycle % CYCLES_BETWEEN_RESTS == 0 || cycle == cycles {
            load.rest(&stage).await.with_context(|| format!("at rest after cycle {cycle}"))?;
            println!("{cycle} cycles in {:.0?}: {}, {loss:?}", began.elapsed(), load.summary());
            load.open_rooms(&stage).await;
        }
    }
    Ok(())
}

async fn cut_once(
    stage: &mut Stage,
    disk: &mut Disk,
    load: &Load,
    tail: Tail,
    rng: &mut StdRng,
) -> anyhow::Result<Loss> {
    load.speak();
    load.wander(rng);
    sleep(Duration::from_millis(rng.gen_range(20..600))).await;
    stage.broker_mut().kill9()?;
    let mut loss = disk.cut(tail, rng)?;
    if rng.gen_ratio(1, 4) {
        // While it recovers: what that has moved and removed is cut as well.
        stage.broker_mut().launch()?;
        sleep(Duration::from_millis(rng.gen_range(0..250))).await;
        stage.broker_mut().kill9()?;
        loss += disk.cut(tail, rng)?;
    }
    let owed = load.owed();
    stage.broker_mut().restart().await?;
    load.paid(&owed).await?;
    Ok(loss)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_fsync_the_same_cut_loses_what_was_acknowledged() {
    let mut rng = StdRng::seed_from_u64(rand::random());
    let mut disk = Disk::new().expect("a disk");
    let options = disk.under(options().set("storage.durability", "os")).expect("a shim");
    let mut stage = Stage::open_with(options).await;
    let load = Load::begin(&stage, &mut rng).await;
    // An orderly stop syncs what there is: transactions, sessions and subscriptions are there after the cut.
    stage.terminate().await;
    stage.restart().await;
    load.empty_seats();
    load.speak();
    sleep(Duration::from_millis(300)).await;
    load.quiet().await.expect("all is answered, and no promise broken");
    stage.kill();
    let loss = disk.cut(Tail::Gone, &mut rng).expect("a cut");
    assert!(loss.log_bytes > 0, "{loss:?}");
    stage.restart().await;
    load.fill_seats();
    let lost = load.lost(&load.owed(), LOST_AFTER).await.expect("what was acknowledged is lost");
    assert!(lost.contains("Taken] ") || lost.contains("Taken]\n"), "{lost}");
}
