//! Somebody with a valid certificate who is not listed in a transaction tries all doors: subscribing, publishing, and
//! the API. A process of its own; succeeds when every door is shut.

use std::process::ExitCode;

use anyhow::ensure;
use bytes::Bytes;
use quorate_client::{
    ClientError, QoS, ReasonCode,
    api::{ApiClient, ApiError},
};
use serde_json::json;

use super::visit::{VisitorArgs, tell};
use crate::connect::load_identity;

/// Somebody who is not invited tries.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    visitor: VisitorArgs,
    #[arg(long)]
    api: String,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (party, tx) = (&args.visitor.party, &args.visitor.tx);
    let client = args.visitor.connect().await?;
    let filter = format!("tx/{tx}/#");
    told("subscribe", &filter, client.subscribe(&filter, QoS::AtLeastOnce).await)?;
    for topic in [
        format!("tx/{tx}/msg/{party}/hello"),
        format!("tx/{tx}/join/{party}"),
        format!("tx/{tx}/abort/{party}"),
        format!("tx/{tx}/result/alice"),
    ] {
        let payload = Bytes::from_static(b"let me in");
        told("publish", &topic, client.publish(&topic, payload, QoS::AtLeastOnce).await)?;
    }
    client.disconnect().await?;

    let api = ApiClient::new(&args.api, &load_identity(&args.visitor.certs, party.as_str())?)?;
    let answer = api.transaction(tx.as_str()).await;
    not_found(&format!("/v1/transactions/{tx}"), answer)?;
    let answer = api.log(tx.as_str(), 0).await;
    not_found(&format!("/v1/transactions/{tx}/log"), answer)?;
    Ok(ExitCode::SUCCESS)
}

fn told(what: &str, place: &str, answer: Result<(), ClientError>) -> anyhow::Result<()> {
    let refused = matches!(answer, Err(ClientError::Refused { code: ReasonCode::NotAuthorized, .. }));
    let answer = answer.map_or_else(|error| error.to_string(), |()| "taken".to_owned());
    tell(&json!({ "event": "tried", "what": what, "place": place, "answer": answer, "refused": refused }));
    ensure!(refused, "{what} {place}: expected a refusal of rights, got: {answer}");
    Ok(())
}

fn not_found(place: &str, answer: Result<serde_json::Value, ApiError>) -> anyhow::Result<()> {
    let refused = matches!(answer, Err(ApiError::Problem { status: 404, .. }));
    let answer = answer.map_or_else(|error| error.to_string(), |_| "answered".to_owned());
    tell(&json!({ "event": "tried", "what": "ask", "place": place, "answer": answer, "refused": refused }));
    ensure!(refused, "{place}: expected 404, got: {answer}");
    Ok(())
}
