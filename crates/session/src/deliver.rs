//! The way out: from the logs, or straight from a live copy, through subscriptions and window to the client.
//!
//! A live copy is taken only where it comes straight after all that was sent; everything else is read from the log,
//! one page of one room at a time, in turn, when the window and the write buffer have room. So a session that lags
//! holds no messages.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use quorate_domain::{
    Addressed, Delivery, LogMessage, LogPage, Manifest, MessageProperties, PartyTopic, Place, Seq, Sha256, Standing,
    TxId, TxTopic, UnixMs,
};
use quorate_wire::{Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, UserProperties, encoded_len};

use crate::room::Reading;
use crate::subscriptions::{Candidate, Meeting, View};
use crate::window::{Unacked, Way};
use crate::{CloseCause, Effect, Fault, SendRoom, Session};

/// Messages of one page: enough to fill a usual window, few enough that other rooms get their turn.
const PAGE_MESSAGES_MAX: usize = 64;
/// Payload bytes of one page: what a session may hold at most between the store and the socket.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Time between two reads of all standings: each looks at every transaction of the party, and an overloaded broker asks
/// for it most often.
const STANDINGS_INTERVAL: Duration = Duration::from_millis(250);

/// What is to be read, and what is being read.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// Rooms that may have something to read, in turn. No room stands here twice.
    queue: VecDeque<TxId>,
    queued: HashSet<TxId>,
    reading: Option<(TxId, Reading)>,
    standings_wanted: Option<Comparison>,
    standings_outstanding: Option<Comparison>,
    /// No earlier than this are standings read again.
    standings_due: Duration,
}

impl Deliveries {
    pub(crate) fn enqueue(&mut self, tx: &TxId) {
        if self.queued.insert(tx.clone()) {
            self.queue.push_back(tx.clone());
        }
    }

    fn dequeue(&mut self) -> Option<TxId> {
        let tx = self.queue.pop_front()?;
        self.queued.remove(&tx);
        Some(tx)
    }

    pub(crate) fn want_standings(&mut self, comparison: Comparison) {
        self.standings_wanted = self.standings_wanted.max(Some(comparison));
    }

    /// When the next read of standings may go out, if one is wanted.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        (self.standings_wanted.is_some() && self.standings_outstanding.is_none()).then_some(self.standings_due)
    }
}

/// What is compared with standings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Comparison {
    /// Positions with the heads of logs, after a SUBSCRIBE: what it sends of states it has asked for itself.
    Logs,
    /// Interim states too, after a resume or where live copies of them may be lost.
    LogsAndStates,
}

/// Whether a message went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// Sent, or nothing to send.
    Done,
    /// The window is full.
    Blocked,
}

impl Session {
    /// Something arrived in the session's mailbox.
    pub fn handle_delivery(&mut self, delivery: Delivery) {
        if !self.is_open() {
            return;
        }
        match delivery {
            Delivery::Log(addressed) => self.handle_live_copy(&addressed),
            Delivery::State { tx, seq, document } => self.handle_live_state(&tx, seq, document),
            Delivery::Behind => self.deliveries.want_standings(Comparison::LogsAndStates),
        }
        self.pump();
    }

    fn handle_live_copy(&mut self, addressed: &Addressed) {
        let LogMessage { seq, topic, .. } = &*addressed.message;
        let tx = &topic.tx;
        if !self.rooms.contains_key(tx) && !self.subscriptions.cover(tx) {
            return;
        }
        let can_deliver = self.can_deliver();
        let room = self.rooms.entry(tx.clone()).or_default();
        if *seq <= room.position() {
            return;
        }
        if can_deliver && room.is_next(addressed.prev) && self.pass(addressed, None) == Passage::Done {
            self.advance(tx, *seq);
        } else if let Some(room) = self.rooms.get_mut(tx) {
            room.fall_behind(*seq);
            self.deliveries.enqueue(tx);
        }
    }

    fn handle_live_state(&mut self, tx: &TxId, seq: Seq, document: Bytes) {
        if !self.subscriptions.cover(tx) {
            return;
        }
        let can_deliver = self.can_deliver();
        let room = self.rooms.entry(tx.clone()).or_default();
        room.state_superseded = true;
        if can_deliver {
            self.send_state(tx, seq, document);
        } else {
            room.state_wanted = true;
            self.deliveries.enqueue(tx);
        }
    }

