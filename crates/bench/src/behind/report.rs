//! The figures of both brokers, for a program and for a person.

use std::fmt::Write;

use anyhow::ensure;
use serde::Serialize;

use super::run::{Away, Memory};
use super::{Args, Keeping};
use crate::clock::Tally;
use crate::phase::Cost;

/// What the issue allows an absent party to take in memory.
const MEMORY_TARGET_BYTES: i64 = 1_000_000;

/// All figures.
#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    setting: Setting,
    filled_per_s: f64,
    disk_bytes_per_message: f64,
    memory_away: Memory,
    memory_there: Memory,
    /// Growth beyond that of the broker whose party was there, in bytes.
    memory_of_absence_bytes: i64,
    /// The same, after both were started again.
    memory_of_absence_restarted_bytes: i64,
    catching_up: CatchingUp,
    others_alone: Latency,
    others_meanwhile: Latency,
    p50_ratio: f64,
    p99_ratio: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Setting {
    to: Keeping,
    messages: u64,
    publishers: u32,
    payload_bytes: u32,
    talking: u32,
    every_ms: u64,
    processors: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct CatchingUp {
    expected: u64,
    messages: u64,
    again: u64,
    per_s: f64,
    broken: Vec<String>,
    cost: Cost,
}

#[derive(Debug, PartialEq, Serialize)]
struct Latency {
    messages: u64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
}

impl Latency {
    fn new(tally: &Tally) -> Latency {
        let ms = |share: f64| tally.quantile(share).as_secs_f64() * 1000.0;
        Latency { messages: tally.measured, p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999) }
    }
}

impl Report {
    pub(super) fn new(args: &Args, away: Away, there: Memory) -> Report {
        let (alone, meanwhile) = (Latency::new(&away.alone), Latency::new(&away.meanwhile));
        Report {
            setting: Setting {
                to: args.to,
                messages: args.messages,
                publishers: args.publishers,
                payload_bytes: args.payload_bytes,
                talking: args.talking,
                every_ms: args.every_ms,
                processors: std::thread::available_parallelism().map_or(0, usize::from),
            },
            filled_per_s: away.filled_per_s,
            disk_bytes_per_message: away.disk_bytes_per_message,
            memory_away: away.memory,
            memory_there: there,
            memory_of_absence_bytes: growth(&away.memory) - growth(&there),
            memory_of_absence_restarted_bytes: difference(away.memory.restarted_bytes, there.restarted_bytes),
            catching_up: CatchingUp {
                expected: away.behind,
                messages: away.caught_up.messages.all,
                again: away.caught_up.again,
                per_s: away.caught_up_per_s,
                broken: away.caught_up.broken,
                cost: away.cost,
            },
            p50_ratio: meanwhile.p50_ms / alone.p50_ms,
            p99_ratio: meanwhile.p99_ms / alone.p99_ms,
            others_alone: alone,
            others_meanwhile: meanwhile,
        }
    }

