//! Decides over publishes to ordinary topics: who hears them, in whose queues they wait, what is retained. What is
//! decided is in the batch; what the next decision has to know beside it is taken over when the batch is there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use quorate_backbone::{Appended, Publication, TopicRules};
use quorate_domain::{
    Lifetime, OrdinaryMessage, Qos, Refusal, Routed, Router, Seq, SessionKey, Subscriber, SubscriptionRecord, UnixMs,
};

use super::chores::Chore;
use super::job::storage_fault;
use super::pending::Pending;
use super::sessions::give_receipt;
use super::{Committer, fault};
use crate::clock;
use crate::movement::Hearer;
use crate::store::{Contents, QueueId, QueueValue, Store, StoreFault};
use crate::topics::Counters;

/// What is known of ordinary topics, as the last batch left it.
pub(crate) struct Topics {
    pub(super) rules: TopicRules,
    pub(super) router: Router,
    pub(super) queues: HashMap<SessionKey, QueueState>,
    /// The last number that was given to a message or a place.
    counter: u64,
    pub(super) chores: VecDeque<Chore>,
    counters: Arc<Counters>,
}

/// The queue of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueState {
    pub(super) id: QueueId,
    last: Seq,
    len: u64,
    /// When the session ends, if it does not come back.
    expires_at: Option<UnixMs>,
}

/// What a batch changes of it.
#[derive(Default)]
pub(super) struct PendingTopics {
    changes: Vec<Change>,
    queues: HashMap<SessionKey, QueueState>,
    references: HashMap<u64, u32>,
    /// Places that this batch takes out of queues.
    dequeued: HashSet<(QueueId, Seq)>,
    counter: Option<u64>,
    retained: HashMap<String, bool>,
    retained_more: i64,
    queued_more: i64,
    /// Sessions that this batch ends: nothing is put into their queues any more.
    gone: HashSet<SessionKey>,
    /// Whose will this batch has said.
    pub(super) said: HashSet<SessionKey>,
    pub(super) chores: Vec<Chore>,
    pub(super) copies: Vec<OrdinaryCopy>,
}

/// A message, with every session that hears it now.
pub(super) type OrdinaryCopy = (Arc<OrdinaryMessage>, Vec<Hearer>);

/// Something about a session that holds from when the batch is there.
enum Change {
    Put { key: SessionKey, subscriber: Subscriber, records: Vec<SubscriptionRecord>, expires_at: Option<UnixMs> },
    Begin { key: SessionKey, subscriber: Subscriber, queue: QueueId },
    Present { key: SessionKey, subscriber: Subscriber, records: Vec<SubscriptionRecord> },
    Remove { key: SessionKey },
}

