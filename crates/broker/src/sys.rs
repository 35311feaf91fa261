//! Tells about the broker over MQTT: retained messages at QoS 0 under `$SYS/broker/`, each a decimal text where nothing
//! else is said, published when they change. Who hears them is the matter of the access rules: admins, unless a rule
//! names them.
//!
//! | topic under `$SYS/broker/` | what it tells |
//! | --- | --- |
//! | `version` | `quorate version` and the version |
//! | `uptime` | seconds since the start, as `12 seconds` |
//! | `clients/connected` | sessions with a connection now |
//! | `messages/received`, `messages/sent` | MQTT packets of all kinds since the start, CONNECT left out of those received |
//! | `bytes/received`, `bytes/sent` | bytes of MQTT since the start, without TLS and WebSocket |
//! | `publish/messages/received`, `publish/messages/sent` | PUBLISH packets since the start |
//! | `retained messages/count` | ordinary topics with a retained message |
//! | `subscriptions/count` | subscriptions to ordinary topics, of sessions that are connected or kept |
//! | `store/messages/count` | retained messages, and those that wait in the queues of sessions |
//!
//! The names are those of mosquitto, so that what reads them there reads them here.

use std::time::Duration;

use bytes::Bytes;
use quorate_backbone::{Backbone, Completion, Publication};
use quorate_domain::{MessageProperties, Qos, Refusal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::metrics::Metrics;

/// What the broker tells about itself at one time: topics without the first two levels, with their texts.
type Report = [(&'static str, String); 12];

/// Publishes what the broker counts.
pub(crate) struct SysPublisher {
    backbone: Backbone,
    metrics: Metrics,
    interval: Duration,
    start: Instant,
}

impl SysPublisher {
    /// Counts the uptime from now on.
    pub(crate) fn new(backbone: Backbone, metrics: Metrics, interval: Duration) -> Self {
        Self { backbone, metrics, interval, start: Instant::now() }
    }

    /// Publishes at once and after every interval, until it is dropped.
    pub(crate) async fn run(self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Option<Report> = None;
        loop {
            ticks.tick().await;
            let report = self.report();
            // After a failure all of it is published anew.
            told = match self.publish(&report, told.as_ref()).await {
                Ok(()) => Some(report),
                Err(refusal) => {
                    tracing::warn!(%refusal, "what the broker tells about itself was not published; trying again");
                    None
                }
            };
        }
    }

    fn report(&self) -> Report {
        let (metrics, topics) = (&self.metrics, self.backbone.topics.counts());
        [
            ("version", format!("quorate version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", format!("{} seconds", self.start.elapsed().as_secs())),
            ("clients/connected", metrics.sessions_connected.get().to_string()),
            ("messages/received", metrics.packets_received.get().to_string()),
            ("messages/sent", metrics.packets_sent.get().to_string()),
            ("bytes/received", metrics.bytes_received.get().to_string()),
            ("bytes/sent", metrics.bytes_sent.get().to_string()),
            ("publish/messages/received", metrics.publishes_received.get().to_string()),
            ("publish/messages/sent", metrics.publishes_sent.get().to_string()),
            ("retained messages/count", topics.retained.to_string()),
            ("subscriptions/count", topics.subscriptions.to_string()),
            ("store/messages/count", topics.retained.saturating_add(topics.queued).to_string()),
        ]
    }

    /// Publishes what differs from what was told, all of it before it waits for the first answer.
    async fn publish(&self, report: &Report, told: Option<&Report>) -> Result<(), Refusal> {
        let (to, mut outcomes) = mpsc::channel(report.len());
        for (index, (topic, text)) in report.iter().enumerate() {
            if told.is_some_and(|told| told[index].1 == *text) {
                continue;
            }
            let completion = Completion { token: index as u64, to: to.clone() };
            let submitted = self.backbone.topics.submit(publication(topic, text), completion).await;
            submitted.map_err(|error| Refusal::StorageFault(error.to_string()))?;
        }
        drop(to);
        while let Some(completed) = outcomes.recv().await {
            completed.outcome?;
        }
        Ok(())
    }
}

fn publication(topic: &str, text: &str) -> Publication {
    Publication {
        topic: format!("$SYS/broker/{topic}"),
        author: None,
        session: None,
        payload: Bytes::copy_from_slice(text.as_bytes()),
        qos: Qos::AtMostOnce,
        retain: true,
        properties: MessageProperties::default(),
        receipt: None,
    }
}

#[cfg(test)]
mod tests;
