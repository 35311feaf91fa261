//! The state of a session, how it takes packets and deadlines, and how it ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use quorate_domain::{
    AccessRules, LogName, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, TxId, UnixMs,
};
use quorate_wire::{Disconnect, Packet, ReasonCode, Version};

use crate::aliases::Aliases;
use crate::answers::fitting;
use crate::deliver::{Comparison, Deliveries};
use crate::handshake::{Hello, expiry_of};
use crate::keep_alive::KeepAlive;
use crate::moves::Lost;
use crate::outbox::Outbox;
use crate::publish::Publishing;
use crate::queue::Queue;
use crate::room::Room;
use crate::subscribe::Subscribing;
use crate::subscriptions::{Subscription, Subscriptions};
use crate::will::Left;
use crate::window::Window;
use crate::{CloseCause, Effect, Fault, Limits, SendRoom};

/// Whether the connection still takes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// [`Effect::Close`] is out: nothing that comes still counts, but acknowledgements of appends do not either.
    Closing,
    /// The connection is gone and the last effects are out.
    Ended,
}

/// What a SUBSCRIBE or UNSUBSCRIBE changes, beside what stands in the subscriptions themselves.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The filters that were not there before.
    pub(crate) added: Vec<String>,
    /// The filters whose retained messages are to come.
    pub(crate) replay: Vec<String>,
    /// Whether a subscription to ordinary topics is among them.
    pub(crate) ordinary: bool,
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
    pub(crate) access: Arc<AccessRules>,
    pub(crate) wants_reasons: bool,
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) rooms: BTreeMap<TxId, Room>,
    pub(crate) queue: Queue,
    pub(crate) aliases: Aliases,
    pub(crate) window: Window,
    pub(crate) outbox: Outbox,
    pub(crate) publishing: Publishing,
    pub(crate) subscribing: Option<Subscribing>,
    pub(crate) saving: Option<Saving>,
    pub(crate) deliveries: Deliveries,
    pub(crate) send_room: SendRoom,
    expiry: SessionExpiry,
    /// What is said when the connection ends, unless the client says that nothing is to be said.
    will: Option<Left>,
    /// The client said DISCONNECT, and not "with will".
    is_dismissed: bool,
    keep_alive: KeepAlive,
    pub(crate) cursors_due: Option<Duration>,
    pub(crate) lost: Lost,
    /// The wall clock at the origin of `now`.
    origin: UnixMs,
    pub(crate) now: Duration,
    phase: Phase,
    effects: VecDeque<Effect>,
}

impl Session {
    /// `at`: the wall clock at `now`.
    pub(crate) fn begin(
        hello: Hello,
        connack: Packet,
        stored: Option<StoredSession>,
        now: Duration,
        at: UnixMs,
    ) -> Self {
        let resumed = stored.is_some();
        let stored = stored.unwrap_or_default();
        let mut session = Self {
            subscriptions: Subscriptions::new(hello.key.party.clone()),
            rooms: BTreeMap::new(),
            queue: Queue::default(),
            aliases: Aliases::new(hello.limits.topic_alias_max, hello.aliases_max),
            window: Window::new(hello.inflight_max, &stored.record.unacked, &stored.inflight),
            outbox: Outbox::default(),
            publishing: Publishing::new(&stored.receipts),
            subscribing: None,
            saving: None,
            deliveries: Deliveries::default(),
            send_room: SendRoom::Open,
            keep_alive: KeepAlive::new(hello.keep_alive_s, now),
            cursors_due: None,
            lost: Lost::default(),
            origin: UnixMs(at.0.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))),
            now,
            phase: Phase::Open,
            effects: VecDeque::from([Effect::Send(connack)]),
            expiry: hello.expiry,
            will: hello.will,
            is_dismissed: false,
            access: hello.access,
            key: hello.key,
            version: hello.version,
            limits: hello.limits,
            wants_reasons: hello.wants_reasons,
            packet_bytes_max: hello.packet_bytes_max,
        };
        let agreed_anew = resumed && stored.record.expiry != session.expiry;
        if resumed {
            session.restore(stored);
        }
        session.release_again();
        if agreed_anew {
            // Should the broker be killed, the session lives for as long as this connection agreed on.
            session.saving = Some(Saving { answer: None, added: Vec::new() });
            session.save_record(Vec::new());
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
            self.deliveries.enqueue_room(&backfill.tx);
        }
        self.queue = Queue::left_behind();
        self.deliveries.enqueue(LogName::Queue);
        if self.subscriptions.have_rooms() {
            self.deliveries.want_standings(Comparison::LogsAndStates);
        }
    }

    /// Whose session it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Time has passed, before something is handed over that tells no time of its own.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// The wall clock, as far as the driver has told.
    pub(crate) fn wall_clock(&self) -> UnixMs {
        UnixMs(self.origin.0.saturating_add(u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX)))
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
            Ok(()) => {
                if let Some(answer) = saving.answer {
                    self.send(answer);
                }
            }
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
        if let Some(will) = &self.will {
            let effect = match self.is_dismissed {
                true => Effect::DiscardWill,
                false => Effect::LeaveWill { delay: will.delay(self.expiry) },
            };
            self.effects.push_front(effect);
        }
        if !self.is_durable() {
            // What is under way at QoS 2 ends with the session: it goes to no other member of a share (MQTT5 4.8.2-5).
            self.queue.give_back(self.window.queued_at_qos_2());
        }
        // First what is done with: what a member of a share has not acknowledged goes to another once it is gone.
        self.save_cursors();
        if self.is_durable() {
            let record =
                SessionRecord { disconnected_at: Some(now), unacked: self.window.to_records(), ..self.to_record() };
            self.effects.push_back(Effect::Save { record, replay: Vec::new() });
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

    /// The socket is not read for now, although the session wants packets: its keep-alive clock stands still. To be said
    /// before each wait in which this is so.
    pub fn hold_keep_alive(&mut self) {
        self.keep_alive.stand_still();
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
        // How long a delivery may be was looked at when it was made.
        let fits = match matches!(packet, Packet::Publish(_)) {
            true => Some(packet),
            false => fitting(packet, self.version, self.packet_bytes_max),
        };
        self.effects.extend(fits.map(Effect::Send));
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

    /// Stores the session before the client is answered; at once where nothing outlives the connection and nothing of
    /// ordinary topics, which the backbone has to know, has changed.
    pub(crate) fn save_then(&mut self, answer: Packet, changes: Changes) {
        if self.is_durable() || changes.ordinary {
            self.saving = Some(Saving { answer: Some(answer), added: changes.added });
            self.save_record(changes.replay);
        } else {
            self.send(answer);
        }
    }

    fn save_record(&mut self, replay: Vec<String>) {
        self.effects.push_back(Effect::Save { record: self.to_record(), replay });
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
        self.is_dismissed = disconnect.reason_code == ReasonCode::Success;
        self.close(CloseCause::ClientDisconnected);
    }
}
