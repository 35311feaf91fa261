//! `POST /v1/transactions`: the manifest, appended as the caller's own publish to `tx/{tx}/manifest` would be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use quorate_backbone::Append;
use quorate_domain::{MessageProperties, PartyId, Place, Qos, Refusal, Seq, Sha256, TxId, TxTopic};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{JsonBody, NoParams, Params};

/// What is answered: enough to join.
#[derive(Debug, Serialize)]
struct Created {
    tx: TxId,
    seq: Seq,
    manifest_sha256: Sha256,
}

/// 201 for a new transaction; 200 where the caller's identical manifest was there already.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: Params<NoParams>,
    JsonBody(fields): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (tx, payload) = manifest_bytes(fields, caller.party())?;
    let manifest_sha256 = Sha256::of(&payload);
    let append = Append {
        topic: TxTopic { tx: tx.clone(), place: Place::Manifest },
        author: caller.author,
        payload,
        qos: Qos::ExactlyOnce,
        properties: MessageProperties::default(),
        receipt: None,
    };
    let appended = api.backbone.log.append(append).await.map_err(refused)?;
    let status = if appended.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/v1/transactions/{tx}");
    let body = Created { tx, seq: appended.seq, manifest_sha256 };
    Ok((status, [(header::LOCATION, location)], Json(body)).into_response())
}

/// An id that exists is answered like a missing right: whether it exists is not for everyone to know.
fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NotAuthorized | Refusal::SlotTaken { .. } => {
            Problem::forbidden("no rule lets you create this transaction with these parties, or its id is not free")
        }
        other => other.into(),
    }
}

/// The manifest as it will be stored: what came, with `tx` and `initiator` put in, members in alphabetical order. Whether
/// it is a good one is for the log to say, as over MQTT: only the log knows that an old one comes again.
fn manifest_bytes(mut fields: Map<String, Value>, initiator: &PartyId) -> Result<(TxId, Bytes), Problem> {
    let given = fields.entry("initiator").or_insert_with(|| initiator.as_str().into());
    if given.as_str() != Some(initiator.as_str()) {
        return Err(Problem::unprocessable(format!("initiator is the party that asks, {initiator}, or is left out")));
    }
    let tx = fields.entry("tx").or_insert_with(|| ulid::Ulid::new().to_string().into());
    let tx = tx
        .as_str()
        .ok_or_else(|| Problem::unprocessable("tx is a text, or is left out"))?
        .parse()
        .map_err(|error| Problem::unprocessable(format!("tx: {error}")))?;
    let bytes = serde_json::to_vec(&fields).map_err(Problem::fault)?;
    Ok((tx, bytes.into()))
}
