//! All runs side by side, for a program and for a person.

use std::fmt::Write;

use serde::Serialize;

use super::Args;
use super::figures::{Delivered, Figures};
use crate::phase::Cost;
use crate::subject::Kind;

/// What the issue asks of the rate in, with our fsync on: mosquitto's, and so many times that of nats-server.
const TARGETS: [(Kind, f64); 2] = [(Kind::Mosquitto, 1.0), (Kind::Nats, 50.0)];

/// One broker in one setting.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub kind: Kind,
    /// Subscribers that were there.
    pub present: u32,
    pub outcome: Outcome,
}

/// What became of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Measured(Box<Figures>),
    /// It is not installed.
    Missing,
    Failed(String),
}

/// All runs.
#[derive(Debug, Serialize)]
pub struct Report {
    setting: Setting,
    acknowledgements: Vec<Acknowledgement>,
    runs: Vec<Entry>,
    ratios: Vec<Ratio>,
}

#[derive(Debug, Serialize)]
struct Setting {
    publishers: u32,
    inflight: u16,
    messages: u64,
    payload_bytes: u32,
    absent: u32,
    seconds_max: u64,
    processors: usize,
}

#[derive(Debug, Serialize)]
struct Acknowledgement {
    kind: Kind,
    means: &'static str,
}

/// Quorate's rates divided by a peer's, of the same invocation.
#[derive(Debug, PartialEq, Serialize)]
struct Ratio {
    kind: Kind,
    peer: Kind,
    present: u32,
    stored: f64,
    drained: f64,
    /// What `stored` is to be.
    target: f64,
}

impl Report {
    pub(super) fn new(args: &Args, runs: Vec<Entry>) -> Report {
        Report {
            setting: Setting {
                publishers: args.publishers,
                inflight: args.inflight,
                messages: args.messages,
                payload_bytes: args.payload_bytes,
                absent: args.absent,
                seconds_max: args.seconds_max,
                processors: std::thread::available_parallelism().map_or(0, usize::from),
            },
            acknowledgements: args
                .brokers
                .iter()
                .map(|&kind| Acknowledgement { kind, means: kind.acknowledgement() })
                .collect(),
            ratios: ratios(&runs),
            runs,
        }
    }

    /// What must make the invocation fail: a run that could not be finished, and a message that Quorate acknowledged and
    /// did not deliver, or did not answer.
    pub fn faults(&self) -> Vec<String> {
        let fault = |entry: &Entry| {
            let name = entry.kind.name();
            match &entry.outcome {
                Outcome::Failed(error) => Some(format!("{name}: {error}")),
                Outcome::Measured(figures) if entry.kind.is_quorate() && figures.drained.is_stuck => {
                    let Delivered { messages, expected, .. } = figures.drained;
                    Some(format!("{name}: {messages} of {expected} acknowledged messages were delivered"))
                }
                Outcome::Measured(figures) if entry.kind.is_quorate() => {
                    figures.stored.broken.first().map(|cause| format!("{name}: {cause}"))
                }
                Outcome::Measured(_) | Outcome::Missing => None,
            }
        };
        self.runs.iter().filter_map(fault).collect()
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
        let Setting { publishers, inflight, messages, payload_bytes, absent, seconds_max, processors } = &self.setting;
        writeln!(
            text,
            "{messages} messages of {payload_bytes} bytes at QoS 1 for {absent} absent, {publishers} publishers over \
             mutual TLS, {inflight} in flight each, at most {seconds_max} s a phase, {processors} processors"
        )?;
        writeln!(text, "\nwhat an acknowledgement means")?;
        for Acknowledgement { kind, means } in &self.acknowledgements {
            writeln!(text, "  {:<15}{means}", kind.name())?;
        }
        for group in self.runs.chunk_by(|one, next| one.present == next.present) {
            let present = group.first().map_or(0, |entry| entry.present);
            writeln!(text, "\n{present} subscribers present\n{RATES}")?;
            group.iter().try_for_each(|entry| write_rates(entry, text))?;
            writeln!(text, "{COSTS}")?;
            group.iter().try_for_each(|entry| write_costs(entry, text))?;
        }
        if !self.ratios.is_empty() {
            writeln!(text, "\nratios")?;
        }
        for ratio in &self.ratios {
            let verdict = if ratio.stored >= ratio.target { "met" } else { "not met" };
            let (name, peer) = (ratio.kind.name(), ratio.peer.name());
            writeln!(
                text,
                "  {:<28}{} present   in {:>7.2}   out {:>7.2}   target in: {} ({verdict})",
                format!("{name} / {peer}"),
                ratio.present,
                ratio.stored,
                ratio.drained,
                ratio.target
            )?;
        }
        Ok(())
    }
}

