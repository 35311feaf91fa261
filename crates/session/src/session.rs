//! The state of a session, how it takes packets and deadlines, and how it ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytestring::ByteString;
use quorate_domain::{
    BackfillMove, CursorMoves, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, TxId, UnixMs,
};
use quorate_wire::{Disconnect, Packet, ReasonCode, Version};

use crate::deliver::{Comparison, Deliveries};
use crate::handshake::{Hello, expiry_of};
use crate::keep_alive::KeepAlive;
use crate::outbox::Outbox;
use crate::publish::Publishing;
use crate::room::Room;
use crate::subscribe::Subscribing;
use crate::subscriptions::{Subscription, Subscriptions};
use crate::window::{Item, Mark, Way, Window};
use crate::{CloseCause, Effect, Fault, Limits, SendRoom};

/// How long cursors gather before they are stored. They are not synced; after SIGKILL QoS 1 repeats from the last one.
pub(crate) const CURSOR_INTERVAL: Duration = Duration::from_millis(100);

/// Whether the connection still takes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// [`Effect::Close`] is out: nothing that comes still counts, but acknowledgements of appends do not either.
    Closing,
    /// The connection is gone and the last effects are out.
    Ended,
}

/// A store operation on the session's record that has not been answered yet.
#[derive(Debug)]
pub(crate) struct Saving {
    /// What the client is told when it is stored.
    pub(crate) answer: Option<Packet>,
    /// The filters that the save brings in; taken back if it fails.
    pub(crate) added: Vec<String>,
}

/// One connected MQTT session.
#[derive(Debug)]
pub struct Session {
    pub(crate) key: SessionKey,
    pub(crate) version: Version,
    pub(crate) limits: Limits,
    pub(crate) wants_reasons: bool,
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) rooms: BTreeMap<TxId, Room>,
    pub(crate) window: Window,
    pub(crate) outbox: Outbox,
    pub(crate) publishing: Publishing,
    pub(crate) subscribing: Option<Subscribing>,
    pub(crate) saving: Option<Saving>,
    pub(crate) deliveries: Deliveries,
    pub(crate) send_room: SendRoom,
    expiry: SessionExpiry,
    keep_alive: KeepAlive,
    cursors_due: Option<Duration>,
    pub(crate) now: Duration,
    phase: Phase,
    effects: VecDeque<Effect>,
}

impl Session {
    pub(crate) fn begin(hello: Hello, connack: Packet, stored: Option<StoredSession>, now: Duration) -> Self {
        let resumed = stored.is_some();
        let stored = stored.unwrap_or_default();
        let mut session = Self {
            subscriptions: Subscriptions::new(hello.key.party.clone()),
            rooms: BTreeMap::new(),
            window: Window::new(hello.inflight_max, &stored.record.unacked, &stored.inflight),
            outbox: Outbox::default(),
            publishing: Publishing::new(&stored.receipts),
            subscribing: None,
            saving: None,
            deliveries: Deliveries::default(),
            send_room: SendRoom::Open,
            keep_alive: KeepAlive::new(hello.keep_alive_s, now),
            cursors_due: None,
            now,
            phase: Phase::Open,
            effects: VecDeque::from([Effect::Send(connack)]),
            expiry: hello.expiry,
            key: hello.key,
            version: hello.version,
            limits: hello.limits,
            wants_reasons: hello.wants_reasons,
            packet_bytes_max: hello.packet_bytes_max,
        };
        let agreed_anew = resumed && stored.record.expiry != session.expiry;
        session.restore(stored);
        session.release_again();
        if agreed_anew {
            // Should the broker be killed, the session lives for as long as this connection agreed on.
            session.saving = Some(Saving { answer: None, added: Vec::new() });
            session.effects.push_back(Effect::Save(session.to_record()));
        }
        session.pump();
        session
    }

    /// Puts back what an earlier connection left: subscriptions, positions, backfills.
    fn restore(&mut self, StoredSession { record, cursors, .. }: StoredSession) {
        for stored in record.subscriptions {
            // A filter that was valid when it was stored and is not now was stored by another version of the broker:
            // it can meet nothing, so the client subscribes again.
            if let Some(subscription) = Subscription::restore(stored) {
                self.subscriptions.insert(subscription);
            }
        }
        for (tx, cursor) in cursors {
            self.rooms.insert(tx, Room::stored_at(cursor));
        }
        for backfill in &record.backfills {
            // Its cursor may be missing: that of a first position is not synced.
            let room = self.rooms.entry(backfill.tx.clone()).or_insert_with(|| Room::stored_at(Seq::ZERO));
            room.restore_backfill(backfill);
            self.deliveries.enqueue(&backfill.tx);
        }
        if !self.subscriptions.is_empty() {
            self.deliveries.want_standings(Comparison::LogsAndStates);
        }
    }

