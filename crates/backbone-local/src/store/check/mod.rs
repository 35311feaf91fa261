//! Looks through a whole store that nobody has open, and says what is wrong: records that cannot be read, and records that
//! contradict each other. It changes nothing.
//!
//! Every block is read with its checksum. Then: the log of each transaction grows, and its hash chain ends at the head
//! that is stored; what was addressed, counted and written to slots is what the log says; cursors, receipts, queues and
//! references belong to something and point to something; the sums of all are the sums of their parts.

mod rooms;
mod sessions;

use std::fmt;

use crate::Progress;

use super::families::Family;
use super::records::decode;
use super::{Store, StoreFault};

/// Findings that are told one by one; of any more only the count is.
const FINDINGS_MAX: usize = 1_000;
/// Records between two words of progress.
const TELL_EVERY: u64 = 1_000;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which column family.
    pub family: &'static str,
    /// At which record, as far as it can be named.
    pub place: String,
    /// What it is.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.family, self.place, self.problem)
    }
}

/// What a look through a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records that were read.
    pub records: u64,
    /// Transactions whose logs were followed.
    pub transactions: u64,
    /// Messages of logs whose place in the hash chain was computed.
    pub chained: u64,
    /// Transactions whose messages are sealed and could not be opened for want of their key: their hash chains were not
    /// computed.
    pub unopened: u64,
    /// What is wrong; at most a thousand.
    pub findings: Vec<Finding>,
    /// What is wrong beyond those.
    pub more_findings: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A look in the making.
pub(super) struct Check<'a> {
    store: &'a Store,
    report: CheckReport,
    progress: Progress<'a>,
}

impl Store {
    /// Looks through all of it.
    pub(crate) fn check(&self, progress: Progress<'_>) -> CheckReport {
        let mut check = Check { store: self, report: CheckReport::default(), progress };
        let rooms = check.rooms();
        check.sessions(&rooms);
        check.others();
        check.report
    }
}

impl Check<'_> {
    fn find(&mut self, family: Family, place: impl fmt::Display, problem: impl fmt::Display) {
        if self.report.findings.len() >= FINDINGS_MAX {
            self.report.more_findings += 1;
            return;
        }
        let (place, problem) = (place.to_string(), problem.to_string());
        self.report.findings.push(Finding { family: family.name(), place, problem });
    }

    /// Shows every record of a family, and finds what cannot be read: a block whose checksum is wrong ends the family.
    fn walk(&mut self, family: Family, mut look: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), StoreFault>) {
        let mut last = Vec::new();
        let store = self.store;
        let mut done: u64 = 0;
        let walked = store.each_checked(family, |key, value| {
            done += 1;
            self.report.records += 1;
            if done.is_multiple_of(TELL_EVERY) {
                (self.progress)(family.name(), done, 0);
            }
            last.clear();
            last.extend_from_slice(key);
            if let Err(error) = look(self, key, value) {
                self.find(family, printable(key), error);
            }
        });
        (self.progress)(family.name(), done, done);
        if let Err(error) = walked {
            let place = format!("after {}", printable(&last));
            self.find(family, place, format!("{error}; what follows was not looked at"));
        }
    }

    /// What only has to be readable.
    fn others(&mut self) {
        self.walk(Family::Meta, |_, _, _| Ok(()));
        self.walk(Family::Presence, |_, _, value| decode::<super::PresenceValue>("presence", value).map(drop));
        self.walk(Family::Due, |_, key, _| super::due::read(key).map(drop));
    }
}

/// A key for a person: texts as they are, all else in hexadecimal digits.
fn printable(key: &[u8]) -> String {
    let texts = key.split(|byte| *byte == 0).map(|part| part.strip_prefix(&[1]).unwrap_or(part));
    let texts: Vec<String> = texts
        .filter(|part| !part.is_empty())
        .map(|part| match std::str::from_utf8(part) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => hex::encode(part),
        })
        .collect();
    texts.join(" ")
}
