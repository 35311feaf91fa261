//! RocksDB keeps, rumqttd moves: the backbone of one machine.
//!
//! A message enters the queue of the `committer`, the one thread that writes: it decides over it, makes it durable
//! together with all else that waits, and only then answers. Copies of it then travel along the `lanes` to the mailboxes of
//! the connected sessions of its addressees; what is lost on that way is noticed and read from the log. Here all of it is
//! put together.

mod channels;
mod check;
mod clock;
mod committer;
mod health;
mod lanes;
mod metrics;
mod movement;
mod open_error;
mod presence;
mod reads;
mod restore;
mod sessions;
mod store;
mod sweeper;
#[cfg(test)]
mod tests;
mod topics;
mod upkeep;

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_backbone::{Backbone, ChangedTransactions, Mailboxes, TopicRules};
use quorate_domain::{CreationRules, TxLimits, Volume};

use channels::Channels;
use committer::{Clock, Committer, Queue, Ticked, Topics, Usages, new_cache};
use health::LocalHealth;
use lanes::Lanes;
use metrics::Metrics;
use movement::{Carrier, LaneEnd, LiveFanout};
use presence::{Attendances, LocalPresence};
use reads::{LocalLog, Reads};
use sessions::LocalSessions;
use store::{Disk, RealDisk, Restore, SharedStore, StoreFault, StoreOptions};
use sweeper::Sweeper;
use topics::{Counters, LocalTopics};
use upkeep::LocalUpkeep;

pub use check::check;
pub use open_error::OpenError;
pub use restore::{BackupError, Restored, backup, restore};
pub use store::{CheckReport, Finding, MasterKey, MasterKeyError};

/// Hears what long work is doing, how much of it is done, and of how much (0: nobody knows).
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// How often the committer looks for what has its time, and at the room on the disk.
const TICK: Duration = Duration::from_secs(1);

/// When a message counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the disk says that it has it.
    Fsync,
    /// When the operating system has it: a crash of the broker loses nothing, a power cut may lose what was acknowledged,
    /// and with it may open slots again that were written.
    Os,
}

/// By what the parties are known whose words a store holds. A store is of one kind for ever: what clients said who
/// proved nothing must never be taken for what certificates proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identities {
    /// By certificates.
    Certificates,
    /// By client identifiers that nobody proves: a broker of tests and conformance suites.
    DangerAnonymous,
}

impl fmt::Display for Identities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Identities::Certificates => "certificates",
            Identities::DangerAnonymous => "client identifiers that nobody proves (danger_anonymous)",
        })
    }
}

/// What carries live copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// rumqttd's router, in this many lanes (at least one).
    Lanes {
        /// How many.
        count: usize,
    },
    /// A plain channel, for the benchmark.
    Channels,
}

/// How much a store takes. At a bound its publisher is told ([`Refusal::QuotaExceeded`](quorate_domain::Refusal)); nothing
/// that was acknowledged is dropped to make room. What joins a transaction, ends it or is its result is outside of all
/// but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What one party may say in one transaction.
    pub transaction: TxLimits,
    /// What one party may have said in all transactions that are not purged yet.
    pub party: Volume,
    /// All logs, queues and retained messages.
    pub store: Volume,
    /// Bytes that are kept free on the disk: below, nothing more is taken, and all else goes on.
    pub disk_free_min_bytes: u64,
}

/// Ten million messages and 16 GiB a party; the store as a whole is bounded by its disk, of which 256 MiB stay free.
impl Default for Bounds {
    fn default() -> Self {
        Self {
            transaction: TxLimits::default(),
            party: Volume { messages: 10_000_000, bytes: 16 << 30 },
            store: Volume { messages: u64::MAX, bytes: u64::MAX },
            disk_free_min_bytes: 256 << 20,
        }
    }
}

/// How long a closed transaction is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// From its end, where every party has acknowledged the final state.
    pub purge_after: Duration,
    /// From its end in any case.
    pub retain_closed_for: Duration,
}

/// A day, and thirty.
impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self { purge_after: DAY, retain_closed_for: 30 * DAY }
    }
}

/// How to open a backbone.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The directory of the store; made if it is missing.
    pub path: PathBuf,
    /// By what the parties of this broker are known: written into a new store, compared with that of an old one.
    pub identities: Identities,
    /// When a message counts as durable.
    pub durability: Durability,
    /// Who may create transactions, with whom.
    pub rules: CreationRules,
    /// What holds for ordinary topics.
    pub topics: TopicRules,
    /// How much it takes.
    pub bounds: Bounds,
    /// How long closed transactions are kept.
    pub retention: Retention,
    /// Under which all is sealed that parties say; `None`: it is stored as it is.
    pub master_key: Option<MasterKey>,
    /// Where backups of the open store go; `None`: none are made.
    pub backup_folder: Option<PathBuf>,
    /// What carries live copies.
    pub movement: Movement,
    /// Jobs that wait for the committer; at the bound, submitters wait.
    pub queue_max: usize,
    /// Jobs in one batch.
    pub batch_max: usize,
    /// Danger, for tests: every k-th copy in a lane is lost.
    pub danger_drop_every: Option<NonZeroU32>,
}

impl LocalOptions {
    fn of_store(&self) -> StoreOptions {
        StoreOptions { identities: self.identities, master_key: self.master_key.clone() }
    }
}

/// For what a backbone is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Serve,
    /// To abort what a backup holds that is not closed.
    Restore,
}