    /// Whose session it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Takes one packet from the client.
    pub fn handle_packet(&mut self, packet: Packet, now: Duration) {
        if self.phase != Phase::Open {
            return;
        }
        self.now = now;
        self.keep_alive.heard(now);
        match packet {
            Packet::Publish(publish) => self.handle_publish(*publish),
            Packet::PubAck(ack) => self.handle_puback(ack.packet_id),
            Packet::Subscribe(subscribe) => self.handle_subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(unsubscribe),
            Packet::PingReq => self.send(Packet::PingResp),
            Packet::Disconnect(disconnect) => self.handle_disconnect(&disconnect),
            Packet::PubRec(ack) => self.handle_pubrec(&ack),
            Packet::PubRel(ack) => self.handle_pubrel(ack.packet_id),
            Packet::PubComp(ack) => self.handle_pubcomp(ack.packet_id),
            Packet::Connect(_) => self.fail(ReasonCode::ProtocolError, "a second CONNECT (MQTT5 3.1.0-2)"),
            Packet::Auth(_) => self.fail(ReasonCode::ProtocolError, "AUTH without an authentication method"),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.fail(ReasonCode::ProtocolError, "a packet that only servers send");
            }
        }
        self.pump();
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: Duration) {
        if self.phase != Phase::Open {
            return;
        }
        self.now = now;
        if self.cursors_due.is_some_and(|due| due <= now) {
            self.save_cursors();
        }
        if self.keep_alive.ran_out(now) {
            self.goodbye(ReasonCode::KeepAliveTimeout, "nothing came within one and a half times the keep alive");
            self.close(CloseCause::KeepAlive);
        }
        self.pump();
    }

    /// When [`Session::handle_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.phase != Phase::Open {
            return None;
        }
        [self.keep_alive.deadline(), self.cursors_due, self.deliveries.deadline()].into_iter().flatten().min()
    }

    /// The same party connected anew with the same client id.
    pub fn handle_take_over(&mut self) {
        self.goodbye(ReasonCode::SessionTakenOver, "the session is continued on a new connection");
        self.close(CloseCause::TakenOver);
    }

    /// The broker is shutting down.
    pub fn handle_drain(&mut self) {
        self.goodbye(ReasonCode::ServerShuttingDown, "the broker is shutting down; connect again");
        self.close(CloseCause::Draining);
    }

    /// The answer to [`Effect::Save`].
    pub fn handle_saved(&mut self, result: Result<(), Fault>) {
        let Some(saving) = self.saving.take() else { return };
        if self.phase != Phase::Open {
            return;
        }
        match result {
            Ok(()) => self.effects.extend(saving.answer.map(Effect::Send)),
            Err(fault) => self.handle_save_failed(saving, fault),
        }
        self.pump();
    }

    /// The connection is gone, for whatever reason. The effects that follow store what is to outlive it; they are the
    /// last.
    pub fn handle_connection_lost(&mut self, now: UnixMs) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        // What has moved counts as told to the store.
        self.effects.retain(|effect| matches!(effect, Effect::SaveCursors(_)));
        if self.is_durable() {
            let record =
                SessionRecord { disconnected_at: Some(now), unacked: self.window.to_records(), ..self.to_record() };
            self.effects.push_back(Effect::Save(record));
            self.save_cursors();
        } else {
            self.effects.push_back(Effect::Remove);
        }
    }

    /// Whether the driver's write buffer takes deliveries.
    pub fn set_send_room(&mut self, send_room: SendRoom) {
        self.send_room = send_room;
        self.pump();
    }

    /// Whether the client's next packet may be read. `false` stops the keep-alive clock.
    pub fn wants_packets(&self) -> bool {
        self.phase == Phase::Open
            && self.subscribing.is_none()
            && self.saving.is_none()
            && self.publishing.has_room(&self.limits, self.version)
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if !self.wants_packets() {
            self.keep_alive.stand_still();
        }
        self.effects.pop_front()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.expiry != SessionExpiry::AtDisconnect
    }

    pub(crate) fn emit(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn send(&mut self, packet: Packet) {
        self.effects.push_back(Effect::Send(packet));
    }

    /// Ends the connection over something that the client must not do.
    pub(crate) fn fail(&mut self, code: ReasonCode, reason: &str) {
        self.goodbye(code, reason);
        self.close(CloseCause::Protocol { code, reason: reason.to_owned() });
    }

    /// Tells an MQTT 5 client why; in 3.x a server has no such packet.
    pub(crate) fn goodbye(&mut self, code: ReasonCode, reason: &str) {
        if self.phase != Phase::Open || self.version != Version::V5 {
            return;
        }
        self.send(Packet::Disconnect(Box::new(Disconnect {
            reason_code: code,
            session_expiry_interval_s: None,
            reason_string: Some(ByteString::from(reason)),
            user_properties: Vec::new(),
            server_reference: None,
        })));
    }

    pub(crate) fn close(&mut self, cause: CloseCause) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.effects.push_back(Effect::Close(cause));
        }
    }

    /// Stores the session before the client is answered; at once where nothing outlives the connection.
    pub(crate) fn save_then(&mut self, answer: Packet, added: Vec<String>) {
        if self.is_durable() {
            self.saving = Some(Saving { answer: Some(answer), added });
            self.effects.push_back(Effect::Save(self.to_record()));
        } else {
            self.send(answer);
        }
    }

    /// What outlives the connection, but for what only its end knows.
    fn to_record(&self) -> SessionRecord {
        SessionRecord {
            expiry: self.expiry,
            disconnected_at: None,
            subscriptions: self.subscriptions.records(),
            backfills: self.rooms.iter().flat_map(|(tx, room)| room.backfill_records(tx)).collect(),
            unacked: Vec::new(),
        }
    }

    /// Some cursor moved: store it soon.
    pub(crate) fn cursors_moved(&mut self) {
        if self.is_durable() && self.cursors_due.is_none() {
            self.cursors_due = Some(self.now + CURSOR_INTERVAL);
        }
    }

    pub(crate) fn save_cursors(&mut self) {
        self.cursors_due = None;
        if !self.is_durable() {
            return;
        }
        let cursors = self
            .rooms
            .iter_mut()
            .filter_map(|(tx, room)| std::mem::take(&mut room.cursor_dirty).then(|| (tx.clone(), Some(room.cursor()))))
            .collect();
        let (backfills, settled) = self.settle();
        let moves = CursorMoves { cursors, backfills, settled };
        if !moves.is_empty() {
            self.effects.push_back(Effect::SaveCursors(moves));
        }
    }

    /// Takes out the deliveries at QoS 2 that need not be remembered once the marks of their ways are stored.
    fn settle(&mut self) -> (Vec<BackfillMove>, Vec<u16>) {
        let (rooms, subscriptions) = (&self.rooms, &self.subscriptions);
        let every_room_is_known = self.deliveries.standings_seen;
        let is_passed = |item: &Item, mark: Mark| match rooms.get(&item.tx) {
            Some(room) => room.mark(&item.way, mark).is_none_or(|reached| reached >= item.seq),
            None => every_room_is_known || !subscriptions.cover(&item.tx),
        };
        let given_up = self.window.give_up(|item| is_passed(item, Mark::Sent));
        self.outbox.release(given_up);
        let settled = self.window.settle(|item| is_passed(item, Mark::Acknowledged));
        let ways: BTreeSet<(&TxId, &String)> = settled
            .iter()
            .filter_map(|(_, item)| if let Way::Backfill(filter) = &item.way { Some((&item.tx, filter)) } else { None })
            .collect();
        let backfills = ways.into_iter().map(|(tx, filter)| {
            let way = Way::Backfill(filter.clone());
            let next = self.rooms.get(tx).and_then(|room| room.mark(&way, Mark::Acknowledged));
            BackfillMove { filter: filter.clone(), tx: tx.clone(), next }
        });
        (backfills.collect(), settled.iter().map(|(packet_id, _)| packet_id.get()).collect())
    }

    /// What [`Effect::SaveCursors`] asked for did not come about: all of it is stored anew.
    pub fn handle_cursors_lost(&mut self) {
        for room in self.rooms.values_mut() {
            room.cursor_dirty = true;
        }
        if self.is_open() {
            self.cursors_moved();
        }
    }

    fn handle_disconnect(&mut self, disconnect: &Disconnect) {
        if let Some(interval_s) = disconnect.session_expiry_interval_s {
            if self.expiry == SessionExpiry::AtDisconnect && interval_s > 0 {
                return self.fail(
                    ReasonCode::ProtocolError,
                    "a session that ends with its connection cannot be kept (MQTT5 3.14.2.2.2)",
                );
            }
            self.expiry = expiry_of(interval_s.min(self.limits.session_expiry_max_s));
        }
        self.close(CloseCause::ClientDisconnected);
    }
}
