//! Health: what ends say, and what follows, with all times as values.

use super::*;
use crate::{clock, model::attempt::Answer};

const POLICY: Policy = Policy {
    longest_asked: 60_000,
    breaker: breaker::Options { failures: 3, open_ms: 1_000, open_max_ms: 8_000 },
    adaptive: true,
    disable_after: 1_000_000,
};

/// A health, and its time: both clocks go together.
struct Scene {
    start: Instant,
    at: Millis,
    health: Health,
    policy: Policy,
}

impl Scene {
    fn new() -> Self {
        let health = Health::new(1, 16);
        Self { start: clock::instant(), at: 0, health, policy: POLICY }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.at)
    }

    /// After that long, an attempt ends that began when it had.
    fn ends(&mut self, wait: Millis, sign: Sign) -> Orders {
        self.at += wait;
        self.ends_from(self.now(), sign)
    }

    fn ends_from(&mut self, started: Instant, sign: Sign) -> Orders {
        let (now, at) = (self.now(), self.at);
        let took = now - started;
        let ended = Ended { started, took, now, at, full: true, chance: 0.0 };
        self.health.ended(&self.policy, sign, ended)
    }

    fn in_millis(&self, orders: Orders) -> Option<u128> {
        orders.pause.map(|until| (until - self.now()).as_millis())
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered(Answer { status, ..Answer::default() })
}

#[test]
fn what_an_end_says_of_the_receiver() {
    let failed = |class| Outcome::Failed { class, detail: String::new() };
    let asks = |status, wait| {
        Outcome::Answered(Answer { status, retry_after: Some(wait), ..Answer::default() })
    };
    let again = Meaning::RetryAfter;
    for (outcome, meaning, last, expected) in [
        (answered(204), None, false, Sign::Good),
        (answered(200), Some(again(None)), false, Sign::Bad),
        (answered(500), Some(Meaning::Success), false, Sign::Good),
        (answered(503), Some(Meaning::Fail), false, Sign::Refused),
        (answered(400), None, false, Sign::Refused),
        (answered(404), None, true, Sign::Refused),
        (answered(500), None, false, Sign::Bad),
        (answered(500), None, true, Sign::Refused),
        (answered(302), None, false, Sign::Bad),
        (answered(408), None, false, Sign::Bad),
        (answered(429), None, false, Sign::Pushback(None)),
        (answered(502), None, false, Sign::Pushback(None)),
        (answered(504), None, true, Sign::Pushback(None)),
        (asks(503, 7), None, false, Sign::Pushback(Some(7))),
        (asks(503, 7), Some(again(Some(9))), false, Sign::Pushback(Some(9))),
        (asks(500, 7), None, false, Sign::Bad),
        (failed(Failure::Timeout), None, false, Sign::Pushback(None)),
        (failed(Failure::Guard), None, false, Sign::Bad),
        (failed(Failure::Dns), None, false, Sign::Bad),
        (failed(Failure::Tls), None, false, Sign::Bad),
        (failed(Failure::Reset), None, false, Sign::Bad),
        (failed(Failure::Signer), None, false, Sign::Nothing),
        (failed(Failure::Internal), None, false, Sign::Nothing),
    ] {
        assert_eq!(sign(&outcome, meaning, last), expected, "{outcome:?} {meaning:?}");
    }
}

#[test]
fn pushback_pauses_the_lane_for_longer_each_time_until_something_succeeds() {
    let mut scene = Scene::new();
    scene.policy.breaker.failures = 0;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let orders = scene.ends(100_000, Sign::Pushback(None));
        pauses.push(scene.in_millis(orders).expect("a pause"));
    }
    assert_eq!(pauses[..4], [100, 200, 400, 800]);
    assert_eq!(pauses[11], 60_000, "the longest");
    assert_eq!(scene.ends(100_000, Sign::Good).pause, None);
    let orders = scene.ends(100_000, Sign::Pushback(None));
    assert_eq!(scene.in_millis(orders), Some(100), "it is forgotten");
}