/// An open backbone. It lives on in the [`Backbone`]s that were taken from it; [`shut_down`](Self::shut_down) ends it.
pub struct LocalBackbone {
    backbone: Backbone,
    queue: Queue,
    committer: JoinHandle<()>,
    #[cfg(test)]
    shared: Arc<SharedStore>,
}

impl LocalBackbone {
    /// Opens or makes the store, and starts what runs. Blocks while RocksDB reads its log. Within a Tokio runtime.
    pub fn open(options: LocalOptions, metrics: &prometheus::Registry) -> Result<LocalBackbone, OpenError> {
        let disk = Box::new(RealDisk::new(&options.path));
        Self::open_on(disk, options, Purpose::Serve, metrics)
    }

    fn open_on(
        disk: Box<dyn Disk>,
        options: LocalOptions,
        purpose: Purpose,
        metrics: &prometheus::Registry,
    ) -> Result<LocalBackbone, OpenError> {
        tokio::runtime::Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        std::fs::create_dir_all(&options.path).map_err(OpenError::Directory)?;
        let metrics = Metrics::register(metrics)?;
        let shared = Arc::new(SharedStore::open(&options.path, options.of_store())?);
        let opening = |error: StoreFault| OpenError::Store(error.to_string());
        let (incarnation, restore, usages) = {
            let store = shared.store().map_err(opening)?;
            (store.incarnation(), store.restore().map_err(opening)?, Usages::load(&store).map_err(opening)?)
        };
        if restore == Some(Restore::Begun) && purpose == Purpose::Serve {
            return Err(OpenError::RestoreUnfinished);
        }
        let movement = Arc::new(start_movement(&options, &metrics)?);
        let (queue, jobs) = Queue::new(options.queue_max);
        let reads = Reads::new(shared.clone());
        let attendances = Arc::new(Attendances::default());
        let changed = Arc::new(ChangedTransactions::new());
        let health = Arc::new(LocalHealth::default());
        let counters = Arc::new(Counters::default());
        let topics = shared.store().and_then(|store| Topics::load(&store, options.topics.clone(), counters.clone()));
        let topics = topics.map_err(opening)?;
        topics.tell(usages.retained_messages());
        let sweeper = Sweeper::start(shared.clone()).map_err(OpenError::Thread)?;
        let restore_unconfirmed = Arc::new(AtomicBool::new(restore.is_some()));
        let upkeep = LocalUpkeep {
            shared: shared.clone(),
            queue: queue.clone(),
            backup_folder: options.backup_folder.clone(),
            restore_unconfirmed: restore_unconfirmed.clone(),
        };
        let committer = Committer {
            shared: shared.clone(),
            disk,
            rules: options.rules,
            movement: movement.clone(),
            presence: attendances.clone(),
            changed: changed.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            sync: options.durability == Durability::Fsync,
            batch_max: options.batch_max.max(1),
            cache: new_cache(),
            topics,
            usages,
            written_since_look: 0,
            bounds: options.bounds,
            retention: options.retention,
            is_due: true,
            restore_unconfirmed: restore_unconfirmed.clone(),
            sweeper,
        };
        let committer = committer.spawn(jobs).map_err(OpenError::Thread)?;
        metrics.store_ready.set(1);
        tokio::spawn(tell_time(queue.clock()));
        let log = Arc::new(LocalLog { queue: queue.clone(), reads: reads.clone(), changed, incarnation });
        let backbone = Backbone {
            log: log.clone(),
            registry: log,
            topics: Arc::new(LocalTopics { queue: queue.clone(), reads: reads.clone(), counters }),
            sessions: Arc::new(LocalSessions::new(queue.clone(), reads.clone())),
            presence: Arc::new(LocalPresence::new(attendances, queue.clone(), reads)),
            fanout: movement,
            health,
            upkeep: Arc::new(upkeep),
        };
        Ok(LocalBackbone {
            backbone,
            queue,
            committer,
            #[cfg(test)]
            shared,
        })
    }

    /// The faces of this backbone.
    pub fn backbone(&self) -> Backbone {
        self.backbone.clone()
    }

    /// Answers what is queued, syncs, and closes the store. What is asked of the backbone afterwards is refused.
    pub async fn shut_down(self) {
        self.queue.stop().await;
        let committer = self.committer;
        let ended = tokio::task::spawn_blocking(move || committer.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("the committer did not end well");
        }
    }
}

/// Tells the committer that time passes, until it has ended.
async fn tell_time(clock: Clock) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if clock.tick() == Ticked::Ended {
            return;
        }
    }
}

fn start_movement(options: &LocalOptions, metrics: &Arc<Metrics>) -> Result<LiveFanout, OpenError> {
    let count = match options.movement {
        Movement::Lanes { count } => NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN),
        Movement::Channels => NonZeroUsize::MIN,
    };
    let mailboxes: Vec<_> = (0..count.get()).map(|_| Arc::new(Mailboxes::new())).collect();
    let end = |(lane, mailboxes): (usize, &Arc<Mailboxes>)| LaneEnd {
        lane,
        mailboxes: mailboxes.clone(),
        metrics: metrics.clone(),
    };
    let ends = mailboxes.iter().enumerate().map(end).collect();
    let carrier: Box<dyn Carrier> = match options.movement {
        Movement::Lanes { .. } => Box::new(Lanes::start(ends, options.danger_drop_every)?),
        Movement::Channels => Box::new(Channels::start(ends, options.danger_drop_every)),
    };
    Ok(LiveFanout::new(mailboxes, carrier, metrics.clone()))
}
