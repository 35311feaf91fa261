//! What a power cut may leave of a directory at worst, read from the journal that `shim.c` keeps. Pure.
//!
//! | line | says |
//! | --- | --- |
//! | `C inode path` | the file was made, or got another name |
//! | `T inode length` | it was cut to this length |
//! | `S inode length` | it was synced; it had this length before |
//! | `R from TAB to` | it was renamed |
//! | `U path` | its name was removed |
//! | `D n path`, `d n` | the directory begins to be synced; sync `n` has succeeded |
//! | `O inode offset path` | bytes that were there are being written over |

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Which file each name stands for.
pub type Names = BTreeMap<PathBuf, u64>;

/// What may be relied on after a power cut.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Durable {
    /// The names as they were when their directory was last synced.
    pub names: Names,
    /// By inode: the length at the last sync.
    pub lengths: HashMap<u64, u64>,
    /// Bytes that were written over: nothing is known of them.
    pub overwrites: usize,
}

#[derive(Default)]
struct Replay {
    live: Names,
    durable: Durable,
    /// Syncs of directories that have begun: the directory, and its names then.
    begun: HashMap<u64, (PathBuf, Names)>,
    /// By directory: the last sync that counted.
    last: HashMap<PathBuf, u64>,
}

/// What is durable at the end of the journal, beginning with `names` and `lengths`, which all are.
pub fn replay(names: Names, lengths: HashMap<u64, u64>, journal: &str) -> anyhow::Result<Durable> {
    let durable = Durable { names: names.clone(), lengths, overwrites: 0 };
    let mut replay = Replay { live: names, durable, ..Replay::default() };
    // The last line may have been cut by the SIGKILL.
    let whole = journal.rfind('\n').map_or("", |end| &journal[..end]);
    for line in whole.lines() {
        replay.take(line).ok_or_else(|| anyhow::anyhow!("not a line of the journal: {line}"))?;
    }
    Ok(replay.durable)
}

impl Replay {
    fn take(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "C" => {
                let (inode, path) = numbered(rest)?;
                self.live.insert(PathBuf::from(path), inode);
                self.durable.lengths.entry(inode).or_insert(0);
            }
            "T" => {
                let (inode, length) = numbered(rest)?;
                let length: u64 = length.parse().ok()?;
                self.durable.lengths.entry(inode).and_modify(|synced| *synced = length.min(*synced));
            }
            "S" => {
                let (inode, length) = numbered(rest)?;
                let length: u64 = length.parse().ok()?;
                let synced = self.durable.lengths.entry(inode).or_default();
                *synced = length.max(*synced);
            }
            "R" => {
                let (from, to) = rest.split_once('\t')?;
                match self.live.remove(Path::new(from)) {
                    Some(inode) => self.live.insert(PathBuf::from(to), inode),
                    // One that was not made by a call that the shim knows: it is not kept.
                    None => self.live.remove(Path::new(to)),
                };
            }
            "U" => {
                self.live.remove(Path::new(rest));
            }
            "D" => {
                let (number, path) = numbered(rest)?;
                let directory = PathBuf::from(path);
                let names = names_in(&self.live, &directory);
                self.begun.insert(number, (directory, names));
            }
            "d" => self.sync_directory(rest.parse().ok()?)?,
            "O" => self.durable.overwrites += 1,
            _ => return None,
        }
        Some(())
    }

    fn sync_directory(&mut self, number: u64) -> Option<()> {
        let (directory, names) = self.begun.remove(&number)?;
        let last = self.last.entry(directory.clone()).or_default();
        if number >= *last {
            *last = number;
            self.durable.names.retain(|path, _| path.parent() != Some(&directory));
            self.durable.names.extend(names);
        }
        Some(())
    }
}

fn names_in(names: &Names, directory: &Path) -> Names {
    let inside = names.iter().filter(|(path, _)| path.parent() == Some(directory));
    inside.map(|(path, inode)| (path.clone(), *inode)).collect()
}

fn numbered(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = text.split_once(' ')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{Durable, Names, replay};

    fn after(journal: &str) -> Durable {
        let names = Names::from([("/s/OLD".into(), 1)]);
        replay(names, [(1, 10)].into(), journal).expect("a journal")
    }

    fn names(durable: &Durable) -> Vec<(&str, u64)> {
        durable.names.iter().map(|(path, inode)| (path.to_str().expect("text"), *inode)).collect()
    }

    #[test]
    fn a_file_counts_as_long_as_it_was_when_it_was_last_synced() {
        assert_eq!(after("").lengths[&1], 10);
        assert_eq!(after("C 2 /s/a\n").lengths[&2], 0);
        assert_eq!(after("C 2 /s/a\nS 2 30\nS 2 20\n").lengths[&2], 30);
        assert_eq!(after("C 2 /s/a\nS 2 30\nT 2 5\n").lengths[&2], 5);
        assert_eq!(after("C 2 /s/a\nT 2 50\n").lengths[&2], 0);
    }

    #[test]
    fn a_name_counts_once_its_directory_was_synced_after_it() {
        let made = "C 2 /s/a\n";
        assert_eq!(names(&after(made)), [("/s/OLD", 1)]);
        assert_eq!(names(&after(&format!("{made}D 1 /s\n"))), [("/s/OLD", 1)]);
        assert_eq!(names(&after(&format!("{made}D 1 /s\nd 1\n"))), [("/s/OLD", 1), ("/s/a", 2)]);
        assert_eq!(names(&after("D 1 /s\nC 2 /s/a\nd 1\n")), [("/s/OLD", 1)]);
        assert_eq!(names(&after(&format!("{made}D 1 /other\nd 1\n"))), [("/s/OLD", 1)]);
        assert_eq!(names(&after("D 1 /s\nC 2 /s/a\nD 2 /s\nd 2\nd 1\n")), [("/s/OLD", 1), ("/s/a", 2)]);
    }

    #[test]
    fn renaming_and_removing_are_undone_until_then() {
        let renamed = "C 2 /s/a\nD 1 /s\nd 1\nR /s/a\t/s/OLD\n";
        assert_eq!(names(&after(renamed)), [("/s/OLD", 1), ("/s/a", 2)]);
        assert_eq!(names(&after(&format!("{renamed}D 2 /s\nd 2\n"))), [("/s/OLD", 2)]);
        assert_eq!(names(&after("U /s/OLD\n")), [("/s/OLD", 1)]);
        assert_eq!(names(&after("U /s/OLD\nD 1 /s\nd 1\n")), []);
        assert_eq!(names(&after("R /s/unknown\t/s/OLD\nD 1 /s\nd 1\n")), []);
    }

    #[test]
    fn a_line_that_was_cut_is_left_out_and_any_other_is_an_error() {
        assert_eq!(names(&after("C 2 /s/a\nD 1 /s\nd 1\nU /s/O")), [("/s/OLD", 1), ("/s/a", 2)]);
        assert_eq!(after("O 1 3 /s/OLD\n").overwrites, 1);
        for line in ["X 1\n", "C a /s/a\n", "d 1\n", "R /s/a\n"] {
            assert!(replay(Names::new(), [].into(), line).is_err(), "{line:?}");
        }
    }
}
