//! What is measured. No label carries a party, a transaction or a client id.

use std::sync::Arc;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

/// The names of all metrics of this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    AppendSeconds,
    BatchSize,
    BlockCache,
    CommitSeconds,
    Commits,
    CopiesDropped,
    DeliveriesDropped,
    DiskFree,
    Expired,
    LaneDepth,
    LaneGaps,
    MailboxOverflows,
    Purged,
    QuotaRefusals,
    SessionsExpired,
    SlotsRefused,
    StoreBytes,
    StoreMessages,
    StoreReady,
    UsedParty,
    UsedQueue,
    UsedStore,
    WillsNotQueued,
    WriteBuffers,
}

impl Name {
    fn opts(self) -> Opts {
        let (name, help) = match self {
            Name::AppendSeconds => {
                ("quorate_append_seconds", "From the request to append to its durable acknowledgement")
            }
            Name::BatchSize => ("quorate_commit_batch_size", "Jobs that one commit answered"),
            Name::BlockCache => {
                ("quorate_store_block_cache_bytes", "Memory of the store's cache of blocks, which is bounded")
            }
            Name::WriteBuffers => (
                "quorate_store_write_buffers_bytes",
                "Memory of what the store has in its log of writes and not in table files yet, which is bounded",
            ),
            Name::CommitSeconds => ("quorate_commit_seconds", "One write to the store with its sync"),
            Name::Commits => ("quorate_commits_total", "Batches written to the store"),
            Name::CopiesDropped => (
                "quorate_live_copies_dropped_total",
                "Live copies that found no room in a lane; the log or the queue has them",
            ),
            Name::DeliveriesDropped => (
                "quorate_deliveries_dropped_total",
                "Deliveries of ordinary messages at QoS 0 that found no room on their way: nothing else has them",
            ),
            Name::DiskFree => ("quorate_disk_free_bytes", "What the disk under the store still takes"),
            Name::Expired => (
                "quorate_messages_expired_total",
                "Messages of ordinary topics that left their queue or place because their lifetime was over",
            ),
            Name::LaneDepth => ("quorate_lane_depth", "Live copies on their way in a lane"),
            Name::LaneGaps => ("quorate_lane_gaps_total", "Losses in a lane after which its sessions read the log"),
            Name::MailboxOverflows => {
                ("quorate_mailbox_overflows_total", "Live copies that found a full mailbox; the session reads the log")
            }
            Name::Purged => ("quorate_transactions_purged_total", "Closed transactions that were purged"),
            Name::QuotaRefusals => {
                ("quorate_quota_refusals_total", "Publishes that were refused because a quota is used up")
            }
            Name::SessionsExpired => ("quorate_sessions_expired_total", "Sessions that were ended by their expiry"),
            Name::StoreBytes => {
                ("quorate_store_payload_bytes", "Payloads in logs, in queues and retained, as the quota counts them")
            }
            Name::StoreMessages => ("quorate_store_messages", "Messages in logs, in queues and retained"),
            Name::UsedParty => (
                "quorate_quota_used_ratio_party",
                "The largest share of its quota in transactions that any party uses (watermark)",
            ),
            Name::UsedQueue => (
                "quorate_quota_used_ratio_queue",
                "The largest share of its bounds that the queue of any session uses (watermark)",
            ),
            Name::UsedStore => ("quorate_quota_used_ratio_store", "The share of the store's quota that is used"),
            Name::SlotsRefused => {
                ("quorate_slots_refused_total", "Writes of other bytes to a written slot (equivocations)")
            }
            Name::StoreReady => ("quorate_store_ready", "1 while the store takes writes"),
            Name::WillsNotQueued => {
                ("quorate_wills_not_queued_total", "Sessions that a will did not reach, since their queues were full")
            }
        };
        Opts::new(name, help)
    }
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    Disk,
    Party,
    Queue,
    Store,
    Transaction,
}

impl Quota {
    fn label(self) -> &'static str {
        match self {
            Quota::Disk => "disk",
            Quota::Party => "party",
            Quota::Queue => "queue",
            Quota::Store => "store",
            Quota::Transaction => "transaction",
        }
    }
}

