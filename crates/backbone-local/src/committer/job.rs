//! What the committer is asked to do, the queue in which it waits, and how it is answered.

use std::sync::Arc;
use std::time::Instant;

use quorate_backbone::{Append, Appended, Completion, Publication, SaveError, Start, StoreError, TakenOver};
use quorate_domain::{
    Agreement, Closer, CursorMoves, InflightRecord, PartyId, Refusal, SessionKey, SessionRecord, TxId, UnixMs,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::store::PresenceValue;

/// Bytes of payload that wait in the queue, in units of [`UNIT_BYTES`]; at the bound, a submitter waits.
const QUEUE_UNITS: usize = 64 << 10;
/// What one unit is; a message takes at least one.
const UNIT_BYTES: usize = 1 << 10;

/// Something to decide and to write.
pub(crate) enum Job {
    Append {
        append: Append,
        completion: Completion,
        since: Instant,
        /// Room in the queue, given back when the job is done.
        _room: OwnedSemaphorePermit,
    },
    Publish {
        publication: Publication,
        completion: Completion,
        since: Instant,
        _room: OwnedSemaphorePermit,
    },
    Close {
        tx: TxId,
        by: Closer,
        reason: String,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    TakeOver {
        key: SessionKey,
        start: Start,
        agreement: Agreement,
        now: UnixMs,
        answer: oneshot::Sender<Result<TakenOver, StoreError>>,
    },
    Save {
        key: SessionKey,
        epoch: u64,
        save: Save,
        answer: oneshot::Sender<Result<(), SaveError>>,
    },
    SayWill {
        key: SessionKey,
        epoch: u64,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Presence {
        party: PartyId,
        value: PresenceValue,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// The operator knows that the store was restored, and lets transactions begin.
    ConfirmRestore {
        answer: oneshot::Sender<Result<(), SaveError>>,
    },
    /// Time has passed.
    Tick,
    Stop,
}

/// What is to be kept of a session.
pub(crate) enum Save {
    Record {
        record: Box<SessionRecord>,
        /// Filters whose retained messages are to come.
        replay: Vec<String>,
    },
    /// Not synced.
    Cursors(CursorMoves),
    /// Steps of deliveries at QoS 2.
    Inflight(Vec<InflightRecord>),
    /// Receipts to be forgotten, by their packet identifiers.
    Release(Vec<u16>),
    /// The will is not to be said.
    DiscardWill,
    Remove,
}

/// How a job meets what the batch already holds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Regard<'a> {
    /// It looks at no session.
    Nothing,
    /// It must know the owner and the record.
    Owner(&'a SessionKey),
    /// It must know all that is stored of it.
    Whole(&'a SessionKey),
}

/// An outcome that waits for the disk.
pub(super) enum Reply {
    Append(Completion, Result<Appended, Refusal>, Instant),
    Close(oneshot::Sender<Result<(), Refusal>>, Result<(), Refusal>),
    TakeOver(oneshot::Sender<Result<TakenOver, StoreError>>, Result<TakenOver, StoreError>),
    Save(oneshot::Sender<Result<(), SaveError>>, Result<(), SaveError>),
    SayWill(oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>),
    Presence(oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>),
}

impl Reply {
    /// Tells the outcome. Who does not wait any more does not hear it.
    pub(super) fn give(self) {
        match self {
            Reply::Append(completion, outcome, _) => completion.complete(outcome),
            Reply::Close(answer, outcome) => drop(answer.send(outcome)),
            Reply::TakeOver(answer, outcome) => drop(answer.send(outcome)),
            Reply::Save(answer, outcome) => drop(answer.send(outcome)),
            Reply::SayWill(answer, outcome) | Reply::Presence(answer, outcome) => drop(answer.send(outcome)),
        }
    }

    /// Tells that the store failed, whatever the outcome would have been: it was decided on what may not be there.
    pub(super) fn give_fault(self, error: &StoreError) {
        match self {
            Reply::Append(completion, ..) => completion.complete(Err(storage_fault(error))),
            Reply::Close(answer, _) => drop(answer.send(Err(storage_fault(error)))),
            Reply::TakeOver(answer, _) => drop(answer.send(Err(error.clone()))),
            Reply::Save(answer, _) => drop(answer.send(Err(error.clone().into()))),
            Reply::SayWill(answer, _) | Reply::Presence(answer, _) => drop(answer.send(Err(error.clone()))),
        }
    }
}

impl Job {
    /// What it must find in the store rather than in the batch.
    pub(super) fn regard(&self) -> Regard<'_> {
        match self {
            Job::TakeOver { key, .. } | Job::Save { key, save: Save::Remove, .. } => Regard::Whole(key),
            Job::Save { key, .. } => Regard::Owner(key),
            Job::Append { append: Append { receipt, .. }, .. }
            | Job::Publish { publication: Publication { receipt, .. }, .. } => {
                receipt.as_ref().map_or(Regard::Nothing, |receipt| Regard::Owner(&receipt.session))
            }
            Job::SayWill { key, .. } => Regard::Owner(key),
            Job::Close { .. } | Job::Presence { .. } | Job::ConfirmRestore { .. } | Job::Tick | Job::Stop => {
                Regard::Nothing
            }
        }
    }

    /// Answers a job that was not begun.
    pub(super) fn refuse(self, error: &StoreError) {
        match self {
            Job::Append { completion, .. } | Job::Publish { completion, .. } => {
                completion.complete(Err(not_tried(error)));
            }
            Job::Close { answer, .. } => drop(answer.send(Err(not_tried(error)))),
            Job::TakeOver { answer, .. } => drop(answer.send(Err(error.clone()))),
            Job::Save { answer, .. } => drop(answer.send(Err(error.clone().into()))),
            Job::SayWill { answer, .. } | Job::Presence { answer, .. } => drop(answer.send(Err(error.clone()))),
            Job::ConfirmRestore { answer } => drop(answer.send(Err(error.clone().into()))),
            Job::Tick | Job::Stop => {}
        }
    }
}

/// Why something was not even tried, as a publisher is told it: a full disk is not its fault, nor a fault that passes by
/// trying again at once.
fn not_tried(error: &StoreError) -> Refusal {
    match error {
        StoreError::Full => Refusal::QuotaExceeded(error.to_string()),
        other => storage_fault(other),
    }
}

/// A fault of the store as a publisher is told it.
pub(super) fn storage_fault(error: &StoreError) -> Refusal {
    Refusal::StorageFault(error.to_string())
}

/// Whether there is still somebody to tell that time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticked {
    Told,
    Ended,
}

/// Tells the committer that time has passed.
pub(crate) struct Clock {
    jobs: mpsc::WeakSender<Job>,
}

impl Clock {
    /// Time has passed; where the committer has enough to do it is told another time.
    pub(crate) fn tick(&self) -> Ticked {
        let sent = self.jobs.upgrade().map(|jobs| jobs.try_send(Job::Tick));
        match sent {
            None | Some(Err(mpsc::error::TrySendError::Closed(_))) => Ticked::Ended,
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => Ticked::Told,
        }
    }
}

/// The way to the committer: bounded in jobs and in bytes.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

impl Queue {
    /// A queue for `jobs_max` jobs, and the end at which the committer takes them.
    pub(crate) fn new(jobs_max: usize) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(jobs_max.max(1));
        (Self { jobs, room: Arc::new(Semaphore::new(QUEUE_UNITS)) }, receiver)
    }

    /// Queues an append; waits for room only.
    pub(crate) async fn append(&self, append: Append, completion: Completion) -> Result<(), StoreError> {
        let since = Instant::now();
        let room = self.room_for(append.payload.len()).await?;
        self.send(Job::Append { append, completion, since, _room: room }).await
    }

    /// Queues a publish to an ordinary topic; waits for room only.
    pub(crate) async fn publish(&self, publication: Publication, completion: Completion) -> Result<(), StoreError> {
        let since = Instant::now();
        let room = self.room_for(publication.payload.len()).await?;
        self.send(Job::Publish { publication, completion, since, _room: room }).await
    }

    /// Waits until so many bytes of payload find room.
    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        // A payload that is longer than all the room takes all of it rather than wait for ever.
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, QUEUE_UNITS);
        let units = u32::try_from(units).expect("clamped to what fits");
        self.room.clone().acquire_many_owned(units).await.map_err(|_| StoreError::Closed)
    }

    /// Queues a job and waits for its answer.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(job(answer)).await?;
        answered.await.map_err(|_| StoreError::Closed)
    }

    /// Asks the committer to end after what is queued.
    pub(crate) async fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.send(Job::Stop).await;
    }

    /// A clock for the committer, which does not keep it alive.
    pub(crate) fn clock(&self) -> Clock {
        Clock { jobs: self.jobs.downgrade() }
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}
