//! The limiter against what it promises: a window's most, and a backlog's least.

use super::*;
use crate::{clock, model::endpoint::Per};
use proptest::prelude::*;
use std::num::NonZeroU32;

const SECOND: Duration = Duration::from_secs(1);

fn rate(limit: u32, burst: u32) -> RateLimit {
    let some = |n| NonZeroU32::new(n).expect("positive");
    RateLimit { limit: some(limit), per: Per::Second, burst: some(burst) }
}

/// Waits for the next slot, if it is not there, with a timer that adds `late`; when the request started.
fn send(limiter: &mut Limiter, now: Instant, late: impl FnOnce(Instant) -> Instant) -> Instant {
    let slot = limiter.slot(now);
    let start = if slot > now { late(slot) } else { now };
    limiter.take(start);
    start
}

/// The most of these that are in any window of a second.
pub(crate) fn window_maximum(sent: &[Instant]) -> usize {
    let (mut most, mut first) = (0, 0);
    for (last, at) in sent.iter().enumerate() {
        while *at - sent[first] >= SECOND {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[test]
fn a_burst_goes_at_once_after_a_quiet_time_and_is_not_saved_up() {
    let mut now = clock::instant();
    let mut limiter = Limiter::new(rate(10, 3));
    for _ in 0..2 {
        let start = now;
        let mut slots = Vec::new();
        for _ in 0..5 {
            now = send(&mut limiter, now, |slot| slot);
            slots.push((now - start).as_millis());
        }
        assert_eq!(slots, [0, 0, 0, 100, 200]);
        now += 100 * SECOND;
    }
}

#[test]
fn a_quiet_time_does_not_count_as_waiting() {
    let mut now = clock::instant();
    let mut limiter = Limiter::new(rate(5_000, 1));
    // The last slot was waited for, and nobody came.
    now = send(&mut limiter, now, |slot| slot);
    now = send(&mut limiter, now, |slot| slot + Duration::from_micros(10));
    now += 9 * SECOND;
    limiter.take(now);
    assert!(limiter.slot(now) > now, "requests are spaced evenly");
}

#[test]
fn changed_rates_go_on_from_what_was_let_through() {
    let now = clock::instant();
    let mut limiter = Limiter::new(rate(1, 1));
    limiter.take(now);
    assert_eq!(limiter.slot(now), now + SECOND);
    let mut faster = Limiter::going_on(rate(10, 1), Some(&limiter), now);
    assert_eq!(faster.slot(now), now + SECOND / 10);
    let mut slower = Limiter::going_on(rate(1, 1), Some(&faster), now);
    assert_eq!(slower.slot(now), now + SECOND);
    assert!(!slower.is_rested(now) && slower.is_rested(now + SECOND));
}

#[test]
fn nobody_waits_for_the_schedule_of_a_limit_that_is_no_more() {
    let now = clock::instant();
    let hourly = RateLimit { per: Per::Hour, ..rate(600, 600) };
    let mut limiter = Limiter::new(hourly);
    (0..600).for_each(|_| limiter.take(now));
    assert!(limiter.slot(now) > now);
    let mut faster = Limiter::going_on(rate(100, 1), Some(&limiter), now);
    assert!(faster.slot(now) <= now + SECOND / 50, "and not for an hour");
}

#[test]
fn a_limit_that_is_changed_to_and_fro_lets_no_more_through() {
    let start = clock::instant();
    let limits = [rate(50, 50), RateLimit { per: Per::Minute, ..rate(50, 50) }];
    let mut limiter = Limiter::new(limits[0]);
    let mut sent = Vec::new();
    for step in 0..60 {
        let now = start + step * SECOND / 20;
        limiter = Limiter::going_on(limits[step as usize % 2], Some(&limiter), now);
        while limiter.slot(now) <= now && sent.len() < 10_000 {
            limiter.take(now);
            sent.push(now);
        }
    }
    assert!(window_maximum(&sent) <= 100, "{}", window_maximum(&sent));
}

#[test]
fn a_late_timer_costs_no_rate_at_any_limit() {
    for limit in [1, 7, 50, 66, 67, 100, 500, 1_000, 5_000, 20_000] {
        for burst in [1, 10] {
            let start = clock::instant();
            let mut limiter = Limiter::new(rate(limit, burst));
            let mut sent = Vec::new();
            let mut now = start;
            while now - start < 10 * SECOND {
                // A tick of 1 ms, and up to 6 ms more.
                now = send(&mut limiter, now, |slot| {
                    let ticks = (slot - start).as_nanos().div_ceil(1_000_000) as u64;
                    start + Duration::from_millis(ticks + (sent.len() as u64 * 7919) % 7)
                });
                sent.push(now);
            }
            let least = f64::from(limit) * 10.0 * 0.98;
            assert!(sent.len() as f64 >= least, "{} at {limit}/s", sent.len());
            let most = window_maximum(&sent);
            assert!(most <= (limit + burst) as usize, "{most} at {limit}/s and {burst}");
        }
    }
}

proptest! {
    /// Whatever comes when, and however late timers are.
    #[test]
    fn no_window_sees_more_than_limit_and_burst(
        limit in 1_u32..2_000, burst in 1_u32..10,
        gaps in prop::collection::vec((0_u64..5_000, 0_u64..20_000, 1_usize..60), 1..100)
    ) {
        let mut now = clock::instant();
        let mut limiter = Limiter::new(rate(limit, burst));
        let mut sent = Vec::new();
        for (quiet, late, count) in gaps {
            now += Duration::from_micros(quiet * 100);
            for _ in 0..count {
                now = send(&mut limiter, now, |slot| slot + Duration::from_micros(late));
                sent.push(now);
            }
        }
        prop_assert!(window_maximum(&sent) <= (limit + burst) as usize);
    }
}
