//! Ordinary topics: publishes through the committer, reads of queues here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use quorate_backbone::{Completion, Publication, ReadLimit, StoreError, TopicCounts, Topics};
use quorate_domain::{QueuePage, Seq, SessionKey};

use crate::committer::Queue;
use crate::reads::Reads;

/// The ordinary topics of this backbone.
pub(crate) struct LocalTopics {
    pub(crate) queue: Queue,
    pub(crate) reads: Reads,
    pub(crate) counters: Arc<Counters>,
}

/// What the committer counts, for everybody to see.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    retained: AtomicU64,
    subscriptions: AtomicU64,
    queued: AtomicU64,
}

impl Counters {
    /// What there is. The committer alone calls it.
    pub(crate) fn set(&self, retained: u64, subscriptions: usize, queued: u64) {
        self.retained.store(retained, Ordering::Relaxed);
        self.subscriptions.store(subscriptions as u64, Ordering::Relaxed);
        self.queued.store(queued, Ordering::Relaxed);
    }
}

#[async_trait]
impl Topics for LocalTopics {
    async fn submit(&self, publication: Publication, completion: Completion) -> Result<(), StoreError> {
        self.queue.publish(publication, completion).await
    }

    async fn read_queue(&self, key: &SessionKey, after: Seq, limit: ReadLimit) -> Result<QueuePage, StoreError> {
        let key = key.clone();
        self.reads.run(move |store| store.queue_page(&key, after, limit)).await
    }

    fn counts(&self) -> TopicCounts {
        TopicCounts {
            retained: self.counters.retained.load(Ordering::Relaxed),
            subscriptions: self.counters.subscriptions.load(Ordering::Relaxed),
            queued: self.counters.queued.load(Ordering::Relaxed),
        }
    }
}
