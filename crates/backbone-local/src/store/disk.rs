//! The seam at which a disk fails: the real one here, faulty ones in tests.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Batch, Store, StoreFault};

/// How much a probe writes: more than a file system keeps back for itself in a block or an inode.
const PROBE_BYTES: usize = 64 << 10;

/// Where batches go.
pub(crate) trait Disk: Send {
    /// Writes a batch, and syncs it if asked to. An error leaves the outcome unknown.
    fn write(&mut self, store: &Store, batch: &Batch, sync: bool) -> Result<(), StoreFault>;

    /// Whether the disk takes anything again.
    fn probe(&mut self) -> Result<(), StoreFault>;

    /// How much it still takes; `None` where it does not say.
    fn free_bytes(&mut self) -> Option<u64>;
}

/// The disk under the store.
pub(crate) struct RealDisk {
    probe: PathBuf,
}

impl RealDisk {
    pub(crate) fn new(path: &Path) -> Self {
        Self { probe: path.join("quorate-probe") }
    }
}

impl Disk for RealDisk {
    fn write(&mut self, store: &Store, batch: &Batch, sync: bool) -> Result<(), StoreFault> {
        store.write(batch, sync)
    }

    fn probe(&mut self) -> Result<(), StoreFault> {
        let mut file = File::create(&self.probe)?;
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()?;
        Ok(fs::remove_file(&self.probe)?)
    }

    fn free_bytes(&mut self) -> Option<u64> {
        let about = rustix::fs::statvfs(self.probe.parent()?).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }
}
