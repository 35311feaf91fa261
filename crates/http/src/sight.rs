//! Who may see what over HTTP, in one place. Deny by default: what is not named here is not seen.
//!
//! It rests on `quorate_domain::may_hear`, the line that also decides who hears a message over MQTT, and adds what only
//! the API has: admins, the fact that a p2p slot is filled, and the presence of others.

use std::collections::BTreeSet;

use quorate_domain::{Charter, PartyId, Place, Transaction, TxId, may_hear};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;

/// How many of a caller's transactions are looked at to find whose presence it may hear. A caller with more, none of the
/// first ones in common with a party, is told 404 of it.
const COMMON_SCANNED_MAX: usize = 2_000;
/// How many standings are read from the store at once.
pub(crate) const STANDINGS_PAGE: usize = 256;

/// How much of one message the API tells a caller. A payload is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// That it is there, its size and its sum.
    Whole,
    /// That it is there.
    Existence,
    /// Nothing.
    Nothing,
}

/// What a caller may know of the message at this place.
pub(crate) fn sight_of(charter: &Charter, place: &Place, caller: &Caller) -> Sight {
    let party = caller.party();
    if caller.is_admin() || may_hear(charter, place, party) {
        return Sight::Whole;
    }
    match place {
        Place::P2p { from, .. } if charter.is_party(party) => {
            if from == party {
                Sight::Whole
            } else {
                Sight::Existence
            }
        }
        _ => Sight::Nothing,
    }
}

/// The transaction, if the caller may see it: the transactions that list it or that it initiated; all, for admins. The
/// answer otherwise is the same whether it exists or not.
pub(crate) async fn visible_transaction(api: &Api, caller: &Caller, tx: &TxId) -> Result<Transaction, Problem> {
    let found = api.backbone.registry.transaction(tx).await?;
    found
        .filter(|transaction| caller.is_admin() || is_member(&transaction.charter, caller.party()))
        .ok_or_else(Problem::not_found)
}

/// The parties whose presence a caller that is no admin may hear: itself, and those with whom it has joined a common
/// transaction. Looking up ends early once `wanted` is found.
pub(crate) async fn acquaintances(
    api: &Api,
    caller: &Caller,
    wanted: Option<&PartyId>,
) -> Result<BTreeSet<PartyId>, Problem> {
    let registry = &api.backbone.registry;
    let mut known = BTreeSet::from([caller.party().clone()]);
    let mut after: Option<TxId> = None;
    let mut scanned = 0;
    while scanned < COMMON_SCANNED_MAX && !wanted.is_some_and(|party| known.contains(party)) {
        let page = registry.standings(caller.party(), after.as_ref(), STANDINGS_PAGE).await?;
        for standing in &page {
            let found = registry.transaction(&standing.tx).await?;
            if let Some(common) = found.filter(|found| has_joined(found, caller.party())) {
                known.extend(joined(&common).cloned());
            }
        }
        scanned += page.len();
        if page.len() < STANDINGS_PAGE {
            break;
        }
        after = page.last().map(|standing| standing.tx.clone());
    }
    Ok(known)
}

/// Whether a party is listed or is the initiator.
pub(crate) fn is_member(charter: &Charter, party: &PartyId) -> bool {
    charter.member_index(party).is_some()
}

/// Who has joined a transaction, in the order of the manifest.
pub(crate) fn joined(transaction: &Transaction) -> impl Iterator<Item = &PartyId> {
    let parties = transaction.charter.parties.iter().zip(&transaction.progress.joined);
    parties.filter(|(_, joined)| **joined).map(|(party, _)| party)
}

/// Whether a party has joined a transaction.
pub(crate) fn has_joined(transaction: &Transaction, party: &PartyId) -> bool {
    joined(transaction).any(|joined| joined == party)
}
