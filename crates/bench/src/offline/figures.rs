//! The figures of one run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::phase::Cost;
use crate::receiver::Heard;
use crate::sender::Sent;

/// With a drain that is not complete: how long nothing has come when it counts as stuck, not as slow.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Appends of one message's bytes, each synced, a second, without a broker, right before the run.
    pub disk_syncs_per_s: f64,
    pub stored: Stored,
    /// What those who were there heard; `None` where nobody was.
    pub heard: Option<Delivered>,
    pub drained: Delivered,
    pub memory: Memory,
    /// Bytes on the disk for each message stored.
    pub disk_bytes_per_message: f64,
}

/// The way in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stored {
    /// Acknowledged messages.
    pub messages: u64,
    pub per_s: f64,
    pub puback_p50_ms: f64,
    pub puback_p99_ms: f64,
    /// How often each refusal came.
    pub refused: BTreeMap<String, u64>,
    pub unanswered: u64,
    pub broken: Vec<String>,
    pub cost: Cost,
}

/// The way out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivered {
    /// What was to come: every acknowledged message, once for each that is to hear it.
    pub expected: u64,
    /// What came, each once.
    pub messages: u64,
    /// What came more than once.
    pub again: u64,
    pub per_s: f64,
    /// Not all came, and the last did long before the time was up.
    pub is_stuck: bool,
    pub broken: Vec<String>,
    pub cost: Cost,
}

/// Resident memory of the broker's process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    pub before_bytes: u64,
    pub after_storing_bytes: u64,
    pub draining_bytes_max: u64,
    pub peak_bytes: u64,
}

impl Stored {
    pub fn new(sent: Sent, cost: Cost) -> Stored {
        let ms = |share: f64| sent.acknowledged.quantile(share).as_secs_f64() * 1000.0;
        Stored {
            messages: sent.acknowledged.all,
            per_s: sent.acknowledged.all as f64 / cost.elapsed.as_secs_f64(),
            puback_p50_ms: ms(0.5),
            puback_p99_ms: ms(0.99),
            refused: sent.refused,
            unanswered: sent.unanswered,
            broken: sent.broken,
            cost,
        }
    }
}

impl Delivered {
    /// What was heard from `began` on; `ended` is when it was complete or the time was up.
    pub fn new(heard: Heard, expected: u64, began: Instant, ended: Instant, cost: Cost) -> Delivered {
        let messages = heard.messages.all;
        let last = heard.last.unwrap_or(began);
        // A run in which nothing came has no rate; a microsecond keeps it a number.
        let seconds = last.saturating_duration_since(began).as_secs_f64().max(1e-6);
        Delivered {
            expected,
            messages,
            again: heard.again,
            per_s: messages as f64 / seconds,
            is_stuck: messages < expected && ended.saturating_duration_since(last) > STUCK_AFTER,
            broken: heard.broken,
            cost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const COST: Cost = Cost {
        elapsed: Duration::from_secs(2),
        broker_cores: 1.0,
        generator_cores: 0.5,
        other_cores: 0.0,
        resident_bytes_max: 1,
    };

    fn heard(messages: u64, last: Instant) -> Heard {
        let clock = Clock::new();
        let mut heard = Heard::new();
        (0..messages).for_each(|_| heard.messages.record(&clock, 0));
        heard.last = Some(last);
        heard
    }

    #[test]
    fn the_rate_out_counts_until_the_last_message() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let drained = Delivered::new(heard(10, at(2)), 10, began, at(4), COST);
        assert_eq!((drained.per_s, drained.is_stuck), (5.0, false));
    }

    #[test]
    fn a_drain_that_stops_short_is_stuck_and_one_that_is_slow_is_not() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(Delivered::new(heard(9, at(2)), 10, began, at(20), COST).is_stuck);
        assert!(!Delivered::new(heard(9, at(20)), 10, began, at(20), COST).is_stuck);
        assert!(Delivered::new(Heard::new(), 10, began, at(20), COST).is_stuck);
    }
}
