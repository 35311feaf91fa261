//! What the client published at QoS 2 and has not seen completed: from its PUBREC to its PUBCOMP (MQTT5 4.3.3).

use std::collections::BTreeMap;

use quorate_domain::Seq;
use quorate_wire::{Ack, Packet, PacketId, ReasonCode};

use crate::{CloseCause, Effect, Fault, Session};

/// How far the handshake of a received publish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reception {
    /// Its message is in its log; the client has not released it.
    Received(Seq),
    /// Its PUBREL came; its receipt is being forgotten.
    Releasing,
}

#[derive(Debug)]
struct Entry {
    reception: Reception,
    /// Whether its PUBLISH is of this connection, and so uses up the Receive Maximum.
    counts: bool,
    /// Whether the store remembers it.
    has_receipt: bool,
}

/// All receptions, each under its packet identifier, which bounds how many there are.
#[derive(Debug, Default)]
pub(crate) struct Receptions {
    entries: BTreeMap<PacketId, Entry>,
    /// How many of them count.
    counting: usize,
    /// Released by the client, and in no batch yet.
    to_release: Vec<PacketId>,
    releasing: Vec<PacketId>,
}

impl Receptions {
    /// `receipts`: what an earlier connection received and did not release.
    pub(crate) fn new(receipts: &[u16]) -> Self {
        let ids = receipts.iter().filter_map(|packet_id| PacketId::new(*packet_id));
        // Where it stands in its log is of no more use.
        let entry = || Entry { reception: Reception::Received(Seq::ZERO), counts: false, has_receipt: true };
        Self { entries: ids.map(|packet_id| (packet_id, entry())).collect(), ..Self::default() }
    }

    /// Those that use up the Receive Maximum.
    pub(crate) fn counting(&self) -> usize {
        self.counting
    }

    /// A PUBLISH with this identifier came: whether its message is here already.
    pub(crate) fn meet(&mut self, packet_id: PacketId) -> Option<Reception> {
        let entry = self.entries.get_mut(&packet_id)?;
        self.counting += usize::from(!std::mem::replace(&mut entry.counts, true));
        Some(entry.reception)
    }

    /// Its message is in its log, or where it belongs.
    pub(crate) fn received(&mut self, packet_id: PacketId, seq: Seq, has_receipt: bool) {
        self.entries.insert(packet_id, Entry { reception: Reception::Received(seq), counts: true, has_receipt });
        self.counting += 1;
    }

    /// Its receipt is forgotten.
    fn complete(&mut self, packet_id: PacketId) {
        if let Some(entry) = self.entries.remove(&packet_id) {
            self.counting -= usize::from(entry.counts);
        }
    }
}

impl Session {
    /// The client has the PUBREC: it will not send the message again.
    pub(crate) fn handle_pubrel(&mut self, packet_id: PacketId) {
        let is_undecided = self.publishing.undecided(packet_id).is_some();
        let receptions = &mut self.publishing.receptions;
        match receptions.entries.get_mut(&packet_id) {
            None if is_undecided => self.fail(ReasonCode::ProtocolError, "a PUBREL before its PUBREC (MQTT5 4.3.3-5)"),
            // Completed before, and the PUBCOMP was lost with its connection; or never heard of.
            None => self.send_pubcomp(packet_id, ReasonCode::PacketIdentifierNotFound),
            Some(Entry { reception: Reception::Releasing, .. }) => {}
            Some(Entry { has_receipt: false, .. }) => {
                receptions.complete(packet_id);
                self.send_pubcomp(packet_id, ReasonCode::Success);
            }
            Some(entry) => {
                entry.reception = Reception::Releasing;
                receptions.to_release.push(packet_id);
            }
        }
    }

    /// Asks for the receipts of what was released to be forgotten, one batch at a time.
    pub(crate) fn release_receipts(&mut self) {
        if !self.is_open() {
            return;
        }
        let receptions = &mut self.publishing.receptions;
        if receptions.releasing.is_empty() && !receptions.to_release.is_empty() {
            receptions.releasing = std::mem::take(&mut receptions.to_release);
            let releasing = receptions.releasing.clone();
            self.emit(Effect::Release(releasing));
        }
    }

    /// The answer to [`Effect::Release`]. PUBCOMP comes only now: with a receipt left behind, what the client says next
    /// under this identifier would be taken for said.
    pub fn handle_released(&mut self, result: Result<(), Fault>) {
        let released = std::mem::take(&mut self.publishing.receptions.releasing);
        if !self.is_open() {
            return;
        }
        if let Err(fault) = result {
            self.goodbye(ReasonCode::UnspecifiedError, "storage fault, retry later");
            return self.close(CloseCause::Fault(fault.0));
        }
        for packet_id in released {
            self.publishing.receptions.complete(packet_id);
            self.send_pubcomp(packet_id, ReasonCode::Success);
        }
        self.pump();
    }

    fn send_pubcomp(&mut self, packet_id: PacketId, reason_code: ReasonCode) {
        self.send(Packet::PubComp(Ack { packet_id, reason_code, properties: None }));
    }
}
