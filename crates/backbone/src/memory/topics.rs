//! Ordinary topics in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use quorate_domain::{
    Delivery, Lifetime, Manner, OrdinaryMessage, Qos, QueuePage, Queued, Refusal, Routed, Router, Seq, SessionKey,
    SessionRecord, Subscriber, UnixMs,
};

use super::sessions::MemorySessions;
use super::{SEQ_STEP, now};
use crate::{
    Appended, Completion, Mailboxes, Publication, ReadLimit, StoreError, TopicCounts, TopicRules, Topics, WhenFull,
    places_taken,
};

/// What sessions subscribe to, what waits for them, what is retained.
pub(super) struct MemoryTopics {
    rules: TopicRules,
    mailboxes: Arc<Mailboxes>,
    held: Mutex<Held>,
}

struct Held {
    router: Router,
    queues: HashMap<SessionKey, Queue>,
    retained: BTreeMap<String, OrdinaryMessage>,
    last: Seq,
}

/// To which other member of a share a message is handed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// To one that is connected, where the member that has it is away.
    Present,
    /// To any, where the member that has it is over.
    Anybody,
}

#[derive(Default)]
struct Queue {
    entries: BTreeMap<Seq, Queued>,
    last: Seq,
    expires_at: Option<UnixMs>,
}

impl MemoryTopics {
    pub(super) fn new(rules: TopicRules, mailboxes: Arc<Mailboxes>) -> Self {
        let router = Router::new(rules.access.clone());
        let held = Held { router, queues: HashMap::new(), retained: BTreeMap::new(), last: Seq::ZERO };
        Self { rules, mailboxes, held: Mutex::new(held) }
    }

