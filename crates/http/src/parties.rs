//! `GET /v1/parties` and `GET /v1/parties/{cn}`: who is present, as far as the caller may hear it.

use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use quorate_backbone::PartyStatus;
use quorate_domain::{PartyId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{Named, NoParams, PageLimit, Params};
use crate::sight::acquaintances;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    #[serde(default)]
    limit: PageLimit,
    after: Option<PartyId>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Page {
    parties: Vec<PartyDocument>,
    /// Give it as `after` for the next page; absent on the last.
    next: Option<PartyId>,
}

/// One party. Times are Unix milliseconds, and null for a party that never connected.
#[derive(Debug, Serialize)]
pub(crate) struct PartyDocument {
    party: PartyId,
    online: bool,
    since: Option<UnixMs>,
    last_seen: Option<UnixMs>,
    epoch: Option<u64>,
    /// For admins and oneself.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<u32>,
    /// For oneself: the end of the certificate that this request came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_ends: Option<UnixMs>,
}

/// `GET /v1/parties`: for admins all that ever connected, for a party itself and those whom it may hear.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page>, Problem> {
    let presence = &api.backbone.presence;
    let PageLimit(limit) = params.limit;
    if caller.is_admin() {
        let found = presence.list(params.after.as_ref(), limit).await?;
        let parties = found.into_iter().map(|status| document(&caller, status.party.clone(), Some(status))).collect();
        return Ok(Json(page(parties, limit)));
    }
    let known = acquaintances(&api, &caller, None).await?;
    let start = params.after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut parties = Vec::new();
    for party in known.range((start, Bound::Unbounded)).take(limit) {
        let status = presence.status(party).await?;
        parties.push(document(&caller, party.clone(), status));
    }
    Ok(Json(page(parties, limit)))
}

/// `GET /v1/parties/{cn}`.
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(party): Named<PartyId>,
    _: Params<NoParams>,
) -> Result<Json<PartyDocument>, Problem> {
    if !caller.is_admin() && !acquaintances(&api, &caller, Some(&party)).await?.contains(&party) {
        return Err(Problem::not_found());
    }
    let status = api.backbone.presence.status(&party).await?;
    if status.is_none() && caller.is_admin() && !is_listed(&api, &party).await? {
        return Err(Problem::not_found());
    }
    Ok(Json(document(&caller, party, status)))
}

/// Whether a party that never connected is nevertheless expected somewhere: an admin then hears that it was never seen,
/// which is not the same as a name that nobody knows.
async fn is_listed(api: &Api, party: &PartyId) -> Result<bool, Problem> {
    let standings = api.backbone.registry.standings(party, None, 1).await?;
    Ok(!standings.is_empty())
}

fn document(caller: &Caller, party: PartyId, status: Option<PartyStatus>) -> PartyDocument {
    let oneself = party == *caller.party();
    PartyDocument {
        online: status.as_ref().is_some_and(|status| status.online),
        since: status.as_ref().map(|status| status.since),
        last_seen: status.as_ref().map(|status| status.last_seen),
        epoch: status.as_ref().map(|status| status.epoch),
        sessions: status.filter(|_| oneself || caller.is_admin()).map(|status| status.sessions),
        certificate_ends: oneself.then_some(caller.certificate_ends),
        party,
    }
}

/// A full page may have a next one; whether it has is seen when it is asked for.
fn page(parties: Vec<PartyDocument>, limit: usize) -> Page {
    let next = parties.last().filter(|_| parties.len() == limit).map(|last| last.party.clone());
    Page { parties, next }
}
