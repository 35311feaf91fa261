//! The outgoing window: the packet identifiers of deliveries at QoS 1 and 2, and how far each is (MQTT5 4.3, 4.9).
//!
//! A delivery at QoS 1 is over with its PUBACK. One at QoS 2 keeps its identifier beyond its PUBCOMP until the stored
//! cursor has passed it: whoever finds an older cursor after a crash finds the delivery beside it, and does not make it
//! again.

use std::collections::{BTreeMap, HashMap};

use quorate_domain::{InflightRecord, InflightStep, LogName, Seq, TxId, UnackedRecord};
use quorate_wire::{PacketId, QoS};

/// Which way a delivery comes, so that its acknowledgement moves the right mark.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// The session's cursor through the log.
    Cursor,
    /// The backfill of the subscription with this filter.
    Backfill(String),
    /// The interim state: latest only, no mark to move.
    State,
    /// The session's queue of ordinary messages.
    Queue,
}

/// What is delivered: names it across connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    pub(crate) log: LogName,
    pub(crate) seq: Seq,
    pub(crate) topic: String,
    pub(crate) way: Way,
}

impl Item {
    fn is_of(&self, tx: &TxId) -> bool {
        matches!(&self.log, LogName::Tx(of) if of == tx)
    }
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// An earlier connection sent it and saw no PUBACK or PUBREC.
    Left,
    /// QoS 2: its PUBLISH waits until it is held.
    Waiting,
    /// Its PUBLISH went out on this connection.
    Sent,
    /// QoS 2: its PUBREC came and is being made durable.
    Releasing,
    /// QoS 2: its PUBREL went out.
    Released,
    /// QoS 2: it is over, and waits for the cursor.
    Done,
}

#[derive(Debug)]
struct InFlight {
    item: Item,
    qos: QoS,
    stage: Stage,
    /// Whether it uses up the client's Receive Maximum: its PUBLISH is of this connection (MQTT5 4.9).
    counts: bool,
}

/// What is known of a delivery that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// Nothing: it is new.
    None,
    /// An earlier connection sent it, at this QoS.
    Sent(QoS),
    /// The client has it.
    Received,
}

/// A packet identifier for a delivery, and whether it is the one that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) packet_id: PacketId,
    pub(crate) dup: bool,
}

/// What a PUBREC is to be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The client has the delivery: to be made durable, then PUBREL.
    Release,
    /// PUBREL, once more.
    Again,
    /// Nothing: PUBREL is to come.
    Wait,
    /// Nothing of that identifier waits for a PUBREC.
    Unknown,
}

/// Identifiers in use, on this connection or left by an earlier one of this session.
#[derive(Debug)]
pub(crate) struct Window {
    capacity: u16,
    counting: u16,
    in_flight: BTreeMap<PacketId, InFlight>,
    /// Those of an earlier connection that have not been met again.
    left: HashMap<Item, PacketId>,
    last_id: u16,
}

impl Window {
    /// Above this a window could leave no free identifier beside those of earlier connections.
    pub(crate) const CAPACITY_MAX: u16 = 30_000;
    /// Deliveries beside those that count, before only one at a time is sent: each is a record in the store, and they
    /// gather while a client leaves one delivery unacknowledged and completes those behind it.
    const BESIDE_MAX: usize = 4_096;
    /// Identifiers that may be in use at all; at the bound nothing new is sent until some are settled.
    const IDENTIFIERS_MAX: usize = 65_000;

    pub(crate) fn new(capacity: u16, unacked: &[UnackedRecord], inflight: &[InflightRecord]) -> Self {
        let mut window = Self { capacity, counting: 0, in_flight: BTreeMap::new(), left: HashMap::new(), last_id: 0 };
        for InflightRecord { delivery, step } in inflight {
            let stage = match step {
                InflightStep::Held => Stage::Left,
                InflightStep::Released => Stage::Released,
            };
            window.restore(delivery, QoS::ExactlyOnce, stage);
        }
        // Stored when an earlier connection ended: since then an identifier may have been acknowledged, and have come to
        // name a delivery at QoS 2.
        for record in unacked {
            window.restore(record, QoS::AtLeastOnce, Stage::Left);
        }
        window
    }

    fn restore(&mut self, record: &UnackedRecord, qos: QoS, stage: Stage) {
        let free = |packet_id: &PacketId| !self.in_flight.contains_key(packet_id);
        let Some(packet_id) = PacketId::new(record.packet_id).filter(free) else { return };
        let way = match (&record.log, &record.backfill) {
            (LogName::Queue, _) => Way::Queue,
            (LogName::Tx(_), None) => Way::Cursor,
            (LogName::Tx(_), Some(filter)) => Way::Backfill(filter.clone()),
        };
        let item = Item { log: record.log.clone(), seq: record.seq, topic: record.topic.clone(), way };
        // A second one of the same name is of a subscription before; it is given up in time.
        self.left.entry(item.clone()).or_insert(packet_id);
        self.in_flight.insert(packet_id, InFlight { item, qos, stage, counts: false });
    }

