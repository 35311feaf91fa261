//! A connection whose session runs: one task that owns the socket, the session and what is outstanding for it.
//!
//! It waits for whatever happens first, tells the session, and carries out the effects. Back-pressure has three places:
//! the socket is not read while the session wants no packets or the write queue is full; deliveries stop while the
//! write queue is half full; appends wait their turn in [`Dealings`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_backbone::{Completed, Mailbox, ReadLimit, SaveError};
use quorate_domain::{Author, Delivery, SessionKey};
use quorate_session::{CloseCause, Effect, Fault, Hello, Limits, SendRoom, Session};
use quorate_wire::{DecodeError, Decoder, Disconnect, Packet, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::ending::{Ending, Rest, leave_will};
use super::opening::Taken;
use super::socket::{Reading, Socket, SocketEvent, WRITE_STALL_LIMIT};
use crate::clock::unix_now;
use crate::draining::Draining;
use crate::effects::{Accepted, Answer, Dealings, log_not_discarded, log_not_stored};
use crate::live::Seat;
use crate::metrics::Held;

/// Bytes that wait for one socket at which it is not read any more. Above half of it the session produces no
/// deliveries, below a quarter it does again; one packet may go over. It is what a client that does not read costs.
pub(super) const OUT_BYTES_MAX: usize = 512 * 1024;

/// Deliveries and completions that are taken in one turn, so that what they cause leaves in one write.
const TURN_MAX: usize = 64;

/// What happened next.
#[derive(Debug)]
enum Event {
    Socket(io::Result<SocketEvent>),
    Delivery(Delivery),
    Completed(Completed),
    Answer(Answer),
    Deadline,
    TakeOver,
    Drain,
}

/// What a connection is made of, besides its session.
pub(super) struct Parts<S> {
    pub(super) socket: Socket<S>,
    pub(super) decoder: Decoder,
    pub(super) author: Author,
    pub(super) seat: Seat,
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared>,
}

/// A connection with a running session.
pub(super) struct Connection<S> {
    socket: Socket<S>,
    decoder: Decoder,
    version: Version,
    session: Session,
    origin: Instant,
    send_room: SendRoom,
    mailbox: Mailbox,
    dealings: Dealings,
    completions: mpsc::Receiver<Completed>,
    seat: Seat,
    key: SessionKey,
    draining: Draining,
    /// The goodbye was said: the signals that ask for it count no more.
    leaving: bool,
    shared: Arc<Shared>,
    _connected: Held,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Accepts the CONNECT.
    pub(super) fn begin(hello: Hello, taken: Taken, parts: Parts<S>) -> Self {
        let Parts { socket, decoder, author, seat, limits, shared } = parts;
        let (key, version) = (hello.key().clone(), hello.version());
        let (completed, completions) = mpsc::channel(limits.pending_publishes_max());
        let dealings = Dealings::new(shared.backbone.clone(), author, key.clone(), taken.epoch, completed);
        let origin = Instant::now();
        // Until it asks how its logs stand: many a session only speaks.
        taken.mailbox.hear_rooms(false);
        tracing::info!(version = ?version, resumed = taken.stored.is_some(), "connected");
        Self {
            socket,
            decoder,
            version,
            session: hello.accept(taken.stored, Duration::ZERO, unix_now()),
            origin,
            send_room: SendRoom::Open,
            mailbox: taken.mailbox,
            dealings,
            completions,
            seat,
            key,
            draining: shared.draining.clone(),
            leaving: false,
            _connected: Held::new(&shared.metrics.sessions_connected),
            shared,
        }
    }

    /// Runs the session to its end and the connection to its close.
    pub(super) async fn run(mut self) {
        let ending = self.drive().await;
        self.shared.metrics.ended(ending.label());
        match &ending {
            Ending::Closed(CloseCause::Fault(_)) => tracing::warn!(reason = %ending, "connection ended"),
            _ => tracing::info!(reason = %ending, "connection ended"),
        }
        if let Ending::Malformed(error) = &ending {
            self.say_malformed(error);
        }
        let socket = self.socket;
        let goodbye = async move {
            if ending.wants_flush() {
                socket.close().await;
            }
        };
        let rest = Rest {
            session: self.session,
            dealings: self.dealings,
            key: self.key,
            seat: self.seat,
            mailbox: self.mailbox,
            shared: self.shared,
        };
        tokio::join!(goodbye, Box::pin(rest.finish()));
    }

    async fn drive(&mut self) -> Ending {
        loop {
            if let Err(ending) = self.settle() {
                return ending;
            }
            let event = self.next_event().await;
            if let Err(ending) = self.handle(event) {
                return ending;
            }
        }
    }

    /// Carries out every effect and hands over every packet that was read, as far as the bounds allow.
    fn settle(&mut self) -> Result<(), Ending> {
        loop {
            while let Some(effect) = self.session.poll_effect() {
                self.carry_out(effect)?;
            }
            if !self.may_take_packets() {
                return Ok(());
            }
            match self.socket.decode(&mut self.decoder)? {
                Some(packet) => {
                    self.shared.metrics.packets_received.inc();
                    if matches!(packet, Packet::Publish(_)) {
                        self.shared.metrics.publishes_received.inc();
                    }
                    self.session.handle_packet(packet, self.origin.elapsed());
                }
                None if self.socket.has_ended() => return Err(Ending::Ended),
                None => return Ok(()),
            }
        }
    }

    fn may_take_packets(&self) -> bool {
        self.session.wants_packets() && !self.is_held()
    }

    /// Whether so much waits to be written that nothing more is read.
    fn is_held(&self) -> bool {
        self.socket.outbound_bytes() >= OUT_BYTES_MAX
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Ending> {
        match effect {
            Effect::Send(packet) => self.send(&packet)?,
            Effect::Append { token, topic, payload, qos, receipt, properties } => {
                self.dealings.append(token, Accepted { topic, payload, qos, receipt, properties });
            }
            Effect::Publish { token, topic, payload, qos, retain, receipt, properties } => {
                self.shared.metrics.ordinary_publishes.inc();
                self.dealings.publish(token, retain, Accepted { topic, payload, qos, receipt, properties });
            }
            Effect::LookUp { scopes } => {
                self.mailbox.hear_rooms(true);
                self.dealings.look_up(scopes);
            }
            Effect::ReadStandings => {
                self.mailbox.hear_rooms(true);
                self.dealings.read_standings();
            }
            Effect::ReadLog { tx, after, messages_max, bytes_max } => {
                self.dealings.read_log(tx, after, ReadLimit { messages: messages_max, bytes: bytes_max });
            }
            Effect::ReadState { tx } => self.dealings.read_state(tx),
            Effect::ReadQueue { after, messages_max, bytes_max } => {
                self.dealings.read_queue(after, ReadLimit { messages: messages_max, bytes: bytes_max });
            }
            Effect::Save { record, replay } => self.dealings.save(record, replay),
            Effect::Hold(records) => self.dealings.hold(records),
            Effect::Release(packet_ids) => self.dealings.release(packet_ids),
            Effect::SaveCursors(moves) => self.dealings.save_cursors(moves),
            Effect::LeftOut { topic } => self.left_out(&topic),
            Effect::DiscardWill => self.dealings.discard_will(),
            Effect::LeaveWill { delay } => leave_will(&mut self.dealings, delay, &self.shared),
            Effect::Remove => self.dealings.remove(),
            Effect::Close(cause) => return Err(Ending::Closed(cause)),
        }
        Ok(())
    }

    fn send(&mut self, packet: &Packet) -> Result<(), Ending> {
        let bytes = self.socket.send(packet, self.version)?;
        self.shared.metrics.packets_sent.inc();
        if matches!(packet, Packet::Publish(_)) {
            self.shared.metrics.publishes_sent.inc();
        }
        self.shared.metrics.bytes_sent.inc_by(bytes as u64);
        self.update_send_room();
        Ok(())
    }

    fn left_out(&self, topic: &str) {
        self.shared.metrics.deliveries_left_out.inc();
        tracing::debug!(topic, "a delivery was left out");
    }

    fn update_send_room(&mut self) {
        let waiting = self.socket.outbound_bytes();
        let room = match self.send_room {
            SendRoom::Open if waiting > OUT_BYTES_MAX / 2 => SendRoom::Full,
            SendRoom::Full if waiting < OUT_BYTES_MAX / 4 => SendRoom::Open,
            unchanged => unchanged,
        };
        if room != self.send_room {
            self.send_room = room;
            self.session.set_send_room(room);
            if room == SendRoom::Full {
                self.shared.metrics.send_buffer_full.inc();
            }
        }
    }

    /// Waits for whatever comes first. Every branch loses nothing when it is dropped.
    async fn next_event(&mut self) -> Event {
        let reading = if self.may_take_packets() { Reading::On } else { Reading::Off };
        if self.is_held() {
            self.session.hold_keep_alive();
        }
        let deadline = self.next_deadline();
        tokio::select! {
            event = self.socket.progress(reading) => Event::Socket(event),
            delivery = self.mailbox.recv() => Event::Delivery(delivery),
            Some(completed) = self.completions.recv() => Event::Completed(completed),
            answer = self.dealings.next() => Event::Answer(answer),
            () = sleep_until(deadline.unwrap_or(self.origin)), if deadline.is_some() => Event::Deadline,
            () = self.seat.asked_to_leave(), if !self.leaving => Event::TakeOver,
            () = self.draining.begun(), if !self.leaving => Event::Drain,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_session = self.session.next_deadline().map(|due| self.origin + due);
        [of_session, self.socket.stall_deadline()].into_iter().flatten().min()
    }

    fn handle(&mut self, event: Event) -> Result<(), Ending> {
        self.session.tick(self.origin.elapsed());
        match event {
            Event::Socket(event) => self.handle_socket(event?),
            Event::Delivery(delivery) => self.handle_deliveries(delivery),
            Event::Completed(completed) => self.handle_completions(completed),
            Event::Answer(answer) => self.handle_answer(answer),
            Event::Deadline => return self.handle_deadline(),
            Event::TakeOver => {
                self.leaving = true;
                self.session.handle_take_over();
            }
            Event::Drain => {
                self.leaving = true;
                self.session.handle_drain();
            }
        }
        Ok(())
    }

    fn handle_socket(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Read(bytes) => {
                self.shared.metrics.bytes_received.inc_by(bytes as u64);
                self.shared.backbone.presence.seen(&self.key.party, unix_now());
            }
            SocketEvent::Wrote => self.update_send_room(),
            // What came before the end is still taken; `settle` finds the end after it.
            SocketEvent::Ended => {}
        }
    }

    fn handle_deliveries(&mut self, first: Delivery) {
        self.session.handle_delivery(first);
        for _ in 1..TURN_MAX {
            let Some(delivery) = self.mailbox.recv().now_or_never() else { return };
            self.session.handle_delivery(delivery);
        }
    }

    fn handle_completions(&mut self, first: Completed) {
        self.handle_completed(first);
        for _ in 1..TURN_MAX {
            let Ok(completed) = self.completions.try_recv() else { return };
            self.handle_completed(completed);
        }
    }

    fn handle_completed(&mut self, completed: Completed) {
        self.session.handle_committed(completed.token, completed.outcome.map(|appended| appended.seq));
    }

    fn handle_answer(&mut self, answer: Answer) {
        match answer {
            Answer::NotSubmitted { token, error } => {
                let refusal = quorate_domain::Refusal::StorageFault(error.to_string());
                self.session.handle_committed(token, Err(refusal));
            }
            Answer::LookedUp(result) => self.session.handle_looked_up(result),
            Answer::Standings(result) => self.session.handle_standings(result),
            Answer::LogPage { tx, result } => self.session.handle_log_page(&tx, result),
            Answer::State { tx, result } => self.session.handle_state(&tx, result),
            Answer::QueuePage(result) => self.session.handle_queue_page(result),
            // Another broker took the session over; there the client is connected now.
            Answer::Saved(Err(SaveError::Superseded))
            | Answer::Held(Err(SaveError::Superseded))
            | Answer::Released(Err(SaveError::Superseded))
            | Answer::CursorsNotStored(SaveError::Superseded, _)
            | Answer::WillNotDiscarded(SaveError::Superseded)
            | Answer::NotStored(SaveError::Superseded) => self.session.handle_take_over(),
            Answer::Saved(result) => self.session.handle_saved(result.map_err(not_kept)),
            Answer::Held(result) => self.session.handle_held(result.map_err(not_kept)),
            Answer::Released(result) => self.session.handle_released(result.map_err(not_kept)),
            Answer::CursorsNotStored(error, moves) => {
                log_not_stored(&error);
                self.session.handle_cursors_lost(moves);
            }
            Answer::WillNotDiscarded(error) => log_not_discarded(&error),
            Answer::NotStored(error) => log_not_stored(&error),
        }
    }

    fn handle_deadline(&mut self) -> Result<(), Ending> {
        if self.socket.stall_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Ending::Stuck(WRITE_STALL_LIMIT));
        }
        self.session.handle_deadline(self.origin.elapsed());
        Ok(())
    }

    /// MQTT 5 names what was malformed (MQTT5 4.13); 3.x has no word for it.
    fn say_malformed(&mut self, error: &DecodeError) {
        if self.version != Version::V5 {
            return;
        }
        let disconnect = Packet::Disconnect(Box::new(Disconnect {
            reason_code: error.reason_code(),
            session_expiry_interval_s: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        }));
        if let Err(error) = self.send(&disconnect) {
            tracing::error!(%error, "the goodbye cannot be encoded");
        }
    }
}

/// What was not kept, as the session hears it.
fn not_kept(error: SaveError) -> Fault {
    Fault(error.to_string())
}
