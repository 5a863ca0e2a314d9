//! A lane, step by step, with the time as a value.

use super::*;
use crate::{
    clock,
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
    Limits { rate, in_flight }
}

/// A lane in which those wait.
fn lane(limits: Limits, deliveries: std::ops::Range<u64>) -> Lane {
    let mut lane = Lane::new(limits, false);
    for sequence in deliveries {
        assert_eq!(lane.offer(delivery(sequence)), None);
    }
    lane
}

fn sent(step: &Step) -> Option<u64> {
    match step {
        Step::Send(delivery) => Some(delivery.key.message.0),
        _ => None,
    }
}

#[test]
fn deliveries_go_in_order_and_no_more_at_once_than_may() {
    let now = clock::instant();
    let mut lane = lane(limits(None, 2), 0..3);
    assert_eq!(sent(&lane.step(now)), Some(0));
    assert_eq!(sent(&lane.step(now)), Some(1));
    assert_eq!(lane.step(now), Step::Rest);
    assert_eq!(lane.depths(), (1, 2));
    lane.finished();
    assert_eq!(sent(&lane.step(now)), Some(2));
    assert_eq!(lane.step(now), Step::Rest);
}

#[test]
fn a_rate_limited_lane_asks_to_be_woken_once_for_its_next_slot() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((10, 1)), 100), 0..3);
    assert_eq!(sent(&lane.step(now)), Some(0));
    let slot = now + Duration::from_millis(100);
    assert_eq!(lane.step(now), Step::WakeAt(slot));
    assert_eq!(lane.step(now), Step::Rest, "a timer sleeps already");
    assert_eq!(lane.step(slot - Duration::from_millis(1)), Step::Rest);
    assert_eq!(sent(&lane.step(slot)), Some(1));
    assert_eq!(lane.step(slot), Step::WakeAt(slot + Duration::from_millis(100)));
}

#[test]
fn a_slot_is_booked_only_when_a_request_may_start() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((10, 1)), 1), 0..3);
    assert_eq!(sent(&lane.step(now)), Some(0));
    let later = now + Duration::from_secs(5);
    assert_eq!(lane.step(now), Step::Rest);
    lane.finished();
    assert_eq!(sent(&lane.step(later)), Some(1));
    lane.finished();
    let slot = later + Duration::from_millis(100);
    assert_eq!(lane.step(later), Step::WakeAt(slot), "what was not used is not saved up");
}

#[test]
fn changed_limits_count_at_once_and_do_not_give_the_burst_again() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((1, 1)), 100), 0..9);
    assert_eq!(sent(&lane.step(now)), Some(0));
    assert_eq!(lane.step(now), Step::WakeAt(now + Duration::from_secs(1)));
    lane.set_limits(limits(Some((100, 1)), 100));
    assert!(matches!(lane.step(now), Step::WakeAt(_)), "the burst is used");
    lane.set_limits(limits(None, 3));
    assert_eq!(sent(&lane.step(now)), Some(1));
    assert_eq!(sent(&lane.step(now)), Some(2));
    assert_eq!(lane.step(now), Step::Rest);
    lane.set_limits(limits(None, 1));
    lane.finished();
    lane.finished();
    assert_eq!(lane.step(now), Step::Rest, "one is under way still");
}

#[test]
fn a_paused_lane_sends_nothing_until_then_or_until_it_goes_on() {
    let now = clock::instant();
    let second = Duration::from_secs(1);
    let mut lane = lane(limits(None, 10), 0..4);
    assert_eq!(sent(&lane.step(now)), Some(0));
    lane.pause_until(now + 2 * second);
    lane.pause_until(now + second);
    assert_eq!(lane.step(now), Step::WakeAt(now + 2 * second), "the later time counts");
    assert_eq!(lane.step(now + second), Step::Rest, "a timer sleeps already");
    assert_eq!(sent(&lane.step(now + 2 * second)), Some(1));
    lane.pause_until(now + 9 * second);
    assert!(matches!(lane.step(now + 2 * second), Step::WakeAt(_)));
    lane.resume();
    assert_eq!(sent(&lane.step(now + 2 * second)), Some(2));
}

#[test]
fn a_narrowed_lane_has_fewer_under_way_but_at_least_one() {
    let now = clock::instant();
    let mut lane = lane(limits(None, 3), 0..9);
    lane.set_in_flight(Some(0));
    assert_eq!(sent(&lane.step(now)), Some(0));
    assert_eq!((lane.step(now), lane.in_flight_limit()), (Step::Rest, 1));
    lane.set_in_flight(Some(2));
    assert_eq!(sent(&lane.step(now)), Some(1));
    assert_eq!(lane.step(now), Step::Rest);
    lane.set_in_flight(Some(100));
    assert_eq!(sent(&lane.step(now)), Some(2));
    assert_eq!(lane.step(now), Step::Rest, "never beyond the endpoint's own");
    lane.set_in_flight(Some(1));
    lane.finished();
    assert_eq!(lane.step(now), Step::Rest, "two are under way still");
    lane.set_limits(limits(None, 5));
    assert_eq!(lane.in_flight_limit(), 1, "changed limits do not widen it");
    lane.set_in_flight(None);
    assert_eq!(sent(&lane.step(now)), Some(3));
}

