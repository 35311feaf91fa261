//! Carries out what a session asks of the backbone: appends, reads, saves, each without making the connection wait.
//!
//! Appends are submitted one after the other, since their order is the order of the log; so are the writes of the
//! session's record and cursors. Reads run beside them. Nothing here decides anything: each answer goes back to the
//! session. How much can wait here is bounded by the session: one read and one save at a time, and
//! `Limits::pending_publishes_max` appends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, pending};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quorate_backbone::{Append, Backbone, Completed, Completion, ReadLimit, Receipt, SaveError, StoreError};
use quorate_domain::{
    Author, BackfillMove, CursorMoves, InflightRecord, LogPage, MessageProperties, PartyId, Qos, Scope, Seq,
    SessionKey, SessionRecord, Standing, TxId, TxTopic,
};
use quorate_session::{Fault, LookedUp};
use quorate_wire::PacketId;
use tokio::sync::mpsc;

/// Standings that one read of the registry gives.
const STANDINGS_PAGE: usize = 256;

/// Pages of standings that one session reads at most: a million transactions of one party. Beyond it the answer is a
/// fault, since a part of them would be taken for all.
const STANDINGS_PAGES_MAX: usize = 4_096;

/// A publish that the session lets through to its log.
pub(crate) struct Accepted {
    pub(crate) topic: TxTopic,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) receipt: Option<PacketId>,
    pub(crate) properties: MessageProperties,
}

/// What the backbone answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An append did not even reach the queue. (One that did is answered through the completion channel.)
    NotSubmitted {
        /// Which.
        token: u64,
        /// Why not.
        error: StoreError,
    },
    /// To `LookUp`.
    LookedUp(Result<Vec<LookedUp>, Fault>),
    /// To `ReadStandings`.
    Standings(Result<Vec<Standing>, Fault>),
    /// To `ReadLog`.
    LogPage {
        /// Which log.
        tx: TxId,
        /// The page.
        result: Result<LogPage, Fault>,
    },
    /// To `ReadState`.
    State {
        /// Which transaction.
        tx: TxId,
        /// `None`: closed, unknown or foreign.
        result: Result<Option<(Seq, Bytes)>, Fault>,
    },
    /// To `Save`.
    Saved(Result<(), SaveError>),
    /// To `Hold`.
    Held(Result<(), SaveError>),
    /// To `Release`.
    Released(Result<(), SaveError>),
    /// What `SaveCursors` said could not be stored.
    CursorsNotStored(SaveError),
    /// The removal of the session could not be stored.
    NotStored(SaveError),
}

/// One session's dealings with the backbone.
pub(crate) struct Dealings {
    backbone: Backbone,
    author: Author,
    key: Arc<SessionKey>,
    epoch: u64,
    completions: mpsc::Sender<Completed>,
    submits: InOrder,
    reads: FuturesUnordered<BoxFuture<'static, Answer>>,
    stores: InOrder,
    /// What moved while another write was under way.
    moves: GatheredMoves,
}

/// What moves of a session until it is stored: the newest of each log and backfill counts.
#[derive(Default)]
struct GatheredMoves {
    cursors: BTreeMap<TxId, Option<Seq>>,
    backfills: BTreeMap<(String, TxId), Option<Seq>>,
    settled: BTreeSet<u16>,
}

impl GatheredMoves {
    fn add(&mut self, moves: CursorMoves) {
        self.cursors.extend(moves.cursors);
        let backfills = moves.backfills.into_iter();
        self.backfills.extend(backfills.map(|BackfillMove { filter, tx, next }| ((filter, tx), next)));
        self.settled.extend(moves.settled);
    }

    fn take(&mut self) -> CursorMoves {
        let Self { cursors, backfills, settled } = std::mem::take(self);
        let backfills = backfills.into_iter().map(|((filter, tx), next)| BackfillMove { filter, tx, next });
        CursorMoves {
            cursors: cursors.into_iter().collect(),
            backfills: backfills.collect(),
            settled: settled.into_iter().collect(),
        }
    }
}

impl Dealings {
    /// `completions` must have room for every append that the session lets be pending.
    pub(crate) fn new(
        backbone: Backbone,
        author: Author,
        key: SessionKey,
        epoch: u64,
        completions: mpsc::Sender<Completed>,
    ) -> Self {
        Self {
            backbone,
            author,
            key: Arc::new(key),
            epoch,
            completions,
            submits: InOrder::default(),
            reads: FuturesUnordered::new(),
            stores: InOrder::default(),
            moves: GatheredMoves::default(),
        }
    }

    /// Submits an append behind all others.
    pub(crate) fn append(&mut self, token: u64, publish: Accepted) {
        let log = Arc::clone(&self.backbone.log);
        let Accepted { topic, payload, qos, receipt, properties } = publish;
        let receipt = receipt.map(|packet_id| Receipt {
            session: SessionKey::clone(&self.key),
            epoch: self.epoch,
            packet_id: packet_id.get(),
        });
        let append = Append { topic, author: self.author.clone(), payload, qos, properties, receipt };
        let completion = Completion { token, to: self.completions.clone() };
        self.submits.push(async move {
            let submitted = log.submit(append, completion).await;
            submitted.err().map(|error| Answer::NotSubmitted { token, error })
        });
    }

    /// Looks up what each scope covers for this party.
    pub(crate) fn look_up(&mut self, scopes: Vec<Scope>) {
        let (backbone, party) = self.reader();
        self.reads.push(Box::pin(async move { Answer::LookedUp(look_up(&backbone, &party, scopes).await) }));
    }

