//! Reads of more than one page, or of more than one face of the backbone.

use bytes::Bytes;
use quorate_backbone::Backbone;
use quorate_domain::{PartyId, Scope, Seq, Standing, TxId};
use quorate_session::{Fault, LookedUp};

use super::fault;

/// Standings that one read of the registry gives.
const STANDINGS_PAGE: usize = 256;

/// Pages of standings that one session reads at most: a million transactions of one party. Beyond it the answer is a
/// fault, since a part of them would be taken for all.
const STANDINGS_PAGES_MAX: usize = 4_096;

/// What each scope covers for this party.
pub(super) async fn look_up(backbone: &Backbone, party: &PartyId, scopes: Vec<Scope>) -> Result<Vec<LookedUp>, Fault> {
    let mut answers = Vec::with_capacity(scopes.len());
    for scope in scopes {
        answers.push(match scope {
            Scope::One(tx) => {
                let transaction = backbone.registry.transaction(&tx).await.map_err(fault)?;
                let standing = transaction.and_then(|transaction| transaction.standing(party));
                standing.map_or(LookedUp::Refused, |standing| LookedUp::Standings(vec![standing]))
            }
            Scope::All => LookedUp::Standings(all_standings(backbone, party).await?),
        });
    }
    Ok(answers)
}

/// Where this party stands in all its transactions.
pub(crate) async fn all_standings(backbone: &Backbone, party: &PartyId) -> Result<Vec<Standing>, Fault> {
    let mut all: Vec<Standing> = Vec::new();
    for _ in 0..STANDINGS_PAGES_MAX {
        let after = all.last().map(|standing| standing.tx.clone());
        let page = backbone.registry.standings(party, after.as_ref(), STANDINGS_PAGE).await.map_err(fault)?;
        let is_last = page.len() < STANDINGS_PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
    Err(Fault(format!("{party} is in more than {} transactions", STANDINGS_PAGE * STANDINGS_PAGES_MAX)))
}

/// The interim state of a transaction. `None`: it is closed, unknown or foreign.
pub(super) async fn interim_state(
    backbone: &Backbone,
    party: &PartyId,
    tx: &TxId,
) -> Result<Option<(Seq, Bytes)>, Fault> {
    let Some(transaction) = backbone.registry.transaction(tx).await.map_err(fault)? else {
        return Ok(None);
    };
    if transaction.progress.state.is_closed() || transaction.standing(party).is_none() {
        return Ok(None);
    }
    let document = transaction
        .state_document(backbone.registry.incarnation(), &|party: &PartyId| backbone.presence.is_present(party));
    Ok(Some((transaction.progress.last_seq, document.to_bytes())))
}
