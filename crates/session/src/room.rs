//! How far one session is through one transaction's log.
//!
//! The position runs ahead (all up to it was sent or skipped); the cursor follows (all up to it is acknowledged). A
//! subscription that came later than the position has a backfill: its own way from its start to the position of that
//! moment. While a backfill has something to send, the position waits, so that each subscription hears in `Seq` order.

use std::collections::BTreeMap;

use quorate_domain::{BackfillRecord, Seq, Sha256};

use crate::window::{Mark, Way};

/// Sequence numbers that were sent and not yet acknowledged, with how often.
#[derive(Debug, Default)]
struct Outstanding(BTreeMap<Seq, u32>);

impl Outstanding {
    fn add(&mut self, seq: Seq) {
        *self.0.entry(seq).or_default() += 1;
    }

    fn remove(&mut self, seq: Seq) {
        if let Some(count) = self.0.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&seq);
            }
        }
    }

    /// The highest mark below which nothing is outstanding, where all up to `sent` was sent.
    fn mark(&self, sent: Seq) -> Seq {
        self.0.first_key_value().map_or(sent, |(first, _)| Seq(first.0.saturating_sub(1)).min(sent))
    }
}

/// One subscription's own way through the past.
#[derive(Debug)]
pub(crate) struct Backfill {
    pub(crate) filter: String,
    /// All up to here was sent or skipped.
    pub(crate) sent_to: Seq,
    pub(crate) until: Seq,
    /// Of the record after that, the view under its own topic is already sent.
    half_sent: Option<Seq>,
    outstanding: Outstanding,
}

impl Backfill {
    fn is_sent(&self) -> bool {
        self.sent_to >= self.until
    }

    fn is_done(&self) -> bool {
        self.is_sent() && self.outstanding.0.is_empty()
    }
}

/// One transaction as this session hears it.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// All up to here was sent or skipped on the cursor's way.
    position: Seq,
    /// Of the record after the position, the view under its own topic is already sent.
    half_sent: Option<Seq>,
    /// The log is known to hold more than the position.
    behind: bool,
    /// The highest live copy that was not taken, since the log has it.
    missed_to: Seq,
    outstanding: Outstanding,
    backfills: Vec<Backfill>,
    /// The interim state is to be read and sent.
    pub(crate) state_wanted: bool,
    /// A live state came while an older one was being read: what was read is stale.
    pub(crate) state_superseded: bool,
    /// The last interim state that was sent on this connection, so that it is not sent twice.
    pub(crate) state_sent: Option<Sha256>,
    /// The closing record has gone out: an interim state after it would be stale.
    pub(crate) closed: bool,
    /// The stored cursor is older than [`Room::cursor`].
    pub(crate) cursor_dirty: bool,
    /// The standings that are being read, or that the first comparison will read, decide whether the transaction still
    /// exists.
    pub(crate) unconfirmed: bool,
}

/// What a room wants to read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The interim state.
    State,
    /// The past of the subscription with this filter.
    Backfill { filter: String, after: Seq },
    /// The log beyond the position.
    Cursor { after: Seq },
    /// The session's queue of ordinary messages.
    Queue { after: Seq },
}

impl Room {
    /// A room that starts at this position.
    pub(crate) fn at(position: Seq) -> Self {
        Self { position, ..Self::default() }
    }

    /// A room that an earlier connection left at this cursor.
    pub(crate) fn stored_at(cursor: Seq) -> Self {
        Self { position: cursor, unconfirmed: true, ..Self::default() }
    }

    pub(crate) fn position(&self) -> Seq {
        self.position
    }

    /// The mark to store: everything up to it is acknowledged, skipped, or (QoS 0) sent.
    pub(crate) fn cursor(&self) -> Seq {
        self.outstanding.mark(self.position)
    }

    /// Whether a live copy whose predecessor is `prev` comes straight after all that was sent.
    pub(crate) fn is_next(&self, prev: Seq) -> bool {
        !self.behind && prev <= self.position && !self.has_unsent_backfill()
    }

