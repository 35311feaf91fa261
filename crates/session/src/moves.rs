//! What moves as a session hears on: cursors, backfills, places of the queue, deliveries at QoS 2 that are over. It
//! gathers for a moment and is stored together, or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_domain::{BackfillMove, CursorMoves, LogName, TxId};

use crate::room::Room;
use crate::window::{Item, Mark, Way};
use crate::{Effect, Session};

/// How long moves gather before they are stored. They are not synced; after SIGKILL QoS 1 repeats from the last ones.
const CURSOR_INTERVAL: Duration = Duration::from_millis(100);

/// What the store was told and did not take, by name: how it stands is looked up when it is told again.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    cursors: BTreeSet<TxId>,
    backfills: BTreeSet<(TxId, String)>,
    settled: BTreeSet<u16>,
}

impl Session {
    /// Some cursor moved: store it soon.
    pub(crate) fn cursors_moved(&mut self) {
        if self.is_durable() {
            self.moves_gather();
        }
    }

    /// Something is to be stored soon, also of a session that ends with its connection.
    pub(crate) fn moves_gather(&mut self) {
        self.cursors_due.get_or_insert(self.now + CURSOR_INTERVAL);
    }

    pub(crate) fn save_cursors(&mut self) {
        self.cursors_due = None;
        let moves = if self.is_durable() { self.take_moves() } else { self.take_moves_of_queue() };
        if !moves.is_empty() {
            self.emit(Effect::SaveCursors(moves));
        }
    }

    /// Of a session that ends with its connection only the queue is in the store.
    fn take_moves_of_queue(&mut self) -> CursorMoves {
        CursorMoves { dequeued: self.queue.take_dequeued(), ..CursorMoves::default() }
    }

    fn take_moves(&mut self) -> CursorMoves {
        let lost = std::mem::take(&mut self.lost);
        let is_moved = |tx: &TxId, room: &mut Room| std::mem::take(&mut room.cursor_dirty) || lost.cursors.contains(tx);
        let moved = self
            .rooms
            .iter_mut()
            .filter_map(|(tx, room)| is_moved(tx, room).then(|| (tx.clone(), Some(room.cursor()))));
        let mut cursors: Vec<_> = moved.collect();
        let forgotten = lost.cursors.iter().filter(|tx| !self.rooms.contains_key(*tx));
        cursors.extend(forgotten.map(|tx| (tx.clone(), None)));
        let (backfills, settled) = self.settle(lost.backfills, lost.settled);
        CursorMoves { cursors, backfills, settled, dequeued: self.queue.take_dequeued() }
    }

    /// Takes out the deliveries at QoS 2 that need not be remembered once the marks of their ways are stored. `ways` and
    /// `packet_ids`: those that the store did not take before.
    fn settle(
        &mut self,
        mut ways: BTreeSet<(TxId, String)>,
        mut packet_ids: BTreeSet<u16>,
    ) -> (Vec<BackfillMove>, Vec<u16>) {
        let (rooms, queue, subscriptions) = (&self.rooms, &self.queue, &self.subscriptions);
        let every_room_is_known = self.deliveries.standings_seen;
        let is_passed = |item: &Item, mark: Mark| match &item.log {
            LogName::Queue => queue.has_passed(item.seq),
            LogName::Tx(tx) => match rooms.get(tx) {
                Some(room) => room.mark(&item.way, mark).is_none_or(|reached| reached >= item.seq),
                None => every_room_is_known || !subscriptions.cover(tx),
            },
        };
        let given_up = self.window.give_up(|item| is_passed(item, Mark::Sent));
        self.outbox.release(given_up);
        let settled = self.window.settle(|item| is_passed(item, Mark::Acknowledged));
        ways.extend(settled.iter().filter_map(|(_, item)| match (&item.log, &item.way) {
            (LogName::Tx(tx), Way::Backfill(filter)) => Some((tx.clone(), filter.clone())),
            _ => None,
        }));
        let backfills = ways.into_iter().map(|(tx, filter)| {
            let way = Way::Backfill(filter.clone());
            let next = self.rooms.get(&tx).and_then(|room| room.mark(&way, Mark::Acknowledged));
            BackfillMove { filter, tx, next }
        });
        let backfills = backfills.collect();
        let of_queue = settled.iter().filter(|(_, item)| item.log == LogName::Queue);
        self.queue.give_back(of_queue.map(|(_, item)| item.seq).collect());
        // An identifier that names another delivery by now is kept for that one.
        packet_ids.retain(|packet_id| !self.window.keeps(*packet_id));
        packet_ids.extend(settled.iter().map(|(packet_id, _)| packet_id.get()));
        (backfills, packet_ids.into_iter().collect())
    }

    /// What [`Effect::SaveCursors`] asked for did not come about: it is stored with what moves next, as it stands then.
    pub fn handle_cursors_lost(&mut self, moves: CursorMoves) {
        let CursorMoves { cursors, backfills, settled, dequeued } = moves;
        self.lost.cursors.extend(cursors.into_iter().map(|(tx, _)| tx));
        self.lost.backfills.extend(backfills.into_iter().map(|BackfillMove { filter, tx, .. }| (tx, filter)));
        self.lost.settled.extend(settled);
        self.queue.give_back(dequeued);
        if self.is_open() {
            self.moves_gather();
        }
    }
}
