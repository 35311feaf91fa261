//! A directory of which a power cut leaves no more than was synced.
//!
//! The broker runs with `shim.c` before the C library, which journals what it does to the files of its store. After a SIGKILL
//! [`Disk::cut`] makes of the store what is durable at worst:
//!
//! - Each file has the length that it had at its last successful `fsync` or `fdatasync` (before the call, so that bytes written
//!   meanwhile do not count); or, where [`Tail::Torn`] says so, a random length between that and what was written.
//! - Each directory has the names that it had before its last successful `fsync`: files made since are gone, also synced ones
//!   (POSIX promises no more, though most file systems keep them), names removed since are back, and renames are undone.
//! - `sync_file_range` counts for nothing, and what was never synced (RocksDB's own `LOG` for people) is empty or gone.
//!
//! Not modelled, and so not shown by these tests:
//!
//! - Bytes written over in place: RocksDB only appends. The shim tells `pwrite` below the end of a file, and [`Disk::cut`]
//!   refuses such a store. Writes through `mmap` are off (RocksDB's default), and direct I/O is too.
//! - Blocks that reach the disk in another order than they were written: a torn file has a whole beginning. A sync that lies.
//! - Some names durable and others of the same directory not: all are as at the last sync. `syncfs` and `sync` count for nothing.
//! - The name of the store itself in its parent directory is always durable.
//! - System calls that do not go through the C library's names in `shim.c` (`io_uring`; Rust's and RocksDB's files do go through
//!   them). What the shim does not see is not kept: such a file would look lost, not safe.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use quorate_testkit::BrokerOptions;
use rand::Rng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::journal::{Names, replay};

/// What is left of what was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Gone,
    /// As much of each file as chance has it.
    Torn,
}

/// What a cut took away.
#[derive(Debug, Default, Clone, Copy)]
pub struct Loss {
    /// Of RocksDB's write-ahead logs, which are called `*.log`.
    pub log_bytes: u64,
    /// Names that are there no more, are back, or stand for another file.
    pub names: usize,
}

impl AddAssign for Loss {
    fn add_assign(&mut self, more: Loss) {
        self.log_bytes += more.log_bytes;
        self.names += more.names;
    }
}

/// A store's directory, and what is known of it.
pub struct Disk {
    _folder: TempDir,
    root: PathBuf,
    /// As of the last start: all of it was durable then.
    names: Names,
    lengths: HashMap<u64, u64>,
}

impl Disk {
    pub fn new() -> anyhow::Result<Disk> {
        let folder = tempfile::tempdir()?;
        // The kernel tells paths without symbolic links.
        let root = folder.path().canonicalize()?;
        fs::create_dir(root.join("store"))?;
        let mut disk = Disk { _folder: folder, root, names: Names::new(), lengths: HashMap::new() };
        disk.begin()?;
        Ok(disk)
    }

    /// Lets a broker keep its store here.
    pub fn under(&self, options: BrokerOptions) -> anyhow::Result<BrokerOptions> {
        Ok(options
            .set("storage.path", self.store().to_str().context("a path that is text")?)
            .environment_variable("LD_PRELOAD", &shim()?)
            .environment_variable("QUORATE_POWER_CUT_DIR", &self.store())
            .environment_variable("QUORATE_POWER_CUT_JOURNAL", &self.journal())
            .environment_variable("QUORATE_POWER_CUT_GRAVES", &self.graves()))
    }

    /// Cuts the power of a broker that has been killed. It may be started again after that.
    pub fn cut(&mut self, tail: Tail, rng: &mut StdRng) -> anyhow::Result<Loss> {
        let journal = fs::read_to_string(self.journal()).context("the journal: was the shim loaded?")?;
        let durable = replay(std::mem::take(&mut self.names), std::mem::take(&mut self.lengths), &journal)?;
        ensure!(durable.overwrites == 0, "{} writes over what was there: not modelled", durable.overwrites);
        let mut files = HashMap::new();
        for path in files_in(&self.graves())?.into_iter().chain(files_in(&self.store())?) {
            files.insert(inode(&path)?, path);
        }
        let after = self.root.join("after");
        fs::create_dir(&after)?;
        let mut kept_bytes = 0;
        for (path, inode) in &durable.names {
            let source = files.get(inode).with_context(|| format!("the file behind {} is gone", path.display()))?;
            let (written, synced) = (fs::metadata(source)?.len(), durable.lengths[inode]);
            ensure!(synced <= written, "{}: {synced} bytes were synced, {written} are there", path.display());
            let length = match tail {
                Tail::Gone => synced,
                Tail::Torn => rng.gen_range(synced..=written),
            };
            copy_beginning(source, &after.join(path.strip_prefix(self.store())?), length)?;
            kept_bytes += if is_log(path) { length } else { 0 };
        }
        let loss = Loss {
            log_bytes: log_bytes(&self.store())?.saturating_sub(kept_bytes),
            names: changes(&durable.names, &self.live_names()?),
        };
        fs::remove_dir_all(self.store())?;
        fs::rename(after, self.store())?;
        self.begin()?;
        Ok(loss)
    }

    /// All that is there is durable, and a new journal begins.
    fn begin(&mut self) -> anyhow::Result<()> {
        for path in [self.journal(), self.graves()] {
            match path.is_dir() {
                true => fs::remove_dir_all(path)?,
                false if path.exists() => fs::remove_file(path)?,
                false => {}
            }
        }
        fs::create_dir(self.graves())?;
        self.names = self.live_names()?;
        for path in self.names.keys() {
            let metadata = fs::metadata(path)?;
            self.lengths.insert(metadata.ino(), metadata.len());
        }
        Ok(())
    }

    fn live_names(&self) -> anyhow::Result<Names> {
        files_in(&self.store())?.into_iter().map(|path| inode(&path).map(|inode| (path, inode))).collect()
    }

    fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn graves(&self) -> PathBuf {
        self.root.join("graves")
    }
}

/// Compiles the shim, once a process.
fn shim() -> anyhow::Result<PathBuf> {
    static SHIM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let compiled = SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power_cut/shim.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (unfinished, shim) = (folder.join(format!("power_cut_{}.so", process::id())), folder.join("power_cut.so"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o"]).arg(&unfinished).arg(source);
        let output = compiler.output().map_err(|error| format!("cc: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        // A broker of another test process may have it loaded: it keeps the old file.
        fs::rename(unfinished, &shim).map_err(|error| error.to_string())?;
        Ok(shim)
    });
    compiled.clone().map_err(anyhow::Error::msg)
}

/// A store has no directories below it but what RocksDB makes of lost files, which it never does here.
fn files_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        ensure!(entry.file_type()?.is_file(), "{} is no file", entry.path().display());
        files.push(entry.path());
    }
    Ok(files)
}

fn inode(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.ino())
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

fn log_bytes(store: &Path) -> anyhow::Result<u64> {
    let logs = files_in(store)?.into_iter().filter(|path| is_log(path));
    logs.map(|path| Ok(fs::metadata(path)?.len())).sum()
}

fn changes(one: &Names, other: &Names) -> usize {
    let missing =
        |these: &Names, those: &Names| these.iter().filter(|(path, inode)| those.get(*path) != Some(inode)).count();
    missing(one, other) + missing(other, one)
}

fn copy_beginning(source: &Path, target: &Path, length: u64) -> anyhow::Result<()> {
    let copied = io::copy(&mut File::open(source)?.take(length), &mut File::create_new(target)?)?;
    ensure!(copied == length, "{} bytes of {}", copied, source.display());
    Ok(())
}
