//! What the committer holds of ordinary topics: who subscribes to what, how full the queues are. It stands as the last
//! batch left it; what a batch changes is kept beside it until that batch is there, so that one that fails has nothing to
//! undo.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use quorate_backbone::TopicRules;
use quorate_domain::{
    OrdinaryMessage, Router, Seq, SessionExpiry, SessionKey, SessionRecord, Subscriber, SubscriptionRecord, UnixMs,
    Volume,
};

use super::chores::{Chore, remember};
use super::usage::used;
use crate::clock;
use crate::movement::Hearer;
use crate::store::{Batch, QueueHead, QueueId, Store, StoreFault};
use crate::topics::Counters;

/// What is known of ordinary topics, as the last batch left it.
pub(crate) struct Topics {
    pub(super) rules: TopicRules,
    pub(super) router: Router,
    pub(super) queues: HashMap<SessionKey, QueueState>,
    /// The last number that was given to a message or a place.
    pub(super) counter: u64,
    /// What all queues hold.
    pub(super) queued: Volume,
    pub(super) chores: VecDeque<Chore>,
    counters: Arc<Counters>,
}

/// The queue of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueState {
    pub(super) id: QueueId,
    /// The last place that was given; [`Seq::ZERO`]: none that is known.
    pub(super) last: Seq,
    /// What is in it.
    pub(super) volume: Volume,
    /// It has held something of a shared subscription.
    pub(super) is_shared: bool,
    /// When the session ends, if it does not come back.
    pub(super) expires_at: Option<UnixMs>,
}

/// A message, with every session that hears it now.
pub(super) type OrdinaryCopy = (Arc<OrdinaryMessage>, Vec<Hearer>);

/// What a batch changes of it, and what its decisions already see of that.
#[derive(Default)]
pub(super) struct PendingTopics {
    changes: Vec<Change>,
    /// The queues that it fills or empties, as they stand after it.
    pub(super) queues: HashMap<SessionKey, QueueState>,
    /// How many queues refer to a message after it.
    pub(super) references: HashMap<u64, u32>,
    /// Places that it takes out of queues.
    pub(super) dequeued: HashSet<(QueueId, Seq)>,
    /// The last number that it gives.
    pub(super) counter: Option<u64>,
    /// The topics of which it changes what is retained, and how many bytes that is.
    pub(super) retained: HashMap<String, Option<u64>>,
    pub(super) queued_more: Volume,
    pub(super) queued_less: Volume,
    /// Sessions that it ends or begins anew: what they subscribed to holds no more.
    pub(super) gone: HashSet<SessionKey>,
    /// The chores of which slices are in it, as they were before: they are done again if it fails.
    pub(super) begun: Vec<Chore>,
    /// What is to be done after it.
    pub(super) chores: Vec<Chore>,
    pub(super) copies: Vec<OrdinaryCopy>,
}

/// Something about a session that holds from when the batch is there.
enum Change {
    Put { key: SessionKey, subscriber: Subscriber, records: Vec<SubscriptionRecord>, expires_at: Option<UnixMs> },
    Begin { key: SessionKey, subscriber: Subscriber, queue: QueueId },
    GoOn { key: SessionKey, subscriber: Subscriber, records: Vec<SubscriptionRecord> },
    Remove { key: SessionKey },
}

/// What the router is to know of a session with this record, which is connected or not.
pub(super) fn subscriber(record: &SessionRecord, present: bool) -> Subscriber {
    Subscriber { durable: record.expiry != SessionExpiry::AtDisconnect, present }
}

impl Topics {
    /// What the store says. Queues of nobody are left from connections that a crash ended: they are taken away.
    pub(crate) fn load(store: &Store, rules: TopicRules, counters: Arc<Counters>) -> Result<Topics, StoreFault> {
        let router = Router::new(rules.access.clone());
        let (queues, chores, queued) = (HashMap::new(), VecDeque::new(), Volume::default());
        let mut topics = Topics { rules, router, queues, counter: 0, queued, chores, counters };
        topics.load_again(store, |_| false)?;
        Ok(topics)
    }

    /// What the store says after a batch of which nobody knows whether it is there. Of sessions that end with their
    /// connection, what they subscribe to is known here alone; one whose connection is gone meanwhile is over.
    pub(super) fn load_again(
        &mut self,
        store: &Store,
        is_connected: impl Fn(&SessionKey) -> bool,
    ) -> Result<(), StoreFault> {
        let mut heads: HashMap<_, _> = store.queue_heads()?.into_iter().collect();
        self.queued = heads.values().fold(Volume::default(), |sum, head| sum.plus(head.volume));
        let mut queues = HashMap::new();
        let now = clock::now();
        for (key, value) in store.sessions()? {
            let known = self.queues.get(&key).filter(|known| known.id == value.queue);
            let is_present = known.is_some() && is_connected(&key);
            let lasting = value.record.filter(|record| is_present || record.expiry != SessionExpiry::AtDisconnect);
            if lasting.is_none() && !is_present {
                continue;
            }
            let mut state = QueueState::empty(value.queue);
            if let Some(QueueHead { last, volume, is_shared, .. }) = heads.remove(&value.queue) {
                state = QueueState { last, volume, is_shared, ..state };
            }
            state.last = state.last.max(known.map_or(Seq::ZERO, |known| known.last));
            if let Some(record) = lasting {
                let is_present = is_present && record.disconnected_at.is_none();
                state.expires_at = match record.disconnected_at {
                    // Its connection ended with an earlier run, nobody knows when: its time counts from here.
                    None if !is_present => SessionRecord { disconnected_at: Some(now), ..record.clone() }.expires_at(),
                    _ => record.expires_at(),
                };
                self.router.put(&key, subscriber(&record, is_present), &record.subscriptions);
            }
            queues.insert(key, state);
        }
        for key in self.queues.keys().filter(|key| !queues.contains_key(*key)) {
            self.router.remove(key);
        }
        self.queues = queues;
        self.counter = self.counter.max(store.ordinary_counter()?);
        self.chores.retain(|chore| !matches!(chore, Chore::Purge { .. }));
        self.chores.extend(heads.into_iter().map(|(queue, head)| {
            let of = head.is_shared.then_some(head.owner);
            Chore::Purge { queue, of }
        }));
        Ok(())
    }

