//! The breaker: after a run of failures an endpoint is left alone for a while, then tried with one request at a time. Pure.
//!
//! Closed, it counts failures in a row. At so many it opens: nothing is sent until its time is over. Then it is half open: the
//! lane sends one delivery, and what becomes of that closes it, or opens it for longer. Half open is no state of its own: it
//! is open with its time over, so that nothing has to happen for it.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// After how many failures in a row it opens. 0: never.
    pub failures: u32,
    /// How long it is open at first, in milliseconds. Each time that a trial fails it is twice as long.
    pub open_ms: u64,
    /// The longest it is open, in milliseconds.
    pub open_max_ms: u64,
}

impl Default for Options {
    /// Linkerd's penalties, 1 s to 1 min, and somewhat more failures than its 7: there it has other places to send to. A
    /// receiver that restarts is tried again within a second, one that is away takes a request a minute.
    fn default() -> Self {
        Self { failures: 10, open_ms: 1_000, open_max_ms: 60_000 }
    }
}

/// Each time is made longer or shorter by up to this share, so that what broke together is not tried together.
const JITTER: f64 = 0.2;

impl Options {
    /// What is wrong with these options, if anything: the key and what would be right.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match self.open_ms {
            0 => Err(("open_ms", "at least 1".into())),
            open if open > self.open_max_ms => {
                Err(("open_max_ms", format!("at least open_ms, which is {open}")))
            }
            _ if self.open_max_ms > 86_400_000 => {
                Err(("open_max_ms", "at most 86400000 (a day)".into()))
            }
            _ => Ok(()),
        }
    }

    /// How long it is open the `times`-th time in a row, from 1. `chance` is drawn from -1 to 1.
    #[must_use]
    pub fn open(&self, times: u32, chance: f64) -> Duration {
        let doubled = 1_u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
        let open = self.open_ms.saturating_mul(doubled).min(self.open_max_ms);
        Duration::from_millis(open).mul_f64(chance.mul_add(JITTER, 1.0))
    }
}

/// One endpoint's breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    /// How many times in a row.
    times: u32,
    until: Instant,
}

/// How a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything is sent.
    Closed,
    /// Nothing is sent before then.
    Open(Instant),
    /// One at a time is sent.
    HalfOpen,
}

impl Breaker {
    /// One that was open for the `times`-th time in a row, until then.
    #[must_use]
    pub const fn opened(failures: u32, times: u32, until: Instant) -> Self {
        Self { failures, open: Some(Open { times, until }) }
    }

