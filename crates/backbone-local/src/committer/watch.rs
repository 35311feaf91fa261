//! What the committer looks at as time passes: the room on the disk, how full everything is, what has its time.

use std::sync::atomic::Ordering;

use quorate_backbone::SaveError;

use super::Committer;
use super::pending::Pending;
use super::usage::used;

/// Bytes that are written between two looks at the disk, whatever time it is.
const LOOK_EVERY_BYTES: usize = 1 << 20;

impl Committer {
    /// Time has passed.
    pub(super) fn tick(&mut self) {
        self.is_due = true;
        self.look_at_disk();
        let stored = self.usages.stored().plus(self.topics.queued);
        let metrics = &self.metrics;
        if let Ok((cache, buffers)) = self.shared.store().and_then(|store| store.memory()) {
            metrics.block_cache.set(i64::try_from(cache).unwrap_or(i64::MAX));
            metrics.write_buffers.set(i64::try_from(buffers).unwrap_or(i64::MAX));
        }
        metrics.store_messages.set(i64::try_from(stored.messages).unwrap_or(i64::MAX));
        metrics.store_bytes.set(i64::try_from(stored.bytes).unwrap_or(i64::MAX));
        metrics.used_store.set(used(stored, self.bounds.store));
        metrics.used_party.set(self.usages.fullest_party(&self.bounds));
        metrics.used_queue.set(self.topics.fullest_queue());
    }

    /// So much was written: much of it may fill the disk before time has passed.
    pub(super) fn note_written(&mut self, bytes: usize) {
        self.written_since_look += bytes;
        if self.written_since_look >= LOOK_EVERY_BYTES {
            self.look_at_disk();
        }
    }

    /// A disk that is nearly full takes no more messages while there is room to go on with everything else: cursors,
    /// sessions, purges. One that cannot be asked is not held against it.
    fn look_at_disk(&mut self) {
        self.written_since_look = 0;
        let Some(free) = self.disk.free_bytes() else { return };
        self.metrics.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
        let least = self.bounds.disk_free_min_bytes;
        let is_low = free < least;
        match (&self.usages.low_disk, is_low) {
            (None, true) => {
                let reason = format!("the disk is nearly full: {free} bytes are free, and the last {least} are kept");
                tracing::error!("{reason}; refusing messages, delivering what is stored");
                self.health.set_low_disk(Some(reason.clone()));
                self.usages.low_disk = Some(reason);
            }
            (Some(_), false) => {
                tracing::info!(free, "there is room on the disk again");
                self.health.set_low_disk(None);
                self.usages.low_disk = None;
            }
            _ => {}
        }
    }

    /// The operator lets transactions begin in a restored store.
    pub(super) fn decide_confirm(&mut self, pending: &mut Pending) -> Result<(), SaveError> {
        if self.restore_unconfirmed.load(Ordering::Acquire) {
            pending.batch.put_restore(None);
            pending.sync = true;
            pending.confirmed = true;
        }
        Ok(())
    }
}