#[test]
fn what_a_full_window_has_no_room_for_is_set_aside_and_fetched_in_order() {
    let now = clock::instant();
    let window = WINDOW as u64;
    let mut lane = lane(limits(None, 10_000), 0..window);
    assert!(lane.offer(delivery(window)).is_some());
    for expected in 0..window / 2 {
        assert_eq!(sent(&lane.step(now)), Some(expected));
    }
    assert!(lane.offer(delivery(window + 1)).is_some(), "older ones are set aside");
    assert_eq!(lane.step(now), Step::Fetch(WINDOW / 2));
    assert_eq!(sent(&lane.step(now)), Some(window / 2), "it goes on meanwhile");
    lane.fetched(vec![delivery(window), delivery(window + 1)]);
    assert_eq!(sent(&lane.step(now)), Some(window / 2 + 1));
    assert_eq!(lane.step(now), Step::Fetch(WINDOW / 2), "there may be more");
    lane.fetched(Vec::new());
    assert_eq!(lane.offer(delivery(window + 2)), None);
    for expected in window / 2 + 2..window + 3 {
        assert_eq!(sent(&lane.step(now)), Some(expected));
    }
    assert_eq!(lane.step(now), Step::Rest);
}

#[test]
fn large_deliveries_fill_the_window_sooner() {
    let now = clock::instant();
    let mut message = sample::message(ApplicationId(Uuid::nil()));
    message.payload = vec![b' '; BYTES / 4].into();
    let message = Arc::new(message);
    let large = |sequence| Arc::new(sample::delivery(&message, Sequence(sequence)));
    let mut lane = Lane::new(limits(None, 10), false);
    for sequence in 0..4 {
        assert_eq!(lane.offer(large(sequence)), None);
    }
    assert!(lane.offer(large(4)).is_some());
    assert_eq!(sent(&lane.step(now)), Some(0));
    assert_eq!(sent(&lane.step(now)), Some(1));
    assert!(matches!(lane.step(now), Step::Fetch(_)), "half of it is free");
    assert_eq!(lane.clear().len(), 2);
    for sequence in 5..9 {
        assert_eq!(lane.offer(large(sequence)), None);
    }
    assert!(lane.offer(large(9)).is_some());
}

#[test]
fn what_is_set_aside_during_a_fetch_is_not_forgotten() {
    let now = clock::instant();
    let mut lane = Lane::new(limits(None, 10), true);
    assert_eq!(lane.step(now), Step::Fetch(WINDOW));
    assert!(lane.offer(delivery(1)).is_some());
    lane.fetched(Vec::new());
    assert_eq!(lane.step(now), Step::Fetch(WINDOW));
    lane.not_fetched();
    assert_eq!(lane.step(now), Step::Fetch(WINDOW), "a failed fetch is made again");
    lane.fetched(vec![delivery(1)]);
    assert_eq!(lane.step(now), Step::Fetch(WINDOW - 1));
    lane.fetched(Vec::new());
    assert_eq!(sent(&lane.step(now)), Some(1));
    assert_eq!(lane.step(now), Step::Rest);
}

#[test]
fn a_cleared_lane_is_empty_and_works_on() {
    let now = clock::instant();
    let mut lane = lane(limits(Some((1, 1)), 10), 0..3);
    assert_eq!(sent(&lane.step(now)), Some(0));
    assert_eq!(lane.clear().len(), 2);
    assert_eq!(lane.depths(), (0, 1));
    assert_eq!(lane.step(now), Step::Rest);
    assert_eq!(lane.offer(delivery(3)), None);
    assert!(matches!(lane.step(now), Step::WakeAt(_)));
}

proptest! {
    /// Whatever comes when: each delivery is sent exactly once, in order, within the limits.
    #[test]
    fn every_delivery_is_sent_once_and_in_order(
        limit in 1_usize..5, rated in any::<bool>(), actions in prop::collection::vec(0_u8..4, 1..400)
    ) {
        let mut now = clock::instant();
        let mut lane = Lane::new(limits(rated.then_some((200, 2)), limit), false);
        let (mut store, mut offered, mut out) = (Vec::new(), 0_u64, Vec::new());
        let mut under_way = 0;
        let mut act = |lane: &mut Lane, store: &mut Vec<_>, under_way: &mut usize, now| loop {
            match lane.step(now) {
                Step::Send(delivery) => {
                    *under_way += 1;
                    out.push(delivery.key.message.0);
                }
                Step::Fetch(count) => {
                    let count = count.min(store.len());
                    lane.fetched(store.drain(..count).collect());
                }
                Step::WakeAt(_) | Step::Rest => break,
            }
        };
        for action in actions {
            match action {
                0 | 1 => for _ in 0..300 {
                    store.extend(lane.offer(delivery(offered)));
                    offered += 1;
                },
                2 if under_way > 0 => {
                    lane.finished();
                    under_way -= 1;
                }
                _ => now += Duration::from_millis(7),
            }
            act(&mut lane, &mut store, &mut under_way, now);
            prop_assert!(under_way <= limit);
        }
        lane.set_limits(limits(None, usize::MAX));
        act(&mut lane, &mut store, &mut under_way, now);
        prop_assert_eq!(out, (0..offered).collect::<Vec<_>>());
    }
}
