//! `quorate sub`: subscribes and prints what arrives, one line a message.

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use quorate_client::{Client, Message, QoS};
use serde_json::json;
use tokio::time::Instant;

use crate::{connect::BrokerArgs, publish::parse_qos};

const EXAMPLES: &str = "\
Examples:
  Everything in every transaction that lists alice, from the beginning, and what comes:
    quorate sub --as alice -t 'tx/+/#'
  The same, but the broker remembers what was printed, also while this is not running:
    quorate sub --as alice --client-id desk -t 'tx/+/#' --ack
  Wait for the next three messages at most ten seconds, as JSON:
    quorate sub --as alice -t 'tx/01JD3W8QK7V9N2M4X6Z8B0C1D3/#' --count 3 --timeout 10 --json

A transaction that does not list you and one that does not exist are refused alike.
Exit code: 0 after --count messages, after --timeout without --count, or after Ctrl-C; 1 otherwise.";

/// Subscribe and print what arrives.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    broker: BrokerArgs,
    /// What to hear: a topic or a filter with + and #. Repeat it for several.
    #[arg(short, long, value_name = "FILTER", required = true, num_args = 1..)]
    topic: Vec<String>,
    /// The highest QoS to receive with.
    #[arg(short, long, default_value = "1", value_parser = parse_qos)]
    qos: QoS,
    /// Stop after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Forget what the broker kept for this --client-id and start anew.
    #[arg(long)]
    clean: bool,
    /// Tell the broker that a message has been dealt with once it is printed, so that the session of --client-id goes
    /// on after it next time. Without --client-id this is always done, since the session ends here. Without this, a
    /// named session only looks: the broker sends what it may have in flight, then waits.
    #[arg(long)]
    ack: bool,
    /// One JSON object a line: topic, from, seq, payload (or payload_base64 where it is no text), and more.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut client = args.broker.connect(args.clean).await?;
    for filter in &args.topic {
        if let Err(error) = client.subscribe(filter, args.qos).await {
            // It may be lost already; the refusal is what matters.
            let _ = client.disconnect().await;
            return Err(error).with_context(|| format!("no subscription to {filter}"));
        }
    }
    let deadline = args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut printed = 0;
    while args.count.is_none_or(|count| printed < count) {
        tokio::select! {
            message = client.next() => {
                args.deal_with(&client, &message?).await?;
                printed += 1;
            }
            () = until(deadline), if deadline.is_some() => break,
            signal = tokio::signal::ctrl_c() => {
                signal.context("cannot listen for Ctrl-C")?;
                client.disconnect().await?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    client.disconnect().await?;
    match args.count {
        Some(count) if printed < count => anyhow::bail!("{printed} of {count} messages came in time"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

impl Args {
    /// Prints first: what is acknowledged must not be lost in a pipe.
    async fn deal_with(&self, client: &Client, message: &Message) -> anyhow::Result<()> {
        let line = if self.json { json_line(message) } else { text_line(message) };
        let mut output = std::io::stdout().lock();
        writeln!(output, "{line}").and_then(|()| output.flush()).context("cannot print")?;
        if self.ack || self.broker.client_id.is_none() {
            client.acknowledge(message).await?;
        }
        Ok(())
    }
}

fn json_line(message: &Message) -> String {
    let mut line = json!({
        "topic": message.topic,
        "from": message.from,
        "certificate": message.certificate,
        "seq": message.seq,
        "prev": message.prev,
        "at": message.at,
        "qos": message.qos as u8,
        "dup": message.dup,
        "retain": message.retain,
    });
    match std::str::from_utf8(&message.payload) {
        Ok(text) => line["payload"] = json!(text),
        Err(_) => line["payload_base64"] = json!(BASE64_STANDARD.encode(&message.payload)),
    }
    line.to_string()
}

fn text_line(message: &Message) -> String {
    let mut line = message.topic.clone();
    if let Some(from) = &message.from {
        line.push_str(&format!("  from {from}"));
    }
    if let Some(seq) = message.seq {
        line.push_str(&format!("  seq {seq}"));
    }
    match std::str::from_utf8(&message.payload) {
        Ok(text) => format!("{line}  {}", printable(text)),
        Err(_) => format!("{line}  base64:{}", BASE64_STANDARD.encode(&message.payload)),
    }
}

/// The payload is another party's: its control characters must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("grüße"), "grüße");
    }
}
