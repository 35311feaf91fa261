//! What moves of a session while another write is under way.

use std::collections::{BTreeMap, BTreeSet};

use quorate_domain::{BackfillMove, CursorMoves, Seq, TxId};

/// What moves of a session until it is stored: the newest of each log and backfill counts.
#[derive(Default)]
pub(super) struct GatheredMoves {
    cursors: BTreeMap<TxId, Option<Seq>>,
    backfills: BTreeMap<(String, TxId), Option<Seq>>,
    settled: BTreeSet<u16>,
    dequeued: BTreeSet<Seq>,
}

impl GatheredMoves {
    pub(super) fn add(&mut self, moves: CursorMoves) {
        self.cursors.extend(moves.cursors);
        let backfills = moves.backfills.into_iter();
        self.backfills.extend(backfills.map(|BackfillMove { filter, tx, next }| ((filter, tx), next)));
        self.settled.extend(moves.settled);
        self.dequeued.extend(moves.dequeued);
    }

    pub(super) fn take(&mut self) -> CursorMoves {
        let Self { cursors, backfills, settled, dequeued } = std::mem::take(self);
        let backfills = backfills.into_iter().map(|((filter, tx), next)| BackfillMove { filter, tx, next });
        CursorMoves {
            cursors: cursors.into_iter().collect(),
            backfills: backfills.collect(),
            settled: settled.into_iter().collect(),
            dequeued: dequeued.into_iter().collect(),
        }
    }
}
