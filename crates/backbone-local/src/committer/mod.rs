//! The one thread that writes. It drains the queue into one batch, decides each job against the store and the batch,
//! writes and syncs once, then answers in the order of the queue and hands the live copies over in the order of `Seq`.
//! What the decisions are is the domain's; how bytes reach the disk is the store's.

mod chores;
mod job;
mod ordinary;
mod pending;
mod presence;
mod purge;
mod recovery;
mod sessions;
mod topics;
mod transactions;
mod usage;
mod watch;
mod wills;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lru::LruCache;
use quorate_backbone::{ChangedTransactions, StoreError};
use quorate_domain::{CreationRules, TxId};
use tokio::sync::mpsc;

use job::Reply;
pub(crate) use job::{Clock, Job, Queue, Save, Ticked};
use pending::Pending;
use recovery::Recovery;
pub(crate) use topics::Topics;
pub(crate) use usage::Usages;

use crate::health::LocalHealth;
use crate::metrics::Metrics;
use crate::movement::LiveFanout;
use crate::presence::Attendances;
use crate::store::{Disk, Resident, SharedStore, StoreFault};
use crate::sweeper::Sweeper;
use crate::{Bounds, Retention};

/// Transactions that are held decoded: about 1 KiB each with few parties, 8 KiB with 64. One that is not held is read.
const RESIDENTS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
/// A batch is written once it is this large, whatever still waits: bounds memory and the time of one sync.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What the committer works with.
pub(crate) struct Committer {
    pub(crate) shared: Arc<SharedStore>,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) rules: CreationRules,
    pub(crate) movement: Arc<LiveFanout>,
    pub(crate) presence: Arc<Attendances>,
    pub(crate) changed: Arc<ChangedTransactions>,
    pub(crate) health: Arc<LocalHealth>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether to sync at all (`durability = "fsync"`).
    pub(crate) sync: bool,
    /// Jobs in one batch.
    pub(crate) batch_max: usize,
    pub(crate) cache: LruCache<TxId, Resident>,
    pub(crate) topics: Topics,
    pub(crate) usages: Usages,
    /// In bytes, since the room on the disk was looked at.
    pub(crate) written_since_look: usize,
    pub(crate) bounds: Bounds,
    pub(crate) retention: Retention,
    /// Something may have its time by now.
    pub(crate) is_due: bool,
    /// The store is a restored backup, and the operator has not confirmed it yet.
    pub(crate) restore_unconfirmed: Arc<AtomicBool>,
    pub(crate) sweeper: Sweeper,
}

/// An empty cache of transactions.
pub(crate) fn new_cache() -> LruCache<TxId, Resident> {
    LruCache::new(RESIDENTS_MAX)
}

/// A fault of the store as the rest of the house sees it.
pub(crate) fn fault(error: &StoreFault) -> StoreError {
    match error {
        StoreFault::Closed => StoreError::Closed,
        other => StoreError::Fault(other.to_string()),
    }
}