    /// Reads where this party stands in all its transactions.
    pub(crate) fn read_standings(&mut self) {
        let (backbone, party) = self.reader();
        self.reads.push(Box::pin(async move { Answer::Standings(all_standings(&backbone, &party).await) }));
    }

    /// Reads what this party may hear of a log.
    pub(crate) fn read_log(&mut self, tx: TxId, after: Seq, limit: ReadLimit) {
        let (backbone, party) = self.reader();
        self.reads.push(Box::pin(async move {
            let result = backbone.log.read(&tx, &party, after, limit).await.map_err(fault);
            Answer::LogPage { tx, result }
        }));
    }

    /// Reads the interim state of a transaction.
    pub(crate) fn read_state(&mut self, tx: TxId) {
        let (backbone, party) = self.reader();
        self.reads.push(Box::pin(async move {
            let result = interim_state(&backbone, &party, &tx).await;
            Answer::State { tx, result }
        }));
    }

    /// Stores the session's record, after what was to be stored before.
    pub(crate) fn save(&mut self, record: SessionRecord) {
        self.store_cursors();
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        self.stores.push(async move { Some(Answer::Saved(sessions.save(&key, epoch, &record).await)) });
    }

    /// Keeps steps of deliveries at QoS 2, after what was to be stored before: an identifier that was settled may be
    /// among them anew.
    pub(crate) fn hold(&mut self, records: Vec<InflightRecord>) {
        self.store_cursors();
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        self.stores.push(async move { Some(Answer::Held(sessions.hold(&key, epoch, &records).await)) });
    }

    /// Forgets receipts.
    pub(crate) fn release(&mut self, packet_ids: Vec<PacketId>) {
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        let packet_ids: Vec<u16> = packet_ids.into_iter().map(PacketId::get).collect();
        self.stores.push(async move { Some(Answer::Released(sessions.release(&key, epoch, &packet_ids).await)) });
    }

    /// Stores cursors; while another write is under way they gather.
    pub(crate) fn save_cursors(&mut self, moves: CursorMoves) {
        self.moves.add(moves);
        if self.stores.is_empty() {
            self.store_cursors();
        }
    }

    /// Forgets the session, after what was to be stored before.
    pub(crate) fn remove(&mut self) {
        self.store_cursors();
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        self.stores.push(async move { sessions.remove(&key, epoch).await.err().map(Answer::NotStored) });
    }

    /// The next answer; waits for ever where nothing is outstanding. Dropping the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Answer {
        loop {
            if self.stores.is_empty() {
                self.store_cursors();
            }
            let answer = tokio::select! {
                done = self.submits.next(), if !self.submits.is_empty() => done,
                done = self.stores.next(), if !self.stores.is_empty() => done,
                Some(answer) = self.reads.next(), if !self.reads.is_empty() => Some(answer),
                else => pending().await,
            };
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// Carries every append and every write to its end and lets go of the reads. What fails now has nobody left to be
    /// told but the log.
    pub(crate) async fn finish(mut self) {
        self.reads.clear();
        self.store_cursors();
        while !self.submits.is_empty() || !self.stores.is_empty() {
            let answer = tokio::select! {
                done = self.submits.next(), if !self.submits.is_empty() => done,
                done = self.stores.next(), if !self.stores.is_empty() => done,
            };
            match answer {
                Some(Answer::NotSubmitted { error, .. }) => {
                    tracing::warn!(%error, "a publish at the end of a connection was not stored, nor acknowledged");
                }
                Some(Answer::Saved(Err(error)) | Answer::CursorsNotStored(error) | Answer::NotStored(error)) => {
                    log_not_stored(&error);
                }
                _ => {}
            }
        }
    }

    fn store_cursors(&mut self) {
        let moves = self.moves.take();
        if moves.is_empty() {
            return;
        }
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        self.stores
            .push(async move { sessions.save_cursors(&key, epoch, &moves).await.err().map(Answer::CursorsNotStored) });
    }

    fn reader(&self) -> (Backbone, PartyId) {
        (self.backbone.clone(), self.author.party.clone())
    }
}

/// Says that something of a session was not stored. A successor that took the session over is no fault.
pub(crate) fn log_not_stored(error: &SaveError) {
    match error {
        SaveError::Superseded => tracing::debug!("not stored: a newer connection owns the session"),
        SaveError::Store(error) => {
            tracing::warn!(%error, "the session was not stored; it may repeat messages when it resumes");
        }
    }
}

/// What went wrong, as the session hears it.
pub(crate) fn fault(error: StoreError) -> Fault {
    Fault(error.to_string())
}

/// Futures of which each starts when the one before it has ended.
#[derive(Default)]
struct InOrder(VecDeque<BoxFuture<'static, Option<Answer>>>);

impl InOrder {
    fn push(&mut self, future: impl Future<Output = Option<Answer>> + Send + 'static) {
        self.0.push_back(Box::pin(future));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs them until one has something to say, or all have ended.
    async fn next(&mut self) -> Option<Answer> {
        while let Some(first) = self.0.front_mut() {
            let answer = first.await;
            self.0.pop_front();
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

async fn look_up(backbone: &Backbone, party: &PartyId, scopes: Vec<Scope>) -> Result<Vec<LookedUp>, Fault> {
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

async fn interim_state(backbone: &Backbone, party: &PartyId, tx: &TxId) -> Result<Option<(Seq, Bytes)>, Fault> {
    let Some(transaction) = backbone.registry.transaction(tx).await.map_err(fault)? else {
        return Ok(None);
    };
    if transaction.progress.state.is_closed() || transaction.standing(party).is_none() {
        return Ok(None);
    }
    let document = transaction.state_document(&|party: &PartyId| backbone.presence.is_present(party));
    Ok(Some((transaction.progress.last_seq, document.to_bytes())))
}
