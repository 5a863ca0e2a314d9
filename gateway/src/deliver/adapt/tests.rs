//! The learnt limit, against receivers that are given as functions.

use super::*;
use crate::clock;
use proptest::prelude::*;
use std::collections::VecDeque;

const MOST: usize = 64;

/// What a receiver makes of a request when that many are under way: how long it takes, and whether it pushes back.
type Receiver = fn(usize) -> (Duration, bool);

/// Sends to a receiver that is never out of work, from `now` on, as many at once as may be; the limit after each answer.
fn backlog(adapt: &mut Adapt, now: &mut Instant, receiver: Receiver, answers: usize) -> Vec<usize> {
    let mut under_way: VecDeque<(Instant, Instant, bool)> = VecDeque::new();
    let mut limits = Vec::new();
    for _ in 0..answers {
        while under_way.len() < adapt.limit() {
            let (took, pushes) = receiver(under_way.len() + 1);
            under_way.push_back((*now, *now + took, pushes));
        }
        let full = under_way.len() >= adapt.limit();
        let first = (0..under_way.len()).min_by_key(|n| under_way[*n].1).expect("one");
        let (started, ends, pushes) = under_way.remove(first).expect("one");
        *now = ends.max(*now);
        match pushes {
            true => adapt.pushed_back(started, *now),
            false => adapt.answered(started, *now - started, *now, full),
        }
        limits.push(adapt.limit());
    }
    limits
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_receiver_that_keeps_up_is_never_slowed() {
    let receivers: [Receiver; 4] = [
        |_| (millis(1), false),
        // Fast, and slower under load; as slow under load as it is; slow and even.
        |busy| (millis(1 + busy as u64), false),
        |busy| (millis(busy as u64 * 40), false),
        |_| (millis(9_000), false),
    ];
    for (n, receiver) in receivers.into_iter().enumerate() {
        let limits = backlog(&mut Adapt::new(MOST), &mut clock::instant(), receiver, 5_000);
        assert!(limits.iter().all(|limit| *limit == MOST), "{n}");
    }
}

#[test]
fn pushback_halves_it_once_for_what_was_sent_together() {
    let now = clock::instant();
    let mut adapt = Adapt::new(MOST);
    for _ in 0..MOST {
        adapt.pushed_back(now, now + millis(1));
    }
    assert_eq!(adapt.limit(), MOST / 2);
    adapt.pushed_back(now + millis(1), now + millis(2));
    assert_eq!(adapt.limit(), MOST / 4);
    for n in 2..99 {
        adapt.pushed_back(now + millis(n), now + millis(n + 1));
    }
    assert_eq!(adapt.limit(), 1, "one always may");
}

#[test]
fn it_finds_about_what_a_receiver_takes() {
    // It takes ten at once and pushes the others back.
    let mut adapt = Adapt::new(MOST);
    let mut now = clock::instant();
    let limits = backlog(&mut adapt, &mut now, |busy| (millis(20), busy > 10), 5_000);
    let late = &limits[1_000..];
    let mean = late.iter().sum::<usize>() / late.len();
    assert!((5..=14).contains(&mean), "{mean}");
}

#[test]
fn a_receiver_that_becomes_slow_gets_less_and_then_as_much_as_before() {
    let (mut adapt, mut now) = (Adapt::new(MOST), clock::instant());
    backlog(&mut adapt, &mut now, |_| (millis(100), false), 500);
    let limits = backlog(&mut adapt, &mut now, |_| (millis(2_000), false), 1_500);
    assert!(limits.iter().min() < Some(&(MOST / 2)), "{limits:?}");
    let limits = backlog(&mut adapt, &mut now, |_| (millis(100), false), 2_000);
    assert_eq!(limits.last(), Some(&MOST));
}

#[test]
fn it_rises_quickly_from_the_bottom() {
    let mut adapt = Adapt::new(MOST);
    let mut now = clock::instant();
    (0..9).for_each(|n| adapt.pushed_back(now + millis(n), now + millis(n)));
    assert_eq!(adapt.limit(), 1);
    now += millis(9);
    let limits = backlog(&mut adapt, &mut now, |_| (millis(20), false), 1_000);
    let needed = limits.iter().position(|limit| *limit == MOST).expect("it is back");
    assert!(needed < 16 * MOST, "{needed} answers");
}

#[test]
fn another_most_counts_at_once() {
    let mut adapt = Adapt::new(8);
    adapt.set_most(20);
    assert_eq!(adapt.limit(), 20, "it was at its most");
    let now = clock::instant();
    adapt.pushed_back(now, now);
    adapt.set_most(40);
    assert_eq!(adapt.limit(), 10, "it was not");
    adapt.set_most(4);
    assert_eq!(adapt.limit(), 4);
}

/// The same, told simply: every answer since the last cut in a list.
struct Model {
    limit: f64,
    usual: Option<f64>,
    cut: Option<Instant>,
    round: Vec<(f64, bool)>,
}

impl Model {
    fn ended(&mut self, started: Instant, now: Instant, full: bool, pushed: bool) {
        if self.cut.is_some_and(|cut| started < cut) {
            return;
        }
        if pushed {
            (self.limit, self.cut) = ((self.limit / 2.0).max(1.0), Some(now));
            return self.round.clear();
        }
        self.round.push(((now - started).as_secs_f64(), full));
        if self.round.len() < 8 || (self.round.len() as f64) < self.limit {
            return;
        }
        let round = std::mem::take(&mut self.round);
        let mean = round.iter().map(|(took, _)| took).sum::<f64>() / round.len() as f64;
        let usual = self.usual.unwrap_or(mean);
        if mean > 0.25 && mean > usual * 2.0 {
            (self.limit, self.cut) = ((self.limit * 0.9).max(1.0), Some(now));
        } else if round.iter().any(|(_, full)| *full) {
            self.limit = (self.limit + MOST as f64 / 16.0).min(MOST as f64);
        }
        self.usual = Some(if mean < usual { mean } else { usual + (mean - usual) / 16.0 });
    }
}

proptest! {
    #[test]
    fn it_is_what_the_model_says(
        ends in prop::collection::vec((0_u64..50, 0_u64..3_000, any::<bool>(), 0_u8..20), 1..600)
    ) {
        let mut now = clock::instant() + Duration::from_secs(10);
        let mut adapt = Adapt::new(MOST);
        let mut model =
            Model { limit: MOST as f64, usual: None, cut: None, round: Vec::new() };
        for (wait, took, full, fate) in ends {
            now += millis(wait);
            let started = now - millis(took);
            match fate {
                0 => adapt.pushed_back(started, now),
                _ => adapt.answered(started, now - started, now, full),
            }
            model.ended(started, now, full, fate == 0);
            prop_assert!((adapt.limit - model.limit).abs() < 1e-6, "{} {}", adapt.limit, model.limit);
            prop_assert!((1..=MOST).contains(&adapt.limit()));
        }
    }
}