/// The metrics of one backbone.
pub(crate) struct Metrics {
    pub(crate) append_seconds: Histogram,
    pub(crate) batch_size: Histogram,
    pub(crate) block_cache: IntGauge,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commits: IntCounter,
    pub(crate) copies_dropped: IntCounter,
    pub(crate) deliveries_dropped: IntCounter,
    pub(crate) disk_free: IntGauge,
    pub(crate) expired: IntCounter,
    pub(crate) lane_gaps: IntCounter,
    pub(crate) mailbox_overflows: IntCounter,
    pub(crate) purged: IntCounter,
    pub(crate) sessions_expired: IntCounter,
    pub(crate) slots_refused: IntCounter,
    pub(crate) store_bytes: IntGauge,
    pub(crate) store_messages: IntGauge,
    pub(crate) store_ready: IntGauge,
    pub(crate) used_party: Gauge,
    pub(crate) used_queue: Gauge,
    pub(crate) used_store: Gauge,
    quota_refusals: IntCounterVec,
    pub(crate) wills_not_queued: IntCounter,
    pub(crate) write_buffers: IntGauge,
    lane_depth: IntGaugeVec,
}

impl Metrics {
    /// Makes the metrics known to a registry; fails if it has some of the same names.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Arc<Self>> {
        // 50 us to 26 s: from a warm page cache to a disk that hangs.
        let seconds = exponential_buckets(50e-6, 2.0, 20)?;
        let metrics = Self {
            append_seconds: histogram(Name::AppendSeconds, seconds.clone(), registry)?,
            batch_size: histogram(Name::BatchSize, exponential_buckets(1.0, 2.0, 14)?, registry)?,
            block_cache: gauge(Name::BlockCache, registry)?,
            commit_seconds: histogram(Name::CommitSeconds, seconds, registry)?,
            commits: counter(Name::Commits, registry)?,
            copies_dropped: counter(Name::CopiesDropped, registry)?,
            deliveries_dropped: counter(Name::DeliveriesDropped, registry)?,
            disk_free: gauge(Name::DiskFree, registry)?,
            expired: counter(Name::Expired, registry)?,
            lane_gaps: counter(Name::LaneGaps, registry)?,
            mailbox_overflows: counter(Name::MailboxOverflows, registry)?,
            purged: counter(Name::Purged, registry)?,
            sessions_expired: counter(Name::SessionsExpired, registry)?,
            slots_refused: counter(Name::SlotsRefused, registry)?,
            store_bytes: gauge(Name::StoreBytes, registry)?,
            store_messages: gauge(Name::StoreMessages, registry)?,
            store_ready: gauge(Name::StoreReady, registry)?,
            used_party: share(Name::UsedParty, registry)?,
            used_queue: share(Name::UsedQueue, registry)?,
            used_store: share(Name::UsedStore, registry)?,
            quota_refusals: IntCounterVec::new(Name::QuotaRefusals.opts(), &["quota"])?,
            wills_not_queued: counter(Name::WillsNotQueued, registry)?,
            write_buffers: gauge(Name::WriteBuffers, registry)?,
            lane_depth: IntGaugeVec::new(Name::LaneDepth.opts(), &["lane"])?,
        };
        registry.register(Box::new(metrics.quota_refusals.clone()))?;
        registry.register(Box::new(metrics.lane_depth.clone()))?;
        Ok(Arc::new(metrics))
    }

    /// A publish was refused since something is used up.
    pub(crate) fn quota_refusal(&self, quota: Quota) {
        self.quota_refusals.with_label_values(&[quota.label()]).inc();
    }

    /// How many copies are on their way in one lane.
    pub(crate) fn lane_depth(&self, lane: usize) -> IntGauge {
        self.lane_depth.with_label_values(&[lane.to_string()])
    }
}

fn histogram(name: Name, buckets: Vec<f64>, registry: &Registry) -> prometheus::Result<Histogram> {
    let histogram = Histogram::with_opts(HistogramOpts { common_opts: name.opts(), buckets })?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

fn gauge(name: Name, registry: &Registry) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::with_opts(name.opts())?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// From 0 to 1.
fn share(name: Name, registry: &Registry) -> prometheus::Result<Gauge> {
    let gauge = Gauge::with_opts(name.opts())?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn counter(name: Name, registry: &Registry) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::with_opts(name.opts())?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}
