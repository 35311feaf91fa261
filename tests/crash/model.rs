//! What must be true of all that is said and heard, over however many crashes. Pure: it is told what each client did and
//! saw, in the order in which they did, and remembers each broken promise as a fault.
//!
//! A *mouth* is a publishing client, an *ear* a session that listens, a *place* the `Seq` that MQTT 5 deliveries tell. What
//! was acknowledged, or heard by anybody, is *due*: every ear that is entitled to it must hear it sooner or later. What was
//! sent and never answered may be there or not, but for all alike.

use std::collections::HashMap;

use super::ear_record::{EarRecord, Hears, Repeat};
use super::saying::{Audience, Kind, MouthId, RoomId, Saying, SayingId, author_of};

/// A session that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EarId(pub usize);

/// MQTT 5: `slot-taken`.
pub const SLOT_TAKEN: u8 = 0x83;
/// Of more faults than these only the count is kept: the first ones tell what happened.
const FAULTS_KEPT_MAX: usize = 30;

/// A delivery.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    /// `quorate-seq`.
    pub place: Option<u64>,
    /// `quorate-from`.
    pub from: Option<&'a str>,
}

struct Room {
    tx: String,
    members: Vec<&'static str>,
}

struct Mouth {
    name: String,
    party: &'static str,
}

struct Record {
    saying: Saying,
    transmissions: usize,
    answer: Answer,
    is_due: bool,
    /// Where it stands in its log: more than one only where it was sent more than once at QoS 1.
    places: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Taken,
    Refused,
    /// The publisher forgot it with its session.
    GivenUp,
}

#[derive(Default)]
pub struct Model {
    rooms: Vec<Room>,
    mouths: Vec<Mouth>,
    records: Vec<Record>,
    ears: Vec<EarRecord>,
    by_author: HashMap<(String, u64), SayingId>,
    by_place: HashMap<(RoomId, u64), SayingId>,
    /// What each slot holds.
    slots: HashMap<String, SayingId>,
    /// Those whose slot must turn out to hold something else.
    losers: Vec<SayingId>,
    unanswered: usize,
    taken: usize,
    deliveries: usize,
    faults: Vec<String>,
    faults_more: usize,
}

/// What was owed at one moment.
pub struct Owed(Vec<(EarId, SayingId)>);

