//! The outgoing window: packet identifiers of QoS 1 deliveries that wait for their PUBACK (MQTT5 4.9).

use std::collections::{BTreeMap, HashMap, HashSet};

use quorate_domain::{Seq, TxId, UnackedRecord};
use quorate_wire::PacketId;

/// Which way of a room a delivery belongs to, so that its PUBACK moves the right mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// The session's cursor through the log.
    Cursor,
    /// The backfill of the subscription with this filter.
    Backfill(String),
    /// The interim state: latest only, no mark to move.
    State,
}

/// One delivery that waits for its PUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unacked {
    pub(crate) tx: TxId,
    pub(crate) seq: Seq,
    pub(crate) topic: String,
    pub(crate) way: Way,
}

/// Identifiers in use, and those that an earlier connection of this session left unacknowledged.
#[derive(Debug)]
pub(crate) struct Window {
    capacity: u16,
    unacked: BTreeMap<PacketId, Unacked>,
    resends: HashMap<(TxId, Seq, String), PacketId>,
    /// The identifiers among `resends`.
    kept: HashSet<PacketId>,
    last_id: u16,
}

/// A packet identifier for a delivery, and whether it is the one that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) packet_id: PacketId,
    pub(crate) dup: bool,
}

impl Window {
    pub(crate) fn new(capacity: u16, left_unacked: &[UnackedRecord]) -> Self {
        let resends: HashMap<_, _> = left_unacked
            .iter()
            .take(usize::from(Self::CAPACITY_MAX))
            .filter_map(|record| {
                let packet_id = PacketId::new(record.packet_id)?;
                Some(((record.tx.clone(), record.seq, record.topic.clone()), packet_id))
            })
            .collect();
        let kept = resends.values().copied().collect();
        Self { capacity, unacked: BTreeMap::new(), resends, kept, last_id: 0 }
    }

    /// Nothing of this transaction is sent again: its identifiers are free.
    pub(crate) fn forget(&mut self, tx: &TxId) {
        self.resends.retain(|(room, _, _), _| room != tx);
        self.kept = self.resends.values().copied().collect();
    }

    /// How many more deliveries may be sent before a PUBACK has to come.
    pub(crate) fn room(&self) -> usize {
        usize::from(self.capacity).saturating_sub(self.unacked.len())
    }

    /// Takes a delivery in. What an earlier connection sent and never saw acknowledged keeps its identifier and is
    /// marked DUP (MQTT5 4.4.0-1). `None`: the window is full.
    pub(crate) fn admit(&mut self, delivery: Unacked) -> Option<Admission> {
        if self.room() == 0 {
            return None;
        }
        let name = (delivery.tx.clone(), delivery.seq, delivery.topic.clone());
        let admission = match self.resends.remove(&name) {
            Some(packet_id) => {
                self.kept.remove(&packet_id);
                Admission { packet_id, dup: true }
            }
            None => Admission { packet_id: self.free_id(), dup: false },
        };
        self.unacked.insert(admission.packet_id, delivery);
        Some(admission)
    }

    /// A PUBACK came. `None`: nothing of that identifier waits.
    pub(crate) fn acknowledge(&mut self, packet_id: PacketId) -> Option<Unacked> {
        self.unacked.remove(&packet_id)
    }

    /// What waits, as it is stored with the session when the connection ends.
    pub(crate) fn to_records(&self) -> Vec<UnackedRecord> {
        let waiting =
            self.unacked.iter().filter(|(_, unacked)| unacked.way != Way::State).map(|(packet_id, unacked)| {
                UnackedRecord {
                    packet_id: packet_id.get(),
                    tx: unacked.tx.clone(),
                    seq: unacked.seq,
                    topic: unacked.topic.clone(),
                }
            });
        let not_yet_resent = self.resends.iter().map(|((tx, seq, topic), packet_id)| UnackedRecord {
            packet_id: packet_id.get(),
            tx: tx.clone(),
            seq: *seq,
            topic: topic.clone(),
        });
        waiting.chain(not_yet_resent).collect()
    }

    /// The next identifier that is neither in use nor kept for a resend. There is one: neither set has more than
    /// [`Window::CAPACITY_MAX`] of the 65,535.
    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let candidate = PacketId::new(self.last_id).unwrap_or(PacketId::MIN);
            if !self.kept.contains(&candidate) && !self.unacked.contains_key(&candidate) {
                return candidate;
            }
        }
    }

    /// Above this a window, or the resends of the connections before, could leave no free identifier.
    pub(crate) const CAPACITY_MAX: u16 = 32_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(seq: u64) -> Unacked {
        let tx: TxId = "01JD3W8QK7V9N2M4X6Z8B0C1D3".parse().unwrap();
        Unacked { topic: format!("tx/{tx}/result/alice"), tx, seq: Seq(seq), way: Way::Cursor }
    }

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    #[test]
    fn refuses_above_its_capacity_until_an_acknowledgement() {
        let mut window = Window::new(2, &[]);
        assert_eq!(window.admit(delivery(1)).unwrap().packet_id, id(1));
        assert_eq!(window.admit(delivery(2)).unwrap().packet_id, id(2));
        assert_eq!(window.admit(delivery(3)), None);
        assert_eq!(window.acknowledge(id(1)).unwrap().seq, Seq(1));
        assert_eq!(window.acknowledge(id(1)), None);
        assert_eq!(window.admit(delivery(3)).unwrap().packet_id, id(3));
    }

    #[test]
    fn identifiers_wrap_around_those_in_use() {
        let mut window = Window::new(2, &[]);
        window.admit(delivery(1)).unwrap();
        window.last_id = u16::MAX - 1;
        assert_eq!(window.admit(delivery(2)).unwrap().packet_id, id(u16::MAX));
        window.acknowledge(id(u16::MAX)).unwrap();
        assert_eq!(window.admit(delivery(3)).unwrap().packet_id, id(2));
    }

    #[test]
    fn a_redelivery_keeps_its_identifier_and_is_marked_dup() {
        let mut before = Window::new(4, &[]);
        before.admit(delivery(1)).unwrap();
        before.admit(delivery(2)).unwrap();
        before.acknowledge(id(1)).unwrap();
        let mut after = Window::new(4, &before.to_records());
        assert_eq!(after.admit(delivery(9)), Some(Admission { packet_id: id(1), dup: false }));
        assert_eq!(after.admit(delivery(2)), Some(Admission { packet_id: id(2), dup: true }));
        assert_eq!(after.admit(delivery(10)), Some(Admission { packet_id: id(3), dup: false }));
    }

    #[test]
    fn however_many_resends_are_stored_an_identifier_is_free() {
        let records: Vec<UnackedRecord> = (1..=u16::MAX)
            .map(|packet_id| {
                let Unacked { tx, seq, topic, .. } = delivery(u64::from(packet_id));
                UnackedRecord { packet_id, tx, seq, topic }
            })
            .collect();
        let mut window = Window::new(Window::CAPACITY_MAX, &records);
        for seq in 0..u64::from(Window::CAPACITY_MAX) {
            window.admit(delivery(1_000_000 + seq)).unwrap();
        }
        assert_eq!(window.room(), 0);
        window.forget(&delivery(1).tx);
        assert_eq!(window.to_records().len(), usize::from(Window::CAPACITY_MAX));
    }

    #[test]
    fn what_was_never_resent_is_still_stored() {
        let mut before = Window::new(4, &[]);
        before.admit(delivery(1)).unwrap();
        let records = before.to_records();
        assert_eq!(Window::new(4, &records).to_records(), records);
    }
}
