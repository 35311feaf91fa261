//! One phase of a run: its work is done while the broker's memory is looked at and the progress is shown.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};

use crate::process::Process;

/// How often memory is looked at. A look reads one small file.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What the tasks of a phase have done so far.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a phase took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    pub elapsed: Duration,
    /// CPU that the broker used, in cores.
    pub broker_cores: f64,
    /// CPU that this load generator used, in cores.
    pub generator_cores: f64,
    /// The most resident memory of the broker that a look found.
    pub resident_bytes_max: u64,
}

/// Does the work and watches `broker` meanwhile. Progress is shown on a terminal alone; `total` is what `done` reaches
/// when all is done.
pub async fn watch<T>(
    name: String,
    total: u64,
    done: &Counter,
    broker: Process,
    work: impl Future<Output = T>,
) -> anyhow::Result<(T, Cost)> {
    let bar = progress_bar(name, total);
    let (broker_cpu, generator_cpu, began) = (broker.cpu_time()?, Process::Own.cpu_time()?, Instant::now());
    let mut resident_bytes_max = broker.resident_bytes()?;
    let mut looks = interval(BETWEEN_LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            _ = looks.tick() => {
                resident_bytes_max = resident_bytes_max.max(broker.resident_bytes()?);
                bar.set_position(done.value());
            }
        }
    };
    let elapsed = began.elapsed();
    bar.finish_and_clear();
    let cores = |cpu: Duration| cpu.as_secs_f64() / elapsed.as_secs_f64();
    let cost = Cost {
        elapsed,
        broker_cores: cores(broker.cpu_time()?.saturating_sub(broker_cpu)),
        generator_cores: cores(Process::Own.cpu_time()?.saturating_sub(generator_cpu)),
        resident_bytes_max: resident_bytes_max.max(broker.resident_bytes()?),
    };
    Ok((outcome, cost))
}

fn progress_bar(name: String, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:44} {bar:30} {human_pos}/{human_len} {per_sec} {elapsed}")
        .expect("the template is well formed");
    ProgressBar::new(total).with_style(style).with_message(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_is_done_and_its_cost_is_told() {
        let done = Counter::default();
        let work = async {
            done.add(2);
            7
        };
        let (outcome, cost) = watch("two".to_owned(), 2, &done, Process::Own, work).await.expect("this process lives");
        assert_eq!((outcome, done.value()), (7, 2));
        assert!(cost.resident_bytes_max > 0);
    }
}
