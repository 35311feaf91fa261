//! Sessions and what belongs to them: cursors, receipts, deliveries, wills, queues; and what is retained.

use std::collections::{HashMap, HashSet};

use quorate_domain::{InflightRecord, Seq, SessionKey, Volume};

use super::super::families::Family;
use super::super::records::decode;
use super::super::topics::place_of_queued;
use super::super::{QueueHead, QueueId, SessionValue, StoreFault, keys};
use super::rooms::Rooms;
use super::{Check, printable};

const NO_SESSION: &str = "it belongs to a session that is not there";

impl Check<'_> {
    pub(super) fn sessions(&mut self, rooms: &Rooms) {
        let mut sessions = HashSet::new();
        self.walk(Family::Sessions, |_, key, value| {
            let session = keys::session_of(key).ok_or(StoreFault::Corrupt { kind: "key of a session" })?;
            decode::<SessionValue>("session", value)?;
            sessions.insert(session);
            Ok(())
        });
        self.cursors(rooms, &sessions);
        for family in [Family::Receipts, Family::Inflight] {
            self.walk(family, |check, key, value| {
                let session = keys::session_before(key).ok_or(StoreFault::Corrupt { kind: "key" })?;
                match family {
                    Family::Inflight => drop(decode::<InflightRecord>("delivery", value)?),
                    _ => drop(decode::<Seq>("receipt", value)?),
                }
                if !sessions.contains(&session) {
                    check.find(family, printable(key), NO_SESSION);
                }
                Ok(())
            });
        }
        self.walk(Family::Wills, |check, key, value| check.store.will_value(key, value).map(drop));
        self.queues();
        self.retained();
    }

    fn cursors(&mut self, rooms: &Rooms, sessions: &HashSet<SessionKey>) {
        self.walk(Family::Cursors, |check, key, value| {
            let corrupt = StoreFault::Corrupt { kind: "key of a cursor" };
            let (Some(session), Some(tx)) = (keys::session_before(key), keys::transaction_of_cursor(key)) else {
                return Err(corrupt);
            };
            let cursor: Seq = decode("cursor", value)?;
            if !sessions.contains(&session) {
                check.find(Family::Cursors, printable(key), NO_SESSION);
            }
            match rooms.heads.get(&tx) {
                None => {
                    check.find(Family::Cursors, printable(key), "it is in the log of a transaction that is not there")
                }
                Some(head) if cursor > *head => {
                    let problem = format!("it is at {}, and the log ends at {}", cursor.0, head.0);
                    check.find(Family::Cursors, printable(key), problem);
                }
                Some(_) => {}
            }
            Ok(())
        });
    }

    fn queues(&mut self) {
        let mut heads: HashMap<QueueId, QueueHead> = HashMap::new();
        let mut held: HashMap<QueueId, Volume> = HashMap::new();
        let mut references: HashMap<u64, u32> = HashMap::new();
        self.walk(Family::Queue, |check, key, value| {
            let (queue, seq) = place_of_queued(key)?;
            if seq == Seq::ZERO {
                heads.insert(queue, decode("head of a queue", value)?);
                return Ok(());
            }
            let entry = check.store.queue_value(key, value)?;
            let size = entry.size();
            let volume = held.entry(queue).or_default();
            *volume = volume.plus(Volume { messages: 1, bytes: size.bytes });
            if let Some(id) = size.kept {
                *references.entry(id).or_default() += 1;
            }
            match heads.get(&queue) {
                None => check.find(Family::Queue, format!("{queue} {}", seq.0), "its queue has no head"),
                Some(head) if seq > head.last => {
                    let problem = format!("its queue says that it ends at {}", head.last.0);
                    check.find(Family::Queue, format!("{queue} {}", seq.0), problem);
                }
                Some(_) => {}
            }
            Ok(())
        });
        for (queue, head) in &heads {
            let held = held.get(queue).copied().unwrap_or_default();
            if head.volume != held {
                let problem = format!("it counts {:?}, and holds {held:?}", head.volume);
                self.find(Family::Queue, format!("{queue} of {}", head.owner), problem);
            }
        }
        self.references(references);
    }

    /// A message is there as long as a queue refers to it, and no longer.
    fn references(&mut self, mut references: HashMap<u64, u32>) {
        self.walk(Family::Ordinary, |check, key, value| {
            match keys::number_of(key).ok_or(StoreFault::Corrupt { kind: "key of a message" })? {
                (id, keys::Numbered::Message) => check.store.ordinary_value(id, key, value).map(drop),
                (id, keys::Numbered::References) => {
                    let stored: u32 = decode("count of references", value)?;
                    let counted = references.remove(&id).unwrap_or(0);
                    if stored != counted {
                        let problem = format!("it says that {stored} queues have it, and {counted} do");
                        check.find(Family::Ordinary, id, problem);
                    }
                    if check.store.get(Family::Ordinary, &keys::ordinary(id))?.is_none() {
                        check.find(Family::Ordinary, id, "it is counted, and not there");
                    }
                    Ok(())
                }
            }
        });
        for id in references.into_keys() {
            self.find(Family::Ordinary, id, "a queue refers to it, and it is not there");
        }
    }

    fn retained(&mut self) {
        let mut sum = Volume::default();
        self.walk(Family::Retained, |check, key, value| {
            let retained = check.store.retained_value(key, value)?;
            sum = sum.plus(Volume::of_one(retained.message.payload.len()));
            if retained.message.topic.as_bytes() != key {
                check.find(Family::Retained, printable(key), "it is of another topic");
            }
            Ok(())
        });
        match self.store.usage() {
            Ok(usage) if usage.retained != sum => {
                let problem = format!("it says {:?}, and {sum:?} are retained", usage.retained);
                self.find(Family::Usage, "retained", problem);
            }
            _ => {}
        }
    }
}
