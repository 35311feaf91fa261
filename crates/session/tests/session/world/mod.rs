//! A world without sockets for sessions to live in: logs whose `Seq` advances by 7, a store that keeps what a session
//! asks it to keep, and a client that remembers what it heard.

mod client;
mod logs;
mod queue;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

use client::Client;
pub use logs::Logs;
pub use queue::{everything_open, manner, message};

pub fn party(name: &str) -> PartyId {
    PartyId::new(name).unwrap()
}

pub fn tx_id(number: usize) -> TxId {
    format!("transaction-{number:06}").parse().unwrap()
}

/// What the store keeps of one session.
#[derive(Default, Clone)]
pub struct Stored {
    pub record: Option<SessionRecord>,
    pub cursors: BTreeMap<TxId, Seq>,
    pub receipts: BTreeMap<u16, Seq>,
    pub inflight: BTreeMap<u16, InflightRecord>,
    /// What of the queue is done with.
    pub dequeued: BTreeSet<Seq>,
}

impl Stored {
    fn resume(&self) -> Option<StoredSession> {
        Some(StoredSession {
            record: self.record.clone()?,
            cursors: self.cursors.clone().into_iter().collect(),
            receipts: self.receipts.keys().copied().collect(),
            inflight: self.inflight.values().cloned().collect(),
        })
    }

    fn keep(&mut self, moves: CursorMoves) {
        for (tx, cursor) in moves.cursors {
            match cursor {
                Some(cursor) => self.cursors.insert(tx, cursor),
                None => self.cursors.remove(&tx),
            };
        }
        if let Some(record) = &mut self.record {
            record.move_backfills(&moves.backfills);
        }
        self.inflight.retain(|packet_id, _| !moves.settled.contains(packet_id));
        self.dequeued.extend(moves.dequeued);
    }
}

/// One delivery as the client saw it.
#[derive(Debug, Clone)]
pub struct Heard {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    pub expiry_s: Option<u32>,
    /// Of a message of a log; else zero.
    pub seq: Seq,
    pub dup: bool,
    pub packet_id: Option<PacketId>,
    pub identifiers: Vec<u32>,
}

/// A call that the driver has not answered yet.
#[derive(Debug)]
pub enum Call {
    LookUp(Vec<Scope>),
    Standings,
    Log {
        tx: TxId,
        after: Seq,
        messages_max: usize,
    },
    State(TxId),
    Queue {
        after: Seq,
        messages_max: usize,
    },
    /// These three are durable, with all that was written before, once they are answered.
    Save(Write),
    Hold(Write),
    Release(Write),
    Append {
        token: u64,
    },
    Publish {
        token: u64,
    },
}

/// The number of a write to the store.
pub type Write = u64;

/// An append whose call waits for its answer.
#[derive(Debug)]
pub struct Appending {
    topic: TxTopic,
    payload: Bytes,
    qos: Qos,
    receipt: Option<u16>,
}

/// One client, its session while connected, and what the store has of it.
pub struct Endpoint {
    pub party: PartyId,
    pub session: Option<Session>,
    pub stored: Stored,
    /// What the store had before each write that is not durable yet.
    before: VecDeque<Stored>,
    durable: Write,
    pub sent: Vec<Packet>,
    pub heard: Vec<Heard>,
    pub client: Client,
    /// What the client is about to say.
    pub unacked: VecDeque<Packet>,
    pub queue: queue::Queue,
    pub access: Arc<AccessRules>,
    pub wills: Vec<Effect>,
    pub replays: Vec<String>,
    pub left_out: Vec<String>,
    /// Whether the store takes no moves.
    pub moves_fail: bool,
    /// What it did not take.
    pub lost: Vec<CursorMoves>,
    /// What was let through to ordinary topics.
    pub published: Vec<Effect>,
    pub appends: VecDeque<Appending>,
    pub calls: VecDeque<Call>,
    pub closed: Option<CloseCause>,
    pub now: Duration,
}

pub fn limits() -> Limits {
    Limits { inflight_max: 8, receive_maximum: 4, ..Limits::default() }
}

pub fn connect(clean_start: bool, expiry_s: u32) -> Connect {
    Connect {
        version: Version::V5,
        clean_start,
        keep_alive_s: 60,
        client_id: "device".into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties { session_expiry_interval_s: Some(expiry_s), ..ConnectProperties::default() },
    }
}

