//! A lane and its window, step by step, with the time as a value.

use super::{
    ordered::Fetch,
    window::{BYTES, COUNT, FETCH, OVERHEAD},
    *,
};
use crate::{
    clock,
    deliver::{
        breaker,
        health::{Ended, Policy, Sign},
    },
    model::{endpoint::Per, id::ApplicationId, message::Sequence, sample},
};
use proptest::prelude::*;
use std::{num::NonZeroU32, time::Duration};
use uuid::Uuid;

fn delivery(sequence: u64) -> Arc<Delivery> {
    let message = Arc::new(sample::message(ApplicationId(Uuid::nil())));
    Arc::new(sample::delivery(&message, Sequence(sequence)))
}

fn limits(rate: Option<(u32, u32)>, in_flight: usize) -> Limits {
    let number = |n| NonZeroU32::new(n).expect("not zero");
    let rate = rate.map(|(limit, burst)| RateLimit {
        limit: number(limit),
        per: Per::Second,
        burst: number(burst),
    });
    Limits { rate, in_flight, renewed: 1 }
}

/// A lane in which those wait.
fn lane(limits: Limits, deliveries: std::ops::Range<u64>) -> Lane {
    let mut lane = Lane::new(limits, limits.rate.map(Limiter::new));
    for sequence in deliveries {
        assert_eq!(lane.offer(delivery(sequence), BYTES), None);
    }
    lane
}

/// What it sends now, if it may.
fn send(lane: &mut Lane, now: Instant) -> Option<u64> {
    let ready = lane.ready(now) == Ready::Now;
    ready.then(|| lane.take(now)).flatten().map(|delivery| delivery.key.message.0)
}

/// What it wants to fetch now.
fn fetch(lane: &mut Lane) -> Option<usize> {
    lane.wants(BYTES).then(|| count(lane, BYTES)).flatten()
}

/// How many it fetches, of the oldest.
fn count(lane: &mut Lane, share: usize) -> Option<usize> {
    match lane.fetch(share)? {
        Fetch::Oldest(count) => Some(count),
        Fetch::Places(places) => panic!("it keeps no order: {places:?}"),
    }
}

/// What it fetched.
fn fetched(lane: &mut Lane, found: Option<Vec<Arc<Delivery>>>) {
    assert_eq!(lane.fetched(&Fetch::Oldest(0), found, BYTES), []);
}

/// One of those under way has ended.
fn end(lane: &mut Lane) {
    lane.finished(&delivery(0), true);
}

#[test]
fn deliveries_go_in_order_and_no_more_at_once_than_may() {
    let now = clock::instant();
    let mut lane = lane(limits(None, 2), 0..3);
    assert_eq!(send(&mut lane, now), Some(0));
    assert_eq!(send(&mut lane, now), Some(1));
    assert_eq!((lane.ready(now), lane.in_flight()), (Ready::No, 2));
    end(&mut lane);
    assert_eq!(send(&mut lane, now), Some(2));
    assert_eq!(lane.ready(now), Ready::No);
}

#[test]
fn a_rate_limited_lane_says_when_its_next_slot_is() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((10, 1)), 100), 0..3);
    assert_eq!(send(&mut lane, now), Some(0));
    let slot = now + Duration::from_millis(100);
    assert_eq!(lane.ready(now), Ready::At(slot));
    assert_eq!(lane.ready(slot - Duration::from_millis(1)), Ready::At(slot));
    assert_eq!(send(&mut lane, slot), Some(1));
    assert_eq!(lane.ready(slot), Ready::At(slot + Duration::from_millis(100)));
}

#[test]
fn a_slot_is_taken_only_when_a_request_starts() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((10, 1)), 1), 0..3);
    assert_eq!(send(&mut lane, now), Some(0));
    let later = now + Duration::from_secs(5);
    assert_eq!(lane.ready(now), Ready::No);
    end(&mut lane);
    assert_eq!(send(&mut lane, later), Some(1));
    end(&mut lane);
    let slot = later + Duration::from_millis(100);
    assert_eq!(lane.ready(later), Ready::At(slot), "what was not used is not saved up");
}

#[test]
fn changed_limits_count_at_once_and_do_not_give_the_burst_again() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((1, 1)), 100), 0..9);
    assert_eq!(send(&mut lane, now), Some(0));
    assert_eq!(lane.ready(now), Ready::At(now + Duration::from_secs(1)));
    lane.set_limits(limits(Some((50, 1)), 100), now);
    assert_eq!(lane.ready(now), Ready::At(now + Duration::from_millis(20)), "the burst is used");
    lane.set_limits(limits(None, 3), now);
    assert_eq!(send(&mut lane, now), Some(1));
    assert_eq!(send(&mut lane, now), Some(2));
    assert_eq!(lane.ready(now), Ready::No);
    lane.set_limits(limits(None, 1), now);
    end(&mut lane);
    end(&mut lane);
    assert_eq!(lane.ready(now), Ready::No, "one is under way still");
}

