//! One phase of a run: its work is done while the broker's memory is looked at and the progress is shown.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};
use tokio::time::{MissedTickBehavior, interval};

use crate::process::{Process, machine_cpu_time};

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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    #[serde(rename = "elapsed_s", serialize_with = "as_seconds")]
    pub elapsed: Duration,
    /// CPU that the broker used, in cores.
    pub broker_cores: f64,
    /// CPU that this load generator used, in cores.
    pub generator_cores: f64,
    /// CPU that everything else on the machine used, in cores: the kernel's share of disk and network, and whoever
    /// disturbs the measurement.
    pub other_cores: f64,
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
    let before = CpuTimes::read(broker)?;
    let began = Instant::now();
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
    let after = CpuTimes::read(broker)?;
    let cores = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64();
    let broker_cores = cores(before.broker, after.broker);
    let generator_cores = cores(before.generator, after.generator);
    let cost = Cost {
        elapsed,
        broker_cores,
        generator_cores,
        other_cores: (cores(before.machine, after.machine) - broker_cores - generator_cores).max(0.0),
        resident_bytes_max: resident_bytes_max.max(broker.resident_bytes()?),
    };
    Ok((outcome, cost))
}

fn as_seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

struct CpuTimes {
    broker: Duration,
    generator: Duration,
    machine: Duration,
}

impl CpuTimes {
    fn read(broker: Process) -> anyhow::Result<CpuTimes> {
        Ok(CpuTimes { broker: broker.cpu_time()?, generator: Process::Own.cpu_time()?, machine: machine_cpu_time()? })
    }
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
