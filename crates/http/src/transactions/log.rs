//! `GET /v1/transactions/{tx}/log?after=&limit=`: what was said when and by whom, never what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use quorate_backbone::JournalEntry;
use quorate_domain::{Charter, PartyId, Seq, Sha256, TxId, TxTopic, UnixMs};
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::{Named, PageLimit, Params};
use crate::sight::{Sight, sight_of, visible_transaction};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogParams {
    after: Option<u64>,
    #[serde(default)]
    limit: PageLimit,
}

#[derive(Debug, Serialize)]
pub(crate) struct Page {
    entries: Vec<Entry>,
    /// Give it as `after` for the next page; null at the end of the log, for now.
    next: Option<Seq>,
}

/// One message. Who may not know its size and sum gets null there.
#[derive(Debug, Serialize)]
struct Entry {
    seq: Seq,
    topic: TxTopic,
    /// Null for the broker.
    from: Option<PartyId>,
    at: UnixMs,
    bytes: Option<u64>,
    sha256: Option<Sha256>,
}

/// A coordinator, who is not a party, sees manifest and state alone, here too.
pub(crate) async fn log(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(tx): Named<TxId>,
    Params(params): Params<LogParams>,
) -> Result<Json<Page>, Problem> {
    let transaction = visible_transaction(&api, &caller, &tx).await?;
    let PageLimit(limit) = params.limit;
    let after = Seq(params.after.unwrap_or(Seq::ZERO.0));
    let journal = api.backbone.registry.journal(&tx, after, limit).await?;
    let head = transaction.progress.last_seq;
    let next = journal.last().filter(|last| journal.len() == limit || last.seq < head).map(|last| last.seq);
    let entries = journal.into_iter().filter_map(|message| entry(&transaction.charter, message, &caller)).collect();
    Ok(Json(Page { entries, next }))
}

fn entry(charter: &Charter, message: JournalEntry, caller: &Caller) -> Option<Entry> {
    let is_whole = match sight_of(charter, &message.topic.place, caller) {
        Sight::Whole => true,
        Sight::Existence => false,
        Sight::Nothing => return None,
    };
    Some(Entry {
        seq: message.seq,
        topic: message.topic,
        from: message.from,
        at: message.at,
        bytes: is_whole.then_some(message.bytes),
        sha256: is_whole.then_some(message.sha256),
    })
}
