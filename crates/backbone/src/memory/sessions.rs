//! Sessions in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use quorate_domain::{
    Agreement, CursorMoves, InflightRecord, LogName, Refusal, Seq, SessionExpiry, SessionKey, SessionRecord,
    StoredSession, TopicClass, TxId, UnixMs, WaitingWill, Will, classify_topic,
};

use super::log::MemoryLog;
use super::topics::MemoryTopics;
use crate::{
    Append, Appended, Publication, Receipt, SaveError, SessionStore, Start, StoreError, TakenOver, WhenFull,
    outlives_connection, record_while_connected,
};

pub(super) struct MemorySessions {
    sessions: Mutex<Sessions>,
    topics: Arc<MemoryTopics>,
    /// Where wills under `tx/` are said; the log knows the sessions, and they it.
    log: OnceLock<Weak<MemoryLog>>,
}

#[derive(Default)]
struct Sessions {
    last_epoch: u64,
    of_key: HashMap<SessionKey, Held>,
    wills: BTreeMap<SessionKey, (u64, Will)>,
}

#[derive(Default)]
struct Held {
    epoch: u64,
    record: Option<SessionRecord>,
    cursors: BTreeMap<TxId, Seq>,
    receipts: BTreeMap<u16, Seq>,
    inflight: BTreeMap<u16, InflightRecord>,
}

impl MemorySessions {
    pub(super) fn new(topics: Arc<MemoryTopics>) -> Self {
        Self { sessions: Mutex::default(), topics, log: OnceLock::new() }
    }

    /// Where wills under `tx/` are said, from here on.
    pub(super) fn say_wills_in(&self, log: &Arc<MemoryLog>) {
        self.log.get_or_init(|| Arc::downgrade(log));
    }

    fn say(&self, key: &SessionKey, will: Will) -> Result<(), Refusal> {
        let Will { author, topic, qos, retain, properties, payload, delay_s: _ } = will;
        match classify_topic(&topic).map_err(|error| Refusal::TopicInvalid(error.to_string()))? {
            TopicClass::Tx(topic) => {
                let append = Append { topic, author, payload, qos, properties, receipt: None };
                self.log.get().and_then(Weak::upgrade).map_or(Ok(()), |log| log.decide(append).map(drop))
            }
            TopicClass::Ordinary if self.topics.rules().access.may_publish(&author.party, &topic) => {
                let (author, session) = (Some(author), Some(key.clone()));
                let publication =
                    Publication { topic, author, session, payload, qos, retain, properties, receipt: None };
                self.topics.publish_now(publication, WhenFull::LeaveOut).map(drop)
            }
            TopicClass::Ordinary | TopicClass::Party(_) => Err(Refusal::NotAuthorized),
        }
    }

