//! The rate limit: books the exact next slot. A lane that must wait knows until when and sleeps; nothing polls.
//!
//! This is the generic cell rate algorithm. The slot is booked from the slot before it, not from the moment the
//! request really left, so that a timer that fires late costs no rate: over any window of `per` there are at most
//! `limit + burst` requests, and a backlog is worked off at `limit`.

use crate::model::endpoint::RateLimit;
use std::time::{Duration, Instant};

/// One lane's limiter.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// Between two requests at the full rate.
    interval: Duration,
    /// How far ahead of the rate a burst may run.
    tolerance: Duration,
    /// When the next request would be due if all had been spaced evenly.
    due: Option<Instant>,
}

impl Limiter {
    /// A limiter of that rate, with nothing sent yet.
    #[must_use]
    pub fn new(rate: RateLimit) -> Self {
        let interval = rate.per.duration() / rate.limit.get();
        Self { interval, tolerance: interval * (rate.burst.get() - 1), due: None }
    }

    /// The same, going on from what another limiter of the lane has let through.
    #[must_use]
    pub fn going_on(rate: RateLimit, from: Option<&Self>) -> Self {
        let mut limiter = Self::new(rate);
        let last = from.and_then(|old| old.due?.checked_sub(old.interval));
        limiter.due = last.map(|last| last + limiter.interval);
        limiter
    }

    /// Books the next slot: the earliest time a request may start. Never before `now`.
    pub fn book(&mut self, now: Instant) -> Instant {
        let due = self.due.unwrap_or(now);
        let slot = due.checked_sub(self.tolerance).unwrap_or(now).max(now);
        self.due = Some(due.max(now) + self.interval);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Per;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn rate(limit: u32, burst: u32) -> RateLimit {
        let some = |n| NonZeroU32::new(n).expect("positive");
        RateLimit { limit: some(limit), per: Per::Second, burst: some(burst) }
    }

    #[test]
    fn a_late_timer_costs_no_rate() {
        let start = crate::clock::instant();
        let mut limiter = Limiter::new(rate(100, 1));
        let mut now = start;
        for _ in 0..1000 {
            // The timer fires up to 9 ms late.
            now = limiter.book(now) + Duration::from_millis(9);
        }
        let seconds = (now - start).as_secs_f64();
        assert!((9.9..10.1).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_burst_goes_at_once_after_a_quiet_time() {
        let now = crate::clock::instant();
        let mut limiter = Limiter::new(rate(10, 3));
        let slots: Vec<_> = (0..5).map(|_| (limiter.book(now) - now).as_millis()).collect();
        assert_eq!(slots, [0, 0, 0, 100, 200]);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_limit_and_burst(
            limit in 1_u32..50, burst in 1_u32..10, gaps in prop::collection::vec(0_u64..200, 1..300)
        ) {
            let start = crate::clock::instant();
            let mut limiter = Limiter::new(rate(limit, burst));
            let mut now = start;
            let mut sent = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                now = limiter.book(now);
                sent.push(now);
            }
            for (i, from) in sent.iter().enumerate() {
                let within = sent[i..].iter().take_while(|t| **t - *from < Duration::from_secs(1));
                prop_assert!(within.count() <= (limit + burst) as usize);
            }
        }
    }
}