    /// The batch is there.
    pub(super) fn settle(&mut self, pending: PendingTopics) {
        for change in pending.changes {
            self.apply(change);
        }
        for (key, state) in pending.queues {
            if let Some(known) = self.queues.get_mut(&key).filter(|known| known.id == state.id) {
                *known = QueueState { expires_at: known.expires_at, ..state };
            }
        }
        self.counter = pending.counter.unwrap_or(self.counter);
        for chore in pending.chores {
            remember(chore, self.counter, &mut self.chores);
        }
        self.queued = self.queued.plus(pending.queued_more).minus(pending.queued_less);
    }

    /// Tells everybody what there is.
    pub(crate) fn tell(&self, retained: u64) {
        self.counters.set(retained, self.router.subscriptions(), self.queued.messages);
    }

    /// Sessions whose time is over; at most `limit`.
    pub(super) fn expired(&self, now: UnixMs, limit: usize) -> Vec<SessionKey> {
        let is_over = |state: &QueueState| state.expires_at.is_some_and(|expires_at| expires_at <= now);
        self.queues.iter().filter(|(_, state)| is_over(state)).map(|(key, _)| key.clone()).take(limit).collect()
    }

    /// The fullest share of its bounds that any queue has used.
    pub(super) fn fullest_queue(&self) -> f64 {
        let TopicRules { queue_messages_max, queue_bytes_max, .. } = self.rules;
        let most = Volume { messages: queue_messages_max, bytes: queue_bytes_max };
        self.queues.values().map(|state| used(state.volume, most)).fold(0.0, f64::max)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put { key, subscriber, records, expires_at } => {
                if let Some(state) = self.queues.get_mut(&key) {
                    self.router.put(&key, subscriber, &records);
                    state.expires_at = expires_at;
                }
            }
            Change::Begin { key, subscriber, queue } => {
                self.router.remove(&key);
                self.router.put(&key, subscriber, &[]);
                self.queues.insert(key, QueueState::empty(queue));
            }
            Change::GoOn { key, subscriber, records } => {
                if let Some(state) = self.queues.get_mut(&key) {
                    self.router.put(&key, subscriber, &records);
                    state.expires_at = None;
                }
            }
            Change::Remove { key } => {
                self.router.remove(&key);
                self.queues.remove(&key);
            }
        }
    }
}

impl QueueState {
    fn empty(id: QueueId) -> Self {
        Self { id, last: Seq::ZERO, volume: Volume::default(), is_shared: false, expires_at: None }
    }
}

impl PendingTopics {
    /// A session is to be known so.
    pub(super) fn put(&mut self, key: &SessionKey, record: SessionRecord) {
        let subscriber = subscriber(&record, record.disconnected_at.is_none());
        let expires_at = record.expires_at();
        self.changes.push(Change::Put { key: key.clone(), subscriber, records: record.subscriptions, expires_at });
    }

    /// A session begins with an empty queue.
    pub(super) fn begin(&mut self, key: &SessionKey, subscriber: Subscriber, queue: QueueId) {
        self.gone.insert(key.clone());
        self.changes.push(Change::Begin { key: key.clone(), subscriber, queue });
    }

    /// A session goes on with a new connection.
    pub(super) fn go_on(&mut self, key: &SessionKey, subscriber: Subscriber, records: &[SubscriptionRecord]) {
        self.changes.push(Change::GoOn { key: key.clone(), subscriber, records: records.to_vec() });
    }

    /// A session is over.
    pub(super) fn remove(&mut self, key: &SessionKey) {
        self.gone.insert(key.clone());
        self.changes.push(Change::Remove { key: key.clone() });
    }

    /// Puts into the batch what is known of the queues that it fills or empties, once each.
    pub(super) fn seal(&self, batch: &mut Batch) {
        for (owner, state) in &self.queues {
            let QueueState { id, last, volume, is_shared, .. } = *state;
            batch.put_queue_head(id, &QueueHead { owner: owner.clone(), last, volume, is_shared });
        }
    }

    /// Whether nothing follows from it.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.chores.is_empty() && self.copies.is_empty()
    }
}
