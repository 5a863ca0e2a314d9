//! All time and chance. Nothing else reads the wall clock or draws a random number, so that everything else
//! can be tested with values.

use crate::model::Millis;
use rand::{Rng, RngCore};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Now, in milliseconds since the Unix epoch.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A point on the monotonic clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// The CPU time of this thread. A system call.
#[must_use]
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A new id (UUID version 7: ordered by time).
#[must_use]
pub fn id() -> Uuid {
    Uuid::now_v7()
}

/// A number in `-1.0..1.0`, for jitter.
#[must_use]
pub fn chance() -> f64 {
    rand::rng().random_range(-1.0..1.0)
}

/// 32 random bytes, for keys and secrets.
#[must_use]
pub fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
