//! What is measured. No label carries a party, a transaction or a client id.

use std::sync::Arc;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, exponential_buckets};

/// The names of all metrics of this room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    AppendSeconds,
    BatchSize,
    CommitSeconds,
    Commits,
    CopiesDropped,
    DeliveriesDropped,
    LaneDepth,
    LaneGaps,
    MailboxOverflows,
    SlotsRefused,
    StoreReady,
    WillsNotQueued,
}

impl Name {
    fn opts(self) -> Opts {
        let (name, help) = match self {
            Name::AppendSeconds => {
                ("quorate_append_seconds", "From the request to append to its durable acknowledgement")
            }
            Name::BatchSize => ("quorate_commit_batch_size", "Jobs that one commit answered"),
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
            Name::LaneDepth => ("quorate_lane_depth", "Live copies on their way in a lane"),
            Name::LaneGaps => ("quorate_lane_gaps_total", "Losses in a lane after which its sessions read the log"),
            Name::MailboxOverflows => {
                ("quorate_mailbox_overflows_total", "Live copies that found a full mailbox; the session reads the log")
            }
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

/// The metrics of one backbone.
pub(crate) struct Metrics {
    pub(crate) append_seconds: Histogram,
    pub(crate) batch_size: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commits: IntCounter,
    pub(crate) copies_dropped: IntCounter,
    pub(crate) deliveries_dropped: IntCounter,
    pub(crate) lane_gaps: IntCounter,
    pub(crate) mailbox_overflows: IntCounter,
    pub(crate) slots_refused: IntCounter,
    pub(crate) store_ready: IntGauge,
    pub(crate) wills_not_queued: IntCounter,
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
            commit_seconds: histogram(Name::CommitSeconds, seconds, registry)?,
            commits: counter(Name::Commits, registry)?,
            copies_dropped: counter(Name::CopiesDropped, registry)?,
            deliveries_dropped: counter(Name::DeliveriesDropped, registry)?,
            lane_gaps: counter(Name::LaneGaps, registry)?,
            mailbox_overflows: counter(Name::MailboxOverflows, registry)?,
            slots_refused: counter(Name::SlotsRefused, registry)?,
            store_ready: IntGauge::with_opts(Name::StoreReady.opts())?,
            wills_not_queued: counter(Name::WillsNotQueued, registry)?,
            lane_depth: IntGaugeVec::new(Name::LaneDepth.opts(), &["lane"])?,
        };
        registry.register(Box::new(metrics.store_ready.clone()))?;
        registry.register(Box::new(metrics.lane_depth.clone()))?;
        Ok(Arc::new(metrics))
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

fn counter(name: Name, registry: &Registry) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::with_opts(name.opts())?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}
