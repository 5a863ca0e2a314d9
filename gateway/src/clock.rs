//! All time and chance. Nothing else reads the wall clock or draws a random number, so that everything else
//! can be tested with values.

use crate::model::Millis;
use rand::{Rng, RngCore};
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

#[cfg(test)]
pub mod simulated;

/// Now, in milliseconds since the Unix epoch.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Millis {
    #[cfg(test)]
    if let Some(simulated) = simulated::now() {
        return simulated;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// By how much a clock may be behind the last message and be held for slow. One that is further behind was set right: it
/// was wrong before, and nothing is gained by going on from there.
const SLOW: Millis = 24 * 3_600_000;

/// When the last message was accepted.
static ACCEPTED: AtomicU64 = AtomicU64::new(0);

/// When a message is accepted that is accepted now: not before the last one, if the clock was set back, since what is
/// looked for by time is looked for in the messages' order.
#[must_use]
pub fn accepted() -> Millis {
    #[cfg(test)]
    if let Some(simulated) = simulated::accepted() {
        return simulated;
    }
    step(&ACCEPTED, now())
}

/// The same, with an id of that moment.
#[must_use]
pub fn accept() -> (Uuid, Millis) {
    #[cfg(test)]
    if let (Some(id), Some(now)) = (simulated::id(), simulated::accepted()) {
        return (id, now);
    }
    accept_at(&ACCEPTED, id())
}

fn accept_at(last: &AtomicU64, id: Uuid) -> (Uuid, Millis) {
    let moment = |id: Uuid| {
        Some(id.get_timestamp()?.to_unix()).map(|(s, ns)| s * 1_000 + u64::from(ns) / 1_000_000)
    };
    let drawn = moment(id).unwrap_or_else(now);
    let accepted = step(last, drawn);
    if accepted == drawn {
        return (id, accepted);
    }
    let chance = rand::rng().random();
    (uuid::Builder::from_unix_timestamp_millis(accepted, &chance).into_uuid(), accepted)
}

/// Messages were accepted until then, by a process before this one.
pub fn accepted_until(last: Millis) {
    ACCEPTED.fetch_max(last, Relaxed);
}

fn step(last: &AtomicU64, now: Millis) -> Millis {
    let next = |last: Millis| if last > now.saturating_add(SLOW) { now } else { last.max(now) };
    match last.fetch_update(Relaxed, Relaxed, |last| Some(next(last))) {
        Ok(last) | Err(last) => next(last),
    }
}

/// A point on the monotonic clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn instant() -> Instant {
    #[cfg(test)]
    if let Some(simulated) = simulated::instant() {
        return simulated;
    }
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
    #[cfg(test)]
    if let Some(simulated) = simulated::id() {
        return simulated;
    }
    Uuid::now_v7()
}

/// A number in `-1.0..1.0`, for jitter.
#[must_use]
pub fn chance() -> f64 {
    #[cfg(test)]
    if let Some(simulated) = simulated::chance() {
        return simulated;
    }
    rand::rng().random_range(-1.0..1.0)
}

/// 32 random bytes, for keys and secrets.
#[must_use]
pub fn random_bytes() -> [u8; 32] {
    #[cfg(test)]
    if let Some(simulated) = simulated::bytes() {
        return simulated;
    }
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_acceptance_do_not_go_back_with_the_clock() {
        let last = AtomicU64::new(5_000);
        for (now, expected) in [
            (4_000, 5_000),
            (6_000, 6_000),
            (5_999, 6_000),
            (0, 6_000),
            (6_001, 6_001),
            (10 * SLOW, 10 * SLOW),
            (9 * SLOW, 10 * SLOW),
            // It was wrong by days.
            (9 * SLOW - 1, 9 * SLOW - 1),
            (9 * SLOW - 2, 9 * SLOW - 1),
        ] {
            assert_eq!(step(&last, now), expected, "{now}");
        }
    }

    #[test]
    fn the_id_of_a_message_is_of_the_moment_it_was_accepted_at() {
        let (drawn, ahead) = (id(), now() + 10_000);
        let (same, at) = accept_at(&AtomicU64::new(0), drawn);
        assert_eq!(same, drawn);
        let (other, later) = accept_at(&AtomicU64::new(ahead), drawn);
        assert_eq!((later, other.get_version_num()), (ahead, 7));
        assert!(other > drawn && at < later);
        let millis = other.as_u128() >> 80;
        assert_eq!(millis, u128::from(ahead));
    }

    #[test]
    fn messages_are_accepted_no_earlier_than_those_of_the_process_before() {
        let last = now() + 10_000;
        accepted_until(last);
        accepted_until(1);
        assert!(accepted() >= last);
    }
}