    pub(super) fn rules(&self) -> &TopicRules {
        &self.rules
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins anew; what waited for it goes, `under_way` for good.
    pub(super) fn begin(&self, key: &SessionKey, durable: bool, under_way: &[Seq]) {
        let mut held = self.lock();
        self.end(&mut held, key, under_way);
        held.router.put(key, Subscriber { durable, present: true }, &[]);
        held.queues.insert(key.clone(), Queue::default());
    }

    /// A session goes on with a new connection.
    pub(super) fn go_on(&self, key: &SessionKey, durable: bool, record: &SessionRecord) {
        let mut held = self.lock();
        held.router.put(key, Subscriber { durable, present: true }, &record.subscriptions);
        held.queues.entry(key.clone()).or_default().expires_at = None;
    }

    /// What a record says of ordinary topics.
    pub(super) fn put(
        &self,
        key: &SessionKey,
        durable: bool,
        record: &SessionRecord,
        replay: &[String],
        under_way: &[Seq],
    ) {
        let mut held = self.lock();
        let present = record.disconnected_at.is_none();
        held.router.put(key, Subscriber { durable, present }, &record.subscriptions);
        held.queues.entry(key.clone()).or_default().expires_at = record.expires_at();
        for filter in replay {
            self.replay(&mut held, key, filter);
        }
        if !present {
            self.hand_on(&mut held, key, under_way, Whom::Present);
        }
    }

    /// A session is over.
    pub(super) fn remove(&self, key: &SessionKey, under_way: &[Seq]) {
        let mut held = self.lock();
        self.end(&mut held, key, under_way);
        held.queues.remove(key);
    }

    /// Entries that are done with.
    pub(super) fn dequeue(&self, key: &SessionKey, seqs: &[Seq]) {
        if let Some(queue) = self.lock().queues.get_mut(key) {
            queue.entries.retain(|seq, _| !seqs.contains(seq));
        }
    }

    pub(super) fn publish_now(&self, publication: Publication, when_full: WhenFull) -> Result<Appended, Refusal> {
        let Publication { topic, author, session, payload, qos, retain, properties, receipt: _ } = publication;
        let message = OrdinaryMessage { at: now(), topic, from: author, qos, retain, properties, payload };
        let mut held = self.lock();
        let routed = held.router.route(&message, session.as_ref());
        let mut routed: Vec<Routed> =
            routed.into_iter().filter_map(|routed| held.one_who_is_there(routed, &message, message.at)).collect();
        let places = places_taken(&routed).into_iter();
        let full: HashSet<SessionKey> = places
            .filter(|(key, places)| !self.has_room(&held, key, *places, message.payload.len() as u64))
            .map(|(key, _)| key.clone())
            .collect();
        match when_full {
            _ if full.is_empty() => {}
            WhenFull::Refuse => return Err(Refusal::QuotaExceeded("the queue of a subscriber is full".to_owned())),
            WhenFull::LeaveOut => {
                routed.retain(|routed| routed.manner.qos == Qos::AtMostOnce || !full.contains(&*routed.key));
            }
        }
        if retain && message.payload.is_empty() {
            held.retained.remove(&message.topic);
        } else if retain {
            held.retained.insert(message.topic.clone(), message.clone());
        }
        let message = Arc::new(message);
        for routed in routed {
            self.enqueue(&mut held, &routed.key, routed.manner, message.clone());
        }
        Ok(Appended { seq: held.last, repeated: false })
    }

    /// Whether the queue of a session takes so many messages more, of so many bytes each.
    fn has_room(&self, held: &Held, key: &SessionKey, places: u64, bytes: u64) -> bool {
        let Some(queue) = held.queues.get(key) else { return true };
        let held_bytes: u64 = queue.entries.values().map(|entry| entry.message.payload.len() as u64).sum();
        (queue.entries.len() as u64).saturating_add(places) <= self.rules.queue_messages_max
            && held_bytes.saturating_add(places.saturating_mul(bytes)) <= self.rules.queue_bytes_max
    }

    /// Hands a message over: at QoS 1 and 2 by the queue.
    fn enqueue(&self, held: &mut Held, key: &SessionKey, manner: Manner, message: Arc<OrdinaryMessage>) {
        let is_queued = manner.qos > Qos::AtMostOnce;
        self.hand_over(held, key, manner, message, is_queued);
    }

    /// Puts a message into a queue, if it is to be there, and into the mailbox.
    fn hand_over(
        &self,
        held: &mut Held,
        key: &SessionKey,
        manner: Manner,
        message: Arc<OrdinaryMessage>,
        is_queued: bool,
    ) {
        let Some(queue) = held.queues.get_mut(key) else { return };
        let mut queued = Queued { seq: Seq::ZERO, prev: Seq::ZERO, manner, message };
        if is_queued {
            held.last = Seq(held.last.0 + SEQ_STEP);
            (queued.seq, queued.prev) = (held.last, queue.last);
            queue.last = held.last;
            queue.entries.insert(held.last, queued.clone());
        }
        self.mailboxes.deliver_to(key, Delivery::Queued(Box::new(queued)));
    }

    fn replay(&self, held: &mut Held, key: &SessionKey, filter: &str) {
        let at = now();
        held.retained.retain(|_, message| message.properties.lifetime(message.at, at) != Lifetime::Over);
        let met: Vec<(Manner, OrdinaryMessage)> = held
            .retained
            .values()
            .filter_map(|message| Some((held.router.meet_retained(key, filter, message)?, message.clone())))
            .collect();
        for (manner, message) in met {
            self.hand_over(held, key, manner, Arc::new(message), true);
        }
    }

    fn end(&self, held: &mut Held, key: &SessionKey, under_way: &[Seq]) {
        held.router.remove(key);
        self.hand_on(held, key, under_way, Whom::Anybody);
    }

    /// Gives what came by shared subscriptions, and is not under way at QoS 2, to other members.
    fn hand_on(&self, held: &mut Held, key: &SessionKey, under_way: &[Seq], whom: Whom) {
        let Some(queue) = held.queues.get(key) else { return };
        let entries: Vec<Queued> = queue.entries.values().filter(|it| !under_way.contains(&it.seq)).cloned().collect();
        for Queued { seq, manner, message, .. } in entries {
            let Some(share) = &manner.share else { continue };
            let routed = held.router.route_again(share, &message, key);
            let routed = routed.and_then(|routed| held.one_who_is_there(routed, &message, now()));
            let Some(routed) = routed.filter(|routed| *routed.key != *key) else { continue };
            if whom == Whom::Present && !routed.subscriber.present {
                continue;
            }
            let places = u64::from(routed.manner.qos > Qos::AtMostOnce);
            if self.has_room(held, &routed.key, places, message.payload.len() as u64) {
                self.enqueue(held, &routed.key, routed.manner, message);
                held.queues.get_mut(key).and_then(|queue| queue.entries.remove(&seq));
            }
        }
    }
}

impl Held {
    /// The session that was chosen for a message, if its time is not over; of a shared subscription, else another member.
    fn one_who_is_there(&mut self, mut routed: Routed, message: &OrdinaryMessage, now: UnixMs) -> Option<Routed> {
        let mut asked = HashSet::new();
        while asked.insert(routed.key.clone()) {
            if self.queues.get(&*routed.key).is_some_and(|queue| !queue.is_over(now)) {
                return Some(routed);
            }
            let share = routed.manner.share.take()?;
            routed = self.router.route_again(&share, message, &routed.key)?;
        }
        None
    }
}

impl Queue {
    /// Whether the session has expired.
    fn is_over(&self, now: UnixMs) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// The face of ordinary topics: receipts are the sessions' matter.
pub(super) struct MemoryTopicsFace {
    pub(super) topics: Arc<MemoryTopics>,
    pub(super) sessions: Arc<MemorySessions>,
}

#[async_trait]
impl Topics for MemoryTopicsFace {
    async fn submit(&self, mut publication: Publication, completion: Completion) -> Result<(), StoreError> {
        let outcome = match publication.receipt.take() {
            None => self.topics.publish_now(publication, WhenFull::Refuse),
            Some(receipt) => self.sessions.receive(&receipt, || self.topics.publish_now(publication, WhenFull::Refuse)),
        };
        completion.complete(outcome);
        Ok(())
    }

    async fn read_queue(&self, key: &SessionKey, after: Seq, limit: ReadLimit) -> Result<QueuePage, StoreError> {
        let held = self.topics.lock();
        let mut page = QueuePage { entries: Vec::new(), is_end: true };
        let mut bytes = 0;
        for (seq, queued) in held.queues.get(key).into_iter().flat_map(|queue| &queue.entries) {
            if *seq <= after {
                continue;
            }
            bytes += queued.message.payload.len();
            if !page.entries.is_empty() && (page.entries.len() >= limit.messages || bytes > limit.bytes) {
                page.is_end = false;
                break;
            }
            page.entries.push(queued.clone());
        }
        Ok(page)
    }

    fn counts(&self) -> TopicCounts {
        let held = self.topics.lock();
        TopicCounts {
            retained: held.retained.len() as u64,
            subscriptions: held.router.subscriptions() as u64,
            queued: held.queues.values().map(|queue| queue.entries.len() as u64).sum(),
        }
    }
}
