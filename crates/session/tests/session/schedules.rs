//! Random schedules: publishes, lost live copies, slow reads, cut links, killed brokers, late subscriptions. Whatever
//! happens, each subscription hears all that it may hear, in `Seq` order, and nothing else; what was published at QoS 2 is
//! in its log once, and is heard once by those who subscribed at QoS 2.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::*;
use quorate_domain::{
    Delivery, FilterClass, PartyId, Place, Qos, Round, Seq, TxFilter, TxId, TxTopic, classify_filter,
};
use quorate_session::SendRoom;
use quorate_wire::{Packet, PacketId, QoS, RetainHandling, Unsubscribe};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const SEEDS: u64 = 10_000;
const STEPS: usize = 250;
const FILTERS: [&str; 5] =
    ["tx/+/#", "tx/+/p2p/#", "tx/+/manifest", "tx/+/broadcast/+/alice", "tx/transaction-000001/#"];

/// A subscription that a client holds: from which delivery on it counts.
struct Held {
    identifier: u32,
    qos: QoS,
    heard_from: usize,
    /// Retain Handling 2: the heads at the subscribe, up to which it hears nothing.
    starts: BTreeMap<TxId, Seq>,
}

struct Play {
    rng: StdRng,
    logs: Logs,
    endpoints: Vec<Endpoint>,
    held: Vec<BTreeMap<&'static str, Held>>,
    next_identifier: u32,
    next_round: usize,
    dropped: Vec<bool>,
    /// What was published over MQTT, each with a payload of its own.
    published: Vec<(String, QoS)>,
    /// What was routed to the queue of each, in order, each with a payload of its own.
    routed: Vec<Vec<(String, Qos)>>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let endpoint = |name| {
            let mut endpoint = Endpoint::new(name);
            endpoint.access = everything_open();
            endpoint
        };
        let endpoints: Vec<_> = ["alice", "bob", "carol"].map(endpoint).into();
        let held = endpoints.iter().map(|_| BTreeMap::new()).collect();
        let dropped = vec![false; endpoints.len()];
        let routed = endpoints.iter().map(|_| Vec::new()).collect();
        let mut play = Self {
            rng: StdRng::seed_from_u64(seed),
            logs: Logs::default(),
            endpoints,
            held,
            next_identifier: 0,
            next_round: 0,
            dropped,
            published: Vec::new(),
            routed,
        };
        play.logs.create(1, &["alice", "bob", "carol"].map(party));
        play
    }

    fn step(&mut self) {
        let who = self.rng.gen_range(0..self.endpoints.len());
        let connected = self.endpoints[who].session.is_some();
        match self.rng.gen_range(0..100) {
            0..=10 => self.say(),
            11..=14 => self.route(who),
            15..=24 if connected => self.publish(who),
            25..=26 if self.logs.0.len() < 5 => self.create(),
            27..=34 if !connected => self.connect(who),
            35..=41 if connected => self.subscribe(who),
            42..=43 if connected => self.unsubscribe(who),
            44..=45 if connected => self.end(who),
            46..=47 if connected => self.notice_loss(who),
            48..=51 if connected => {
                let room = if self.rng.gen_bool(0.5) { SendRoom::Full } else { SendRoom::Open };
                self.endpoints[who].input(|session, _| session.set_send_room(room));
            }
            52..=56 if connected => {
                self.endpoints[who].now += std::time::Duration::from_millis(60);
                self.endpoints[who].input(|session, now| session.handle_deadline(now));
            }
            57..=79 if connected => {
                self.answer(who);
            }
            _ if connected => {
                self.endpoints[who].acknowledge();
            }
            _ => {}
        }
    }

    fn create(&mut self) {
        let all = ["alice", "bob", "carol"].map(party);
        let parties = if self.rng.gen_bool(0.5) { all.to_vec() } else { all[..2].to_vec() };
        let tx = self.logs.create(self.logs.0.len() + 1, &parties);
        self.spread(&tx, self.logs.0[&tx].head());
    }

    fn say(&mut self) {
        let txs: Vec<TxId> = self.logs.0.keys().cloned().collect();
        let tx = txs.choose(&mut self.rng).unwrap().clone();
        let parties = self.logs.0[&tx].parties.clone();
        let from = parties.choose(&mut self.rng).unwrap().clone();
        self.next_round += 1;
        let round: Round = format!("r{}", self.next_round).parse().unwrap();
        let others: Vec<_> = parties.iter().filter(|p| **p != from).cloned().collect();
        let place = if self.rng.gen_bool(0.3) {
            Place::P2p { round, from: from.clone(), to: others.choose(&mut self.rng).unwrap().clone() }
        } else {
            Place::Broadcast { round, from: from.clone() }
        };
        let qos = *[Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce].choose(&mut self.rng).unwrap();
        let seq = self.logs.append_at(qos, &tx, &from, place, "said".into());
        self.spread(&tx, seq);
    }

    /// A message of an ordinary topic reaches the queue of a session, and most of the time its live copy arrives.
    fn route(&mut self, who: usize) {
        if self.endpoints[who].stored.record.is_none() {
            return;
        }
        self.next_round += 1;
        let qos = if self.rng.gen_bool(0.6) { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        let payload = format!("routed {}", self.next_round);
        let copy = self.endpoints[who].route(qos, "news", &payload);
        self.routed[who].push((payload, qos));
        if self.endpoints[who].session.is_none() {
            return;
        }
        if self.rng.gen_bool(0.2) {
            self.dropped[who] = true;
        } else {
            self.endpoints[who].input(|session, _| session.handle_delivery(copy));
        }
    }

    /// A client says something over MQTT, and says it again until it knows that it was taken.
    fn publish(&mut self, who: usize) {
        if !self.endpoints[who].client.may_publish() {
            return;
        }
        self.next_round += 1;
        let qos = if self.rng.gen_bool(0.7) { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let (tx, party) = (tx_id(1), self.endpoints[who].party.clone());
        let payload = format!("published {}", self.next_round);
        let topic = format!("tx/{tx}/broadcast/p{}/{party}", self.next_round);
        self.endpoints[who].publish(&topic, qos, &payload);
        self.published.push((payload, qos));
    }

    fn answer(&mut self, who: usize) -> bool {
        let (answered, entered) = self.endpoints[who].answer_in(&mut self.logs);
        if let Some((tx, seq)) = entered {
            self.spread(&tx, seq);
        }
        answered
    }

    /// Live copies, of which some are lost; the loss is noticed some time later.
    fn spread(&mut self, tx: &TxId, seq: Seq) {
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let Some(copy) = self.logs.live_copy(tx, seq, &endpoint.party) else { continue };
            if endpoint.session.is_none() {
                continue;
            }
            if self.rng.gen_bool(0.2) {
                self.dropped[index] = true;
            } else {
                endpoint.input(|session, _| session.handle_delivery(copy));
            }
        }
    }

    fn notice_loss(&mut self, who: usize) {
        if std::mem::take(&mut self.dropped[who]) {
            self.endpoints[who].input(|session, _| session.handle_delivery(Delivery::Behind));
        }
    }

    fn connect(&mut self, who: usize) {
        let inflight_max = self.rng.gen_range(1..6);
        let limits = quorate_session::Limits { inflight_max, ..limits() };
        self.endpoints[who].connect_with(connect(false, 3_600), limits).unwrap();
        self.dropped[who] = false;
    }

    fn subscribe(&mut self, who: usize) {
        let filter = *FILTERS.choose(&mut self.rng).unwrap();
        if !self.endpoints[who].session().wants_packets() || self.held[who].contains_key(filter) {
            return;
        }
        // Nothing of its own enters a log between the heads that are noted here and those that the look-up finds.
        while self.answer(who) {}
        self.next_identifier += 1;
        let identifier = self.next_identifier;
        let retain_handling =
            if self.rng.gen_bool(0.3) { RetainHandling::DoNotSend } else { RetainHandling::SendIfNew };
        let heads = self.logs.0.iter().map(|(tx, log)| (tx.clone(), log.head()));
        let starts = if retain_handling == RetainHandling::DoNotSend { heads.collect() } else { BTreeMap::new() };
        let qos = if self.rng.gen_bool(0.6) { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        self.endpoints[who].subscribe_at(qos, filter, retain_handling, identifier);
        // Granted before anything else happens: whether an unanswered SUBSCRIBE holds is nobody's promise.
        while !self.endpoints[who].session().wants_packets() {
            assert!(self.answer(who));
        }
        let heard_from = self.endpoints[who].heard.len();
        self.held[who].insert(filter, Held { identifier, qos, heard_from, starts });
    }

    fn unsubscribe(&mut self, who: usize) {
        let Some(filter) = self.held[who].keys().next().copied() else { return };
        // What is under way is completed first: a delivery that was begun is not begun anew by a later subscription.
        self.settle(who);
        self.endpoints[who].packet(Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::MIN,
            user_properties: Vec::new(),
            filters: vec![filter.into()],
        }));
        while !self.endpoints[who].session().wants_packets() {
            assert!(self.answer(who));
        }
        self.held[who].remove(filter);
    }

    fn end(&mut self, who: usize) {
        // Some of the appends that are under way are taken, and their answers lost.
        while self.rng.gen_bool(0.7) {
            let Some((tx, seq)) = self.endpoints[who].commit_unheard(&mut self.logs) else { break };
            self.spread(&tx, seq);
        }
        if self.rng.gen_bool(0.5) {
            self.endpoints[who].lose_connection();
        } else {
            let lost = self.rng.gen_range(0..10);
            self.endpoints[who].kill(lost);
        }
    }

    /// Nothing of this endpoint is under way any more.
    fn settle(&mut self, who: usize) {
        self.endpoints[who].input(|session, _| session.set_send_room(SendRoom::Open));
        while self.answer(who) || self.endpoints[who].acknowledge() {}
    }

    /// Everybody comes back, nothing is lost any more.
    fn finish(&mut self) {
        for who in 0..self.endpoints.len() {
            if self.endpoints[who].session.is_none() {
                self.connect(who);
            }
            self.settle(who);
        }
        for who in 0..self.endpoints.len() {
            self.endpoints[who].input(|session, _| session.handle_delivery(Delivery::Behind));
            for _ in 0..3 {
                self.settle(who);
                let endpoint = &mut self.endpoints[who];
                endpoint.now += std::time::Duration::from_secs(1);
                endpoint.input(|session, now| session.handle_deadline(now));
            }
            self.settle(who);
            let endpoint = &self.endpoints[who];
            assert_eq!(endpoint.closed, None);
            assert!(endpoint.client.is_idle(), "{} has something under way", endpoint.party);
            assert_eq!(endpoint.stored.receipts.len() + endpoint.stored.inflight.len(), 0, "{}", endpoint.party);
        }
    }

    fn check(&self) {
        for (endpoint, held) in self.endpoints.iter().zip(&self.held) {
            for (filter, held) in held {
                let FilterClass::Tx(parsed) = classify_filter(filter).unwrap() else { unreachable!() };
                for tx in self.logs.0.keys() {
                    let heard = heard(endpoint, held, tx);
                    let start = held.starts.get(tx).copied().unwrap_or(Seq::ZERO);
                    let expected = self.expected(&endpoint.party, &parsed, tx, start);
                    let first: Vec<Seq> = first_occurrences(&heard);
                    assert_eq!(first, expected, "{} {filter} {tx}", endpoint.party);
                    if held.qos == QoS::ExactlyOnce {
                        let twice = self.heard_twice(&heard, tx);
                        assert_eq!(twice, [] as [Seq; 0], "{} {filter} {tx}", endpoint.party);
                    }
                }
            }
        }
        self.check_published();
        self.check_routed();
    }

    /// What came more than once of what was published at QoS 2.
    fn heard_twice(&self, heard: &[Seq], tx: &TxId) -> Vec<Seq> {
        let records = self.logs.0[tx].records.iter();
        let exact: BTreeSet<Seq> =
            records.filter(|record| record.message.qos == Qos::ExactlyOnce).map(|record| record.message.seq).collect();
        let mut seen = BTreeSet::new();
        heard.iter().copied().filter(|seq| exact.contains(seq) && !seen.insert(*seq)).collect()
    }

    /// What was routed came in order; at QoS 2 it came once; nothing stays in a queue.
    fn check_routed(&self) {
        for (endpoint, routed) in self.endpoints.iter().zip(&self.routed) {
            let heard = endpoint.payloads();
            let mut seen = BTreeSet::new();
            let first: Vec<&String> = heard.iter().filter(|payload| seen.insert(*payload)).collect();
            let expected: Vec<&String> = routed.iter().map(|(payload, _)| payload).collect();
            assert_eq!(first, expected, "{}", endpoint.party);
            for (payload, qos) in routed {
                let times = heard.iter().filter(|heard| *heard == payload).count();
                assert!(times == 1 || *qos == Qos::AtLeastOnce, "{payload} came {times} times");
            }
            assert_eq!(endpoint.queue.waiting(&endpoint.stored.dequeued), 0, "{}", endpoint.party);
        }
    }

    fn check_published(&self) {
        let mut times: BTreeMap<&[u8], usize> = BTreeMap::new();
        for record in self.logs.0.values().flat_map(|log| &log.records) {
            *times.entry(&record.message.payload[..]).or_default() += 1;
        }
        for (payload, qos) in &self.published {
            let times = times.get(payload.as_bytes()).copied().unwrap_or_default();
            assert!(times >= 1, "{payload} was lost");
            assert!(times == 1 || *qos == QoS::AtLeastOnce, "{payload} was stored {times} times");
        }
    }

    fn expected(&self, party: &PartyId, filter: &TxFilter, tx: &TxId, start: Seq) -> Vec<Seq> {
        let records = self.logs.0[tx].records.iter();
        records
            .filter(|record| record.message.seq > start)
            .filter(|record| {
                record.addressees.iter().any(|(to, _)| to == party) && filter.matches(&record.message.topic)
            })
            .map(|record| record.message.seq)
            .collect()
    }
}

/// What came for one subscription of one log (the interim state aside).
fn heard(endpoint: &Endpoint, held: &Held, tx: &TxId) -> Vec<Seq> {
    endpoint.heard[held.heard_from..]
        .iter()
        .filter(|heard| heard.identifiers.contains(&held.identifier))
        .filter(|heard| {
            let topic: TxTopic = heard.topic.parse().unwrap();
            topic.tx == *tx && topic.place != Place::State
        })
        .map(|heard| heard.seq)
        .collect()
}

fn first_occurrences(heard: &[Seq]) -> Vec<Seq> {
    let mut seen = BTreeSet::new();
    heard.iter().copied().filter(|seq| seen.insert(*seq)).collect()
}

#[test]
fn every_subscription_hears_all_in_order_under_random_schedules() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut play = Play::new(seed);
            for _ in 0..STEPS {
                play.step();
            }
            play.finish();
            play.check();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