    /// All up to `seq` was sent or skipped.
    pub(crate) fn advance(&mut self, seq: Seq) {
        if seq > self.position {
            self.position = seq;
            self.half_sent = None;
            self.cursor_dirty = true;
        }
    }

    /// The log holds more: read it when there is room.
    pub(crate) fn fall_behind(&mut self, missed: Seq) {
        self.behind = true;
        self.missed_to = self.missed_to.max(missed);
    }

    /// A read reached the end of the log as it then was.
    pub(crate) fn caught_up(&mut self, head: Seq) {
        if self.position >= head && self.position >= self.missed_to {
            self.behind = false;
        }
    }

    pub(crate) fn sent(&mut self, seq: Seq, backfill: Option<&str>) {
        match backfill {
            None => self.outstanding.add(seq),
            Some(filter) => {
                if let Some(backfill) = self.backfill(filter) {
                    backfill.outstanding.add(seq);
                }
            }
        }
    }

    pub(crate) fn acknowledged(&mut self, seq: Seq, backfill: Option<&str>) {
        match backfill {
            None => {
                self.outstanding.remove(seq);
                self.cursor_dirty = true;
            }
            Some(filter) => {
                if let Some(backfill) = self.backfill(filter) {
                    backfill.outstanding.remove(seq);
                }
                self.backfills.retain(|backfill| !backfill.is_done());
            }
        }
    }

    /// Of this record, only the first view could be sent.
    pub(crate) fn sent_half(&mut self, seq: Seq, backfill: Option<&str>) {
        match backfill {
            None => self.half_sent = Some(seq),
            Some(filter) => {
                if let Some(backfill) = self.backfill(filter) {
                    backfill.half_sent = Some(seq);
                }
            }
        }
    }

    /// Whether the first view of this record is sent already.
    pub(crate) fn is_half_sent(&self, seq: Seq, backfill: Option<&str>) -> bool {
        let half_sent = match backfill {
            None => self.half_sent,
            Some(filter) => self.find_backfill(filter).and_then(|backfill| backfill.half_sent),
        };
        half_sent == Some(seq)
    }

    /// Gives a new subscription its own way from the beginning to the position, and says how far: beyond it the cursor's
    /// way is its own. `None`: there is nothing to hear on the way. `left_to`: up to there an earlier connection sent what
    /// the cursor's way will not send again, or only as it was.
    pub(crate) fn begin_backfill(&mut self, filter: &str, left_to: Seq) -> Option<Seq> {
        // A record that is half sent lies beyond the position: the cursor's way still has to bring its second view,
        // and would leave out the first for this filter.
        let until = self.half_sent.unwrap_or(self.position).max(left_to);
        if until > Seq::ZERO {
            self.add_backfill(filter.to_owned(), Seq::ZERO, until);
        }
        (until > Seq::ZERO).then_some(until)
    }

    pub(crate) fn restore_backfill(&mut self, record: &BackfillRecord) {
        self.add_backfill(record.filter.clone(), record.next, record.until);
    }

    fn add_backfill(&mut self, filter: String, sent_to: Seq, until: Seq) {
        self.end_backfill(&filter);
        self.backfills.push(Backfill { filter, sent_to, until, half_sent: None, outstanding: Outstanding::default() });
    }

    pub(crate) fn end_backfill(&mut self, filter: &str) {
        self.backfills.retain(|backfill| backfill.filter != filter);
    }

    pub(crate) fn backfill(&mut self, filter: &str) -> Option<&mut Backfill> {
        self.backfills.iter_mut().find(|backfill| backfill.filter == filter)
    }

    /// A read for a backfill went as far as `seq`.
    pub(crate) fn backfill_advanced(&mut self, filter: &str, seq: Seq) {
        if let Some(backfill) = self.backfill(filter) {
            backfill.sent_to = backfill.sent_to.max(seq);
        }
        self.backfills.retain(|backfill| !backfill.is_done());
    }

    fn find_backfill(&self, filter: &str) -> Option<&Backfill> {
        self.backfills.iter().find(|backfill| backfill.filter == filter)
    }

