//! The figures of a run, for a program and for a person.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::idle::IdleMemory;
use super::load::Seen;
use super::{Args, DurabilityChoice, Movement, Target};
use crate::clock::Tally;

/// What the disk does without a broker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DiskLimit {
    /// Appends of one message's bytes, each synced, a second.
    pub message_syncs_per_s: f64,
    /// Appends of a mean batch's bytes, each synced, a second.
    pub batch_syncs_per_s: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    setting: Setting,
    elapsed_s: f64,
    acknowledged: Figures,
    delivered: Figures,
    broker: BrokerFigures,
    /// CPU that the load generator used, in cores.
    generator_cores: f64,
    batches: Option<BatchFigures>,
    disk_limit: DiskLimit,
    /// Acknowledged messages for each sync that the disk can do when every message has its own.
    acknowledged_per_possible_sync: f64,
    idle_memory: Option<IdleMemory>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Setting {
    movement: Movement,
    durability: DurabilityChoice,
    target: Target,
    transactions: u32,
    parties_per_transaction: u32,
    payload_bytes: u32,
    inflight: u16,
    processors: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Figures {
    messages: u64,
    per_s: f64,
    latency_ms: Latency,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct BrokerFigures {
    cpu_cores: f64,
    cpu_us_per_acknowledged: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct BatchFigures {
    per_s: f64,
    mean_jobs: f64,
    /// Share of the time that the committer spent in writes and syncs.
    writing_share: f64,
    /// Share of what the disk does with batches of this size; 1.0 would be a committer that only ever waits for the disk.
    share_of_disk_limit: Option<f64>,
}

impl Figures {
    fn new(tally: &Tally, elapsed_s: f64) -> Self {
        let ms = |share: f64| tally.quantile(share).as_secs_f64() * 1000.0;
        Figures {
            messages: tally.measured,
            per_s: tally.measured as f64 / elapsed_s,
            latency_ms: Latency { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999) },
        }
    }
}

impl Report {
    /// Puts the figures of one run together.
    pub(super) fn new(
        args: &Args,
        movement: Movement,
        idle_memory: Option<IdleMemory>,
        seen: Seen,
        disk_limit: DiskLimit,
    ) -> Report {
        let elapsed_s = seen.elapsed.as_secs_f64();
        let cores = |cpu: Duration| cpu.as_secs_f64() / elapsed_s;
        let acknowledged = Figures::new(&seen.acknowledged, elapsed_s);
        // A run without a single message has no figure a message; 1 keeps it a number.
        let messages = acknowledged.messages.max(1) as f64;
        Report {
            setting: Setting::new(args, movement),
            elapsed_s,
            broker: BrokerFigures {
                cpu_cores: cores(seen.broker_cpu),
                cpu_us_per_acknowledged: seen.broker_cpu.as_secs_f64() * 1e6 / messages,
            },
            generator_cores: cores(seen.generator_cpu),
            batches: seen.batches.map(|batches| BatchFigures {
                per_s: batches.per_s,
                mean_jobs: batches.mean_jobs,
                writing_share: batches.writing_share,
                // Without syncs there is no limit of syncs.
                share_of_disk_limit: match args.durability {
                    DurabilityChoice::Fsync => disk_limit.batch_syncs_per_s.map(|limit| batches.per_s / limit),
                    DurabilityChoice::Os => None,
                },
            }),
            acknowledged_per_possible_sync: acknowledged.per_s / disk_limit.message_syncs_per_s,
            delivered: Figures::new(&seen.delivered, elapsed_s),
            acknowledged,
            disk_limit,
            idle_memory,
        }
    }
}

impl Setting {
    fn new(args: &Args, movement: Movement) -> Self {
        Setting {
            movement,
            durability: args.durability,
            target: args.to,
            transactions: args.transactions,
            parties_per_transaction: 3,
            payload_bytes: args.payload,
            inflight: args.inflight,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
        }
    }
}

/// All runs as one JSON object.
pub fn to_json(reports: &[Report]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&json!({ "runs": reports, "lanes_to_channels": lanes_to_channels(reports) }))
}

/// All runs as a table for a person.
pub fn to_text(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        describe(report, &mut text).expect("writing into a string does not fail");
    }
    if let Some(ratio) = lanes_to_channels(reports) {
        text.push_str(&format!("messages/s through rumqttd's lanes, of those through channels: {ratio:.2}\n"));
    }
    text
}

/// What the lanes leave of the rate that plain channels reach; `None` unless both were measured.
fn lanes_to_channels(reports: &[Report]) -> Option<f64> {
    let rate = |movement: Movement| {
        reports.iter().find(|report| report.setting.movement == movement).map(|report| report.acknowledged.per_s)
    };
    Some(rate(Movement::Rumqttd)? / rate(Movement::Channels)?)
}

