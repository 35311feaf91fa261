//! The session's own queue: messages of ordinary topics that it hears. What they are and how they are delivered was
//! decided when they were routed; here they are sent, in order, and taken out of the queue.
//!
//! A live copy is taken where it comes straight after all that was sent; anything else is read from the queue in the
//! store. Deliveries at QoS 0 are not in the queue: their live copy is all there is.

use std::collections::VecDeque;

use quorate_domain::{LogName, QueuePage, Queued, Seq};
use quorate_wire::{Publish, ReasonCode};

use crate::room::Reading;
use crate::subscriptions::to_wire;
use crate::transmit::{Passage, outgoing};
use crate::window::{Item, Way};
use crate::{Effect, Fault, Session};

/// Copies at QoS 0 that wait while nothing can be delivered; at the bound a further one is left out.
const LOOSE_MAX: usize = 256;
/// Their bytes of payload.
const LOOSE_BYTES_MAX: usize = 256 << 10;

/// How far the queue is sent.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// All up to here was sent or passed over on this connection.
    position: Seq,
    /// On this connection it was read to its end once: what an earlier one left has been met, or is not there.
    read_through: bool,
    /// It is known to hold more, or may.
    behind: bool,
    /// Done with, and not yet told to the store.
    dequeued: Vec<Seq>,
    /// Copies at QoS 0 that wait.
    loose: VecDeque<Queued>,
    loose_bytes: usize,
}

impl Queue {
    /// The store may hold messages of an earlier connection.
    pub(crate) fn left_behind() -> Self {
        Self { behind: true, ..Self::default() }
    }

    /// How far it is sent.
    pub(crate) fn position(&self) -> Seq {
        self.position
    }

    /// Whether a place will not be met any more.
    pub(crate) fn has_passed(&self, seq: Seq) -> bool {
        self.read_through || self.position >= seq
    }

    /// What to read next, if there may be something.
    pub(crate) fn next_reading(&self) -> Option<Reading> {
        self.behind.then_some(Reading::Queue { after: self.position })
    }

    /// A read goes out: what comes live meanwhile and is not taken makes it fall behind anew.
    pub(crate) fn read_begun(&mut self) {
        self.behind = false;
    }

    pub(crate) fn take_dequeued(&mut self) -> Vec<Seq> {
        std::mem::take(&mut self.dequeued)
    }

    /// The store does not know that these are done with.
    pub(crate) fn give_back(&mut self, dequeued: Vec<Seq>) {
        self.dequeued.extend(dequeued);
    }

    fn keep_loose(&mut self, queued: Queued) -> Result<(), Queued> {
        let bytes = queued.message.payload.len();
        if self.loose.len() >= LOOSE_MAX || self.loose_bytes + bytes > LOOSE_BYTES_MAX {
            return Err(queued);
        }
        self.loose_bytes += bytes;
        self.loose.push_back(queued);
        Ok(())
    }

    fn pop_loose(&mut self) -> Option<Queued> {
        let queued = self.loose.pop_front()?;
        self.loose_bytes -= queued.message.payload.len();
        Some(queued)
    }
}

impl Session {
    /// A live copy of an ordinary message came.
    pub(crate) fn handle_queued(&mut self, queued: Queued) {
        if queued.seq == Seq::ZERO {
            return self.handle_loose(queued);
        }
        if queued.seq <= self.queue.position {
            return;
        }
        let is_next = !self.queue.behind && queued.prev <= self.queue.position;
        if is_next && self.can_deliver() && self.pass_queued(&queued) == Passage::Done {
            self.queue.position = queued.seq;
        } else {
            self.fall_behind_in_queue();
        }
    }

    /// The queue may hold what was not sent: it is read when there is room.
    pub(crate) fn fall_behind_in_queue(&mut self) {
        self.queue.behind = true;
        self.deliveries.enqueue(LogName::Queue);
    }

    fn handle_loose(&mut self, queued: Queued) {
        if self.can_deliver() && self.queue.loose.is_empty() {
            self.pass_queued(&queued);
        } else if let Err(left_out) = self.queue.keep_loose(queued) {
            self.emit(Effect::LeftOut { topic: left_out.message.topic.clone() });
        }
    }

    /// Sends the copies at QoS 0 that wait, while there is room.
    pub(crate) fn send_loose(&mut self) {
        while self.can_deliver()
            && let Some(queued) = self.queue.pop_loose()
        {
            self.pass_queued(&queued);
        }
    }

    /// The answer to [`Effect::ReadQueue`].
    pub fn handle_queue_page(&mut self, result: Result<QueuePage, Fault>) {
        let reading = self.finish_reading(&LogName::Queue);
        if !self.is_open() {
            return;
        }
        match (result, reading) {
            (Err(fault), _) => self.fail_reading(fault),
            (Ok(page), Some(Reading::Queue { .. })) if self.can_deliver() => self.follow_queue(&page),
            // No room by now: it is read again when there is.
            (Ok(_), _) => self.queue.behind = true,
        }
        self.deliveries.enqueue(LogName::Queue);
        self.pump();
    }

    fn follow_queue(&mut self, page: &QueuePage) {
        self.queue.behind |= !page.is_end;
        for queued in &page.entries {
            if queued.seq <= self.queue.position {
                continue;
            }
            if self.pass_queued(queued) == Passage::Blocked {
                self.queue.behind = true;
                return;
            }
            self.queue.position = queued.seq;
        }
        self.queue.read_through |= page.is_end;
        self.give_up_passed();
    }

    /// Sends one message, unless its lifetime is over.
    fn pass_queued(&mut self, queued: &Queued) -> Passage {
        let Queued { seq, manner, message, .. } = queued;
        // It was asked for when this was routed, which may be long ago.
        if !self.access.may_hear(&self.key.party, &message.topic) {
            self.dequeue(*seq);
            return Passage::Done;
        }
        let item = Item { log: LogName::Queue, seq: *seq, topic: message.topic.clone(), way: Way::Queue };
        let Some(left_s) = self.left_of(&item, &message.properties, message.at) else {
            self.dequeue(*seq);
            return Passage::Done;
        };
        let mut properties = outgoing(&message.properties, manner.identifiers.clone());
        properties.message_expiry_interval_s = left_s;
        let publish = Publish {
            dup: false,
            qos: to_wire(manner.qos),
            retain: manner.retain,
            topic: message.topic.as_str().into(),
            packet_id: None,
            properties,
            payload: message.payload.clone(),
        };
        let needs_acknowledgement = publish.qos > quorate_wire::QoS::AtMostOnce;
        let passage = self.transmit(publish, item);
        if passage == Passage::LeftOut || (passage == Passage::Done && !needs_acknowledgement) {
            self.dequeue(*seq);
        }
        if passage == Passage::Blocked { Passage::Blocked } else { Passage::Done }
    }

    /// A message is done with: it goes out of the queue with the next moves.
    pub(crate) fn dequeue(&mut self, seq: Seq) {
        if seq > Seq::ZERO {
            self.queue.dequeued.push(seq);
            self.moves_gather();
        }
    }

    /// What an earlier connection sent and the queue does not hold any more is not sent again.
    fn give_up_passed(&mut self) {
        if self.window.has_left() {
            self.moves_gather();
        }
    }

    pub(crate) fn fail_reading(&mut self, fault: Fault) {
        self.goodbye(ReasonCode::UnspecifiedError, "storage fault, retry later");
        self.close(crate::CloseCause::Fault(fault.0));
    }
}
