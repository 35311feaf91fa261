//! Whether appends can be acknowledged: what `/readyz` asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_backbone::Health;

/// Set by the committer alone.
#[derive(Default)]
pub(crate) struct LocalHealth {
    fault: Mutex<Option<String>>,
}

impl LocalHealth {
    pub(crate) fn fail(&self, reason: String) {
        *self.lock() = Some(reason);
    }

    pub(crate) fn recover(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health for LocalHealth {
    fn ready(&self) -> Result<(), String> {
        self.lock().clone().map_or(Ok(()), Err)
    }
}