    /// The answer to [`Effect::ReadStandings`]: every transaction of the party.
    pub fn handle_standings(&mut self, result: Result<Vec<Standing>, Fault>) {
        let comparison = self.deliveries.standings_outstanding.take();
        if !self.is_open() {
            return;
        }
        match result {
            Ok(standings) => self.compare(&standings, comparison),
            Err(fault) => self.fail_reading(fault),
        }
        self.pump();
    }

    /// Compares positions with heads, after a resume or after live copies were lost.
    fn compare(&mut self, standings: &[Standing], comparison: Option<Comparison>) {
        for standing in standings.iter().filter(|standing| self.subscriptions.cover(&standing.tx)) {
            let room = self.rooms.entry(standing.tx.clone()).or_default();
            room.unconfirmed = false;
            if standing.last_addressed > room.position() {
                room.fall_behind(standing.last_addressed);
                self.deliveries.enqueue(&standing.tx);
            } else {
                room.closed |= standing.state.is_closed();
            }
        }
        if comparison == Some(Comparison::LogsAndStates) {
            self.want_states(standings);
        }
        self.forget_purged_rooms();
    }

    /// Rooms that only the store knew and that are no longer among the party's: their transactions were purged.
    fn forget_purged_rooms(&mut self) {
        let purged: Vec<TxId> =
            self.rooms.iter().filter(|(_, room)| room.unconfirmed).map(|(tx, _)| tx.clone()).collect();
        for tx in &purged {
            self.rooms.remove(tx);
            self.window.forget(tx);
        }
        if !purged.is_empty() && self.is_durable() {
            self.emit(Effect::SaveCursors(purged.into_iter().map(|tx| (tx, None)).collect()));
        }
    }

    /// What a subscription that is new, or sent again with Retain Handling 0, hears of states it hears anew.
    pub(crate) fn forget_states(&mut self, standings: &[Standing]) {
        for standing in standings {
            if let Some(room) = self.rooms.get_mut(&standing.tx) {
                room.state_sent = None;
            }
        }
    }

    /// Sends the interim state of the transactions that are still in progress. That of a closed one is in its log.
    pub(crate) fn want_states(&mut self, standings: &[Standing]) {
        for standing in standings.iter().filter(|standing| !standing.state.is_closed()) {
            if self.state_meeting(&standing.tx).is_some()
                && let Some(room) = self.rooms.get_mut(&standing.tx)
            {
                room.state_wanted = true;
                self.deliveries.enqueue(&standing.tx);
            }
        }
    }

    /// The answer to [`Effect::ReadLog`].
    pub fn handle_log_page(&mut self, tx: &TxId, result: Result<LogPage, Fault>) {
        let reading = self.finish_reading(tx);
        if !self.is_open() {
            return;
        }
        match (result, reading) {
            (Err(fault), _) => self.fail_reading(fault),
            (Ok(page), Some(reading)) if self.can_deliver() && self.is_current(tx, &reading) => match reading {
                Reading::Cursor { .. } => self.follow_cursor(tx, &page),
                Reading::Backfill { filter, .. } => self.follow_backfill(tx, &filter, &page),
                Reading::State => {}
            },
            // No room for deliveries by now, or subscribed anew: it is read again when there is.
            (Ok(_), _) => {}
        }
        self.deliveries.enqueue(tx);
        self.pump();
    }

    /// The answer to [`Effect::ReadState`]. `None`: closed by now, or gone; its log tells the rest.
    pub fn handle_state(&mut self, tx: &TxId, result: Result<Option<(Seq, Bytes)>, Fault>) {
        self.finish_reading(tx);
        if !self.is_open() {
            return;
        }
        match result {
            Err(fault) => self.fail_reading(fault),
            Ok(Some((seq, document))) => self.handle_read_state(tx, seq, document),
            Ok(None) => {}
        }
        self.deliveries.enqueue(tx);
        self.pump();
    }

