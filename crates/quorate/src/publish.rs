//! `quorate pub`: one message, and whether the broker took it.

use std::{io::Read, path::PathBuf, process::ExitCode};

use anyhow::Context;
use bytes::Bytes;
use quorate_client::QoS;

use crate::connect::BrokerArgs;

/// The largest message that a transaction takes; reading stops there.
const MESSAGE_BYTES_MAX: u64 = quorate_domain::MESSAGE_BYTES_MAX as u64;

const EXAMPLES: &str = "\
Examples:
  Say something to all parties of a transaction:
    quorate pub --as alice -t tx/01JD3W8QK7V9N2M4X6Z8B0C1D3/msg/alice/hello -m 'good morning'
  Fill a slot from a file (write-once; the same bytes again are fine, others are refused):
    quorate pub --as alice -t tx/01JD3W8QK7V9N2M4X6Z8B0C1D3/broadcast/round1/alice -f package.bin
  Keep a status for whoever asks later, on an ordinary topic that [[acl.rule]] in broker.toml opens:
    quorate pub --as alice -t status/alice -m ready --retain

The sender's name in a topic under tx/ is your own: the broker checks it against your certificate.
Exit code: 0 when the broker has the message on disk (with -q 0: when it is sent), 1 when it refused or could not be
reached.";

/// Publish one message.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("payload").required(true))]
pub struct Args {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Where to publish.
    #[arg(short, long)]
    topic: String,
    /// The message as text.
    #[arg(short, long, value_name = "TEXT", group = "payload")]
    message: Option<String>,
    /// The message is this file's content.
    #[arg(short, long, value_name = "FILE", group = "payload")]
    file: Option<PathBuf>,
    /// The message is read from standard input until its end.
    #[arg(long, group = "payload")]
    stdin: bool,
    /// 0: sent and forgotten; 1: until the broker has it on disk. Slots of a transaction need 1.
    #[arg(short, long, default_value = "1", value_parser = parse_qos)]
    qos: QoS,
    /// Keep it for whoever subscribes later, in the place of what is kept for this topic; an empty message clears that.
    /// Only for ordinary topics: under tx/ everything is kept anyway.
    #[arg(short, long)]
    retain: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let payload = args.payload()?;
    let client = args.broker.connect(false).await?;
    let published = match args.retain {
        true => client.publish_retained(&args.topic, payload, args.qos).await,
        false => client.publish(&args.topic, payload, args.qos).await,
    };
    let gone = client.disconnect().await;
    published.with_context(|| format!("{} was not published", args.topic))?;
    gone?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn payload(&self) -> anyhow::Result<Bytes> {
        if let Some(text) = &self.message {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        let mut payload = Vec::new();
        match &self.file {
            Some(path) => {
                let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                file.take(MESSAGE_BYTES_MAX + 1)
                    .read_to_end(&mut payload)
                    .with_context(|| format!("cannot read {}", path.display()))?;
            }
            None => {
                let input = std::io::stdin().lock().take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut payload);
                input.context("cannot read standard input")?;
            }
        }
        anyhow::ensure!(
            payload.len() as u64 <= MESSAGE_BYTES_MAX,
            "the message has more than {MESSAGE_BYTES_MAX} bytes, the most that a message may have"
        );
        Ok(payload.into())
    }
}

/// Reads a QoS for `pub` and `sub`.
pub fn parse_qos(text: &str) -> Result<QoS, String> {
    match text {
        "0" => Ok(QoS::AtMostOnce),
        "1" => Ok(QoS::AtLeastOnce),
        "2" => Ok(QoS::ExactlyOnce),
        _ => Err("QoS is 0, 1 or 2".to_owned()),
    }
}
