//! Carries out what a session asks of the backbone: appends, reads, saves, each without making the connection wait.
//!
//! Appends and publishes are submitted one after the other, since their order is the order of the log and of what is
//! heard; so are the writes of the session's record and cursors, and what becomes of its will. Reads run beside them.
//! Nothing here decides anything: each answer goes back to the session. How much can wait here is bounded by the session:
//! one read and one save at a time, and `Limits::pending_publishes_max` appends and publishes.

mod in_order;
mod moves;
mod reads;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quorate_backbone::{
    Append, Backbone, Completed, Completion, Publication, ReadLimit, Receipt, SaveError, StoreError,
};
use quorate_domain::{
    Author, CursorMoves, InflightRecord, LogPage, MessageProperties, PartyId, Qos, QueuePage, Scope, Seq, SessionKey,
    SessionRecord, Standing, TxId, TxTopic,
};
use quorate_session::{Fault, LookedUp};
use quorate_wire::PacketId;
use tokio::sync::mpsc;

use crate::wills::Wills;
use in_order::InOrder;
use moves::GatheredMoves;
pub(crate) use reads::all_standings;
use reads::{interim_state, look_up};

/// A publish that the session lets through: to a log, or to an ordinary topic.
pub(crate) struct Accepted<T> {
    pub(crate) topic: T,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) receipt: Option<PacketId>,
    pub(crate) properties: MessageProperties,
}

/// What the backbone answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An append or publish did not even reach the queue. (One that did is answered through the completion channel.)
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
    /// To `ReadQueue`.
    QueuePage(Result<QueuePage, Fault>),
    /// To `Save`.
    Saved(Result<(), SaveError>),
    /// To `Hold`.
    Held(Result<(), SaveError>),
    /// To `Release`.
    Released(Result<(), SaveError>),
    /// What `SaveCursors` said could not be stored: all that had gathered.
    CursorsNotStored(SaveError, CursorMoves),
    /// The will of a client that said DISCONNECT is still there.
    WillNotDiscarded(SaveError),
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
    pub(crate) fn append(&mut self, token: u64, publish: Accepted<TxTopic>) {
        let log = Arc::clone(&self.backbone.log);
        let receipt = self.receipt(publish.receipt);
        let Accepted { topic, payload, qos, properties, .. } = publish;
        let append = Append { topic, author: self.author.clone(), payload, qos, properties, receipt };
        let completion = self.completion(token);
        self.submits.push(async move {
            let submitted = log.submit(append, completion).await;
            submitted.err().map(|error| Answer::NotSubmitted { token, error })
        });
    }

    /// Submits a publish to an ordinary topic behind all others.
    pub(crate) fn publish(&mut self, token: u64, retain: bool, publish: Accepted<String>) {
        let topics = Arc::clone(&self.backbone.topics);
        let receipt = self.receipt(publish.receipt);
        let Accepted { topic, payload, qos, properties, .. } = publish;
        let (author, session) = (Some(self.author.clone()), Some(SessionKey::clone(&self.key)));
        let publication = Publication { topic, author, session, payload, qos, retain, properties, receipt };
        let completion = self.completion(token);
        self.submits.push(async move {
            let submitted = topics.submit(publication, completion).await;
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

    /// Reads what waits in the session's queue of ordinary messages.
    pub(crate) fn read_queue(&mut self, after: Seq, limit: ReadLimit) {
        let (topics, key) = (Arc::clone(&self.backbone.topics), Arc::clone(&self.key));
        self.reads.push(Box::pin(async move {
            Answer::QueuePage(topics.read_queue(&key, after, limit).await.map_err(fault))
        }));
    }

    /// Stores the session's record, after what was to be stored before. What is retained under the filters of `replay`
    /// comes through its queue then.
    pub(crate) fn save(&mut self, record: SessionRecord, replay: Vec<String>) {
        self.store_cursors();
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        self.stores.push(async move { Some(Answer::Saved(sessions.save(&key, epoch, &record, &replay).await)) });
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

    /// Forgets the will, after what was to be stored before.
    pub(crate) fn discard_will(&mut self) {
        let (sessions, key, epoch) = (Arc::clone(&self.backbone.sessions), Arc::clone(&self.key), self.epoch);
        self.stores.push(async move { sessions.discard_will(&key, epoch).await.err().map(Answer::WillNotDiscarded) });
    }

    /// Leaves the will to be said after `delay`; one without delay is said here, after what was to be stored before. One
    /// that could not be said is left to `wills`, which tries again.
    pub(crate) fn leave_will(&mut self, delay: Duration, wills: &Arc<Wills>) {
        let (wills, key, epoch) = (Arc::clone(wills), Arc::clone(&self.key), self.epoch);
        if !delay.is_zero() {
            return wills.leave(key, epoch, delay);
        }
        let sessions = Arc::clone(&self.backbone.sessions);
        self.stores.push(async move {
            if sessions.say_will(&key, epoch).await.is_err() {
                wills.leave(key, epoch, Duration::ZERO);
            }
            None
        });
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

    /// Carries every append, publish and write to its end and lets go of the reads. What fails now has nobody left to be
    /// told but the log. What was published goes first, so that the will does not overtake it.
    pub(crate) async fn finish(mut self) {
        self.reads.clear();
        self.store_cursors();
        while let Some(answer) = self.submits.next().await {
            if let Answer::NotSubmitted { error, .. } = answer {
                tracing::warn!(%error, "a publish at the end of a connection was not stored, nor acknowledged");
            }
        }
        while let Some(answer) = self.stores.next().await {
            match answer {
                Answer::Saved(Err(error)) | Answer::CursorsNotStored(error, _) | Answer::NotStored(error) => {
                    log_not_stored(&error);
                }
                Answer::WillNotDiscarded(error) => log_not_discarded(&error),
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
        self.stores.push(async move {
            let stored = sessions.save_cursors(&key, epoch, &moves).await;
            stored.err().map(|error| Answer::CursorsNotStored(error, moves))
        });
    }

    fn receipt(&self, packet_id: Option<PacketId>) -> Option<Receipt> {
        let session = || SessionKey::clone(&self.key);
        packet_id.map(|id| Receipt { session: session(), epoch: self.epoch, packet_id: id.get() })
    }

    fn completion(&self, token: u64) -> Completion {
        Completion { token, to: self.completions.clone() }
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

/// Says that the will of a client that said DISCONNECT may yet be said. A successor that took the session over has put
/// its own in that place.
pub(crate) fn log_not_discarded(error: &SaveError) {
    match error {
        SaveError::Superseded => tracing::debug!("the will was not discarded: a newer connection owns the session"),
        SaveError::Store(error) => {
            tracing::warn!(%error, "a will was not discarded: it is said after the next start of the broker");
        }
    }
}

/// What went wrong, as the session hears it.
pub(crate) fn fault(error: StoreError) -> Fault {
    Fault(error.to_string())
}

#[cfg(test)]
mod tests;