    /// A state that was read. One that came live meanwhile is newer.
    fn handle_read_state(&mut self, tx: &TxId, seq: Seq, document: Bytes) {
        let can_deliver = self.can_deliver();
        let Some(room) = self.rooms.get_mut(tx) else { return };
        if room.state_superseded {
            return;
        }
        if can_deliver {
            self.send_state(tx, seq, document);
        } else {
            room.state_wanted = true;
        }
    }

    pub(crate) fn handle_puback(&mut self, packet_id: PacketId) {
        // An identifier that nothing waits for: the answer to a delivery of a connection before. Nothing to move.
        let Some(unacked) = self.window.acknowledge(packet_id) else { return };
        let backfill = match &unacked.way {
            Way::State => return,
            Way::Cursor => None,
            Way::Backfill(filter) => Some(filter.as_str()),
        };
        if let Some(room) = self.rooms.get_mut(&unacked.tx) {
            room.acknowledged(unacked.seq, backfill);
            self.cursors_moved();
        }
    }

    /// Asks for the next page, if there is one to ask for and room for it.
    pub(crate) fn pump(&mut self) {
        if self.is_open() && self.deliveries.deadline().is_some_and(|due| due <= self.now) {
            let wanted = self.deliveries.standings_wanted.take();
            if !self.subscriptions.is_empty() {
                self.deliveries.standings_outstanding = wanted;
                self.deliveries.standings_due = self.now + STANDINGS_INTERVAL;
                self.emit(Effect::ReadStandings);
            }
        }
        while self.can_deliver() && self.deliveries.reading.is_none() && self.window.room() > 0 {
            let Some(tx) = self.deliveries.dequeue() else { return };
            let Some(room) = self.rooms.get_mut(&tx) else { continue };
            let Some(reading) = room.next_reading() else { continue };
            let effect = match &reading {
                Reading::State => {
                    (room.state_wanted, room.state_superseded) = (false, false);
                    Effect::ReadState { tx: tx.clone() }
                }
                Reading::Cursor { after } | Reading::Backfill { after, .. } => Effect::ReadLog {
                    tx: tx.clone(),
                    after: *after,
                    messages_max: self.window.room().min(PAGE_MESSAGES_MAX),
                    bytes_max: PAGE_BYTES_MAX,
                },
            };
            self.deliveries.reading = Some((tx, reading));
            self.emit(effect);
        }
    }

    /// Deliveries wait while the write buffer is full, and while a SUBSCRIBE is being granted, so that its SUBACK comes
    /// before what it brings.
    fn can_deliver(&self) -> bool {
        self.is_open() && self.send_room == SendRoom::Open && self.subscribing.is_none() && self.saving.is_none()
    }

    /// Whether a page still fits on: the room, or its backfill, may have been made anew from its beginning meanwhile.
    fn is_current(&mut self, tx: &TxId, reading: &Reading) -> bool {
        let Some(room) = self.rooms.get_mut(tx) else { return false };
        match reading {
            Reading::Cursor { after } => *after <= room.position(),
            Reading::Backfill { filter, after } => {
                room.backfill(filter).is_some_and(|backfill| *after <= backfill.sent_to)
            }
            Reading::State => false,
        }
    }

    fn finish_reading(&mut self, tx: &TxId) -> Option<Reading> {
        let (_, reading) = self.deliveries.reading.take_if(|(of, _)| of == tx)?;
        Some(reading)
    }

    fn fail_reading(&mut self, fault: Fault) {
        self.goodbye(ReasonCode::UnspecifiedError, "storage fault, retry later");
        self.close(CloseCause::Fault(fault.0));
    }

    fn follow_cursor(&mut self, tx: &TxId, page: &LogPage) {
        for addressed in &page.messages {
            let seq = addressed.message.seq;
            if self.rooms.get(tx).is_none_or(|room| seq <= room.position()) {
                continue;
            }
            if self.pass(addressed, None) == Passage::Blocked {
                return;
            }
            self.advance(tx, seq);
        }
        self.advance(tx, page.scanned_to);
        if page.scanned_to >= page.head
            && let Some(room) = self.rooms.get_mut(tx)
        {
            room.caught_up(page.head);
        }
    }