#[test]
fn a_paused_lane_sends_nothing_until_then_or_until_it_goes_on() {
    let now = clock::instant();
    let second = Duration::from_secs(1);
    let mut lane = lane(limits(None, 10), 0..4);
    assert_eq!(send(&mut lane, now), Some(0));
    lane.pause_until(now + 2 * second);
    lane.pause_until(now + second);
    assert_eq!(lane.ready(now), Ready::At(now + 2 * second), "the later time counts");
    assert_eq!(send(&mut lane, now + 2 * second), Some(1));
    lane.pause_until(now + 9 * second);
    assert!(!lane.is_idle(now) && lane.ready(now + 2 * second) != Ready::Now);
    lane.resume();
    assert_eq!(send(&mut lane, now + 2 * second), Some(2));
}

/// An attempt that began now says that of its receiver, and is not over yet.
fn says(lane: &mut Lane, sign: Sign, now: Instant) {
    let breaker = breaker::Options { failures: 3, open_ms: 1_000, open_max_ms: 8_000 };
    let policy = Policy { longest_asked: 0, breaker, adaptive: true, disable_after: 0 };
    let took = Duration::ZERO;
    let ended = Ended { started: now, took, now, at: 0, full: true, chance: 0.0 };
    let _orders = lane.health.ended(&policy, sign, ended);
    lane.heed(now);
}

#[test]
fn a_lane_has_no_more_under_way_than_its_receiver_bears_and_at_least_one() {
    let now = clock::instant();
    let mut lane = lane(limits(None, 4), 0..9);
    for expected in 0..4 {
        assert_eq!(send(&mut lane, now), Some(expected));
    }
    says(&mut lane, Sign::Pushback(None), now);
    assert_eq!(lane.in_flight_limit(), 2);
    end(&mut lane);
    end(&mut lane);
    assert_eq!(lane.ready(now), Ready::No, "two are under way still");
    lane.set_limits(limits(None, 9), now);
    assert_eq!(lane.in_flight_limit(), 2, "changed limits do not widen it");
    end(&mut lane);
    assert_eq!(send(&mut lane, now), Some(4));
    lane.set_limits(limits(None, 1), now);
    assert_eq!(lane.in_flight_limit(), 1, "never beyond the endpoint's own");
}

#[test]
fn a_limit_that_is_raised_while_the_breaker_is_open_lets_no_second_trial_out() {
    let now = clock::instant();
    let mut lane = lane(limits(None, 1), 0..9);
    assert_eq!(send(&mut lane, now), Some(0));
    (0..3).for_each(|_| says(&mut lane, Sign::Bad, now));
    end(&mut lane);
    lane.set_limits(limits(None, 9), now);
    let later = now + Duration::from_secs(2);
    assert_eq!(lane.ready(now), Ready::At(now + Duration::from_secs(1)));
    assert_eq!(send(&mut lane, later), Some(1));
    assert_eq!((lane.ready(later), lane.in_flight_limit()), (Ready::No, 1));
}

#[test]
fn what_a_full_window_has_no_room_for_is_set_aside_and_fetched_in_order() {
    let now = clock::instant();
    let window = COUNT as u64;
    let mut lane = lane(limits(None, 10_000), 0..window);
    assert!(lane.offer(delivery(window), BYTES).is_some());
    for expected in 0..window / 2 {
        assert_eq!(fetch(&mut lane), None);
        assert_eq!(send(&mut lane, now), Some(expected));
    }
    let over = lane.offer(delivery(window + 1), BYTES);
    assert!(over.is_some(), "older ones are set aside");
    assert_eq!(fetch(&mut lane), Some(FETCH));
    assert_eq!(send(&mut lane, now), Some(window / 2), "it goes on meanwhile");
    fetched(&mut lane, Some(vec![delivery(window), delivery(window + 1)]));
    assert_eq!(fetch(&mut lane), None, "it is full again");
    assert_eq!(send(&mut lane, now), Some(window / 2 + 1));
    assert_eq!(send(&mut lane, now), Some(window / 2 + 2));
    assert!(fetch(&mut lane).is_some(), "there may be more");
    fetched(&mut lane, Some(Vec::new()));
    assert_eq!(lane.offer(delivery(window + 2), BYTES), None);
    for expected in window / 2 + 3..window + 3 {
        assert_eq!(send(&mut lane, now), Some(expected));
    }
    assert_eq!((lane.ready(now), fetch(&mut lane)), (Ready::No, None));
}

