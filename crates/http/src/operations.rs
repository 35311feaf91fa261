//! What whoever runs the broker asks: does it live, does it take messages, what does it count.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::TextEncoder;
use serde_json::{Value, json};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{NoParams, Params};

/// `GET /healthz`: the process answers.
pub(crate) async fn health(_: Params<NoParams>) -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// `GET /readyz`: messages can be acknowledged, and the broker is not on its way out. Why not is an admin's to know.
pub(crate) async fn ready(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: Params<NoParams>,
) -> Result<Json<Value>, Problem> {
    if *api.draining.borrow() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is draining"));
    }
    match api.backbone.health.ready() {
        Ok(()) => Ok(Json(json!({ "status": "ready" }))),
        Err(reason) if caller.is_admin() => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason)),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the broker takes no messages at the moment")),
    }
}

/// `GET /metrics`, for admins: the Prometheus text format.
pub(crate) async fn metrics(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    caller.require_admin()?;
    let text = TextEncoder::new().encode_to_string(&api.metrics.gather()).map_err(Problem::fault)?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