fn describe(report: &Report, text: &mut String) -> std::fmt::Result {
    let Report { setting, acknowledged, delivered, broker, .. } = report;
    writeln!(
        text,
        "{} transactions x {} parties, {} bytes, {} in flight, movement {}, durability {}, {:.1} s, {} processors",
        setting.transactions,
        setting.parties_per_transaction,
        setting.payload_bytes,
        setting.inflight,
        setting.movement.key(),
        setting.durability.key(),
        report.elapsed_s,
        setting.processors,
    )?;
    for (what, figures) in [("acknowledged", acknowledged), ("delivered", delivered)] {
        let Latency { p50, p99, p999 } = figures.latency_ms;
        writeln!(
            text,
            "  {what:<14}{:>10.0} /s   p50 {p50:.2} ms   p99 {p99:.2} ms   p99.9 {p999:.2} ms",
            figures.per_s
        )?;
    }
    writeln!(
        text,
        "  broker CPU    {:>10.1} us a message, {:.2} cores (load generator: {:.2} cores)",
        broker.cpu_us_per_acknowledged, broker.cpu_cores, report.generator_cores
    )?;
    if let Some(batches) = &report.batches {
        let share =
            batches.share_of_disk_limit.map_or(String::new(), |share| format!(", {share:.2} of the disk's limit"));
        writeln!(
            text,
            "  batches       {:>10.0} /s   {:.1} jobs each; writing {:.0} % of the time{share}",
            batches.per_s,
            batches.mean_jobs,
            batches.writing_share * 100.0
        )?;
    }
    let disk = &report.disk_limit;
    let of_a_batch = disk.batch_syncs_per_s.map_or(String::new(), |rate| format!(", {rate:.0} /s of a mean batch"));
    writeln!(
        text,
        "  disk limit    {:>10.0} /s   synced appends of one message{of_a_batch}; {:.1} messages acknowledged for each",
        disk.message_syncs_per_s, report.acknowledged_per_possible_sync
    )?;
    if let Some(idle) = &report.idle_memory {
        writeln!(
            text,
            "  memory        {:>10.0} bytes a connection ({} idle ones)",
            idle.bytes_per_connection, idle.connections
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::clock::Clock;
    use crate::publish::batches::Batches;

    /// Args as the command line gives them.
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn report(movement: Movement, messages: u32) -> Report {
        let clock = Clock::new();
        clock.begin_measuring();
        let mut tally = Tally::new();
        for _ in 0..messages {
            tally.record(&clock, clock.now_ns());
        }
        let seen = Seen {
            elapsed: Duration::from_secs(2),
            acknowledged: tally.clone(),
            delivered: tally,
            broker_cpu: Duration::from_secs(1),
            generator_cpu: Duration::from_secs(3),
            batches: Some(Batches { per_s: 50.0, mean_jobs: 4.0, writing_share: 0.25 }),
        };
        let disk = DiskLimit { message_syncs_per_s: 200.0, batch_syncs_per_s: Some(100.0) };
        Report::new(&Line::parse_from(["publish"]).args, movement, None, seen, disk)
    }

    #[test]
    fn rates_and_shares_are_of_the_measured_time() {
        let report = report(Movement::Rumqttd, 400);
        assert_eq!(report.acknowledged.per_s, 200.0);
        assert_eq!(report.broker.cpu_cores, 0.5);
        assert_eq!(report.broker.cpu_us_per_acknowledged, 2500.0);
        assert_eq!(report.generator_cores, 1.5);
        assert_eq!(report.acknowledged_per_possible_sync, 1.0);
        let batches = report.batches.expect("they were given");
        assert_eq!((batches.per_s, batches.share_of_disk_limit), (50.0, Some(0.5)));
    }

    #[test]
    fn lanes_are_compared_with_channels_when_both_were_measured() {
        let both = [report(Movement::Rumqttd, 300), report(Movement::Channels, 400)];
        assert_eq!(lanes_to_channels(&both), Some(0.75));
        assert_eq!(lanes_to_channels(&both[..1]), None);
        assert!(to_text(&both).ends_with("of those through channels: 0.75\n"));
        let document: serde_json::Value = serde_json::from_str(&to_json(&both).expect("JSON")).expect("JSON");
        assert_eq!(document["lanes_to_channels"], 0.75);
        assert_eq!(document["runs"][1]["setting"]["movement"], "channels");
    }

    #[test]
    fn a_run_without_messages_is_still_a_report() {
        let report = report(Movement::Rumqttd, 0);
        assert_eq!(report.acknowledged.messages, 0);
        assert!(to_text(&[report]).contains("acknowledged"));
    }
}
