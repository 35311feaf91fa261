//! After a failed write or sync: the outcome is unknown, so all that waits is refused, and nothing is acknowledged before
//! the store has been opened again and what it holds is what is on the disk.

use std::time::{Duration, Instant};

use quorate_backbone::StoreError;
use tokio::sync::mpsc;

use super::Committer;
use super::job::Job;
use crate::store::StoreFault;

/// How long to wait between attempts to open the store again: doubled from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_LAST: Duration = Duration::from_secs(2);
/// How often what waits is refused meanwhile.
const REFUSE_EVERY: Duration = Duration::from_millis(10);

/// Whether the committer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The store is open again.
    Open,
    /// It was asked to end, or nobody is left to ask it for anything.
    Stop,
}

impl Committer {
    /// Turns red before anybody is told, and lets go of what was decided since the last batch that is surely there. What
    /// to tell those who wait.
    pub(super) fn note_failure(&mut self, cause: &StoreFault) -> StoreError {
        let reason = format!("a write failed: {cause}");
        tracing::error!(%cause, "a write to the store failed; refusing messages until it is open again");
        self.metrics.store_ready.set(0);
        self.health.fail(reason.clone());
        self.cache.clear();
        StoreError::Fault(reason)
    }

    /// Refuses all that comes until the store is open again.
    pub(super) fn recover(
        &mut self,
        cause: &StoreFault,
        told: &StoreError,
        jobs: &mut mpsc::Receiver<Job>,
    ) -> Recovery {
        let mut backoff = BACKOFF_FIRST;
        // Of what waited in the failed batch nobody knows what became of it; what comes now is not tried.
        let mut told = if cause.is_disk_full() { StoreError::Full } else { told.clone() };
        loop {
            if refuse_for(backoff, &told, jobs) == Recovery::Stop {
                return Recovery::Stop;
            }
            match self.try_reopen() {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, "the store does not take writes yet");
                    if error.is_disk_full() {
                        told = StoreError::Full;
                    }
                    self.health.fail(format!("a write failed: {cause}; since then: {error}"));
                }
            }
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
        tracing::info!("the store is open again");
        // What was written all the same, and told to nobody, is to be found.
        self.movement.mark_all_behind();
        self.health.recover();
        self.metrics.store_ready.set(1);
        Recovery::Open
    }

    /// While the disk takes nothing, the store stays open as it is: what it holds can still be read.
    fn try_reopen(&mut self) -> Result<(), StoreFault> {
        self.disk.probe()?;
        self.shared.reopen()?;
        let movement = &self.movement;
        let store = self.shared.store()?;
        self.topics.load_again(&store, |key| movement.is_connected(key))?;
        self.usages.load_again(&store)
    }
}

fn refuse_for(time: Duration, told: &StoreError, jobs: &mut mpsc::Receiver<Job>) -> Recovery {
    let deadline = Instant::now() + time;
    loop {
        loop {
            match jobs.try_recv() {
                Ok(Job::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return Recovery::Stop,
                Ok(job) => job.refuse(told),
                Err(mpsc::error::TryRecvError::Empty) => break,
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Recovery::Open;
        }
        std::thread::sleep(left.min(REFUSE_EVERY));
    }
}