    /// How many more deliveries may be sent before an acknowledgement has to come.
    pub(crate) fn room(&self) -> usize {
        let free = usize::from(self.capacity.saturating_sub(self.counting));
        let beside = self.in_flight.len() - usize::from(self.counting);
        if self.in_flight.len() >= Self::IDENTIFIERS_MAX {
            0
        } else if beside < Self::BESIDE_MAX {
            free
        } else {
            // With nothing under way one must be, or no cursor would ever move.
            free.min(usize::from(self.counting == 0))
        }
    }

    /// Whether anything of an earlier connection has not been met again.
    pub(crate) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// What is known of a delivery from an earlier connection.
    pub(crate) fn past(&self, item: &Item) -> Past {
        let Some(in_flight) = self.left.get(item).and_then(|packet_id| self.in_flight.get(packet_id)) else {
            return Past::None;
        };
        if in_flight.stage == Stage::Left { Past::Sent(in_flight.qos) } else { Past::Received }
    }

    /// The highest record of a log, on the cursor's way, that an earlier connection sent and this one has not met again.
    pub(crate) fn left_to(&self, tx: &TxId) -> Seq {
        let of_cursor = self.left.keys().filter(|item| item.is_of(tx) && item.way == Way::Cursor);
        of_cursor.map(|item| item.seq).max().unwrap_or(Seq::ZERO)
    }

    /// Takes a delivery in. What an earlier connection sent and never saw acknowledged keeps its identifier and is
    /// marked DUP (MQTT5 4.4.0-1). `None`: the window is full.
    pub(crate) fn admit(&mut self, item: Item, qos: QoS) -> Option<Admission> {
        if self.room() == 0 {
            return None;
        }
        let left = self.left.remove(&item);
        let packet_id = left.unwrap_or_else(|| self.free_id());
        let stage = if left.is_none() && qos == QoS::ExactlyOnce { Stage::Waiting } else { Stage::Sent };
        self.counting += 1;
        self.in_flight.insert(packet_id, InFlight { item, qos, stage, counts: true });
        Some(Admission { packet_id, dup: left.is_some() })
    }

    /// The PUBLISH of this identifier goes out.
    pub(crate) fn sent(&mut self, packet_id: PacketId) {
        if let Some(in_flight) = self.in_flight.get_mut(&packet_id).filter(|it| it.stage == Stage::Waiting) {
            in_flight.stage = Stage::Sent;
        }
    }

    /// A PUBACK came. `None`: no delivery of that identifier waits for one.
    pub(crate) fn acknowledge(&mut self, packet_id: PacketId) -> Option<Item> {
        let in_flight = self.in_flight.get(&packet_id)?;
        if in_flight.qos != QoS::AtLeastOnce || in_flight.stage != Stage::Sent {
            return None;
        }
        self.counting -= 1;
        self.in_flight.remove(&packet_id).map(|in_flight| in_flight.item)
    }

    /// A PUBREC came.
    pub(crate) fn receive(&mut self, packet_id: PacketId) -> Received {
        let Some(in_flight) = self.in_flight.get_mut(&packet_id).filter(|it| it.qos == QoS::ExactlyOnce) else {
            return Received::Unknown;
        };
        match in_flight.stage {
            // `Left`: the client says what it heard on an earlier connection before it is asked again.
            Stage::Sent | Stage::Left => {
                in_flight.stage = Stage::Releasing;
                Received::Release
            }
            Stage::Releasing => Received::Wait,
            Stage::Released => Received::Again,
            Stage::Waiting | Stage::Done => Received::Unknown,
        }
    }

    /// A PUBREC came that says no: the delivery is over (MQTT5 4.3.3).
    pub(crate) fn refuse(&mut self, packet_id: PacketId) -> Option<Item> {
        let in_flight = self.in_flight.get_mut(&packet_id).filter(|it| it.qos == QoS::ExactlyOnce)?;
        if !matches!(in_flight.stage, Stage::Sent | Stage::Left) {
            return None;
        }
        self.counting -= u16::from(std::mem::take(&mut in_flight.counts));
        in_flight.stage = Stage::Done;
        Some(in_flight.item.clone())
    }

    /// The release of a delivery is durable: PUBREL goes out.
    pub(crate) fn released(&mut self, packet_id: PacketId) -> Option<Item> {
        let in_flight = self.in_flight.get_mut(&packet_id).filter(|it| it.stage == Stage::Releasing)?;
        in_flight.stage = Stage::Released;
        Some(in_flight.item.clone())
    }

    /// A PUBCOMP came. Whether there was something to complete.
    pub(crate) fn complete(&mut self, packet_id: PacketId) -> bool {
        let Some(in_flight) = self.in_flight.get_mut(&packet_id).filter(|it| it.stage == Stage::Released) else {
            return false;
        };
        self.counting -= u16::from(std::mem::take(&mut in_flight.counts));
        in_flight.stage = Stage::Done;
        true
    }