impl Committer {
    /// Starts the thread; it ends with `Job::Stop`, or when nobody can ask it any more.
    pub(crate) fn spawn(mut self, mut jobs: mpsc::Receiver<Job>) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name("committer".to_owned()).spawn(move || {
            let _end = End { shared: self.shared.clone(), health: self.health.clone() };
            self.run(&mut jobs);
            self.flush(&mut jobs);
        })
    }

    fn run(&mut self, jobs: &mut mpsc::Receiver<Job>) {
        loop {
            let mut pending = Pending::default();
            let Ok(mut next) = self.next_job(jobs) else { return };
            let mut stop = false;
            self.do_chores(&mut pending);
            while let Some(job) = next.take() {
                if matches!(job, Job::Stop) {
                    stop = true;
                    break;
                }
                if !pending.can_decide(job.regard())
                    && self.commit(std::mem::take(&mut pending), jobs) == Recovery::Stop
                {
                    return job.refuse(&StoreError::Closed);
                }
                self.decide(job, &mut pending);
                if pending.replies.len() < self.batch_max && pending.batch.bytes() < BATCH_BYTES_MAX {
                    next = jobs.try_recv().ok();
                }
            }
            if self.commit(pending, jobs) == Recovery::Stop || stop {
                return;
            }
        }
    }

    /// What a batch begins with; where chores wait, none is waited for. An error: nobody can ask any more.
    fn next_job(&self, jobs: &mut mpsc::Receiver<Job>) -> Result<Option<Job>, mpsc::error::TryRecvError> {
        if self.topics.chores.is_empty() && !self.is_due {
            return jobs.blocking_recv().map(Some).ok_or(mpsc::error::TryRecvError::Disconnected);
        }
        match jobs.try_recv() {
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            received => received.map(Some),
        }
    }

    /// Answers what is left, and syncs.
    fn flush(&mut self, jobs: &mut mpsc::Receiver<Job>) {
        jobs.close();
        while let Ok(job) = jobs.try_recv() {
            job.refuse(&StoreError::Closed);
        }
        if let Ok(store) = self.shared.store()
            && let Err(error) = store.flush()
        {
            tracing::error!(%error, "the store could not be flushed at the end");
        }
    }

    fn decide(&mut self, job: Job, pending: &mut Pending) {
        let reply = match job {
            Job::Append { append, completion, since, _room } => {
                Reply::Append(completion, self.decide_append(append, pending), since)
            }
            Job::Publish { publication, completion, since, _room } => {
                Reply::Append(completion, self.decide_publish(publication, pending), since)
            }
            Job::Close { tx, by, reason, answer } => Reply::Close(answer, self.decide_close(&tx, by, &reason, pending)),
            Job::TakeOver { key, start, agreement, now, answer } => {
                Reply::TakeOver(answer, self.decide_take_over(&key, start, agreement, now, pending))
            }
            Job::Save { key, epoch, save, answer } => Reply::Save(answer, self.decide_save(&key, epoch, save, pending)),
            Job::SayWill { key, epoch, answer } => Reply::SayWill(answer, self.decide_will(&key, epoch, pending)),
            Job::Presence { party, value, answer } => {
                Reply::Presence(answer, self.decide_presence(party, value, pending))
            }
            Job::ConfirmRestore { answer } => Reply::Save(answer, self.decide_confirm(pending)),
            Job::Tick => return self.tick(),
            Job::Stop => return,
        };
        pending.replies.push(reply);
    }

    /// Makes a batch durable, answers, and hands over the live copies; or refuses it and recovers.
    fn commit(&mut self, mut pending: Pending, jobs: &mut mpsc::Receiver<Job>) -> Recovery {
        if pending.is_empty() {
            return Recovery::Open;
        }
        pending.seal();
        if let Err(error) = self.write(&pending) {
            let told = self.note_failure(&error);
            self.take_chores_back(std::mem::take(&mut pending.topics.begun));
            for reply in pending.replies {
                reply.give_fault(&told);
            }
            return self.recover(&error, &told, jobs);
        }
        self.settle(pending);
        Recovery::Open
    }

    fn write(&mut self, pending: &Pending) -> Result<(), StoreFault> {
        // Refusals and repetitions rest on what earlier batches made durable.
        if pending.batch.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let store = self.shared.store()?;
        self.disk.write(&store, &pending.batch, self.sync && pending.sync)?;
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics.commits.inc();
        self.note_written(pending.batch.bytes());
        self.metrics.batch_size.observe(pending.replies.len() as f64);
        Ok(())
    }

    /// What follows once a batch is durable, and not before (invariant 1).
    fn settle(&mut self, pending: Pending) {
        for (tx, resident) in pending.residents {
            self.cache.put(tx, resident);
        }
        // First of all: who is told that a subscription holds must find that it does.
        self.usages.settle(pending.usage);
        if pending.confirmed {
            tracing::info!("the operator has confirmed the restored store: transactions may begin");
            self.restore_unconfirmed.store(false, Ordering::Release);
        }
        let mut topics = pending.topics;
        let ordinary_copies = std::mem::take(&mut topics.copies);
        self.topics.settle(topics);
        self.topics.tell(self.usages.retained_messages());
        for reply in pending.replies {
            if let Reply::Append(_, Ok(_), since) = &reply {
                self.metrics.append_seconds.observe(since.elapsed().as_secs_f64());
            }
            reply.give();
        }
        for (message, addressees) in pending.copies {
            self.movement.hand_message(message, &addressees);
        }
        for (message, hearers) in ordinary_copies {
            self.movement.hand_ordinary(&message, hearers);
        }
        if !pending.purged.is_empty() {
            self.metrics.purged.inc_by(pending.purged.len() as u64);
            self.sweeper.sweep();
        }
        for (tx, members) in pending.purged {
            self.movement.tell_purged(&tx, &members);
        }
        for tx in pending.changed {
            self.changed.mark(tx);
        }
    }
}

/// However the thread ends, nobody is told afterwards that the store is ready.
struct End {
    shared: Arc<SharedStore>,
    health: Arc<LocalHealth>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.health.fail("the store is closed".to_owned());
        self.shared.close();
    }
}
