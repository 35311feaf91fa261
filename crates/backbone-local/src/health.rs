//! Whether appends can be acknowledged: what `/readyz` asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_backbone::Health;

/// Set by the committer alone.
#[derive(Default)]
pub(crate) struct LocalHealth {
    reasons: Mutex<Reasons>,
}

#[derive(Default)]
struct Reasons {
    fault: Option<String>,
    low_disk: Option<String>,
}

impl LocalHealth {
    pub(crate) fn fail(&self, reason: String) {
        self.lock().fault = Some(reason);
    }

    pub(crate) fn recover(&self) {
        self.lock().fault = None;
    }

    /// Whether, and why, no messages are taken for want of room.
    pub(crate) fn set_low_disk(&self, reason: Option<String>) {
        self.lock().low_disk = reason;
    }

    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health for LocalHealth {
    fn ready(&self) -> Result<(), String> {
        let reasons = self.lock();
        reasons.fault.clone().or_else(|| reasons.low_disk.clone()).map_or(Ok(()), Err)
    }
}
