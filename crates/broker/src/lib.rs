//! Listeners, connection tasks, wiring, drain: the room in which the others meet.
//!
//! Reading order: [`Config`] (what `broker.toml` says), `broker` (what is started, and how it ends), `listener` (the
//! accept loops), `connection` (one task a client: TLS, CONNECT, session, end), `effects` (a session's dealings with the
//! backbone), `live` (who is connected, and take-over), `state_announcer` (state documents), `wills` (when those are said that
//! wait), `sys` (what the broker tells about itself).
//!
//! It knows the backbone's traits alone; which backbone it is, the binary decides. What MQTT wants is
//! `quorate-session`'s matter, what is true is `quorate-domain`'s.

#![warn(missing_docs)]

mod broker;
mod clock;
pub mod config;
mod connection;
mod draining;
mod effects;
#[cfg(test)]
mod fixtures;
mod listener;
mod live;
mod metrics;
mod state_announcer;
mod sys;
mod wills;

use std::future::Future;

pub use broker::{Broker, BrokerError};
pub use config::Config;
use quorate_backbone::Backbone;

/// Runs a broker until `shutdown` resolves, then drains it: no new connections, every client told, every session
/// stored, the API last. The backbone is the caller's to shut down afterwards.
///
/// # Errors
/// Only before anything is served: see [`Broker::bind`].
pub async fn run(
    config: Config,
    backbone: Backbone,
    metrics: prometheus::Registry,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BrokerError> {
    Broker::bind(config, backbone, metrics).await?.run(shutdown).await;
    Ok(())
}
