//! The HTTP API: transactions, parties, health, readiness, metrics.
//!
//! It owns what is asked and answered over HTTP: routes, who may see what there, problem details, and the connections
//! that carry them. Identities come from `quorate-identity` (mutual TLS, the same as over MQTT), what is true from
//! `quorate-domain`, what is kept from the backbone's traits. A transaction that is created here goes the same way as one
//! that is created over MQTT: through `TransactionLog::append`, as the caller. Payloads never pass (invariant 10).
//!
//! Reading order: [`router`] (the routes), `caller` (who asks), `sight` (what it may see), then one file a call.

mod caller;
mod metrics;
mod operations;
mod parties;
mod problem;
mod request;
mod router;
mod serve;
mod sight;
mod store;
mod transactions;

use quorate_backbone::Backbone;
use quorate_domain::PartyId;
use tokio::sync::watch;

pub use router::{BODY_BYTES_MAX, router};
pub use serve::{HttpLimits, serve};

/// What the API speaks about, and for whom.
#[derive(Clone)]
pub struct Api {
    /// Where transactions and presence are asked for, and messages appended.
    pub backbone: Backbone,
    /// The parties that see everything and may close any transaction.
    pub admins: Vec<PartyId>,
    /// What `/metrics` shows; the API's own metrics are registered here too.
    pub metrics: prometheus::Registry,
    /// Whether the broker is draining: `/readyz` then says no.
    pub draining: watch::Receiver<bool>,
}
