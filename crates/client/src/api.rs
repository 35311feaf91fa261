//! The broker's HTTP API: transactions, parties, readiness. Results are the API's JSON as it came.

use std::{error::Error, time::Duration};

use reqwest::{Method, Response, StatusCode, Url, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::Identity;

/// A request takes longer than this only when something is wrong.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer that is read: a page of 1,000 entries stays far below it.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The base address is not an `https://` URL.
    #[error("\"{0}\" is not an address of the API: it looks like https://localhost:8884")]
    Base(String),
    /// The API said no (RFC 9457 problem details).
    #[error("{status} {title}{}", if detail.is_empty() { String::new() } else { format!(": {detail}") })]
    Problem {
        /// HTTP status.
        status: u16,
        /// What kind of problem.
        title: String,
        /// What is wrong with this request; may be empty.
        detail: String,
    },
    /// No answer, or none that can be understood.
    #[error("no usable answer from the API: {0}")]
    Transport(String),
}

/// Asks one API as one party.
#[derive(Debug, Clone)]
pub struct ApiClient {
    base: Url,
    http: reqwest::Client,
}

impl ApiClient {
    /// `base` is the address without a path: `https://localhost:8884`. Its host is the name that the server's
    /// certificate must carry. No connection is made yet.
    pub fn new(base: &str, identity: &Identity) -> Result<Self, ApiError> {
        let url = Url::parse(base).map_err(|_| ApiError::Base(base.to_owned()))?;
        if url.scheme() != "https" || url.cannot_be_a_base() {
            return Err(ApiError::Base(base.to_owned()));
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(identity.tls().as_ref().clone())
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| ApiError::Transport(explain(&error)))?;
        Ok(Self { base: url, http })
    }

    /// Creates a transaction: the manifest, in which `tx` and `initiator` may be left out.
    pub async fn create(&self, manifest: &Value) -> Result<Value, ApiError> {
        self.request(Method::POST, &["v1", "transactions"], &[], Some(manifest)).await
    }

    /// One transaction: manifest, state, who is present, which slots are filled.
    pub async fn transaction(&self, tx: &str) -> Result<Value, ApiError> {
        self.request(Method::GET, &["v1", "transactions", tx], &[], None).await
    }

    /// A page of transactions; `query` may hold `state`, `party`, `limit`, `after`.
    pub async fn transactions(&self, query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.request(Method::GET, &["v1", "transactions"], query, None).await
    }

    /// A page of a transaction's log, without payloads, after a `seq`.
    pub async fn log(&self, tx: &str, after: u64) -> Result<Value, ApiError> {
        let after = after.to_string();
        self.request(Method::GET, &["v1", "transactions", tx, "log"], &[("after", &after)], None).await
    }

    /// Ends a transaction (as an admin, or as its initiator while it is open).
    pub async fn close(&self, tx: &str, reason: &str) -> Result<Value, ApiError> {
        let body = json!({ "reason": reason });
        self.request(Method::POST, &["v1", "transactions", tx, "close"], &[], Some(&body)).await
    }

    /// One party's presence.
    pub async fn party(&self, cn: &str) -> Result<Value, ApiError> {
        self.request(Method::GET, &["v1", "parties", cn], &[], None).await
    }

    /// The parties that the caller may see.
    pub async fn parties(&self) -> Result<Value, ApiError> {
        self.parties_page(&[]).await
    }

    /// A page of the parties that the caller may see; `query` may hold `limit`, `after`.
    pub async fn parties_page(&self, query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.request(Method::GET, &["v1", "parties"], query, None).await
    }

    /// Which life of the store it is, and whether a restore waits to be confirmed; for admins.
    pub async fn store(&self) -> Result<Value, ApiError> {
        self.request(Method::GET, &["v1", "store"], &[], None).await
    }

    /// Makes a backup of all that is stored now, under a name of its own; for admins.
    pub async fn back_up(&self, name: &str) -> Result<Value, ApiError> {
        let body = json!({ "name": name });
        self.request(Method::POST, &["v1", "store", "backups"], &[], Some(&body)).await
    }

    /// Lets transactions begin again in a restored store; for admins.
    pub async fn confirm_restore(&self) -> Result<Value, ApiError> {
        self.request(Method::POST, &["v1", "store", "confirm"], &[], None).await
    }

    /// Whether the broker takes messages: an answer when it does, [`ApiError::Problem`] when it does not.
    pub async fn ready(&self) -> Result<Value, ApiError> {
        self.request(Method::GET, &["readyz"], &[], None).await
    }

    /// Any GET below the base, as text: `metrics`, say.
    pub async fn text(&self, segments: &[&str]) -> Result<String, ApiError> {
        let response = self.send(Method::GET, segments, &[], None).await?;
        let status = response.status();
        let body = read_body(response).await?;
        if !status.is_success() {
            return Err(problem(status, &body));
        }
        String::from_utf8(body).map_err(|_| ApiError::Transport("the answer is not text".to_owned()))
    }

    async fn request(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let response = self.send(method, segments, query, body).await?;
        let status = response.status();
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("json"));
        let body = read_body(response).await?;
        if !status.is_success() {
            return Err(problem(status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        if !is_json {
            return Ok(Value::String(String::from_utf8_lossy(&body).into_owned()));
        }
        serde_json::from_slice(&body).map_err(|error| ApiError::Transport(format!("the answer is not JSON: {error}")))
    }

    async fn send(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response, ApiError> {
        let mut request = self.http.request(method, self.url(segments)).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.map_err(|error| ApiError::Transport(explain(&error)))
    }

    /// Each segment is percent-encoded: a name from a person cannot leave its place.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("new() refuses addresses that cannot be a base").pop_if_empty().extend(segments);
        url
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ApiError::Transport(explain(&error)))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(ApiError::Transport(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn problem(status: StatusCode, body: &[u8]) -> ApiError {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    ApiError::Problem {
        status: status.as_u16(),
        title: text("title").unwrap_or_else(|| status.canonical_reason().unwrap_or("refused").to_owned()),
        detail: text("detail").unwrap_or_default(),
    }
}

/// reqwest puts what matters (refused, wrong certificate) into the sources.
fn explain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_read() {
        let body = br#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no such transaction"}"#;
        let error = problem(StatusCode::NOT_FOUND, body);
        assert_eq!(error.to_string(), "404 Not Found: no such transaction");
    }

    #[test]
    fn an_answer_that_is_no_problem_document_keeps_its_status() {
        assert_eq!(problem(StatusCode::BAD_GATEWAY, b"<html>").to_string(), "502 Bad Gateway");
    }
}
