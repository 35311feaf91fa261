//! The committer's batches, as the broker's own metrics tell them.

use std::time::Instant;

use crate::prometheus_text::total;

/// The histogram of jobs a batch, one observation a batch.
const BATCH_SIZE: &str = "quorate_commit_batch_size";
/// The histogram of the time that a write and its sync take, one observation a batch.
const COMMIT_SECONDS: &str = "quorate_commit_seconds";

/// The committer's counters at one moment, from the broker's start on.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    at: Instant,
    batches: f64,
    jobs: f64,
    commit_seconds: f64,
}

/// What was written between two looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batches {
    /// Batches a second, each with one write and one sync.
    pub per_s: f64,
    /// Jobs a batch on average: nearly all of them messages, some of them session records.
    pub mean_jobs: f64,
    /// Share of the time that the committer spent in writes and syncs.
    pub writing_share: f64,
}

impl Look {
    /// What `/metrics` says, asked for at `at`; `None` where it says nothing.
    pub fn read(metrics: &str, at: Instant) -> Option<Look> {
        Some(Look {
            at,
            batches: total(metrics, &format!("{BATCH_SIZE}_count"))?,
            jobs: total(metrics, &format!("{BATCH_SIZE}_sum"))?,
            commit_seconds: total(metrics, &format!("{COMMIT_SECONDS}_sum"))?,
        })
    }

    /// What was written since an earlier look; `None` where nothing was.
    pub fn since(self, earlier: Look) -> Option<Batches> {
        let seconds = (self.at - earlier.at).as_secs_f64();
        let batches = self.batches - earlier.batches;
        (batches > 0.0 && seconds > 0.0).then(|| Batches {
            per_s: batches / seconds,
            mean_jobs: (self.jobs - earlier.jobs) / batches,
            writing_share: (self.commit_seconds - earlier.commit_seconds) / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_batches_between_two_looks_are_their_difference() {
        let began = Instant::now();
        let look = |second: u64, jobs: u32, batches: u32, seconds: u32| {
            let text =
                format!("{BATCH_SIZE}_sum {jobs}\n{BATCH_SIZE}_count {batches}\n{COMMIT_SECONDS}_sum {seconds}\n");
            Look::read(&text, began + Duration::from_secs(second)).expect("all figures")
        };
        let between = look(6, 500, 20, 3).since(look(2, 100, 10, 1)).expect("ten batches");
        assert_eq!(between, Batches { per_s: 2.5, mean_jobs: 40.0, writing_share: 0.5 });
        assert_eq!(look(6, 100, 10, 1).since(look(2, 100, 10, 1)), None);
        assert!(Look::read("", began).is_none());
    }
}