    /// Identifiers for which PUBREL is to be sent again.
    pub(crate) fn to_release_again(&self) -> Vec<PacketId> {
        let released = self.in_flight.iter().filter(|(_, it)| it.stage == Stage::Released);
        released.map(|(packet_id, _)| *packet_id).collect()
    }

    /// A delivery as the store keeps it. `None`: it is not one that is kept.
    pub(crate) fn inflight_record(&self, packet_id: PacketId, step: InflightStep) -> Option<InflightRecord> {
        let in_flight = self.in_flight.get(&packet_id).filter(|it| it.qos == QoS::ExactlyOnce)?;
        Some(InflightRecord { delivery: record_of(packet_id, &in_flight.item)?, step })
    }

    /// Takes out what is over and has been passed by now, as the acknowledged mark of its way tells. The store has it
    /// still.
    pub(crate) fn settle(&mut self, is_passed: impl Fn(&Item) -> bool) -> Vec<(PacketId, Item)> {
        let is_settled = |it: &InFlight| it.stage == Stage::Done && is_passed(&it.item);
        let settled: Vec<_> = self.in_flight.extract_if(.., |_, it| is_settled(it)).collect();
        for (_, in_flight) in &settled {
            self.left.remove(&in_flight.item);
        }
        settled.into_iter().map(|(packet_id, in_flight)| (packet_id, in_flight.item)).collect()
    }

    /// Gives up what an earlier connection left and no subscription met any more when its record was read, so that it
    /// would never be sent again. Gives those at QoS 2: the client may remember their identifiers, and what comes next
    /// under one would be taken for a duplicate, so it has to hear PUBREL.
    pub(crate) fn give_up(&mut self, is_passed: impl Fn(&Item) -> bool) -> Vec<PacketId> {
        let Self { in_flight, left, .. } = self;
        let mut given_up = Vec::new();
        in_flight.retain(|packet_id, it| {
            if it.stage != Stage::Left || !is_passed(&it.item) {
                return true;
            }
            left.remove(&it.item);
            if it.qos == QoS::ExactlyOnce {
                it.stage = Stage::Releasing;
                given_up.push(*packet_id);
            }
            it.qos == QoS::ExactlyOnce
        });
        given_up
    }

    /// A room is forgotten: what an earlier connection left of it is not sent again, and whoever subscribes anew hears
    /// all anew.
    pub(crate) fn forget(&mut self, tx: &TxId) {
        self.left.retain(|item, _| !item.is_of(tx));
    }

    /// Whether the store is to keep a delivery under this identifier, or has it already.
    pub(crate) fn keeps(&self, packet_id: u16) -> bool {
        let in_flight = PacketId::new(packet_id).and_then(|packet_id| self.in_flight.get(&packet_id));
        in_flight.is_some_and(|it| it.qos == QoS::ExactlyOnce)
    }

    /// What is over and need not be remembered: nothing of it is stored.
    pub(crate) fn free(&mut self, packet_id: PacketId) {
        if let Some(in_flight) = self.in_flight.remove(&packet_id) {
            self.counting -= u16::from(in_flight.counts);
        }
    }

    /// What waits at QoS 1, as it is stored with the session when the connection ends.
    pub(crate) fn to_records(&self) -> Vec<UnackedRecord> {
        let at_qos_1 = self.in_flight.iter().filter(|(_, it)| it.qos == QoS::AtLeastOnce);
        at_qos_1.filter_map(|(packet_id, it)| record_of(*packet_id, &it.item)).collect()
    }

    /// The places of the session's queue that are under way at QoS 2.
    pub(crate) fn queued_at_qos_2(&self) -> Vec<Seq> {
        let of_queue = |it: &&InFlight| it.qos == QoS::ExactlyOnce && it.item.log == LogName::Queue;
        self.in_flight.values().filter(of_queue).map(|it| it.item.seq).collect()
    }

    /// The next identifier that is not in use. There is one: see [`Window::IDENTIFIERS_MAX`].
    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let candidate = PacketId::new(self.last_id).unwrap_or(PacketId::MIN);
            if !self.in_flight.contains_key(&candidate) {
                return candidate;
            }
        }
    }
}

/// The two marks of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Up to where all was sent or skipped.
    Sent,
    /// Up to where all is acknowledged.
    Acknowledged,
}

fn record_of(packet_id: PacketId, item: &Item) -> Option<UnackedRecord> {
    let backfill = match &item.way {
        Way::Cursor | Way::Queue => None,
        Way::Backfill(filter) => Some(filter.clone()),
        Way::State => return None,
    };
    let Item { log, seq, topic, .. } = item.clone();
    Some(UnackedRecord { packet_id: packet_id.get(), log, seq, topic, backfill })
}

#[cfg(test)]
mod tests;
