//! The way out: from the logs, or straight from a live copy, through subscriptions and window to the client.
//!
//! A live copy is taken only where it comes straight after all that was sent; everything else is read from the log,
//! one page of one room at a time, in turn, when the window and the write buffer have room. So a session that lags
//! holds no messages.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_domain::{Addressed, CursorMoves, Delivery, LogMessage, LogName, LogPage, Seq, Standing, TxId};
use quorate_wire::PacketId;

use crate::room::Reading;
use crate::transmit::Passage;
use crate::{Effect, Fault, SendRoom, Session};

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
    /// Rooms that may have something to read, and the session's queue among them, in turn. None stands here twice.
    turns: VecDeque<LogName>,
    waiting: HashSet<LogName>,
    reading: Option<(LogName, Reading)>,
    standings_wanted: Option<Comparison>,
    standings_outstanding: Option<Comparison>,
    /// No earlier than this are standings read again.
    standings_due: Duration,
    /// On this connection the session has seen all its party's transactions once.
    pub(crate) standings_seen: bool,
}

impl Deliveries {
    pub(crate) fn enqueue(&mut self, log: LogName) {
        if self.waiting.insert(log.clone()) {
            self.turns.push_back(log);
        }
    }

    pub(crate) fn enqueue_room(&mut self, tx: &TxId) {
        self.enqueue(LogName::Tx(tx.clone()));
    }

