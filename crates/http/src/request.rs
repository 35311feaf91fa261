//! What comes in with a request: names in the path, query parameters, JSON bodies. Each is refused with a [`Problem`].

use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::problem::Problem;

/// How many entries a page of a list has where the caller names no limit.
const PAGE_DEFAULT: usize = 100;
/// How many entries a page of a list has at most.
const PAGE_MAX: usize = 1_000;
/// How long a body may take. 128 KiB take this long at 4 KiB/s; whoever is slower gets 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A name in the path. One that cannot be a name is answered like one that does not exist.
#[derive(Debug)]
pub(crate) struct Named<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        text.parse().map(Named).map_err(|_| Problem::not_found())
    }
}

/// The query parameters of a call. `T` denies unknown fields, so that a misspelt filter is not a missing one.
#[derive(Debug)]
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(params)| Params(params))
            .map_err(|refused| Problem::bad_request(refused.body_text()))
    }
}

/// The query parameters of a call that takes none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// How many entries of a list are wanted: 1 to [`PAGE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub(crate) struct PageLimit(pub usize);

impl Default for PageLimit {
    fn default() -> Self {
        PageLimit(PAGE_DEFAULT)
    }
}

impl TryFrom<usize> for PageLimit {
    type Error = String;

    fn try_from(entries: usize) -> Result<Self, String> {
        if (1..=PAGE_MAX).contains(&entries) {
            Ok(PageLimit(entries))
        } else {
            Err(format!("limit is 1 to {PAGE_MAX}, and {entries} is not"))
        }
    }
}

/// The body of a write: JSON, said to be JSON, and not sent by another site's page.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_content_type(request.headers())?;
        check_origin(request.headers())?;
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| {
                Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!("the body was not complete after {} s", BODY_TIMEOUT.as_secs()),
                )
            })?
            .map_err(|refused| body_refused(refused.status()))?;
        serde_json::from_slice(&body).map(JsonBody).map_err(json_refused)
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    match media_type {
        Some(media_type) if media_type.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a write needs the content type application/json")),
    }
}

/// A browser names the page that writes; only our own pages may. Programs send no `Origin`. The client certificate is
/// sent by the browser without asking, so this and the content type are what keeps another site from writing.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(|host| format!("https://{host}"));
    match (origin.to_str(), own) {
        (Ok(origin), Some(own)) if origin.eq_ignore_ascii_case(&own) => Ok(()),
        _ => Err(Problem::forbidden("a write from a page of another origin is refused")),
    }
}

fn body_refused(status: StatusCode) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(status, "the body is larger than the API takes")
    } else {
        Problem::bad_request("the body could not be read")
    }
}

/// Text that is not JSON is a bad request; JSON that says the wrong thing is unprocessable.
fn json_refused(error: serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::unprocessable(format!("the body is not as it should be: {error}")),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::bad_request(format!("the body is not JSON: {error}"))
        }
    }
}