const RATES: &str = "  broker             stored      in/s   PUBACK p50    p99 ms     drained     out/s   disk syncs/s";
const COSTS: &str = "  broker           disk bytes a message   RSS MB before   stored   draining   peak   \
                     cores in: broker generator others   out: broker generator others";

fn write_rates(entry: &Entry, text: &mut String) -> std::fmt::Result {
    let name = entry.kind.name();
    let figures = match &entry.outcome {
        Outcome::Missing => return writeln!(text, "  {name:<15}not installed: {}", entry.kind.installation()),
        Outcome::Failed(error) => return writeln!(text, "  {name:<15}failed: {error}"),
        Outcome::Measured(figures) => figures,
    };
    let Figures { disk_syncs_per_s, stored, heard, drained, .. } = figures.as_ref();
    writeln!(
        text,
        "  {name:<15}{:>10}{:>10.0}{:>13.1}{:>10.1}{:>12}{:>10.0}{disk_syncs_per_s:>15.0}",
        stored.messages, stored.per_s, stored.puback_p50_ms, stored.puback_p99_ms, drained.messages, drained.per_s,
    )?;
    for (refusal, count) in &stored.refused {
        writeln!(text, "    {count} publishes were refused: {refusal}")?;
    }
    if stored.unanswered > 0 {
        writeln!(text, "    {} publishes were never answered", stored.unanswered)?;
    }
    for cause in &stored.broken {
        writeln!(text, "    a publisher ended early: {cause}")?;
    }
    if let Some(heard) = heard {
        writeln!(text, "    those present heard {} of {}, {:.0}/s", heard.messages, heard.expected, heard.per_s)?;
        write_shortfall("those present", heard, text)?;
    }
    write_shortfall("those who were absent", drained, text)
}

fn write_costs(entry: &Entry, text: &mut String) -> std::fmt::Result {
    let Some(Figures { stored, drained, memory, disk_bytes_per_message, .. }) = measured(entry) else {
        return Ok(());
    };
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let cores =
        |cost: &Cost| format!("{:>7.2}{:>10.2}{:>7.2}", cost.broker_cores, cost.generator_cores, cost.other_cores);
    writeln!(
        text,
        "  {:<15}{disk_bytes_per_message:>22.0}{:>16.0}{:>9.0}{:>11.0}{:>7.0}{:>12}{}{:>8}{}",
        entry.kind.name(),
        mb(memory.before_bytes),
        mb(memory.after_storing_bytes),
        mb(memory.draining_bytes_max),
        mb(memory.peak_bytes),
        "",
        cores(&stored.cost),
        "",
        cores(&drained.cost),
    )
}

fn write_shortfall(who: &str, delivered: &Delivered, text: &mut String) -> std::fmt::Result {
    let missing = delivered.expected.saturating_sub(delivered.messages);
    if missing > 0 && delivered.is_stuck {
        writeln!(text, "    {who}: {missing} acknowledged messages DID NOT COME, and nothing came in the last 5 s")?;
    } else if missing > 0 {
        writeln!(text, "    {who}: {missing} were still to come when the time was up")?;
    }
    if delivered.again > 0 {
        writeln!(text, "    {who}: {} came again", delivered.again)?;
    }
    for cause in &delivered.broken {
        writeln!(text, "    {who}: {cause}")?;
    }
    Ok(())
}

fn ratios(runs: &[Entry]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for entry in runs.iter().filter(|entry| entry.kind.is_quorate()) {
        for (peer, target) in TARGETS {
            let beside = runs.iter().find(|other| other.kind == peer && other.present == entry.present);
            let (Some(own), Some(other)) = (measured(entry), beside.and_then(measured)) else {
                continue;
            };
            ratios.push(Ratio {
                kind: entry.kind,
                peer,
                present: entry.present,
                stored: own.stored.per_s / other.stored.per_s,
                drained: own.drained.per_s / other.drained.per_s,
                target,
            });
        }
    }
    ratios
}