impl Topics {
    /// What the store says: sessions, what they subscribe to, how full their queues are. Queues of nobody are left from
    /// connections that a crash ended: they are taken away.
    pub(crate) fn load(store: &Store, rules: TopicRules, counters: Arc<Counters>) -> Result<Topics, StoreFault> {
        let mut extents: HashMap<_, _> = store.queue_extents()?.into_iter().collect();
        let mut topics = Topics {
            router: Router::new(rules.access.clone()),
            rules,
            queues: HashMap::new(),
            counter: store.ordinary_counter()?,
            chores: VecDeque::new(),
            counters,
        };
        let now = clock::now();
        let mut queued = 0;
        for (key, value) in store.sessions()? {
            let Some(record) = value.record else { continue };
            if !quorate_backbone::outlives_connection(&record, now) {
                continue;
            }
            let extent = extents.remove(&value.queue).unwrap_or_default();
            queued += extent.len;
            let expires_at = record.expires_at();
            let state = QueueState { id: value.queue, last: extent.last, len: extent.len, expires_at };
            topics.router.put(&key, Subscriber { durable: true, present: false }, &record.subscriptions);
            topics.queues.insert(key, state);
        }
        topics.chores.extend(extents.into_keys().map(|queue| Chore::Purge { queue, of: None, under_way: Vec::new() }));
        topics.counters.set(store.count_retained()?, topics.router.subscriptions(), queued);
        Ok(topics)
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
        if let Some(counter) = pending.counter {
            self.counter = counter;
        }
        self.chores.extend(pending.chores);
        self.counters.change(pending.retained_more, pending.queued_more, self.router.subscriptions());
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put { key, subscriber, records, expires_at } => {
                self.router.put(&key, subscriber, &records);
                if let Some(state) = self.queues.get_mut(&key) {
                    state.expires_at = expires_at;
                }
            }
            Change::Begin { key, subscriber, queue } => {
                self.router.remove(&key);
                self.router.put(&key, subscriber, &[]);
                self.queues.insert(key, QueueState { id: queue, last: Seq::ZERO, len: 0, expires_at: None });
            }
            Change::Present { key, subscriber, records } => {
                self.router.put(&key, subscriber, &records);
                if let Some(state) = self.queues.get_mut(&key) {
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

impl PendingTopics {
    /// A session is to be known so from when the batch is there.
    pub(super) fn put(
        &mut self,
        key: &SessionKey,
        subscriber: Subscriber,
        records: &[SubscriptionRecord],
        expires_at: Option<UnixMs>,
    ) {
        self.changes.push(Change::Put { key: key.clone(), subscriber, records: records.to_vec(), expires_at });
    }

    /// A session begins with an empty queue.
    pub(super) fn begin(&mut self, key: &SessionKey, subscriber: Subscriber, queue: QueueId) {
        self.gone.insert(key.clone());
        self.changes.push(Change::Begin { key: key.clone(), subscriber, queue });
    }

    /// A session goes on with a new connection.
    pub(super) fn go_on(&mut self, key: &SessionKey, subscriber: Subscriber, records: &[SubscriptionRecord]) {
        self.changes.push(Change::Present { key: key.clone(), subscriber, records: records.to_vec() });
    }

    /// A session is over.
    pub(super) fn remove(&mut self, key: &SessionKey) {
        self.gone.insert(key.clone());
        self.changes.push(Change::Remove { key: key.clone() });
    }

    /// The counter that is to be written with the batch.
    pub(super) fn counter(&self) -> Option<u64> {
        self.counter
    }

    /// Whether there is something to take over when the batch is there.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.chores.is_empty() && self.copies.is_empty()
    }
}

impl Committer {
    /// What becomes of a publish. An accepted one is in the batch when this returns, with its receipt if it has one.
    pub(super) fn decide_publish(
        &mut self,
        mut publication: Publication,
        pending: &mut Pending,
    ) -> Result<Appended, Refusal> {
        let Some(receipt) = publication.receipt.take() else { return self.decide_ordinary(publication, pending) };
        if let Some(seq) = self.received(&receipt, pending)? {
            return Ok(Appended { seq, repeated: true });
        }
        let appended = self.decide_ordinary(publication, pending)?;
        give_receipt(receipt, appended.seq, pending);
        Ok(appended)
    }

    /// The same without a receipt: routed, retained, queued.
    pub(super) fn decide_ordinary(
        &mut self,
        publication: Publication,
        pending: &mut Pending,
    ) -> Result<Appended, Refusal> {
        let Publication { topic, author, session, payload, qos, retain, properties, receipt: _ } = publication;
        let at = clock::now();
        let is_own = author.is_none();
        let message = OrdinaryMessage { at, topic, from: author, qos, retain, properties, payload };
        let routed = self.hearers(&message, session.as_ref(), pending);
        if routed.iter().any(|routed| self.is_full(routed, pending)) {
            return Err(Refusal::QuotaExceeded("the queue of a subscriber is full".to_owned()));
        }
        if retain {
            self.retain(&message, pending).map_err(|error| storage_fault(&fault(&error)))?;
            pending.sync |= !is_own;
        }
        self.enqueue(message, routed, pending);
        Ok(Appended { seq: Seq(self.counter(pending)), repeated: false })
    }

    /// Who hears a message, of those who are still there.
    fn hearers(&mut self, message: &OrdinaryMessage, session: Option<&SessionKey>, pending: &Pending) -> Vec<Routed> {
        let Topics { router, queues, .. } = &mut self.topics;
        let gone = &pending.topics.gone;
        let is_there = |key: &SessionKey| {
            let is_over = |state: &QueueState| state.expires_at.is_some_and(|expires_at| expires_at <= message.at);
            !gone.contains(key) && queues.get(key).is_some_and(|state| !is_over(state))
        };
        let routed = router.route(message, session).into_iter();
        let routed = routed.filter_map(|routed| match &routed.manner.share {
            _ if is_there(&routed.key) => Some(routed),
            Some(share) => router.route_again(share, message, &routed.key).filter(|routed| is_there(&routed.key)),
            None => None,
        });
        routed.collect()
    }

    pub(super) fn is_full(&self, routed: &Routed, pending: &Pending) -> bool {
        let is_queued = routed.manner.qos > Qos::AtMostOnce;
        let len = self.queue(&routed.key, pending).map_or(0, |queue| queue.len);
        is_queued && len >= self.topics.rules.queue_messages_max
    }

    pub(super) fn queue(&self, key: &SessionKey, pending: &Pending) -> Option<QueueState> {
        pending.topics.queues.get(key).or_else(|| self.topics.queues.get(key)).copied()
    }

    fn counter(&self, pending: &Pending) -> u64 {
        pending.topics.counter.unwrap_or(self.topics.counter)
    }

    fn next_number(&self, pending: &mut Pending) -> u64 {
        let next = self.counter(pending) + 1;
        pending.topics.counter = Some(next);
        next
    }

    fn retain(&self, message: &OrdinaryMessage, pending: &mut Pending) -> Result<(), StoreFault> {
        let was_retained = match pending.topics.retained.get(&message.topic) {
            Some(is_retained) => *is_retained,
            None => self.shared.store()?.retained(&message.topic)?.is_some(),
        };
        let is_retained = !message.payload.is_empty();
        if is_retained {
            pending.batch.put_retained(message);
        } else {
            pending.batch.delete_retained(&message.topic);
        }
        pending.topics.retained_more += i64::from(is_retained) - i64::from(was_retained);
        pending.topics.retained.insert(message.topic.clone(), is_retained);
        Ok(())
    }

    /// Forgets a retained message whose lifetime is over, unless the batch has another for its topic.
    pub(super) fn forget_expired(&self, message: &OrdinaryMessage, pending: &mut Pending) {
        let is_over = message.properties.lifetime(message.at, clock::now()) == Lifetime::Over;
        if is_over && !pending.topics.retained.contains_key(&message.topic) {
            pending.batch.delete_retained(&message.topic);
            pending.topics.retained_more -= 1;
            pending.topics.retained.insert(message.topic.clone(), false);
        }
    }

    /// Puts a message into the queues of those who hear it at QoS 1 and 2, and makes the live copies.
    pub(super) fn enqueue(&self, message: OrdinaryMessage, routed: Vec<Routed>, pending: &mut Pending) {
        let is_queued = |routed: &Routed| routed.manner.qos > Qos::AtMostOnce;
        let holders = routed.iter().filter(|routed| is_queued(routed)).count();
        let contents = match holders {
            0 => None,
            1 => Some(Contents::Here(Box::new(message.clone()))),
            _ => {
                let id = self.next_number(pending);
                pending.batch.put_ordinary(id, &message);
                self.refer(id, u32::try_from(holders).unwrap_or(u32::MAX), pending);
                Some(Contents::Kept(id))
            }
        };
        let mut hearers = Vec::with_capacity(routed.len());
        for routed in routed {
            match &contents {
                Some(contents) if is_queued(&routed) => {
                    hearers.extend(self.put_into_queue(routed, contents.clone(), pending));
                }
                _ => hearers.push(Hearer { key: routed.key, seq: Seq::ZERO, prev: Seq::ZERO, manner: routed.manner }),
            }
        }
        if !hearers.is_empty() {
            pending.topics.copies.push((Arc::new(message), hearers));
        }
    }

    /// One entry. Gives the session to hear of it, if it is there to hear.
    pub(super) fn put_into_queue(&self, routed: Routed, contents: Contents, pending: &mut Pending) -> Option<Hearer> {
        let queue = self.queue(&routed.key, pending)?;
        let seq = Seq(self.next_number(pending));
        let value = QueueValue { prev: queue.last, manner: routed.manner, contents };
        pending.batch.put_queued(queue.id, seq, &value);
        let key = SessionKey::clone(&routed.key);
        pending.topics.queues.insert(key.clone(), QueueState { last: seq, len: queue.len + 1, ..queue });
        pending.topics.queued_more += 1;
        pending.touched.insert(key);
        pending.sync |= routed.subscriber.durable;
        let hearer = Hearer { key: routed.key, seq, prev: value.prev, manner: value.manner };
        routed.subscriber.present.then_some(hearer)
    }

    /// Takes entries out of a session's queue; those that are not there are passed over.
    pub(super) fn dequeue(
        &self,
        store: &Store,
        key: &SessionKey,
        seqs: &[Seq],
        pending: &mut Pending,
    ) -> Result<(), StoreFault> {
        let Some(mut queue) = self.queue(key, pending) else { return Ok(()) };
        for seq in seqs {
            if let Some(value) = store.queued(queue.id, *seq)?
                && self.take_out(store, queue.id, *seq, &value.contents, pending)?
            {
                queue.len = queue.len.saturating_sub(1);
            }
        }
        pending.topics.queues.insert(key.clone(), queue);
        Ok(())
    }

    /// Takes one entry out. `false`: this batch has done so already.
    pub(super) fn take_out(
        &self,
        store: &Store,
        queue: QueueId,
        seq: Seq,
        contents: &Contents,
        pending: &mut Pending,
    ) -> Result<bool, StoreFault> {
        if !pending.topics.dequeued.insert((queue, seq)) {
            return Ok(false);
        }
        pending.batch.delete_queued(queue, seq);
        pending.topics.queued_more -= 1;
        if let Contents::Kept(id) = contents {
            let count = match pending.topics.references.get(id) {
                Some(count) => *count,
                None => store.references(*id)?,
            };
            self.refer(*id, count.saturating_sub(1), pending);
        }
        Ok(true)
    }

    /// So many queues refer to a message.
    fn refer(&self, id: u64, count: u32, pending: &mut Pending) {
        pending.batch.put_references(id, count);
        pending.topics.references.insert(id, count);
    }
}