    /// Fails where the party did not hear all that had been acknowledged.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let CatchingUp { expected, messages, broken, .. } = &self.catching_up;
        ensure!(
            messages >= expected,
            "{messages} of {expected} acknowledged messages were delivered in time {broken:?}"
        );
        Ok(())
    }

    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing into a string does not fail");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Setting { to, messages, publishers, payload_bytes, talking, every_ms, processors } = &self.setting;
        let kept = match to {
            Keeping::Rooms => format!("the logs of {publishers} transactions"),
            Keeping::Topics => format!("one session's queue, from {publishers} ordinary topics"),
        };
        writeln!(
            text,
            "a party {messages} messages of {payload_bytes} bytes behind, in {kept}; {processors} processors"
        )?;
        writeln!(
            text,
            "  filling (durability os)   {:.0} /s, {:.0} bytes on disk a message",
            self.filled_per_s, self.disk_bytes_per_message
        )?;
        writeln!(text, "  resident memory in MB        before    filled    growth      peak   started again")?;
        for (who, memory) in [("the party away", &self.memory_away), ("the party there", &self.memory_there)] {
            writeln!(
                text,
                "    {who:<22}{:>9.1}{:>10.1}{:>10.1}{:>10.1}{:>16.1}",
                mb(memory.before_bytes as f64),
                mb(memory.filled_bytes as f64),
                mb(growth(memory) as f64),
                mb(memory.peak_bytes as f64),
                mb(memory.restarted_bytes as f64)
            )?;
        }
        writeln!(
            text,
            "    for being away{:>37.1}{:>26.1}   target: below {:.0} MB ({})",
            mb(self.memory_of_absence_bytes as f64),
            mb(self.memory_of_absence_restarted_bytes as f64),
            mb(MEMORY_TARGET_BYTES as f64),
            if self.is_memory_target_met() { "met" } else { "not met" }
        )?;
        self.write_catching_up(text)?;
        writeln!(text, "  {talking} other transactions, a message each {every_ms} ms, published until heard")?;
        for (when, latency) in [("alone", &self.others_alone), ("during the catch-up", &self.others_meanwhile)] {
            let Latency { messages, p50_ms, p99_ms, p999_ms } = latency;
            writeln!(
                text,
                "    {when:<22}p50 {p50_ms:.2} ms   p99 {p99_ms:.2} ms   p99.9 {p999_ms:.2} ms   ({messages} messages)"
            )?;
        }
        writeln!(text, "    ratio                 p50 {:.2}      p99 {:.2}", self.p50_ratio, self.p99_ratio)
    }

    /// By both figures: one alone may hide behind what memtables happen to hold.
    fn is_memory_target_met(&self) -> bool {
        self.memory_of_absence_bytes.max(self.memory_of_absence_restarted_bytes) < MEMORY_TARGET_BYTES
    }

    fn write_catching_up(&self, text: &mut String) -> std::fmt::Result {
        let CatchingUp { expected, messages, again, per_s, broken, cost } = &self.catching_up;
        writeln!(
            text,
            "  catching up (durability fsync)   {per_s:.0} /s, {messages} of {expected}, {again} came again; at most {:.1} MB \
             resident; cores: broker {:.2}, load generator {:.2}, others {:.2}",
            mb(cost.resident_bytes_max as f64),
            cost.broker_cores,
            cost.generator_cores,
            cost.other_cores
        )?;
        for cause in broken {
            writeln!(text, "    {cause}")?;
        }
        Ok(())
    }
}

fn growth(memory: &Memory) -> i64 {
    difference(memory.filled_bytes, memory.before_bytes)
}

fn difference(a: u64, b: u64) -> i64 {
    a.cast_signed() - b.cast_signed()
}

fn mb(bytes: f64) -> f64 {
    bytes / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::clock::Clock;
    use crate::receiver::Heard;

    /// Args as the command line gives them.
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn memory(growth: u64, restarted_bytes: u64) -> Memory {
        Memory { before_bytes: 40, filled_bytes: 40 + growth, peak_bytes: 40 + growth, restarted_bytes }
    }

    fn away(heard: u64) -> Away {
        let clock = Clock::new();
        clock.begin_measuring();
        let mut caught_up = Heard::new();
        (0..heard).for_each(|_| caught_up.messages.record(&clock, 0));
        let cost = Cost {
            elapsed: Duration::from_secs(1),
            broker_cores: 1.0,
            generator_cores: 1.0,
            other_cores: 0.0,
            resident_bytes_max: 100,
        };
        Away {
            memory: memory(3_000_000, 30),
            filled_per_s: 10.0,
            disk_bytes_per_message: 300.0,
            behind: 10,
            alone: caught_up.messages.clone(),
            meanwhile: caught_up.messages.clone(),
            caught_up,
            caught_up_per_s: 10.0,
            cost,
        }
    }

    fn report(heard: u64) -> Report {
        Report::new(&Line::parse_from(["behind"]).args, away(heard), memory(2_500_000, 50))
    }

    #[test]
    fn what_both_brokers_grow_by_is_not_put_to_the_absent_partys_account() {
        let report = report(10);
        assert_eq!(report.memory_of_absence_bytes, 500_000);
        assert_eq!(report.memory_of_absence_restarted_bytes, -20);
        assert!(report.to_text().contains("target: below 1 MB (met)"), "{}", report.to_text());
    }

    #[test]
    fn a_party_that_did_not_hear_all_is_a_fault() {
        report(10).verdict().expect("all was heard");
        assert!(report(9).verdict().is_err());
    }
}