#[test]
fn of_what_was_sent_together_one_makes_the_pause_and_what_is_asked_for_counts() {
    let mut scene = Scene::new();
    scene.policy.breaker.failures = 0;
    let together = scene.now();
    scene.at = 10;
    let pauses = [None, None, Some(5_000), Some(0), Some(999_999_999)].map(|asked| {
        let orders = scene.ends_from(together, Sign::Pushback(asked));
        scene.in_millis(orders)
    });
    assert_eq!(pauses, [Some(100), None, Some(5_000), None, Some(60_000)]);
    // One that went out before the pause says nothing of after.
    scene.ends_from(together, Sign::Good);
    scene.at = 200_000;
    let orders = scene.ends_from(scene.now(), Sign::Pushback(None));
    assert_eq!(scene.in_millis(orders), Some(200));
}

#[test]
fn a_run_of_failures_leaves_the_receiver_alone_and_then_tries_it_with_one() {
    let mut scene = Scene::new();
    assert!(scene.health.is_plain());
    assert_eq!(scene.ends(1, Sign::Bad), Orders::default());
    assert_eq!(scene.ends(1, Sign::Bad), Orders::default());
    assert_eq!(scene.health.in_flight(), 16);
    let orders = scene.ends(1, Sign::Bad);
    assert_eq!(scene.in_millis(orders), Some(1_000));
    let expected = Trouble {
        renewed: 1,
        openings: 1,
        until: Some(1_003),
        failing_since: Some(1),
        failures: 3,
        warned: None,
        asked: None,
    };
    assert_eq!(orders.keep, Some(expected));
    assert_eq!(scene.health.in_flight(), 1);
    let shown = scene.health.shown(scene.now());
    assert_eq!((shown.breaker, shown.until), (health::Breaker::Open, Some(1_003)));
    let orders = scene.ends(1_000, Sign::Bad);
    assert_eq!(scene.in_millis(orders), Some(2_000), "the trial failed");
    scene.at += 2_000;
    let shown = scene.health.shown(scene.now());
    assert_eq!((shown.breaker, shown.failures), (health::Breaker::HalfOpen, 4));
    let orders = scene.ends(0, Sign::Good);
    assert_eq!(orders.keep, Some(Trouble { renewed: 1, ..Trouble::default() }));
    assert!(scene.health.is_plain());
    assert_eq!(scene.ends(1, Sign::Good), Orders::default(), "and nothing more is written");
}

#[test]
fn answers_about_single_deliveries_and_our_own_failures_do_not_open_it() {
    for sign in [Sign::Refused, Sign::Nothing] {
        let mut scene = Scene::new();
        assert!((0..99).all(|_| scene.ends(1, sign) == Orders::default()), "{sign:?}");
    }
    let mut scene = Scene::new();
    for _ in 0..9 {
        scene.ends(1, Sign::Bad);
        scene.ends(1, Sign::Bad);
        assert_eq!(scene.ends(1, Sign::Refused).pause, None, "it is there");
    }
    for _ in 0..3 {
        scene.ends(1, Sign::Bad);
    }
    assert_eq!(scene.health.in_flight(), 1);
    let orders = scene.ends(1_000, Sign::Refused);
    assert_eq!(orders.keep.map(|kept| (kept.openings, kept.failing_since)), Some((0, Some(1))));
}

#[test]
fn an_endpoint_that_fails_now_and_then_costs_no_writes_and_one_that_goes_on_a_few() {
    let mut scene = Scene::new();
    scene.policy.breaker.failures = 0;
    for _ in 0..500 {
        assert_eq!(scene.ends(10, Sign::Bad).keep, None);
        assert_eq!(scene.ends(10, Sign::Good).keep, None);
    }
    let mut writes = 0;
    for _ in 0..4_000 {
        writes += u32::from(scene.ends(100, Sign::Bad).keep.is_some());
    }
    assert_eq!(writes, 1, "that it lasts");
    assert!(scene.ends(1, Sign::Good).keep.is_some_and(|kept| !kept.is_some()));
}

