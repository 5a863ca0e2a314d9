//! The rate limit: what knows the exact next slot. Whoever must wait sleeps until then; nothing polls. An endpoint, an
//! application and the gateway may each have one, and a request starts when all three have a slot.
//!
//! This is the generic cell rate algorithm: requests have places on an even schedule, and one may leave before its
//! place by as much as a burst allows. Timers fire late, and behind each other on a machine that is busy. What was
//! waited for may therefore leave after its place by up to [`LATE`] without the next ones' places moving: a late timer
//! costs no rate. So that over any window of `per` there are still at most `limit + burst` requests, high rates are
//! spaced a little wider than `per / limit`; see [`interval`].

use crate::model::endpoint::RateLimit;
use std::time::{Duration, Instant};

/// How much later than its slot a request may leave without the schedule moving, where that is less than a hundredth
/// of the limit's unit of time. A timer's granularity is 1 ms; a busy machine adds some.
const LATE: Duration = Duration::from_millis(10);

/// One limiter.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// Between two places of the schedule.
    interval: Duration,
    /// How far before its place a request may leave.
    tolerance: Duration,
    /// How far behind its place it may, if it was waited for.
    late: Duration,
    /// The next place: when the next request would be due if all had been spaced evenly.
    due: Option<Instant>,
    /// Whether somebody waits for a slot, or what was late is not made up for.
    awaited: bool,
}

impl Limiter {
    /// A limiter of that rate, with nothing sent yet.
    #[must_use]
    pub fn new(rate: RateLimit) -> Self {
        let late = LATE.min(rate.per.duration() / 100);
        let interval = interval(rate, late);
        let tolerance = interval * (rate.burst.get() - 1);
        Self { interval, tolerance, late, due: None, awaited: false }
    }

    /// The same, with its burst used up just before `at`: nobody knows what was sent then.
    #[must_use]
    pub fn spent(self, at: Instant) -> Self {
        Self { due: Some(at + self.tolerance + self.interval), ..self }
    }

    /// The same, going on from another limiter `now`: what that has let through ahead of its schedule still counts, each request
    /// as one of this rate, so that a changed limit neither gives the burst again nor keeps anybody waiting for the old one.
    #[must_use]
    pub fn going_on(rate: RateLimit, from: Option<&Self>, now: Instant) -> Self {
        let mut limiter = Self::new(rate);
        let ahead =
            from.and_then(|old| Some((old.due?.checked_duration_since(now)?, old.interval)));
        if let Some((ahead, interval)) = ahead {
            // Any two of them are less than a day.
            let requests = ahead.as_secs_f64() / interval.as_secs_f64().max(f64::MIN_POSITIVE);
            let requests = requests.min(f64::from(rate.burst.get()));
            limiter.due = Some(now + limiter.interval.mul_f64(requests));
        }
        limiter
    }

    /// The next slot: the earliest time that a request may start, and never before `now`.
    pub fn slot(&mut self, now: Instant) -> Instant {
        let slot = self.due.and_then(|due| due.checked_sub(self.tolerance)).unwrap_or(now).max(now);
        self.awaited |= slot > now;
        slot
    }

    /// A request starts `now`, at its slot or later.
    pub fn take(&mut self, now: Instant) {
        let late = if self.awaited { self.late } else { Duration::ZERO };
        let earliest = now.checked_sub(late).unwrap_or(now);
        let due = self.due.unwrap_or(now).max(earliest) + self.interval;
        self.due = Some(due);
        self.awaited &= due <= now;
    }

    /// Whether it is as good as new: nothing that was sent counts any more.
    #[must_use]
    pub fn is_rested(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

/// The time between two places. With `burst - 1` of them before its place and `late` behind it, of `n` requests in a
/// window the first and the last are at least `(n - 1)` intervals apart on the schedule, and at most the window, the
/// burst and `late`: `n - 1 < (per + late) / interval + burst - 1`. There are no more than `limit + burst` if that
/// interval is at least `(per + late) / (limit + 1)`. Half of `late` on top is for what happens on the way, so that the
/// receiver too sees no more. That is wider than `per / limit` only from 67 a second on, and by at most 1.5 %.
fn interval(rate: RateLimit, late: Duration) -> Duration {
    let (per, limit) = (rate.per.duration(), rate.limit.get());
    let spread = (per + late + late / 2).as_nanos().div_ceil(u128::from(limit) + 1);
    let even = per.as_nanos().div_ceil(u128::from(limit));
    Duration::from_nanos(u64::try_from(even.max(spread)).unwrap_or(u64::MAX))
}

#[cfg(test)]
pub(super) mod tests;
