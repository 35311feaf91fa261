//! What the API counts about itself. No label carries a party, a transaction or a path.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// The names, in one place.
#[derive(Debug, Clone, Copy)]
enum Name {
    Requests,
    RequestSeconds,
    Connections,
    ConnectionsRefused,
}

impl Name {
    fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Name::Requests => ("quorate_http_requests_total", "Requests to the API, by status."),
            Name::RequestSeconds => ("quorate_http_request_seconds", "Time from the head of a request to its answer."),
            Name::Connections => ("quorate_http_connections", "Open connections to the API."),
            Name::ConnectionsRefused => {
                ("quorate_http_handshakes_refused_total", "Connections to the API that did not become a party's.")
            }
        }
    }

    fn opts(self) -> Opts {
        let (name, help) = self.name_and_help();
        Opts::new(name, help)
    }
}

/// The API's metrics; cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    request_seconds: Histogram,
    pub connections: IntGauge,
    pub handshakes_refused: prometheus::IntCounter,
}

impl HttpMetrics {
    /// Registers them. Where names are taken already (two APIs over one registry), the first keeps them and the others
    /// count for themselves: metrics are no reason not to serve.
    pub(crate) fn register(registry: &Registry) -> Self {
        let (name, help) = Name::RequestSeconds.name_and_help();
        let metrics = Self {
            requests: IntCounterVec::new(Name::Requests.opts(), &["status"]).expect("a valid name and label"),
            request_seconds: Histogram::with_opts(HistogramOpts::new(name, help)).expect("a valid name"),
            connections: IntGauge::with_opts(Name::Connections.opts()).expect("a valid name"),
            handshakes_refused: prometheus::IntCounter::with_opts(Name::ConnectionsRefused.opts())
                .expect("a valid name"),
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 4] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.request_seconds.clone()),
            Box::new(metrics.connections.clone()),
            Box::new(metrics.handshakes_refused.clone()),
        ];
        for collector in collectors {
            if let Err(error) = registry.register(collector) {
                tracing::warn!(%error, "a metric of the API is not shown");
            }
        }
        metrics
    }
}

/// Counts a request and its time.
pub(crate) async fn count_requests(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    metrics.request_seconds.observe(began.elapsed().as_secs_f64());
    metrics.requests.with_label_values(&[response.status().as_str()]).inc();
    response
}
