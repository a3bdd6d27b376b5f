//! The wall clock, which the law never sees but as block time, and one that no hand sets.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// When this process first looked at [`steady_ms`].
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds on a clock of this process, which never jumps: for how long something lasted.
#[must_use]
pub(crate) fn steady_ms() -> u64 {
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}
