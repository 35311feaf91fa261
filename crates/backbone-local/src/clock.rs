//! The clock of the broker.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_domain::UnixMs;

/// Now; a clock before 1970 reads as 1970.
pub(crate) fn now() -> UnixMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