#[test]
fn one_that_only_fails_is_warned_of_once_and_then_disabled() {
    let mut scene = Scene::new();
    scene.policy.breaker.failures = 0;
    let (mut warned, mut disabled) = (Vec::new(), Vec::new());
    for _ in 0..120 {
        let orders = scene.ends(10_000, Sign::Refused);
        warned.extend(orders.warn.then_some(scene.at));
        disabled.extend(orders.disable.then_some(scene.at));
    }
    // The first failure is at 10,000.
    assert_eq!((warned, disabled[0]), (vec![510_000], 1_010_000));
    // Where attempts are rare, operators have half of the time once they know.
    let mut scene = Scene::new();
    scene.ends(0, Sign::Bad);
    let orders = scene.ends(9_000_000, Sign::Bad);
    assert!(orders.warn && !orders.disable);
    assert!(!scene.ends(499_999, Sign::Bad).disable);
    assert!(scene.ends(1, Sign::Bad).disable);
    // A success is a new beginning, and so is another receiver.
    scene.ends(1, Sign::Good);
    assert!(scene.health.set(2, 16));
    let orders = scene.ends(9_000_000, Sign::Bad);
    assert!(!orders.warn && !orders.disable);
    let mut never = Scene::new();
    never.policy.disable_after = 0;
    assert!((0..99).all(|_| !never.ends(10_000_000, Sign::Bad).disable));
}

#[test]
fn what_was_kept_goes_on_after_a_restart_and_nothing_of_another_receiver() {
    let mut scene = Scene::new();
    let orders = (0..3).map(|_| scene.ends(1, Sign::Bad)).last().expect("one");
    let kept = orders.keep.expect("is kept");
    let (now, at) = (scene.now(), scene.at);
    let later = Health::restored((1, 16), kept, &POLICY, (now, at));
    assert_eq!(later.shown(now), scene.health.shown(now));
    let ahead = Trouble { until: Some(at + 999_999_999), ..kept };
    let until = Health::restored((1, 16), ahead, &POLICY, (now, at)).open_until(now);
    assert_eq!(until, Some(now + Duration::from_millis(16_000)), "no clock is trusted for long");
    let past = Health::restored((1, 16), kept, &POLICY, (now, at + 5_000));
    assert_eq!((past.open_until(now), past.in_flight()), (None, 1), "it is tried with one");
    assert!(Health::restored((2, 16), kept, &POLICY, (now, at)).is_plain());
}

#[test]
fn a_receiver_that_asked_to_be_left_alone_for_long_is_after_a_restart_too() {
    let mut scene = Scene::new();
    scene.policy.longest_asked = 600_000;
    assert_eq!(scene.ends(1, Sign::Pushback(Some(9_999))).keep, None, "that is not long");
    let kept = scene.ends(1, Sign::Pushback(Some(3_600_000))).keep.expect("is kept");
    assert_eq!(kept.asked, Some(scene.at + 600_000), "no longer than may be");
    let (now, at) = (scene.now(), scene.at);
    let later = Health::restored((1, 16), kept, &scene.policy, (now, at + 1_000));
    assert_eq!(later.left_alone(at + 1_000), Some(599_000));
    assert_eq!(later.left_alone(at + 600_000), None);
    let before = scene.now();
    let kept = scene.ends(50_000, Sign::Pushback(Some(600_000))).keep.expect("longer");
    let earlier = scene.ends_from(before, Sign::Good);
    assert_eq!(earlier.keep.and_then(|trouble| trouble.asked), kept.asked, "it was sent before");
    assert_eq!(scene.ends(20_000, Sign::Good).keep.map(|trouble| trouble.is_some()), Some(false));
    assert_eq!(scene.health.left_alone(scene.at), None);
}

#[test]
fn with_adaptation_off_as_many_are_under_way_as_may_be() {
    for (adaptive, expected) in [(true, 8), (false, 16)] {
        let mut scene = Scene::new();
        scene.policy.adaptive = adaptive;
        scene.ends(1, Sign::Pushback(None));
        assert_eq!(scene.health.in_flight(), expected);
    }
}