    fn follow_backfill(&mut self, tx: &TxId, filter: &str, page: &LogPage) {
        let Some(until) = self.rooms.get_mut(tx).and_then(|room| room.backfill(filter)).map(|backfill| backfill.until)
        else {
            return;
        };
        for addressed in page.messages.iter().filter(|addressed| addressed.message.seq <= until) {
            if self.pass(addressed, Some(filter)) == Passage::Blocked {
                return;
            }
            self.backfill_advanced(tx, filter, addressed.message.seq);
        }
        let is_end = page.scanned_to >= page.head || page.scanned_to >= until;
        self.backfill_advanced(tx, filter, if is_end { until } else { page.scanned_to });
    }

    fn backfill_advanced(&mut self, tx: &TxId, filter: &str, seq: Seq) {
        if let Some(room) = self.rooms.get_mut(tx) {
            room.backfill_advanced(filter, seq);
        }
    }

    fn advance(&mut self, tx: &TxId, seq: Seq) {
        if let Some(room) = self.rooms.get_mut(tx) {
            room.advance(seq);
            self.cursors_moved();
        }
    }

    /// Sends one log record in the views that subscriptions meet. `backfill`: for that subscription alone.
    fn pass(&mut self, addressed: &Addressed, backfill: Option<&str>) -> Passage {
        let message = &*addressed.message;
        let (tx, seq) = (&message.topic.tx, message.seq);
        let half_sent = backfill.is_none() && self.rooms.get(tx).is_some_and(|room| room.half_sent == Some(seq));
        if !half_sent && self.pass_view(addressed, View::Log(&message.topic), backfill) == Passage::Blocked {
            return Passage::Blocked;
        }
        if message.topic.place == Place::Manifest
            && self.is_invited(message)
            && self.pass_view(addressed, View::Inbox, backfill) == Passage::Blocked
        {
            if backfill.is_none()
                && let Some(room) = self.rooms.get_mut(tx)
            {
                room.half_sent = Some(seq);
            }
            return Passage::Blocked;
        }
        if message.topic.place == Place::State
            && let Some(room) = self.rooms.get_mut(tx)
        {
            room.closed = true;
        }
        Passage::Done
    }

    /// Whether a manifest lists this party: an initiator that is none of the parties hears it, but is not invited.
    fn is_invited(&self, manifest: &LogMessage) -> bool {
        // The deadline was judged when it was accepted.
        Manifest::parse(&manifest.payload, UnixMs(0)).is_ok_and(|manifest| manifest.parties.contains(&self.key.party))
    }

    fn pass_view(&mut self, addressed: &Addressed, view: View<'_>, backfill: Option<&str>) -> Passage {
        let message = &*addressed.message;
        let candidate = Candidate {
            tx: &message.topic.tx,
            seq: message.seq,
            author: message.from.as_ref().map(|author| &author.party),
            view,
        };
        let meeting = match backfill {
            None => self.subscriptions.meet(candidate),
            Some(filter) => self.subscriptions.meet_one(filter, candidate),
        };
        let Some(meeting) = meeting else { return Passage::Done };
        let topic = match view {
            View::Log(topic) => topic.to_string(),
            View::Inbox => PartyTopic::Inbox(self.key.party.clone()).to_string(),
        };
        let mut properties = outgoing(&message.properties, meeting.identifiers);
        properties.user_properties.extend(provenance(addressed));
        let way = backfill.map_or(Way::Cursor, |filter| Way::Backfill(filter.to_owned()));
        let publish = publish(topic, meeting.qos, properties, message.payload.clone());
        self.transmit(publish, Unacked { tx: message.topic.tx.clone(), seq: message.seq, topic: String::new(), way })
    }

    /// What the interim state of this transaction meets.
    fn state_meeting(&self, tx: &TxId) -> Option<Meeting> {
        let topic = TxTopic { tx: tx.clone(), place: Place::State };
        // Latest only: where a subscription starts in the log does not matter, so the highest number stands in.
        self.subscriptions.meet(Candidate { tx, seq: Seq(u64::MAX), author: None, view: View::Log(&topic) })
    }

