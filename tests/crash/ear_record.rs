//! What the model remembers of one ear: what it has heard, in which order, over which connections, and what it still has to.

use std::collections::{BTreeSet, HashMap};

use super::saying::{MouthId, RoomId, Saying, SayingId};

/// What an ear has subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hears {
    /// All transactions of its party, and ordinary topics.
    All,
    /// These transactions alone.
    Rooms(Vec<RoomId>),
    /// It may subscribe to what it likes.
    Nothing,
}

impl Hears {
    /// Whether it covers this transaction; `None`: ordinary topics.
    pub fn covers(&self, room: Option<RoomId>) -> bool {
        match (self, room) {
            (Hears::All, _) => true,
            (Hears::Rooms(rooms), Some(room)) => rooms.contains(&room),
            (Hears::Rooms(_), None) | (Hears::Nothing, _) => false,
        }
    }
}

/// Whether an ear had heard the same record before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    First,
    OnALaterConnection,
    OnTheSameConnection,
}

pub struct EarRecord {
    pub name: String,
    pub party: &'static str,
    pub hears: Hears,
    pub qos: u8,
    pub connection: u32,
    pub is_away: bool,
    /// Due, and not heard.
    pub missing: BTreeSet<SayingId>,
    pub order: Order,
    /// By message and place: over which connection it came last.
    heard: HashMap<(SayingId, Option<u64>), u32>,
}

/// How far an ear has come.
#[derive(Default)]
pub struct Order {
    /// By mouth and topic, or transaction: MQTT promises no order between topics, a transaction's log does within it.
    numbers: HashMap<(MouthId, Result<RoomId, String>), u64>,
    places: HashMap<RoomId, u64>,
    /// What was heard without a place, to be judged once its place is known.
    unplaced: HashMap<RoomId, Vec<SayingId>>,
}

impl EarRecord {
    pub fn new(name: &str, party: &'static str, hears: Hears, qos: u8) -> EarRecord {
        EarRecord {
            name: name.to_owned(),
            party,
            hears,
            qos,
            connection: 0,
            is_away: false,
            missing: BTreeSet::new(),
            order: Order::default(),
            heard: HashMap::new(),
        }
    }

    pub fn hear(&mut self, id: SayingId, place: Option<u64>) -> Repeat {
        match self.heard.insert((id, place), self.connection) {
            None => Repeat::First,
            Some(before) if before < self.connection => Repeat::OnALaterConnection,
            Some(_) => Repeat::OnTheSameConnection,
        }
    }

    /// Nothing is owed to it any more.
    pub fn retire(&mut self) {
        self.hears = Hears::Nothing;
        self.missing.clear();
        self.heard = HashMap::new();
        self.order = Order::default();
    }

    /// Neighbours among what was heard without a place that stand the other way round in the log.
    pub fn take_misplaced(&mut self, place_of: impl Fn(SayingId) -> Option<u64>) -> Vec<(SayingId, SayingId)> {
        let mut misplaced = Vec::new();
        for heard in self.order.unplaced.values_mut() {
            heard.retain(|id| place_of(*id).is_some());
            for pair in heard.windows(2).filter(|pair| place_of(pair[0]) >= place_of(pair[1])) {
                misplaced.push((pair[0], pair[1]));
            }
            // The last one stays, for what comes after it.
            heard.drain(..heard.len().saturating_sub(1));
        }
        misplaced
    }
}

impl Order {
    /// A message is heard for the first time; gives the number of a later one of the same mouth that was heard before.
    pub fn note_number(&mut self, saying: &Saying) -> Option<u64> {
        let scope = saying.audience.room().ok_or_else(|| saying.topic.clone());
        let last = self.numbers.entry((saying.mouth, scope)).or_default();
        match saying.number > *last {
            true => {
                *last = saying.number;
                None
            }
            false => Some(*last),
        }
    }

    /// As [`Order::note_number`], by the places in the log of a room.
    pub fn note_place(&mut self, room: RoomId, id: SayingId, place: Option<u64>) -> Option<u64> {
        let Some(place) = place else {
            self.unplaced.entry(room).or_default().push(id);
            return None;
        };
        let last = self.places.entry(room).or_default();
        match place > *last {
            true => {
                *last = place;
                None
            }
            false => Some(*last),
        }
    }
}