    /// Decides over a publish with a receipt: once received, it is not decided again. The lock is held meanwhile, so that
    /// no take-over comes in between.
    pub(super) fn receive(
        &self,
        receipt: &Receipt,
        decide: impl FnOnce() -> Result<Appended, Refusal>,
    ) -> Result<Appended, Refusal> {
        let mut sessions = self.lock();
        let held = sessions.owned(&receipt.session, receipt.epoch).map_err(|_| Refusal::Superseded)?;
        if let Some(seq) = held.receipts.get(&receipt.packet_id) {
            return Ok(Appended { seq: *seq, repeated: true });
        }
        let appended = decide()?;
        held.receipts.insert(receipt.packet_id, appended.seq);
        Ok(appended)
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What of its queue is on its way at QoS 2.
    fn under_way(&self) -> Vec<Seq> {
        let in_queue = self.inflight.values().filter(|record| record.delivery.log == LogName::Queue);
        in_queue.map(|record| record.delivery.seq).collect()
    }
}

impl Sessions {
    fn owned(&mut self, key: &SessionKey, epoch: u64) -> Result<&mut Held, SaveError> {
        self.of_key.get_mut(key).filter(|held| held.epoch == epoch).ok_or(SaveError::Superseded)
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn take_over(
        &self,
        key: &SessionKey,
        start: Start,
        agreement: &Agreement,
        now: UnixMs,
    ) -> Result<TakenOver, StoreError> {
        let mut unsaid = None;
        let mut sessions = self.lock();
        sessions.last_epoch += 1;
        let epoch = sessions.last_epoch;
        let held = sessions.of_key.entry(key.clone()).or_default();
        held.epoch = epoch;
        let goes_on =
            start == Start::Resume && held.record.as_ref().is_some_and(|record| outlives_connection(record, now));
        let under_way = held.under_way();
        if !goes_on {
            *held = Held { epoch, ..Held::default() };
        }
        let stored = held.record.clone().map(|record| StoredSession {
            record,
            cursors: held.cursors.iter().map(|(tx, seq)| (tx.clone(), *seq)).collect(),
            receipts: held.receipts.keys().copied().collect(),
            inflight: held.inflight.values().cloned().collect(),
        });
        held.record = record_while_connected(held.record.as_ref(), agreement.expiry);
        let durable = held.record.is_some();
        match &stored {
            Some(stored) => self.topics.go_on(key, durable, &stored.record),
            None => self.topics.begin(key, durable, &under_way),
        }
        if let Some((_, will)) = sessions.wills.remove(key)
            && !goes_on
            && matches!(classify_topic(&will.topic), Ok(TopicClass::Ordinary))
        {
            unsaid = Some(will);
        }
        sessions.wills.extend(agreement.will.clone().map(|will| (key.clone(), (epoch, will))));
        drop(sessions);
        if let Some(will) = unsaid {
            // One that is refused is forgotten.
            drop(self.say(key, will));
        }
        Ok(TakenOver { epoch, stored })
    }

    async fn save(
        &self,
        key: &SessionKey,
        epoch: u64,
        record: &SessionRecord,
        replay: &[String],
    ) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        let durable = held.record.is_some() || record.expiry != SessionExpiry::AtDisconnect;
        if durable {
            held.record = Some(record.clone());
        }
        self.topics.put(key, durable, record, replay, &held.under_way());
        Ok(())
    }

    async fn save_cursors(&self, key: &SessionKey, epoch: u64, moves: &CursorMoves) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        for (tx, seq) in &moves.cursors {
            match seq {
                Some(seq) => held.cursors.insert(tx.clone(), *seq),
                None => held.cursors.remove(tx),
            };
        }
        if let Some(record) = &mut held.record {
            record.move_backfills(&moves.backfills);
        }
        held.inflight.retain(|packet_id, _| !moves.settled.contains(packet_id));
        self.topics.dequeue(key, &moves.dequeued);
        Ok(())
    }

    async fn hold(&self, key: &SessionKey, epoch: u64, records: &[InflightRecord]) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        held.inflight.extend(records.iter().map(|record| (record.delivery.packet_id, record.clone())));
        Ok(())
    }

    async fn release(&self, key: &SessionKey, epoch: u64, packet_ids: &[u16]) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let held = sessions.owned(key, epoch)?;
        held.receipts.retain(|packet_id, _| !packet_ids.contains(packet_id));
        Ok(())
    }

    async fn discard_will(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        sessions.owned(key, epoch)?;
        sessions.wills.remove(key);
        Ok(())
    }

    async fn say_will(&self, key: &SessionKey, epoch: u64) -> Result<(), StoreError> {
        let will = {
            let mut sessions = self.lock();
            let is_of_it = sessions.wills.get(key).is_some_and(|(of, _)| *of == epoch);
            if is_of_it { sessions.wills.remove(key) } else { None }
        };
        if let Some((_, will)) = will {
            // One that is refused is forgotten.
            drop(self.say(key, will));
        }
        Ok(())
    }

    async fn wills(&self) -> Result<Vec<WaitingWill>, StoreError> {
        let waiting = |(key, (epoch, will)): (&SessionKey, &(u64, Will))| WaitingWill {
            key: key.clone(),
            epoch: *epoch,
            delay_s: will.delay_s,
        };
        Ok(self.lock().wills.iter().map(waiting).collect())
    }

    async fn remove(&self, key: &SessionKey, epoch: u64) -> Result<(), SaveError> {
        let mut sessions = self.lock();
        let under_way = sessions.owned(key, epoch)?.under_way();
        self.topics.remove(key, &under_way);
        sessions.of_key.remove(key);
        Ok(())
    }
}