#[test]
fn large_deliveries_fill_the_window_sooner() {
    let now = clock::instant();
    let mut message = sample::message(ApplicationId(Uuid::nil()));
    message.payload = vec![b' '; BYTES / 4].into();
    let message = Arc::new(message);
    let large = |sequence| Arc::new(sample::delivery(&message, Sequence(sequence)));
    let mut lane = Lane::new(limits(None, 10), None);
    for sequence in 0..4 {
        assert_eq!(lane.offer(large(sequence), usize::MAX), None);
    }
    assert!(lane.offer(large(4), usize::MAX).is_some());
    for expected in 0..3 {
        assert_eq!(fetch(&mut lane), None);
        assert_eq!(send(&mut lane, now), Some(expected));
    }
    assert!(fetch(&mut lane).is_some(), "half of it is free");
    assert_eq!(lane.clear().len(), 1);
    for sequence in 5..9 {
        assert_eq!(lane.offer(large(sequence), usize::MAX), None);
    }
    assert!(lane.offer(large(9), usize::MAX).is_some());
}

#[test]
fn a_window_keeps_to_its_share_of_the_memory_but_has_always_one() {
    let now = clock::instant();
    let mut lane = Lane::new(limits(None, 10), None);
    assert_eq!(lane.offer(delivery(0), 0), None);
    assert!(lane.offer(delivery(1), 0).is_some());
    assert!(!lane.wants(0));
    assert_eq!(send(&mut lane, now), Some(0));
    assert!(lane.wants(0) && !lane.wants(0), "it says so once");
    assert_eq!(count(&mut lane, 0), Some(1));
    assert_eq!(count(&mut lane, 20 * OVERHEAD), Some(20));
    let (count, bytes) = lane.uncounted();
    assert_eq!((count, bytes), (0, 0));
    fetched(&mut lane, Some(vec![delivery(1)]));
    assert_eq!(lane.uncounted().0, 1);
    assert_eq!(lane.uncounted(), (0, 0));
}

#[test]
fn what_is_set_aside_during_a_fetch_is_not_forgotten() {
    let now = clock::instant();
    let mut lane = Lane::new(limits(None, 10), None);
    lane.set_aside();
    assert_eq!(fetch(&mut lane), Some(FETCH));
    assert!(lane.offer(delivery(1), BYTES).is_some());
    fetched(&mut lane, Some(Vec::new()));
    assert_eq!(fetch(&mut lane), Some(FETCH));
    fetched(&mut lane, None);
    assert_eq!(fetch(&mut lane), Some(FETCH), "a failed fetch is made again");
    fetched(&mut lane, Some(vec![delivery(1)]));
    assert!(fetch(&mut lane).is_some());
    assert!(!lane.is_idle(now));
    fetched(&mut lane, Some(Vec::new()));
    assert_eq!(send(&mut lane, now), Some(1));
    assert_eq!((lane.ready(now), fetch(&mut lane)), (Ready::No, None));
    end(&mut lane);
    assert!(lane.is_idle(now));
}

#[test]
fn a_cleared_lane_is_empty_and_works_on() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((1, 1)), 10), 0..3);
    assert_eq!(send(&mut lane, now), Some(0));
    assert_eq!(lane.clear().len(), 2);
    assert_eq!((lane.ready(now), lane.in_flight()), (Ready::No, 1));
    assert_eq!(lane.offer(delivery(3), BYTES), None);
    assert!(matches!(lane.ready(now), Ready::At(_)));
}

proptest! {
    /// Whatever comes when: each delivery is sent exactly once, in order, within the limits.
    #[test]
    fn every_delivery_is_sent_once_and_in_order(
        limit in 1_usize..5, rated in any::<bool>(), share in 0_usize..2000,
        actions in prop::collection::vec(0_u8..4, 1..400)
    ) {
        let mut now = clock::instant();
        let limits_then = limits(rated.then_some((200, 2)), limit);
        let mut lane = Lane::new(limits_then, limits_then.rate.map(Limiter::new));
        let (mut store, mut offered, mut out) = (Vec::new(), 0_u64, Vec::new());
        let mut under_way = 0;
        let share = share * OVERHEAD;
        let mut act = |lane: &mut Lane, store: &mut Vec<_>, under_way: &mut usize, now| loop {
            if lane.wants(share) {
                let count = count(lane, share).expect("it wants some");
                let count = count.min(store.len());
                fetched(lane, Some(store.drain(..count).collect()));
            } else if let Some(sent) = send(lane, now) {
                *under_way += 1;
                out.push(sent);
            } else {
                break;
            }
        };
        for action in actions {
            match action {
                0 | 1 => for _ in 0..300 {
                    store.extend(lane.offer(delivery(offered), share));
                    offered += 1;
                },
                2 if under_way > 0 => {
                    end(&mut lane);
                    under_way -= 1;
                }
                _ => now += Duration::from_millis(7),
            }
            act(&mut lane, &mut store, &mut under_way, now);
            prop_assert!(under_way <= limit);
        }
        lane.set_limits(limits(None, usize::MAX), now);
        act(&mut lane, &mut store, &mut under_way, now);
        prop_assert_eq!(out, (0..offered).collect::<Vec<_>>());
    }
}
