//! One clock for all tasks of a run, and the part of the run that counts.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Shared by publishers and listeners, so that a latency from one to the other is a difference of one clock.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    phase: AtomicU8,
}

impl Clock {
    pub fn new() -> Self {
        Clock { origin: Instant::now(), phase: AtomicU8::new(WARMING_UP) }
    }

    /// Nanoseconds since the run began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// From now on, what happens counts.
    pub fn begin_measuring(&self) {
        self.phase.store(MEASURING, Ordering::Relaxed);
    }

    /// From now on, nothing counts, and publishers end.
    pub fn end_measuring(&self) {
        self.phase.store(OVER, Ordering::Relaxed);
    }

    pub fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURING
    }

    pub fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }
}

/// Counts and latencies of one task; merged into one of the run.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Everything, measured or not.
    pub all: u64,
    /// What fell into the measured time.
    pub measured: u64,
    latency_us: hdrhistogram::Histogram<u64>,
}

/// Latencies from a microsecond to a minute, to three digits.
const LATENCY_US_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

impl Tally {
    pub fn new() -> Self {
        let latency_us =
            hdrhistogram::Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("bounds within the crate's");
        Tally { all: 0, measured: 0, latency_us }
    }

    /// Counts something that began at `began_ns` and is done now.
    pub fn record(&mut self, clock: &Clock, began_ns: u64) {
        self.all += 1;
        if clock.is_measuring() {
            self.measured += 1;
            self.latency_us.saturating_record(clock.now_ns().saturating_sub(began_ns) / 1000);
        }
    }

    pub fn add(&mut self, other: &Tally) {
        self.all += other.all;
        self.measured += other.measured;
        self.latency_us.add(&other.latency_us).expect("all tallies have the same bounds");
    }

    /// The latency that this share of what was measured does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.latency_us.value_at_quantile(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_falls_into_the_measured_time_counts() {
        let clock = Clock::new();
        let mut tally = Tally::new();
        tally.record(&clock, clock.now_ns());
        clock.begin_measuring();
        tally.record(&clock, clock.now_ns());
        clock.end_measuring();
        tally.record(&clock, clock.now_ns());
        assert_eq!((tally.all, tally.measured), (3, 1));
        assert!(clock.is_over());
    }

    #[test]
    fn tallies_add_up() {
        let clock = Clock::new();
        clock.begin_measuring();
        let mut sum = Tally::new();
        for _ in 0..2 {
            let mut tally = Tally::new();
            tally.record(&clock, 0);
            sum.add(&tally);
        }
        assert_eq!((sum.all, sum.measured), (2, 2));
    }
}