pub fn filter(text: &str, qos: QoS, retain_handling: RetainHandling) -> SubscribeFilter {
    SubscribeFilter { filter: text.into(), qos, no_local: false, retain_as_published: false, retain_handling }
}

pub fn publish(topic: &str, qos: QoS, packet_id: u16, payload: &str) -> Packet {
    Packet::Publish(Box::new(Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.into(),
        packet_id: PacketId::new(packet_id),
        properties: PublishProperties::default(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }))
}

impl Endpoint {
    pub fn new(name: &str) -> Self {
        Self {
            party: party(name),
            session: None,
            stored: Stored::default(),
            before: VecDeque::new(),
            durable: 0,
            sent: Vec::new(),
            heard: Vec::new(),
            client: Client::default(),
            unacked: VecDeque::new(),
            queue: queue::Queue::default(),
            access: Arc::default(),
            wills: Vec::new(),
            replays: Vec::new(),
            left_out: Vec::new(),
            moves_fail: false,
            lost: Vec::new(),
            published: Vec::new(),
            appends: VecDeque::new(),
            calls: VecDeque::new(),
            closed: None,
            now: Duration::ZERO,
        }
    }

    /// Connects with this CONNECT over these limits, resuming what is stored unless it starts clean.
    pub fn connect_with(&mut self, connect: Connect, limits: Limits) -> Result<(), Rejected> {
        let author = Author { party: self.party.clone(), certificate: Sha256([7; 32]) };
        let handshake = Handshake::new(limits, self.access.clone());
        let hello = handshake.handle_packet(Packet::Connect(Box::new(connect)), author, "made-up".into())?;
        if hello.starts_clean() {
            self.stored = Stored::default();
        }
        let stored = self.stored.resume();
        if stored.is_none() {
            self.stored = Stored::default();
            self.queue = queue::Queue::default();
            self.client = Client::default();
        }
        let expiry = hello.agreement().expiry;
        if stored.is_some() || expiry != SessionExpiry::AtDisconnect {
            let record = stored.as_ref().map(|stored| stored.record.clone()).unwrap_or_default();
            self.stored.record = Some(SessionRecord { expiry, disconnected_at: None, ..record });
        }
        self.durable_to(self.durable + self.before.len() as u64);
        self.session = Some(hello.accept(stored, self.now, self.clock()));
        self.closed = None;
        self.unacked = self.client.resends();
        self.run();
        Ok(())
    }

    /// Changes what is stored; on the disk only once something synced.
    fn write(&mut self, change: impl FnOnce(&mut Stored)) -> Write {
        self.before.push_back(self.stored.clone());
        change(&mut self.stored);
        self.durable + self.before.len() as u64
    }

    fn durable_to(&mut self, write: Write) {
        while self.durable < write {
            self.before.pop_front();
            self.durable += 1;
        }
    }

    /// The wall clock.
    pub fn clock(&self) -> UnixMs {
        UnixMs(1_700_000_000_000 + self.now.as_millis() as u64)
    }

