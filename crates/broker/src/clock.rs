//! The one place of this room where the wall clock is read. Durations inside a connection come from its own origin.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_domain::UnixMs;

/// Milliseconds since the epoch. A clock that stands before 1970 counts as the epoch itself.
pub(crate) fn unix_now() -> UnixMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
