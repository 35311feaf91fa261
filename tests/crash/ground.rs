//! What all clients of a load share: the model, the transactions that are open, and what the next message is to be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::model::Model;
use super::saying::{Audience, Kind, MouthId, RoomId, Saying, SayingId, words};

/// Between two attempts to connect: a broker that is down refuses at once.
pub const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// What the clients of a load are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Speak,
    /// Nothing new is said; what is under way is brought to its end.
    Quiet,
}

/// A transaction that is being talked in.
#[derive(Debug, Clone)]
pub struct OpenRoom {
    pub id: RoomId,
    pub tx: String,
    pub members: Vec<&'static str>,
}

#[derive(Default)]
pub struct Ground {
    model: Mutex<Model>,
    rooms: Mutex<Vec<OpenRoom>>,
    /// By party: the last slot for which its clients race.
    races: Mutex<HashMap<&'static str, u64>>,
}

impl Ground {
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("no client panicked")
    }

    pub fn rooms(&self) -> Vec<OpenRoom> {
        self.rooms.lock().expect("no client panicked").clone()
    }

    pub fn set_rooms(&self, rooms: Vec<OpenRoom>) {
        *self.rooms.lock().expect("no client panicked") = rooms;
    }

    /// A slot to race for: the last one of the party, or the next where this client was there already.
    fn race(&self, party: &'static str, entered: u64) -> u64 {
        let mut races = self.races.lock().expect("no client panicked");
        let last = races.entry(party).or_default();
        if *last == entered {
            *last += 1;
        }
        *last
    }

    fn has_unentered_race(&self, party: &'static str, entered: u64) -> bool {
        self.races.lock().expect("no client panicked").get(party).is_some_and(|last| *last > entered)
    }
}

/// Who speaks, and how.
#[derive(Debug, Clone)]
pub struct Voice {
    pub name: String,
    pub party: &'static str,
    pub qos: u8,
    /// Whether it races with another client of its party. A refusal is fatal to a connection of 3.x.
    pub races: bool,
}

/// Thinks of messages.
pub struct Speech {
    ground: Arc<Ground>,
    voice: Voice,
    mouth: MouthId,
    number: u64,
    entered: u64,
    rng: StdRng,
}

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Said {
    pub id: SayingId,
    pub topic: String,
    pub payload: Bytes,
}

impl Speech {
    pub fn new(ground: Arc<Ground>, voice: Voice, rng: StdRng) -> Speech {
        let mouth = ground.model().mouth(&voice.name, voice.party);
        Speech { ground, voice, mouth, number: 0, entered: 0, rng }
    }

    pub fn voice(&self) -> &Voice {
        &self.voice
    }

    pub fn ground(&self) -> &Arc<Ground> {
        &self.ground
    }

    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// The next message, which the model expects from now on.
    pub fn next(&mut self) -> Said {
        self.number += 1;
        let (topic, audience, kind) = self.choose();
        let payload = words(&self.voice.name, self.number);
        let (mouth, number, qos) = (self.mouth, self.number, self.voice.qos);
        let saying = Saying { mouth, number, topic: topic.clone(), audience, qos, kind };
        let id = self.ground.model().says(saying);
        Said { id, topic, payload }
    }

    fn choose(&mut self) -> (String, Audience, Kind) {
        let party = self.voice.party;
        let mut rooms = self.ground.rooms();
        rooms.retain(|room| room.members.contains(&party));
        let room = rooms.choose(&mut self.rng).expect("every party has a room");
        let (tx, everybody) = (&room.tx, Audience::Room(room.id));
        let (name, number) = (&self.voice.name, self.number);
        if self.voice.races && (self.ground.has_unentered_race(party, self.entered) || self.rng.gen_ratio(1, 10)) {
            self.entered = self.ground.race(party, self.entered);
            // Both find the same room.
            let room = &rooms[usize::try_from(self.entered).expect("few") % rooms.len()];
            let topic = format!("tx/{}/broadcast/race-{}/{party}", room.tx, self.entered);
            return (topic, Audience::Room(room.id), Kind::RacedSlot);
        }
        match self.rng.gen_range(0..8) {
            0..3 => (format!("tx/{tx}/broadcast/{name}-{number}/{party}"), everybody, Kind::Slot),
            3 => {
                let others: Vec<_> = room.members.iter().copied().filter(|member| *member != party).collect();
                let to = *others.choose(&mut self.rng).expect("a room has two parties");
                let topic = format!("tx/{tx}/p2p/{name}-{number}/{party}/{to}");
                (topic, Audience::Addressee(room.id, to), Kind::Slot)
            }
            4..6 => (format!("tx/{tx}/msg/{party}/{name}"), everybody, Kind::Free),
            _ => (format!("news/{name}/{}", self.rng.gen_range(0..2)), Audience::Everybody, Kind::Free),
        }
    }
}