    pub fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("the endpoint is connected")
    }

    pub fn input(&mut self, act: impl FnOnce(&mut Session, Duration)) {
        let now = self.now;
        self.session().tick(now);
        act(self.session(), now);
        self.run();
    }

    pub fn packet(&mut self, packet: Packet) {
        self.input(|session, now| session.handle_packet(packet, now));
    }

    /// Carries out effects; calls wait in `calls` until the test answers them.
    pub fn run(&mut self) {
        while let Some(effect) = self.session.as_mut().and_then(Session::poll_effect) {
            match effect {
                Effect::Send(packet) => self.receive(packet),
                Effect::Append { token, topic, payload, qos, receipt, .. } => {
                    let receipt = receipt.map(PacketId::get);
                    self.appends.push_back(Appending { topic, payload, qos, receipt });
                    self.calls.push_back(Call::Append { token });
                }
                Effect::LookUp { scopes } => self.calls.push_back(Call::LookUp(scopes)),
                Effect::ReadStandings => self.calls.push_back(Call::Standings),
                Effect::ReadLog { tx, after, messages_max, .. } => {
                    self.calls.push_back(Call::Log { tx, after, messages_max });
                }
                Effect::ReadState { tx } => self.calls.push_back(Call::State(tx)),
                Effect::ReadQueue { after, messages_max, .. } => {
                    self.calls.push_back(Call::Queue { after, messages_max });
                }
                Effect::Publish { token, .. } => {
                    self.published.push(effect);
                    self.calls.push_back(Call::Publish { token });
                }
                Effect::LeaveWill { .. } | Effect::DiscardWill => self.wills.push(effect),
                Effect::LeftOut { topic } => self.left_out.push(topic),
                Effect::Save { record, replay } => {
                    self.replays.extend(replay);
                    let write = self.write(|stored| stored.record = Some(record));
                    self.calls.push_back(Call::Save(write));
                }
                Effect::Hold(records) => {
                    let records = records.into_iter().map(|record| (record.delivery.packet_id, record));
                    let write = self.write(|stored| stored.inflight.extend(records));
                    self.calls.push_back(Call::Hold(write));
                }
                Effect::Release(packet_ids) => {
                    let is_released = |id: &u16| packet_ids.iter().any(|released| released.get() == *id);
                    let write = self.write(|stored| stored.receipts.retain(|packet_id, _| !is_released(packet_id)));
                    self.calls.push_back(Call::Release(write));
                }
                Effect::SaveCursors(moves) if self.moves_fail => self.lost.push(moves),
                Effect::SaveCursors(moves) => {
                    self.write(|stored| stored.keep(moves));
                }
                Effect::Remove => {
                    self.write(|stored| *stored = Stored::default());
                }
                Effect::Close(cause) => self.closed = Some(cause),
            }
        }
    }

    fn receive(&mut self, packet: Packet) {
        let answer = self.client.answer(&packet);
        self.unacked.extend(answer.packet);
        if let Packet::Publish(publish) = &packet
            && answer.is_heard
        {
            let seq = publish.properties.user_properties.iter().find(|(name, _)| name == "quorate-seq");
            self.heard.push(Heard {
                topic: publish.topic.to_string(),
                payload: publish.payload.clone(),
                qos: publish.qos,
                retain: publish.retain,
                expiry_s: publish.properties.message_expiry_interval_s,
                seq: seq.map_or(Seq::ZERO, |(_, seq)| Seq(seq.parse().unwrap())),
                dup: publish.dup,
                packet_id: publish.packet_id,
                identifiers: publish.properties.subscription_identifiers.clone(),
            });
        }
        self.sent.push(packet);
    }

    /// Answers the oldest call. `false`: there is none.
    pub fn answer(&mut self, logs: &Logs) -> bool {
        let Some(call) = self.calls.pop_front() else { return false };
        let party = self.party.clone();
        let page = match &call {
            Call::Queue { after, messages_max } => self.queue.page(*after, *messages_max, &self.stored.dequeued),
            _ => QueuePage::default(),
        };
        if let Call::Save(write) | Call::Hold(write) | Call::Release(write) = call {
            self.durable_to(write);
        }
        self.input(|session, _| match call {
            Call::LookUp(scopes) => {
                let looked_up = scopes.iter().map(|scope| match scope {
                    Scope::All => LookedUp::Standings(logs.standings(&party)),
                    Scope::One(tx) => logs
                        .standing(tx, &party)
                        .map_or(LookedUp::Refused, |standing| LookedUp::Standings(vec![standing])),
                });
                session.handle_looked_up(Ok(looked_up.collect()));
            }
            Call::Standings => session.handle_standings(Ok(logs.standings(&party))),
            Call::Log { tx, after, messages_max } => {
                session.handle_log_page(&tx, Ok(logs.page(&tx, &party, after, messages_max)));
            }
            Call::State(tx) => {
                let head = logs.0[&tx].head();
                session.handle_state(&tx, Ok(Some((head, Bytes::from(format!("state at {head}"))))));
            }
            Call::Save(_) => session.handle_saved(Ok(())),
            Call::Hold(_) => session.handle_held(Ok(())),
            Call::Release(_) => session.handle_released(Ok(())),
            Call::Queue { .. } => session.handle_queue_page(Ok(page)),
            Call::Append { token } | Call::Publish { token } => session.handle_committed(token, Ok(Seq(1))),
        });
        true
    }

    pub fn answer_all(&mut self, logs: &Logs) {
        while self.answer(logs) {}
    }

    /// Answers the oldest call; an append enters its log. `false`: there is none. Gives the place of what entered.
    pub fn answer_in(&mut self, logs: &mut Logs) -> (bool, Option<(TxId, Seq)>) {
        let Some(Call::Append { token }) = self.calls.front() else { return (self.answer(logs), None) };
        let token = *token;
        self.calls.pop_front();
        let (seq, entered) = self.commit(logs);
        self.input(|session, _| session.handle_committed(token, Ok(seq)));
        (true, entered)
    }

    /// The committer takes the oldest append: a receipt says that it is there already.
    fn commit(&mut self, logs: &mut Logs) -> (Seq, Option<(TxId, Seq)>) {
        let append = self.appends.pop_front().expect("an append waits");
        if let Some(seq) = append.receipt.and_then(|packet_id| self.stored.receipts.get(&packet_id)) {
            return (*seq, None);
        }
        let TxTopic { tx, place } = append.topic;
        let seq = logs.append_at(append.qos, &tx, &self.party.clone(), place, append.payload);
        let receipts = append.receipt.map(|packet_id| (packet_id, seq));
        let write = self.write(|stored| stored.receipts.extend(receipts));
        self.durable_to(write);
        (seq, Some((tx, seq)))
    }

    /// The client says what it has to say next. `false`: nothing.
    pub fn acknowledge(&mut self) -> bool {
        let Some(packet) = self.unacked.pop_front() else { return false };
        self.packet(packet);
        true
    }

    pub fn subscribe(&mut self, text: &str, retain_handling: RetainHandling, identifier: u32) {
        self.subscribe_at(QoS::AtLeastOnce, text, retain_handling, identifier);
    }

    pub fn subscribe_at(&mut self, qos: QoS, text: &str, retain_handling: RetainHandling, identifier: u32) {
        self.packet(Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            subscription_identifier: Some(identifier),
            user_properties: Vec::new(),
            filters: vec![filter(text, qos, retain_handling)],
        }));
    }

    /// The connection ends; the driver carries out the last effects. Appends that are under way are not waited for.
    pub fn lose_connection(&mut self) {
        self.input(|session, _| session.handle_connection_lost(UnixMs(5)));
        self.forget_connection();
    }

    /// The broker is killed: nothing is carried out any more, and of what is not durable the last `lost` writes are gone.
    pub fn kill(&mut self, lost: usize) {
        for _ in 0..lost {
            let Some(before) = self.before.pop_back() else { break };
            self.stored = before;
        }
        self.forget_connection();
    }

    /// Before the connection ends, its oldest append is taken, and nobody is left to hear of it.
    pub fn commit_unheard(&mut self, logs: &mut Logs) -> Option<(TxId, Seq)> {
        if self.appends.is_empty() {
            return None;
        }
        self.commit(logs).1
    }

    fn forget_connection(&mut self) {
        self.session = None;
        self.calls.clear();
        self.lost.clear();
        self.appends.clear();
        self.unacked.clear();
    }

    /// Answers and acknowledges until nothing moves.
    pub fn settle(&mut self, logs: &Logs) {
        while self.answer(logs) || self.acknowledge() {}
    }

    /// The client publishes; the packet is what it says next.
    pub fn publish(&mut self, topic: &str, qos: QoS, payload: &str) {
        let packet = self.client.publish(topic, qos, payload);
        self.unacked.push_back(packet);
    }

    pub fn last_reason(&self) -> Option<ReasonCode> {
        match self.sent.last()? {
            Packet::PubAck(ack) => Some(ack.reason_code),
            Packet::SubAck(suback) => suback.reason_codes.first().copied(),
            Packet::Disconnect(disconnect) => Some(disconnect.reason_code),
            Packet::ConnAck(connack) => Some(connack.reason_code),
            _ => None,
        }
    }
}

/// Until the next cursors go out, and beyond.
pub fn pass_time(endpoint: &mut Endpoint) {
    endpoint.now += Duration::from_millis(200);
    endpoint.input(|session, now| session.handle_deadline(now));
}

/// A party with a session that outlives its connection.
pub fn connected(name: &str) -> Endpoint {
    let mut endpoint = Endpoint::new(name);
    endpoint.connect_with(connect(false, 3_600), limits()).unwrap();
    endpoint
}