    fn next_turn(&mut self) -> Option<LogName> {
        let log = self.turns.pop_front()?;
        self.waiting.remove(&log);
        Some(log)
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

impl Session {
    /// Something arrived in the session's mailbox.
    pub fn handle_delivery(&mut self, delivery: Delivery) {
        if !self.is_open() {
            return;
        }
        match delivery {
            Delivery::Log(addressed) => self.handle_live_copy(&addressed),
            Delivery::State { tx, seq, document } => self.handle_live_state(&tx, seq, document),
            Delivery::Queued(queued) => self.handle_queued(*queued),
            Delivery::Purged(tx) => self.forget_purged(vec![tx]),
            Delivery::Behind => {
                self.deliveries.want_standings(Comparison::LogsAndStates);
                self.fall_behind_in_queue();
            }
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
        room.unconfirmed = false;
        if *seq <= room.position() {
            return;
        }
        if can_deliver && room.is_next(addressed.prev) && self.pass(addressed, None) == Passage::Done {
            self.advance(tx, *seq);
        } else if let Some(room) = self.rooms.get_mut(tx) {
            room.fall_behind(*seq);
            self.deliveries.enqueue_room(tx);
        }
    }

    fn handle_live_state(&mut self, tx: &TxId, seq: Seq, document: Bytes) {
        if !self.subscriptions.cover(tx) {
            return;
        }
        let can_deliver = self.can_deliver();
        let room = self.rooms.entry(tx.clone()).or_default();
        room.unconfirmed = false;
        room.state_superseded = true;
        if can_deliver {
            self.send_state(tx, seq, document);
        } else {
            room.state_wanted = true;
            self.deliveries.enqueue_room(tx);
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
                self.deliveries.enqueue_room(&standing.tx);
            } else {
                room.closed |= standing.state.is_closed();
            }
        }
        self.deliveries.standings_seen = true;
        if comparison == Some(Comparison::LogsAndStates) {
            self.want_states(standings);
        }
        self.forget_purged_rooms();
    }

    /// Rooms that were known before the standings were read and are not among them: their transactions were purged.
    fn forget_purged_rooms(&mut self) {
        let purged = self.rooms.iter().filter(|(_, room)| room.unconfirmed).map(|(tx, _)| tx.clone()).collect();
        self.forget_purged(purged);
    }

    /// Nothing more comes of these transactions. What is on its way is still acknowledged.
    fn forget_purged(&mut self, mut purged: Vec<TxId>) {
        for tx in &purged {
            self.window.forget(tx);
            self.subscriptions.forget(tx);
        }
        purged.retain(|tx| self.rooms.remove(tx).is_some());
        if !purged.is_empty() && self.is_durable() {
            let cursors = purged.into_iter().map(|tx| (tx, None)).collect();
            self.emit(Effect::SaveCursors(CursorMoves { cursors, ..CursorMoves::default() }));
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
                self.deliveries.enqueue_room(&standing.tx);
            }
        }
    }

    /// The answer to [`Effect::ReadLog`].
    pub fn handle_log_page(&mut self, tx: &TxId, result: Result<LogPage, Fault>) {
        let reading = self.finish_reading(&LogName::Tx(tx.clone()));
        if !self.is_open() {
            return;
        }
        match (result, reading) {
            (Err(fault), _) => self.fail_reading(fault),
            (Ok(page), Some(reading)) if self.can_deliver() && self.is_current(tx, &reading) => match reading {
                Reading::Cursor { .. } => self.follow_cursor(tx, &page),
                Reading::Backfill { filter, .. } => self.follow_backfill(tx, &filter, &page),
                Reading::State | Reading::Queue { .. } => {}
            },
            // No room for deliveries by now, or subscribed anew: it is read again when there is.
            (Ok(_), _) => {}
        }
        self.deliveries.enqueue_room(tx);
        self.pump();
    }

    /// The answer to [`Effect::ReadState`]. `None`: closed by now, or gone; its log tells the rest.
    pub fn handle_state(&mut self, tx: &TxId, result: Result<Option<(Seq, Bytes)>, Fault>) {
        self.finish_reading(&LogName::Tx(tx.clone()));
        if !self.is_open() {
            return;
        }
        match result {
            Err(fault) => self.fail_reading(fault),
            Ok(Some((seq, document))) => self.handle_read_state(tx, seq, document),
            Ok(None) => {}
        }
        self.deliveries.enqueue_room(tx);
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
        if let Some(item) = self.window.acknowledge(packet_id) {
            self.acknowledged(&item);
        }
    }

    /// Asks for what comes next, if there is something to ask for and room for it.
    pub(crate) fn pump(&mut self) {
        self.send_loose();
        self.read_on();
        self.hold_what_waits();
        self.release_receipts();
    }

    fn read_on(&mut self) {
        if self.is_open() && self.deliveries.deadline().is_some_and(|due| due <= self.now) {
            let wanted = self.deliveries.standings_wanted.take();
            if self.subscriptions.have_rooms() {
                self.deliveries.standings_outstanding = wanted;
                self.deliveries.standings_due = self.now + STANDINGS_INTERVAL;
                self.rooms.values_mut().for_each(|room| room.unconfirmed = true);
                self.emit(Effect::ReadStandings);
            }
        }
        while self.can_deliver() && self.deliveries.reading.is_none() && self.window.room() > 0 {
            let Some(log) = self.deliveries.next_turn() else { return };
            let begun = match &log {
                LogName::Tx(tx) => self.begin_room_reading(tx),
                LogName::Queue => self.begin_queue_reading(),
            };
            let Some((reading, effect)) = begun else { continue };
            self.deliveries.reading = Some((log, reading));
            self.emit(effect);
        }
    }

    fn begin_room_reading(&mut self, tx: &TxId) -> Option<(Reading, Effect)> {
        let messages_max = self.page_messages_max();
        let room = self.rooms.get_mut(tx)?;
        let reading = room.next_reading()?;
        let effect = match &reading {
            Reading::State => {
                (room.state_wanted, room.state_superseded) = (false, false);
                Effect::ReadState { tx: tx.clone() }
            }
            Reading::Cursor { after } | Reading::Backfill { after, .. } | Reading::Queue { after } => {
                Effect::ReadLog { tx: tx.clone(), after: *after, messages_max, bytes_max: PAGE_BYTES_MAX }
            }
        };
        Some((reading, effect))
    }

    fn begin_queue_reading(&mut self) -> Option<(Reading, Effect)> {
        let reading = self.queue.next_reading()?;
        self.queue.read_begun();
        let (after, messages_max) = (self.queue.position(), self.page_messages_max());
        Some((reading, Effect::ReadQueue { after, messages_max, bytes_max: PAGE_BYTES_MAX }))
    }

    fn page_messages_max(&self) -> usize {
        self.window.room().min(PAGE_MESSAGES_MAX)
    }

    /// Deliveries wait while the write buffer or the outbox is full, and while a SUBSCRIBE is being granted, so that its SUBACK comes
    /// before what it brings.
    pub(crate) fn can_deliver(&self) -> bool {
        self.is_open()
            && self.send_room == SendRoom::Open
            && self.outbox.has_room()
            && self.subscribing.is_none()
            && self.saving.is_none()
    }

    /// Whether a page still fits on: the room, or its backfill, may have been made anew from its beginning meanwhile.
    fn is_current(&mut self, tx: &TxId, reading: &Reading) -> bool {
        let Some(room) = self.rooms.get_mut(tx) else { return false };
        match reading {
            Reading::Cursor { after } => *after <= room.position(),
            Reading::Backfill { filter, after } => {
                room.backfill(filter).is_some_and(|backfill| *after <= backfill.sent_to)
            }
            Reading::State | Reading::Queue { .. } => false,
        }
    }

    pub(crate) fn finish_reading(&mut self, log: &LogName) -> Option<Reading> {
        let (_, reading) = self.deliveries.reading.take_if(|(of, _)| of == log)?;
        Some(reading)
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
}
