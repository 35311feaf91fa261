//! Deliveries on their way out, in order: a PUBLISH at QoS 2 is sent once the store holds it, so that after a crash it is
//! sent again under the same identifier; what comes after it waits behind it.

use std::collections::VecDeque;

use quorate_domain::InflightStep;
use quorate_wire::{Ack, Packet, PacketId, Publish, QoS, ReasonCode};

use crate::window::Received;
use crate::{CloseCause, Effect, Fault, Session};

/// Deliveries that may wait here before the session makes no more: about two pages, since one may be under way.
const WAITING_MAX: usize = 128;
/// Their payload bytes.
const WAITING_BYTES_MAX: usize = 512 << 10;

/// A delivery that has not been sent.
#[derive(Debug)]
struct Waiting {
    publish: Box<Publish>,
    /// It must be held first, and is not yet.
    needs_hold: bool,
}

/// A batch that is being made durable.
#[derive(Debug)]
struct Holding {
    /// How many of those that wait, from the first, may be sent once it is.
    publishes: usize,
    releases: Vec<PacketId>,
}

/// What waits for the store before it goes to the client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Deliveries whose PUBREC came, and which no batch has yet.
    releases: Vec<PacketId>,
    holding: Option<Holding>,
}

impl Outbox {
    /// Whether more deliveries may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX && self.bytes < WAITING_BYTES_MAX
    }

    /// Deliveries that are to be released.
    pub(crate) fn release(&mut self, packet_ids: Vec<PacketId>) {
        self.releases.extend(packet_ids);
    }

    fn push(&mut self, publish: Box<Publish>, needs_hold: bool) {
        self.bytes += publish.payload.len();
        self.waiting.push_back(Waiting { publish, needs_hold });
    }

    /// The first of those that wait, if it may be sent.
    fn pop_ready(&mut self) -> Option<Box<Publish>> {
        let first = self.waiting.pop_front_if(|first| !first.needs_hold)?;
        self.bytes -= first.publish.payload.len();
        Some(first.publish)
    }
}

impl Session {
    /// Sends a PUBLISH, behind those that wait.
    pub(crate) fn dispatch(&mut self, publish: Box<Publish>) {
        // A session that ends with its connection resumes nothing; a redelivery is held from before.
        let needs_hold = self.is_durable() && publish.qos == QoS::ExactlyOnce && !publish.dup;
        if needs_hold || !self.outbox.waiting.is_empty() {
            self.outbox.push(publish, needs_hold);
        } else {
            self.send_publish(publish);
        }
    }

    fn send_publish(&mut self, publish: Box<Publish>) {
        if let Some(packet_id) = publish.packet_id {
            self.window.sent(packet_id);
        }
        let publish = self.shorten_topic(publish);
        self.send(Packet::Publish(publish));
    }

    /// Asks for what waits to be made durable, one batch at a time.
    pub(crate) fn hold_what_waits(&mut self) {
        if !self.is_open() || self.outbox.holding.is_some() {
            return;
        }
        let releases = std::mem::take(&mut self.outbox.releases);
        let to_hold = self.outbox.waiting.iter().filter(|waiting| waiting.needs_hold);
        let held = to_hold.filter_map(|waiting| waiting.publish.packet_id);
        let steps = held.map(|id| (id, InflightStep::Held));
        let steps = steps.chain(releases.iter().map(|id| (*id, InflightStep::Released)));
        let records: Vec<_> = steps.filter_map(|(id, step)| self.window.inflight_record(id, step)).collect();
        if !records.is_empty() {
            self.outbox.holding = Some(Holding { publishes: self.outbox.waiting.len(), releases });
            self.emit(Effect::Hold(records));
        }
    }

    /// The answer to [`Effect::Hold`].
    pub fn handle_held(&mut self, result: Result<(), Fault>) {
        let Some(holding) = self.outbox.holding.take() else { return };
        if !self.is_open() {
            return;
        }
        if let Err(fault) = result {
            self.goodbye(ReasonCode::UnspecifiedError, "storage fault, retry later");
            return self.close(CloseCause::Fault(fault.0));
        }
        for waiting in self.outbox.waiting.iter_mut().take(holding.publishes) {
            waiting.needs_hold = false;
        }
        while let Some(publish) = self.outbox.pop_ready() {
            self.send_publish(publish);
        }
        for packet_id in holding.releases {
            self.release_delivery(packet_id);
        }
        self.pump();
    }

    /// The client has a delivery at QoS 2 (MQTT5 4.3.3), or does not want it.
    pub(crate) fn handle_pubrec(&mut self, ack: &Ack) {
        let packet_id = ack.packet_id;
        if ack.reason_code.is_error() {
            if let Some(item) = self.window.refuse(packet_id) {
                self.acknowledged(&item);
                self.forget_unless_stored(packet_id);
            }
            return;
        }
        match self.window.receive(packet_id) {
            Received::Release if self.is_durable() => self.outbox.releases.push(packet_id),
            Received::Release => self.release_delivery(packet_id),
            Received::Again => self.send_pubrel(packet_id, ReasonCode::Success),
            Received::Wait => {}
            Received::Unknown => self.send_pubrel(packet_id, ReasonCode::PacketIdentifierNotFound),
        }
    }

    /// From here on the delivery will never be made again: it is done as far as the cursor is concerned.
    fn release_delivery(&mut self, packet_id: PacketId) {
        if let Some(item) = self.window.released(packet_id) {
            self.acknowledged(&item);
            self.send_pubrel(packet_id, ReasonCode::Success);
        }
    }

    /// Deliveries that an earlier connection released and did not see completed (MQTT5 4.4.0-1).
    pub(crate) fn release_again(&mut self) {
        for packet_id in self.window.to_release_again() {
            self.send_pubrel(packet_id, ReasonCode::Success);
        }
    }

    fn send_pubrel(&mut self, packet_id: PacketId, reason_code: ReasonCode) {
        self.send(Packet::PubRel(Ack { packet_id, reason_code, properties: None }));
    }

    /// The last step of a delivery at QoS 2.
    pub(crate) fn handle_pubcomp(&mut self, packet_id: PacketId) {
        if self.window.complete(packet_id) {
            self.forget_unless_stored(packet_id);
        }
    }

    /// Frees an identifier: at once, or with the next cursors where the store names it.
    fn forget_unless_stored(&mut self, packet_id: PacketId) {
        if self.is_durable() {
            self.cursors_moved();
        } else {
            self.window.free(packet_id);
        }
    }
}