fn measured(entry: &Entry) -> Option<&Figures> {
    match &entry.outcome {
        Outcome::Measured(figures) => Some(figures),
        Outcome::Missing | Outcome::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::offline::figures::{Memory, Stored};

    /// Args as the command line gives them.
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const COST: Cost = Cost {
        elapsed: Duration::from_secs(1),
        broker_cores: 1.0,
        generator_cores: 1.0,
        other_cores: 0.0,
        resident_bytes_max: 3,
    };

    fn figures(per_s: f64) -> Figures {
        let drained =
            Delivered { expected: 10, messages: 10, again: 0, per_s, is_stuck: false, broken: Vec::new(), cost: COST };
        let stored = Stored {
            messages: 10,
            per_s,
            puback_p50_ms: 1.0,
            puback_p99_ms: 2.0,
            refused: BTreeMap::from([("refused: quota exceeded".to_owned(), 3)]),
            unanswered: 0,
            broken: Vec::new(),
            cost: COST,
        };
        let memory = Memory { before_bytes: 1, after_storing_bytes: 2, draining_bytes_max: 3, peak_bytes: 4 };
        Figures { disk_syncs_per_s: 100.0, stored, heard: None, drained, memory, disk_bytes_per_message: 300.0 }
    }

    fn report(runs: Vec<(Kind, Outcome)>) -> Report {
        let runs = runs.into_iter().map(|(kind, outcome)| Entry { kind, present: 0, outcome }).collect();
        Report::new(&Line::parse_from(["offline"]).args, runs)
    }

    fn measured_at(per_s: f64) -> Outcome {
        Outcome::Measured(Box::new(figures(per_s)))
    }

    #[test]
    fn quorate_is_compared_with_each_peer_of_the_same_setting() {
        let report = report(vec![
            (Kind::QuorateRooms, measured_at(300.0)),
            (Kind::Mosquitto, measured_at(200.0)),
            (Kind::Nats, measured_at(10.0)),
        ]);
        let stored: Vec<_> = report.ratios.iter().map(|ratio| (ratio.peer, ratio.stored)).collect();
        assert_eq!(stored, [(Kind::Mosquitto, 1.5), (Kind::Nats, 30.0)]);
        let text = report.to_text();
        assert!(text.contains("target in: 1 (met)") && text.contains("target in: 50 (not met)"), "{text}");
        let document: serde_json::Value = serde_json::from_str(&report.to_json().expect("JSON")).expect("JSON");
        assert_eq!(document["ratios"][0]["stored"], 1.5);
        assert_eq!(document["runs"][2]["kind"], "nats");
    }

    #[test]
    fn a_peer_that_is_missing_is_named_with_what_installs_it() {
        let report = report(vec![(Kind::QuorateRooms, measured_at(300.0)), (Kind::Nats, Outcome::Missing)]);
        let text = report.to_text();
        assert!(text.contains("nats") && text.contains("not installed: make target/venv/nats-ready"), "{text}");
        assert!(report.ratios.is_empty() && report.faults().is_empty());
    }

    #[test]
    fn refusals_are_shown() {
        let text = report(vec![(Kind::Mosquitto, measured_at(1.0))]).to_text();
        assert!(text.contains("3 publishes were refused: refused: quota exceeded"), "{text}");
    }

    #[test]
    fn messages_that_quorate_acknowledged_and_did_not_deliver_are_a_fault() {
        let mut short = figures(1.0);
        short.drained.messages = 9;
        short.drained.is_stuck = true;
        let short = || Outcome::Measured(Box::new(short.clone()));
        assert_eq!(report(vec![(Kind::QuorateTopics, short())]).faults().len(), 1);
        assert_eq!(report(vec![(Kind::Mosquitto, short())]).faults().len(), 0);
        assert_eq!(report(vec![(Kind::Nats, Outcome::Failed("no".to_owned()))]).faults(), ["nats: no"]);
    }
}
