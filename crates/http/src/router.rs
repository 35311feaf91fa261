//! The routes, and what stands around all of them: a certificate, a time limit, counters, problem details.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::metrics::{HttpMetrics, count_requests};
use crate::problem::{Problem, render};
use crate::{Api, caller, operations, parties, store, transactions};

/// The largest request body where the config does not say otherwise: a manifest of 64 KiB, written with generous spaces.
pub const BODY_BYTES_MAX: usize = 131_072;
/// How long a request may take, its body included; longer means that the store hangs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// The API as a service. Each request must carry the connection's `quorate_identity::Peer` as an extension; one without
/// is answered 401.
pub fn router(api: Api) -> Router {
    let metrics = HttpMetrics::register(&api.metrics);
    routes(api, metrics, BODY_BYTES_MAX)
}

pub(crate) fn routes(api: Api, metrics: HttpMetrics, body_bytes_max: usize) -> Router {
    Router::new()
        .route("/v1/transactions", get(transactions::list).post(transactions::create))
        .route("/v1/transactions/{tx}", get(transactions::show))
        .route("/v1/transactions/{tx}/log", get(transactions::log))
        .route("/v1/transactions/{tx}/close", post(transactions::close))
        .route("/v1/parties", get(parties::list))
        .route("/v1/parties/{cn}", get(parties::show))
        .route("/v1/store", get(store::show))
        .route("/v1/store/backups", post(store::back_up))
        .route("/v1/store/confirm", post(store::confirm))
        .route("/healthz", get(operations::health))
        .route("/readyz", get(operations::ready))
        .route("/metrics", get(operations::metrics))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn(limit_time))
        .layer(from_fn(caller::require_peer))
        .layer(from_fn_with_state(metrics, count_requests))
        .layer(from_fn(render))
        .with_state(Arc::new(api))
}

async fn method_not_allowed(request: Request) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} is not a method of this resource", request.method()))
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::fault("a request was not answered in time").into_response(),
    }
}