    /// How it is.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        match self.open {
            None => State::Closed,
            Some(open) if open.until > now => State::Open(open.until),
            Some(_) => State::HalfOpen,
        }
    }

    /// How many times in a row it has been opened; 0: it is closed.
    #[must_use]
    pub fn times(&self) -> u32 {
        self.open.map_or(0, |open| open.times)
    }

    /// A request that was sent at `started` failed; until when it is open, if it opened now. While it is open, what was sent
    /// before says nothing new.
    pub fn failed(
        &mut self,
        options: &Options,
        started: Instant,
        now: Instant,
        chance: f64,
    ) -> Option<Instant> {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.open {
            None => options.failures > 0 && self.failures >= options.failures,
            Some(open) => started >= open.until,
        };
        if !opens {
            return None;
        }
        let times = self.times().saturating_add(1);
        let until = now + options.open(times, chance);
        self.open = Some(Open { times, until });
        Some(until)
    }

    /// A request that was sent at `started` was answered as it should be; whether it closed now.
    pub fn answered(&mut self, started: Instant) -> bool {
        match self.open {
            Some(open) if started < open.until => false,
            open => {
                *self = Self::default();
                open.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use proptest::prelude::*;

    const OPTIONS: Options = Options { failures: 3, open_ms: 100, open_max_ms: 1_000 };

    #[test]
    fn a_run_of_failures_opens_it_and_a_trial_that_succeeds_closes_it() {
        let start = clock::instant();
        let at = |millis| start + Duration::from_millis(millis);
        let mut breaker = Breaker::default();
        assert_eq!(breaker.failed(&OPTIONS, start, at(1), 0.0), None);
        assert_eq!(breaker.failed(&OPTIONS, start, at(1), 0.0), None);
        assert!(!breaker.answered(start), "it was not open");
        for _ in 0..2 {
            assert_eq!(breaker.failed(&OPTIONS, start, at(2), 0.0), None, "it counts anew");
        }
        assert_eq!(breaker.failed(&OPTIONS, at(1), at(2), 0.0), Some(at(102)));
        assert_eq!(breaker.state(at(101)), State::Open(at(102)));
        // What was under way when it opened.
        assert_eq!(breaker.failed(&OPTIONS, at(1), at(50), 0.0), None);
        assert!(!breaker.answered(at(1)));
        assert_eq!(breaker.state(at(102)), State::HalfOpen);
        assert_eq!(breaker.failed(&OPTIONS, at(102), at(110), 0.0), Some(at(310)), "for longer");
        assert!(breaker.answered(at(310)));
        assert_eq!((breaker.state(at(310)), breaker.times()), (State::Closed, 0));
    }

    #[test]
    fn the_times_grow_up_to_the_longest_and_with_none_it_never_opens() {
        let times: Vec<_> = (1..=6).map(|times| OPTIONS.open(times, 0.0).as_millis()).collect();
        assert_eq!(times, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(OPTIONS.open(u32::MAX, 0.0).as_millis(), 1000);
        assert_eq!(OPTIONS.open(1, -1.0).as_millis(), 80);
        let (never, now) = (Options { failures: 0, ..OPTIONS }, clock::instant());
        let mut breaker = Breaker::default();
        assert!((0..99).all(|_| breaker.failed(&never, now, now, 0.0).is_none()));
    }

    #[test]
    fn options_that_cannot_be_are_named() {
        for (options, key) in [
            (Options { open_ms: 0, ..OPTIONS }, "open_ms"),
            (Options { open_max_ms: 99, ..OPTIONS }, "open_max_ms"),
            (Options { open_max_ms: 86_400_001, ..OPTIONS }, "open_max_ms"),
        ] {
            assert_eq!(options.check().map_err(|(key, _)| key), Err(key));
        }
        assert_eq!(Options::default().check(), Ok(()));
    }

    /// The same, told as what is known of every request that ended: it is open for as long as the failures in a row ask
    /// for, counted from the end of the last failure that mattered.
    #[derive(Default)]
    struct Model {
        row: u32,
        /// When each opening of the row ends.
        openings: Vec<Instant>,
    }

    impl Model {
        fn ended(&mut self, good: bool, started: Instant, now: Instant) {
            let is_old = self.openings.last().is_some_and(|until| started < *until);
            match (good, is_old) {
                (true, true) => {}
                (true, false) => *self = Self::default(),
                (false, _) => {
                    self.row += 1;
                    let first = self.openings.is_empty() && self.row >= OPTIONS.failures;
                    if first || (!self.openings.is_empty() && !is_old) {
                        let wait = 100 * 2_u64.pow(self.openings.len().min(9) as u32);
                        self.openings.push(now + Duration::from_millis(wait.min(1000)));
                    }
                }
            }
        }

        fn state(&self, now: Instant) -> State {
            match self.openings.last() {
                None => State::Closed,
                Some(until) if now < *until => State::Open(*until),
                Some(_) => State::HalfOpen,
            }
        }
    }

    proptest! {
        /// Requests that start when the breaker lets them, and end well or badly after some time.
        #[test]
        fn it_is_what_the_model_says(
            steps in prop::collection::vec((0_u64..300, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let (mut now, mut breaker, mut model) = (clock::instant(), Breaker::default(), Model::default());
            let mut under_way: Vec<Instant> = Vec::new();
            for (wait, starts, good) in steps {
                now += Duration::from_millis(wait);
                let state = breaker.state(now);
                prop_assert_eq!(state, model.state(now));
                let may = match state {
                    State::Closed => true,
                    State::Open(_) => false,
                    // The lane's part: one at a time.
                    State::HalfOpen => under_way.is_empty(),
                };
                if starts && may {
                    under_way.push(now);
                } else if !starts && !under_way.is_empty() {
                    let started = under_way.remove(0);
                    now += Duration::from_millis(1);
                    model.ended(good, started, now);
                    let was = breaker.times();
                    match good {
                        true => prop_assert_eq!(breaker.answered(started), was > 0 && breaker.times() == 0),
                        false => {
                            let opened = breaker.failed(&OPTIONS, started, now, 0.0);
                            prop_assert_eq!(opened.is_some(), breaker.times() > was);
                        }
                    }
                }
                prop_assert_eq!(breaker.times() as usize, model.openings.len());
            }
        }
    }
}