    /// Sends the interim state, unless the final one or the very same went out before.
    fn send_state(&mut self, tx: &TxId, seq: Seq, document: Bytes) {
        let digest = Sha256::of(&document);
        let meeting = self.state_meeting(tx);
        let room = self.rooms.entry(tx.clone()).or_default();
        room.state_wanted = false;
        let Some(meeting) = meeting else { return };
        if room.closed || room.state_sent == Some(digest) {
            return;
        }
        let topic = TxTopic { tx: tx.clone(), place: Place::State }.to_string();
        let mut properties = outgoing(&MessageProperties::default(), meeting.identifiers);
        properties.user_properties.push(numbered("quorate-seq", seq.0));
        let unacked = Unacked { tx: tx.clone(), seq, topic: String::new(), way: Way::State };
        let passage = self.transmit(publish(topic, meeting.qos, properties, document), unacked);
        let Some(room) = self.rooms.get_mut(tx) else { return };
        match passage {
            Passage::Done => room.state_sent = Some(digest),
            Passage::Blocked => {
                room.state_wanted = true;
                self.deliveries.enqueue(tx);
            }
        }
    }

    /// Sends one PUBLISH through the window. One that is larger than the client takes is left out (MQTT5 3.1.2-25).
    fn transmit(&mut self, mut publish: Publish, mut unacked: Unacked) -> Passage {
        if publish.qos > QoS::AtMostOnce {
            // Any identifier has the same length; the true one is known once the window admits it.
            publish.packet_id = Some(PacketId::MIN);
        }
        let packet = Packet::Publish(Box::new(publish));
        if let Some(bytes_max) = self.packet_bytes_max
            && encoded_len(&packet, self.version).is_ok_and(|bytes| bytes > bytes_max as usize)
        {
            return Passage::Done;
        }
        let Packet::Publish(mut publish) = packet else { return Passage::Done };
        if publish.qos > QoS::AtMostOnce {
            unacked.topic = publish.topic.to_string();
            let (tx, seq, way) = (unacked.tx.clone(), unacked.seq, unacked.way.clone());
            let Some(admission) = self.window.admit(unacked) else { return Passage::Blocked };
            publish.packet_id = Some(admission.packet_id);
            publish.dup = admission.dup;
            self.mark_sent(&tx, seq, &way);
        }
        self.send(Packet::Publish(publish));
        Passage::Done
    }

    fn mark_sent(&mut self, tx: &TxId, seq: Seq, way: &Way) {
        let Some(room) = self.rooms.get_mut(tx) else { return };
        match way {
            Way::Cursor => room.sent(seq, None),
            Way::Backfill(filter) => room.sent(seq, Some(filter)),
            Way::State => {}
        }
    }
}

fn publish(topic: String, qos: QoS, properties: PublishProperties, payload: Bytes) -> Publish {
    Publish { dup: false, qos, retain: false, topic: topic.into(), packet_id: None, properties, payload }
}

fn outgoing(properties: &MessageProperties, subscription_identifiers: Vec<u32>) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: properties.payload_format_indicator,
        response_topic: properties.response_topic.as_deref().map(ByteString::from),
        correlation_data: properties.correlation_data.clone(),
        user_properties: properties
            .user_properties
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
        content_type: properties.content_type.as_deref().map(ByteString::from),
        subscription_identifiers,
        ..PublishProperties::default()
    }
}

/// Who said it, with which certificate, where it stands in the log: what the broker vouches for.
fn provenance(addressed: &Addressed) -> UserProperties {
    let message = &addressed.message;
    let mut properties = UserProperties::new();
    if let Some(author) = &message.from {
        properties.push((ByteString::from_static("quorate-from"), author.party.as_str().into()));
        properties.push((ByteString::from_static("quorate-cert"), author.certificate.to_string().into()));
    }
    properties.push(numbered("quorate-seq", message.seq.0));
    properties.push(numbered("quorate-prev", addressed.prev.0));
    properties.push(numbered("quorate-at", message.at.0));
    properties
}

fn numbered(name: &'static str, value: u64) -> (ByteString, ByteString) {
    (ByteString::from_static(name), value.to_string().into())
}
