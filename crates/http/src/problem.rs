//! How the API says no: RFC 9457 problem details, one shape for every error.
//!
//! A handler returns a [`Problem`]; [`render`] gives it its body at the outermost layer, where the path is known. What is
//! the caller's fault is told to the caller; what is ours is logged here, once, and told without its inner workings.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quorate_backbone::StoreError;
use quorate_domain::Refusal;
use serde::Serialize;

/// The media type of RFC 9457.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// When to try again after a fault of ours, in seconds: the store is reopened within about a second or not soon.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");

/// One refusal or fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub detail: Cow<'static, str>,
}

/// The body, as RFC 9457 names its members.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// The one answer to a route, transaction or party that does not exist, and to one that the caller may not see.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing here that you may see")
    }

    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// A fault of ours: `cause` is for the log, not for the caller.
    pub(crate) fn fault(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "the API could not answer");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer as it should; whether anything has changed is unknown; try again later",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::fault(error)
    }
}

/// What a refused write becomes. `NotAuthorized` is the caller's to word, since it also hides what must not be told.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::StorageFault(cause) => return Self::fault(cause),
            Refusal::NotAuthorized => StatusCode::FORBIDDEN,
            Refusal::SlotTaken { .. } | Refusal::Superseded => StatusCode::CONFLICT,
            Refusal::QuotaExceeded(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TopicInvalid(_)
            | Refusal::PayloadInvalid(_)
            | Refusal::QosTooLow
            | Refusal::SharedNotSupported
            | Refusal::Unsupported(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refusal.to_string())
    }
}

/// Leaves the body to [`render`], which knows the path.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The outermost layer: writes the body of a [`Problem`], and the headers that every answer has.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        write_body(&problem, &instance, &mut response);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn write_body(problem: &Problem, instance: &str, response: &mut Response) {
    let document = Document {
        r#type: "about:blank",
        title: problem.status.canonical_reason().unwrap_or("Error"),
        status: problem.status.as_u16(),
        detail: &problem.detail,
        instance,
    };
    let body = serde_json::to_vec(&document).expect("a struct of texts and a number is always JSON");
    *response.body_mut() = Body::from(body);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
    }
}
