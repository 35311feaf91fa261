//! `GET /v1/transactions?state=&party=&limit=&after=`: the transactions that a caller may see, in the order of their ids.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use quorate_domain::{PartyId, Sha256, Transaction, TxId, TxState, UnixMs};
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{PageLimit, Params};
use crate::sight::{STANDINGS_PAGE, is_member};

/// How many transactions one request looks at. A page may therefore be short, or empty, and still have a `next`.
const SCANNED_MAX: usize = 4_096;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    state: Option<TxState>,
    /// Those that list this party or that it initiated.
    party: Option<PartyId>,
    #[serde(default)]
    limit: PageLimit,
    after: Option<TxId>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Page {
    transactions: Vec<Summary>,
    /// Give it as `after` for the next page; null when all was looked at.
    next: Option<TxId>,
}

#[derive(Debug, Serialize)]
struct Summary {
    tx: TxId,
    state: TxState,
    initiator: PartyId,
    protocol: String,
    parties: Vec<PartyId>,
    threshold: u16,
    purpose: Option<String>,
    key_id: Option<TxId>,
    created_at: UnixMs,
    manifest_sha256: Sha256,
}

/// Whose transactions are gone through.
enum Source {
    All,
    Of(PartyId),
}

/// A party goes through its own transactions, whatever it filters by; an admin through all, or through a party's.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page>, Problem> {
    let source = match (&params.party, caller.is_admin()) {
        (Some(party), true) => Source::Of(party.clone()),
        (None, true) => Source::All,
        (_, false) => Source::Of(caller.party().clone()),
    };
    let PageLimit(limit) = params.limit;
    let mut transactions = Vec::new();
    let mut after = params.after.clone();
    let mut scanned = 0;
    while scanned < SCANNED_MAX {
        let ids = next_ids(&api, &source, after.as_ref()).await?;
        let is_last = ids.len() < STANDINGS_PAGE;
        scanned += ids.len();
        for tx in ids {
            let found = api.backbone.registry.transaction(&tx).await?;
            transactions.extend(found.filter(|found| is_wanted(found, &params)).map(summary));
            after = Some(tx);
            if transactions.len() == limit {
                return Ok(Json(Page { transactions, next: after }));
            }
        }
        if is_last {
            return Ok(Json(Page { transactions, next: None }));
        }
    }
    Ok(Json(Page { transactions, next: after }))
}

async fn next_ids(api: &Api, source: &Source, after: Option<&TxId>) -> Result<Vec<TxId>, Problem> {
    let registry = &api.backbone.registry;
    Ok(match source {
        Source::All => registry.list(after, STANDINGS_PAGE).await?,
        Source::Of(party) => {
            let standings = registry.standings(party, after, STANDINGS_PAGE).await?;
            standings.into_iter().map(|standing| standing.tx).collect()
        }
    })
}

fn is_wanted(transaction: &Transaction, params: &ListParams) -> bool {
    params.state.as_ref().is_none_or(|state| transaction.progress.state == *state)
        && params.party.as_ref().is_none_or(|party| is_member(&transaction.charter, party))
}

fn summary(transaction: Transaction) -> Summary {
    let charter = transaction.charter.as_ref().clone();
    Summary {
        tx: charter.tx,
        state: transaction.progress.state,
        initiator: charter.initiator,
        protocol: charter.protocol,
        parties: charter.parties,
        threshold: charter.threshold,
        purpose: charter.purpose,
        key_id: charter.key_id,
        created_at: charter.created_at,
        manifest_sha256: charter.manifest_sha256,
    }
}
