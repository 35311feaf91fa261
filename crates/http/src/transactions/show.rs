//! `GET /v1/transactions/{tx}`: manifest, state, quorum, who is present, and which slots are filled.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use quorate_domain::{PartyId, StateDocument, Transaction, TxId};
use serde::Serialize;
use serde_json::{Map, Value};

use super::manifest::shown_manifest;
use super::slot_matrix::{SLOTS_SHOWN_MAX, SlotMatrix};
use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{Named, NoParams, Params};
use crate::sight::{acquaintances, has_joined, visible_transaction};

#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    tx: TxId,
    /// Without its payload.
    manifest: Map<String, Value>,
    /// The document of `tx/{tx}/state`, the quorum in it.
    state: StateDocument,
    /// The listed parties that are present, as far as the caller may hear it.
    present: Vec<PartyId>,
    /// Null for an initiator that is not a party: it sees manifest and state alone.
    slots: Option<SlotMatrix>,
}

/// A transaction as its caller may see it.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(tx): Named<TxId>,
    _: Params<NoParams>,
) -> Result<Json<Shown>, Problem> {
    let transaction = visible_transaction(&api, &caller, &tx).await?;
    let manifest = shown_manifest(&api, &transaction).await?;
    let presence = &api.backbone.presence;
    let state = transaction.state_document(api.backbone.registry.incarnation(), &|party| presence.is_present(party));
    let present = audible_presence(&api, &caller, &transaction).await?;
    let sees_slots = caller.is_admin() || transaction.charter.is_party(caller.party());
    let slots = if sees_slots {
        let written = api.backbone.registry.slots(&tx, SLOTS_SHOWN_MAX + 1).await?;
        Some(SlotMatrix::new(&transaction, written, &caller))
    } else {
        None
    };
    Ok(Json(Shown { tx, manifest, state, present, slots }))
}

/// The present ones among the listed parties, without those of whom the caller may not know it over MQTT either.
async fn audible_presence(api: &Api, caller: &Caller, transaction: &Transaction) -> Result<Vec<PartyId>, Problem> {
    let presence = &api.backbone.presence;
    let parties = transaction.charter.parties.iter();
    let mut present: Vec<PartyId> = parties.filter(|party| presence.is_present(party)).cloned().collect();
    if caller.is_admin() {
        return Ok(present);
    }
    // Most often all that are present have joined here, and the caller's other transactions need not be gone through.
    let all_here =
        has_joined(transaction, caller.party()) && present.iter().all(|party| has_joined(transaction, party));
    if !all_here {
        let known = acquaintances(api, caller, None).await?;
        present.retain(|party| known.contains(party));
    }
    Ok(present)
}
