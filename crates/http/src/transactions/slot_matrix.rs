//! Which slots of a transaction are filled: a row a party, a column a round.

use std::collections::{BTreeMap, HashMap, HashSet};

use quorate_domain::{PartyId, Place, Round, Seq, Sha256, Slot, Transaction, TxTopic};
use serde::Serialize;

use crate::caller::Caller;
use crate::sight::{Sight, sight_of};

/// How many slots are shown: 64 parties that exchange p2p for four rounds. Beyond it the matrix says that it is cut.
pub(crate) const SLOTS_SHOWN_MAX: usize = 16_384;

/// The matrix as it is answered.
#[derive(Debug, Serialize)]
pub(crate) struct SlotMatrix {
    /// In the order in which they were begun.
    rounds: Vec<Round>,
    /// In the order of the manifest.
    parties: Vec<Row>,
    /// Whether there are more slots than are shown.
    cut: bool,
    /// The rounds again, to find them.
    #[serde(skip)]
    begun: HashSet<Round>,
}

/// What one party wrote.
#[derive(Debug, Serialize)]
struct Row {
    party: PartyId,
    join: Option<Cell>,
    result: Option<Cell>,
    abort: Option<Cell>,
    rounds: BTreeMap<Round, RoundCells>,
}

/// What one party wrote in one round.
#[derive(Debug, Default, Serialize)]
struct RoundCells {
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<Cell>,
    #[serde(skip_serializing_if = "Option::is_none")]
    echo: Option<Cell>,
    /// By addressee.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    p2p: BTreeMap<PartyId, Cell>,
}

/// One filled slot. The sum of a p2p slot is for sender, addressee and admins alone; others see that it is filled.
#[derive(Debug, Serialize)]
struct Cell {
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
}

impl SlotMatrix {
    /// Sorts the written slots into rows, in the order in which they were written.
    pub(crate) fn new(transaction: &Transaction, mut written: Vec<(TxTopic, Slot)>, caller: &Caller) -> Self {
        let charter = &transaction.charter;
        written.sort_by_key(|(_, slot)| slot.seq);
        let mut matrix = SlotMatrix {
            rounds: Vec::new(),
            parties: charter.parties.iter().map(Row::empty).collect(),
            cut: written.len() > SLOTS_SHOWN_MAX,
            begun: HashSet::new(),
        };
        let rows: HashMap<&PartyId, usize> = charter.parties.iter().zip(0..).collect();
        for (topic, slot) in written.into_iter().take(SLOTS_SHOWN_MAX) {
            let sha256 = match sight_of(charter, &topic.place, caller) {
                Sight::Whole => Some(slot.sha256),
                Sight::Existence => None,
                Sight::Nothing => continue,
            };
            let Some(&row) = rows.get(&slot.author) else {
                continue;
            };
            let cell = Cell { seq: slot.seq, sha256 };
            matrix.fill(row, topic.place, cell);
        }
        matrix
    }

    fn fill(&mut self, row: usize, place: Place, cell: Cell) {
        match place {
            Place::Join { .. } => self.parties[row].join = Some(cell),
            Place::Result { .. } => self.parties[row].result = Some(cell),
            Place::Abort { .. } => self.parties[row].abort = Some(cell),
            Place::Broadcast { round, .. } => self.round(row, round).broadcast = Some(cell),
            Place::Echo { round, .. } => self.round(row, round).echo = Some(cell),
            Place::P2p { round, to, .. } => {
                self.round(row, round).p2p.insert(to, cell);
            }
            // The manifest is shown whole beside the matrix; the others are not slots.
            Place::Manifest | Place::State | Place::Message { .. } => {}
        }
    }

    fn round(&mut self, row: usize, round: Round) -> &mut RoundCells {
        if self.begun.insert(round.clone()) {
            self.rounds.push(round.clone());
        }
        self.parties[row].rounds.entry(round).or_default()
    }
}

impl Row {
    fn empty(party: &PartyId) -> Self {
        Row { party: party.clone(), join: None, result: None, abort: None, rounds: BTreeMap::new() }
    }
}