    /// How far a way has come, by one of its marks. `None`: a backfill that is over.
    pub(crate) fn mark(&self, way: &Way, mark: Mark) -> Option<Seq> {
        match (way, mark) {
            (Way::Backfill(filter), Mark::Sent) => Some(self.find_backfill(filter)?.sent_to),
            (Way::Backfill(filter), Mark::Acknowledged) => {
                let backfill = self.find_backfill(filter)?;
                Some(backfill.outstanding.mark(backfill.sent_to))
            }
            (_, Mark::Sent) => Some(self.position),
            (_, Mark::Acknowledged) => Some(self.cursor()),
        }
    }

    fn has_unsent_backfill(&self) -> bool {
        self.backfills.iter().any(|backfill| !backfill.is_sent())
    }

    /// The backfills as they are stored: from what is acknowledged.
    pub(crate) fn backfill_records(&self, tx: &quorate_domain::TxId) -> Vec<BackfillRecord> {
        self.backfills
            .iter()
            .map(|backfill| BackfillRecord {
                filter: backfill.filter.clone(),
                tx: tx.clone(),
                next: backfill.outstanding.mark(backfill.sent_to),
                until: backfill.until,
            })
            .collect()
    }

    /// What to read next: the past of later subscriptions before what lies beyond the position.
    pub(crate) fn next_reading(&self) -> Option<Reading> {
        if let Some(backfill) = self.backfills.iter().find(|backfill| !backfill.is_sent()) {
            return Some(Reading::Backfill { filter: backfill.filter.clone(), after: backfill.sent_to });
        }
        if self.behind {
            return Some(Reading::Cursor { after: self.position });
        }
        (self.state_wanted && !self.closed).then_some(Reading::State)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_below_the_first_unacknowledged() {
        let mut room = Room::default();
        for seq in [7, 14, 21] {
            room.sent(Seq(seq), None);
            room.advance(Seq(seq));
        }
        assert_eq!(room.cursor(), Seq(6));
        room.acknowledged(Seq(14), None);
        assert_eq!(room.cursor(), Seq(6));
        room.acknowledged(Seq(7), None);
        assert_eq!(room.cursor(), Seq(20));
        room.acknowledged(Seq(21), None);
        assert_eq!(room.cursor(), Seq(21));
    }

    #[test]
    fn a_half_sent_record_holds_the_cursor_at_the_position() {
        let mut room = Room::at(Seq(5));
        room.sent(Seq(9), None);
        room.sent_half(Seq(9), None);
        assert_eq!(room.cursor(), Seq(5));
    }

    #[test]
    fn a_missed_live_copy_keeps_the_room_behind_beyond_an_older_head() {
        let mut room = Room::at(Seq(3));
        room.fall_behind(Seq(9));
        room.advance(Seq(8));
        room.caught_up(Seq(8));
        assert_eq!(room.next_reading(), Some(Reading::Cursor { after: Seq(8) }));
        room.advance(Seq(9));
        room.caught_up(Seq(9));
        assert_eq!(room.next_reading(), None);
    }

    #[test]
    fn a_backfill_is_read_first_and_stored_until_it_is_acknowledged() {
        let tx = "01JD3W8QK7V9N2M4X6Z8B0C1D3".parse().unwrap();
        let mut room = Room::at(Seq(10));
        room.begin_backfill("tx/+/#", Seq::ZERO);
        room.fall_behind(Seq(12));
        assert_eq!(room.next_reading(), Some(Reading::Backfill { filter: "tx/+/#".into(), after: Seq::ZERO }));
        assert!(!room.is_next(Seq(10)));
        room.sent(Seq(4), Some("tx/+/#"));
        room.backfill_advanced("tx/+/#", Seq(10));
        assert_eq!(room.next_reading(), Some(Reading::Cursor { after: Seq(10) }));
        assert_eq!(room.backfill_records(&tx)[0].next, Seq(3));
        room.acknowledged(Seq(4), Some("tx/+/#"));
        assert!(room.backfill_records(&tx).is_empty());
    }
}