impl Model {
    pub fn open_room(&mut self, tx: &str, members: &[&'static str]) -> RoomId {
        self.rooms.push(Room { tx: tx.to_owned(), members: members.to_vec() });
        RoomId(self.rooms.len() - 1)
    }

    pub fn mouth(&mut self, name: &str, party: &'static str) -> MouthId {
        self.mouths.push(Mouth { name: name.to_owned(), party });
        MouthId(self.mouths.len() - 1)
    }

    /// An ear; of transactions it must hear also what was said before it was there.
    pub fn ear(&mut self, name: &str, party: &'static str, hears: Hears, qos: u8) -> EarId {
        let mut ear = EarRecord::new(name, party, hears, qos);
        for (at, record) in self.records.iter().enumerate() {
            let audience = &record.saying.audience;
            if record.is_due && audience.room().is_some() && self.is_owed(&ear, audience) {
                ear.missing.insert(SayingId(at));
            }
        }
        self.ears.push(ear);
        EarId(self.ears.len() - 1)
    }

    /// An ear connects, once more or for the first time.
    pub fn connects(&mut self, ear: EarId) {
        self.ears[ear.0].connection += 1;
    }

    /// Whether an ear is away on purpose: then nothing is owed to it at once.
    pub fn set_away(&mut self, ear: EarId, is_away: bool) {
        self.ears[ear.0].is_away = is_away;
    }

    /// An ear that will not hear any more.
    pub fn retire(&mut self, ear: EarId) {
        self.ears[ear.0].retire();
    }

    /// A message is about to be sent for the first time.
    pub fn says(&mut self, saying: Saying) -> SayingId {
        let id = SayingId(self.records.len());
        let author = (self.mouths[saying.mouth.0].name.clone(), saying.number);
        let before = self.by_author.insert(author, id);
        assert!(before.is_none(), "a mouth counts on");
        self.records.push(Record {
            saying,
            transmissions: 1,
            answer: Answer::Awaited,
            is_due: false,
            places: Vec::new(),
        });
        self.unanswered += 1;
        id
    }

    pub fn says_again(&mut self, id: SayingId) {
        self.records[id.0].transmissions += 1;
    }

    /// PUBACK or PUBREC.
    pub fn taken(&mut self, id: SayingId) {
        self.answered(id, Answer::Taken);
        self.taken += 1;
        if let Err(fault) = self.claim_slot(id) {
            self.fault(format!("acknowledged: {fault}"));
        }
        self.becomes_due(id);
    }

    pub fn refused(&mut self, id: SayingId, code: u8) {
        self.answered(id, Answer::Refused);
        let is_raced = self.records[id.0].saying.kind == Kind::RacedSlot;
        if code != SLOT_TAKEN || !is_raced {
            return self.fault(format!("{} was refused with {code:#04x}", self.shown(id)));
        }
        let topic = &self.records[id.0].saying.topic;
        if self.slots.get(topic) == Some(&id) {
            return self.fault(format!("{} was refused, and is in its slot", self.shown(id)));
        }
        self.losers.push(id);
    }

    /// The publisher will not send it again.
    pub fn given_up(&mut self, id: SayingId) {
        self.answered(id, Answer::GivenUp);
    }

    /// Something was delivered to an ear.
    pub fn hears(&mut self, ear: EarId, heard: &Heard<'_>) {
        self.deliveries += 1;
        if let Err(fault) = self.judge(ear, heard) {
            let name = self.ears[ear.0].name.clone();
            self.fault(format!("{name}: {fault}"));
        }
    }

    /// Something that only a client can see is not as it should be.
    pub fn fault(&mut self, fault: String) {
        match self.faults.len() < FAULTS_KEPT_MAX {
            true => self.faults.push(fault),
            false => self.faults_more += 1,
        }
    }

    /// The faults up to now; `None` where there are none.
    pub fn faults(&self) -> Option<String> {
        let more = self.faults_more;
        (!self.faults.is_empty()).then(|| format!("{}\n(and {more} more)", self.faults.join("\n")))
    }

    /// Messages that wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// What is due and has not been heard, by those who are there.
    pub fn owed(&self) -> Owed {
        let present = self.ears.iter().enumerate().filter(|(_, ear)| !ear.is_away);
        Owed(present.flat_map(|(at, ear)| ear.missing.iter().map(move |id| (EarId(at), *id))).collect())
    }

    /// What of it has still not been heard; `None` where all was.
    pub fn unpaid(&self, owed: &Owed) -> Option<String> {
        let unpaid: Vec<_> = owed.0.iter().filter(|(ear, id)| self.ears[ear.0].missing.contains(id)).collect();
        let shown: Vec<String> = unpaid
            .iter()
            .take(FAULTS_KEPT_MAX)
            .map(|(ear, id)| format!("{} has not heard {}", self.ears[ear.0].name, self.shown(*id)))
            .collect();
        (!unpaid.is_empty()).then(|| format!("{} lost:\n{}", unpaid.len(), shown.join("\n")))
    }

    /// What can only be judged once all was answered and heard: the order in which ears without places heard, and that
    /// who was refused lost to somebody.
    pub fn judge_at_rest(&mut self) {
        for id in std::mem::take(&mut self.losers) {
            if !self.slots.contains_key(&self.records[id.0].saying.topic) {
                self.fault(format!("{} was refused for a slot that nobody has", self.shown(id)));
            }
        }
        let place_of = |id: SayingId| self.records[id.0].places.iter().min().copied();
        let mut faults = Vec::new();
        for ear in &mut self.ears {
            for (one, other) in ear.take_misplaced(place_of) {
                faults.push((ear.name.clone(), one, other));
            }
        }
        for (name, one, other) in faults {
            self.fault(format!("{name} heard {} before {}", self.shown(one), self.shown(other)));
        }
    }

    pub fn summary(&self) -> String {
        format!("{} said, {} acknowledged, {} deliveries", self.records.len(), self.taken, self.deliveries)
    }

    pub fn taken_count(&self) -> usize {
        self.taken
    }

    fn judge(&mut self, ear: EarId, heard: &Heard<'_>) -> Result<(), String> {
        if let Some(room) = self.room_of_broker_made(heard.topic) {
            let may_hear = room.is_some_and(|room| self.is_owed(&self.ears[ear.0], &Audience::Room(room)));
            return may_hear.then_some(()).ok_or_else(|| format!("a stranger heard {}", heard.topic));
        }
        let author = author_of(heard.payload)
            .and_then(|(mouth, number)| self.by_author.get(&(mouth.to_owned(), number)).copied());
        let id = author.ok_or_else(|| format!("nobody said what was heard on {}", heard.topic))?;
        let saying = &self.records[id.0].saying;
        if !self.is_owed(&self.ears[ear.0], &saying.audience) {
            return Err(format!("a stranger heard {}", self.shown(id)));
        }
        if saying.topic != heard.topic {
            return Err(format!("{} was heard on {}", self.shown(id), heard.topic));
        }
        let party = self.mouths[saying.mouth.0].party;
        if heard.from.is_some_and(|from| from != party) {
            return Err(format!("{} is said to be from {:?}", self.shown(id), heard.from));
        }
        // First of all it is heard: another fault of it is not to look like a loss.
        self.becomes_due(id);
        let is_first = self.ears[ear.0].missing.remove(&id);
        self.claim_slot(id)?;
        self.judge_place(id, heard)?;
        self.judge_repeat(ear, id, heard)?;
        match is_first {
            true => self.judge_order(ear, id, heard),
            false => Ok(()),
        }
    }

    /// Which room's manifest or state this topic is, if it is one; `Some(None)`: of no room that the model knows.
    fn room_of_broker_made(&self, topic: &str) -> Option<Option<RoomId>> {
        let mut levels = topic.split('/');
        let (Some("tx"), Some(tx), Some("manifest" | "state"), None) =
            (levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return None;
        };
        Some(self.rooms.iter().position(|room| room.tx == tx).map(RoomId))
    }

    fn is_owed(&self, ear: &EarRecord, audience: &Audience) -> bool {
        let is_member = match audience {
            Audience::Room(room) => self.rooms[room.0].members.contains(&ear.party),
            Audience::Addressee(_, party) => *party == ear.party,
            Audience::Everybody => true,
        };
        is_member && ear.hears.covers(audience.room())
    }

    fn judge_place(&mut self, id: SayingId, heard: &Heard<'_>) -> Result<(), String> {
        let (Some(place), Some(room)) = (heard.place, self.records[id.0].saying.audience.room()) else { return Ok(()) };
        let there = *self.by_place.entry((room, place)).or_insert(id);
        if there != id {
            return Err(format!("{} and {} have both place {place}", self.shown(id), self.shown(there)));
        }
        let record = &mut self.records[id.0];
        if !record.places.contains(&place) {
            record.places.push(place);
        }
        let most = match (record.saying.kind, record.saying.qos) {
            (Kind::Free, 1) => record.transmissions,
            _ => 1,
        };
        match record.places.len() <= most {
            true => Ok(()),
            false => Err(format!("{} is stored at {:?}", self.shown(id), self.records[id.0].places)),
        }
    }

    fn judge_repeat(&mut self, ear: EarId, id: SayingId, heard: &Heard<'_>) -> Result<(), String> {
        let (saying, transmissions) = (&self.records[id.0].saying, self.records[id.0].transmissions);
        let ear = &mut self.ears[ear.0];
        let expected = saying.qos.min(ear.qos);
        // Where the place is not told, a second record looks like a repeat.
        let may_be_stored_again = saying.qos == 1 && saying.kind == Kind::Free && transmissions > 1;
        let fault = match ear.hear(id, heard.place) {
            _ if heard.qos != expected => format!("at QoS {} instead of {expected}", heard.qos),
            Repeat::First => return Ok(()),
            _ if heard.place.is_none() && may_be_stored_again => return Ok(()),
            Repeat::OnALaterConnection if expected == 1 => return Ok(()),
            Repeat::OnALaterConnection => "twice at QoS 2".to_owned(),
            Repeat::OnTheSameConnection => "twice on one connection".to_owned(),
        };
        Err(format!("{} was heard {fault}", self.shown(id)))
    }

    fn judge_order(&mut self, ear: EarId, id: SayingId, heard: &Heard<'_>) -> Result<(), String> {
        let saying = &self.records[id.0].saying;
        let ear = &mut self.ears[ear.0];
        let after = ear.order.note_number(saying);
        let misplaced = saying.audience.room().and_then(|room| ear.order.note_place(room, id, heard.place));
        if let Some(number) = after {
            return Err(format!("{} was heard after number {number}", self.shown(id)));
        }
        match misplaced {
            Some(place) => Err(format!("{} at {:?} was heard after place {place}", self.shown(id), heard.place)),
            None => Ok(()),
        }
    }

    fn answered(&mut self, id: SayingId, answer: Answer) {
        let record = &mut self.records[id.0];
        match record.answer {
            Answer::Awaited => {
                record.answer = answer;
                self.unanswered -= 1;
            }
            before => self.fault(format!("{} was answered twice: {before:?}, {answer:?}", self.shown(id))),
        }
    }

    fn claim_slot(&mut self, id: SayingId) -> Result<(), String> {
        let record = &self.records[id.0];
        if record.saying.kind == Kind::Free {
            return Ok(());
        }
        if record.answer == Answer::Refused {
            return Err(format!("{} is in its slot, and was refused", self.shown(id)));
        }
        match self.slots.get(&record.saying.topic) {
            Some(&there) if there != id => {
                Err(format!("one slot holds both {} and {}", self.shown(there), self.shown(id)))
            }
            Some(_) => Ok(()),
            None => {
                self.slots.insert(record.saying.topic.clone(), id);
                Ok(())
            }
        }
    }

    fn becomes_due(&mut self, id: SayingId) {
        if std::mem::replace(&mut self.records[id.0].is_due, true) {
            return;
        }
        let audience = &self.records[id.0].saying.audience;
        let entitled = self.ears.iter().map(|ear| self.is_owed(ear, audience)).collect::<Vec<_>>();
        for (ear, is_entitled) in self.ears.iter_mut().zip(entitled) {
            if is_entitled {
                ear.missing.insert(id);
            }
        }
    }

    fn shown(&self, id: SayingId) -> String {
        let record = &self.records[id.0];
        let mouth = &self.mouths[record.saying.mouth.0].name;
        let (number, topic, qos) = (record.saying.number, &record.saying.topic, record.saying.qos);
        format!("[{mouth} {number}, {topic}, QoS {qos}, sent {} times, {:?}]", record.transmissions, record.answer)
    }
}
