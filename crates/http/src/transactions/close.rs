//! `POST /v1/transactions/{tx}/close`: an admin at any time, the initiator while it is open.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use quorate_domain::{Closer, Refusal, StateDocument, TxId};
use serde::Deserialize;

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{JsonBody, Named, NoParams, Params};
use crate::sight::visible_transaction;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    /// For people; it goes into the state. May be left out.
    #[serde(default)]
    reason: String,
}

/// Answers with the state after the close, which is durable by then.
pub(crate) async fn close(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(tx): Named<TxId>,
    _: Params<NoParams>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<StateDocument>, Problem> {
    let transaction = visible_transaction(&api, &caller, &tx).await?;
    let party = caller.party().clone();
    let by = if caller.is_admin() {
        Closer::Admin(party)
    } else if transaction.charter.initiator == party {
        Closer::Initiator(party)
    } else {
        return Err(Problem::forbidden("the initiator closes a transaction, or an admin; a party ends it with abort"));
    };
    let closed = api.backbone.log.close(&tx, by, body.reason).await;
    let after = visible_transaction(&api, &caller, &tx).await?;
    match closed {
        Ok(()) => {}
        Err(Refusal::NotAuthorized) if after.progress.state.is_closed() => {
            return Err(Problem::new(StatusCode::CONFLICT, "the transaction is closed already"));
        }
        Err(Refusal::NotAuthorized) => {
            return Err(Problem::forbidden("the initiator closes a transaction while it is open; it is running"));
        }
        Err(refusal) => return Err(refusal.into()),
    }
    let presence = &api.backbone.presence;
    Ok(Json(after.state_document(api.backbone.registry.incarnation(), &|party| presence.is_present(party))))
}
