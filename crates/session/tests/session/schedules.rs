//! Random schedules: publishes, lost live copies, slow reads, cut links, killed brokers, late subscriptions. Whatever
//! happens, each subscription hears all that it may hear, in `Seq` order, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::*;
use quorate_domain::{Delivery, FilterClass, PartyId, Place, Round, Seq, TxFilter, TxId, TxTopic, classify_filter};
use quorate_session::SendRoom;
use quorate_wire::{Packet, PacketId, RetainHandling, Unsubscribe};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const SEEDS: u64 = 3_000;
const STEPS: usize = 250;
const FILTERS: [&str; 5] =
    ["tx/+/#", "tx/+/p2p/#", "tx/+/manifest", "tx/+/broadcast/+/alice", "tx/transaction-000001/#"];

/// A subscription that a client holds: from which delivery on it counts.
struct Held {
    identifier: u32,
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
}

impl Play {
    fn new(seed: u64) -> Self {
        let endpoints: Vec<_> = ["alice", "bob", "carol"].map(Endpoint::new).into();
        let held = endpoints.iter().map(|_| BTreeMap::new()).collect();
        let dropped = vec![false; endpoints.len()];
        let mut play = Self {
            rng: StdRng::seed_from_u64(seed),
            logs: Logs::default(),
            endpoints,
            held,
            next_identifier: 0,
            next_round: 0,
            dropped,
        };
        play.logs.create(1, &["alice", "bob", "carol"].map(party));
        play
    }

    fn step(&mut self) {
        let who = self.rng.gen_range(0..self.endpoints.len());
        let connected = self.endpoints[who].session.is_some();
        match self.rng.gen_range(0..100) {
            0..=24 => self.say(),
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
                self.endpoints[who].answer(&self.logs);
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
        let seq = self.logs.append(&tx, &from, place, "said".into());
        self.spread(&tx, seq);
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
        self.next_identifier += 1;
        let identifier = self.next_identifier;
        let retain_handling =
            if self.rng.gen_bool(0.3) { RetainHandling::DoNotSend } else { RetainHandling::SendIfNew };
        let heads = self.logs.0.iter().map(|(tx, log)| (tx.clone(), log.head()));
        let starts = if retain_handling == RetainHandling::DoNotSend { heads.collect() } else { BTreeMap::new() };
        self.endpoints[who].subscribe(filter, retain_handling, identifier);
        // Granted before anything else happens: whether an unanswered SUBSCRIBE holds is nobody's promise.
        while !self.endpoints[who].session().wants_packets() {
            assert!(self.endpoints[who].answer(&self.logs));
        }
        let heard_from = self.endpoints[who].heard.len();
        self.held[who].insert(filter, Held { identifier, heard_from, starts });
    }

    fn unsubscribe(&mut self, who: usize) {
        let Some(filter) = self.held[who].keys().next().copied() else { return };
        if !self.endpoints[who].session().wants_packets() {
            return;
        }
        self.endpoints[who].packet(Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::MIN,
            user_properties: Vec::new(),
            filters: vec![filter.into()],
        }));
        while !self.endpoints[who].session().wants_packets() {
            assert!(self.endpoints[who].answer(&self.logs));
        }
        self.held[who].remove(filter);
    }

    fn end(&mut self, who: usize) {
        if self.rng.gen_bool(0.5) {
            self.endpoints[who].lose_connection();
        } else {
            self.endpoints[who].kill();
        }
    }

    /// Everybody comes back, nothing is lost any more.
    fn finish(&mut self) {
        for who in 0..self.endpoints.len() {
            if self.endpoints[who].session.is_none() {
                self.connect(who);
            }
            let logs = &self.logs;
            let endpoint = &mut self.endpoints[who];
            endpoint.input(|session, _| session.set_send_room(SendRoom::Open));
            endpoint.input(|session, _| session.handle_delivery(Delivery::Behind));
            for _ in 0..3 {
                endpoint.settle(logs);
                endpoint.now += std::time::Duration::from_secs(1);
                endpoint.input(|session, now| session.handle_deadline(now));
            }
            endpoint.settle(logs);
            assert_eq!(endpoint.closed, None);
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
                }
            }
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
