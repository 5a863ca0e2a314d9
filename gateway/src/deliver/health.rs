//! An endpoint's health: what the end of each attempt says of its receiver, and what follows for its lane. Pure.
//!
//! An attempt's end is a [`Sign`]. From it the health learns whether to pause the lane, how many requests may be under way,
//! what to keep in the store, and whether to warn or to disable. It lives in the lane, under the lane's lock.
//!
//! - **Throttle**: pushback pauses the lane for as long as the receiver asks, or for a time that doubles with each further
//!   pushback and is forgotten with the next success. What was sent before the pause does not make it longer.
//! - **[`Breaker`]**: a run of failures that are not about single deliveries. A 4xx says that the receiver is there and looks
//!   at what it gets, so that a row of bad messages keeps no good ones waiting.
//! - **[`Adapt`]**: the number of requests under way.
//! - **Failing**: since when nothing succeeded, a 4xx or not. It is kept once it lasts, so that an endpoint that fails now and
//!   then costs no writes.

use super::{
    adapt::Adapt,
    breaker::{self, Breaker, State},
};
use crate::model::{
    Millis,
    attempt::{Failure, Meaning, Outcome},
    health::{self, Trouble},
};
use std::time::{Duration, Instant};

/// The first pause for a receiver that does not say how long, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Each pause is made longer or shorter by up to this share.
const JITTER: f64 = 0.2;
/// An endpoint that fails for that long is kept as one that fails, in milliseconds.
const LASTING: Millis = 60_000;
/// A receiver that asks to be left alone for that long, in milliseconds, is also after a restart.
const LONG: Millis = 10_000;

/// What the delivery stage's options say of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The longest that a receiver may ask to be left alone, in milliseconds.
    pub longest_asked: Millis,
    /// When the breaker opens.
    pub breaker: breaker::Options,
    /// Whether the number of requests under way is learnt.
    pub adaptive: bool,
    /// An endpoint is disabled that failed for that long, in milliseconds; 0: never.
    pub disable_after: Millis,
}

/// What an attempt's end says of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It took the delivery.
    Good,
    /// It answered that it does not want this delivery.
    Refused,
    /// It has too much to do; how long it asked to be left alone, in milliseconds.
    Pushback(Option<Millis>),
    /// It is not well.
    Bad,
    /// Nothing: the failure is our own.
    Nothing,
}

/// What the outcome says of the receiver. An answer that was classified means what its classifier says; one that is `last` ends
/// its delivery as the owner wants it.
#[must_use]
pub fn sign(outcome: &Outcome, meaning: Option<Meaning>, last: bool) -> Sign {
    let asked = match (outcome, meaning) {
        (_, Some(Meaning::Success)) => return Sign::Good,
        (_, Some(Meaning::Fail)) => return Sign::Refused,
        (_, Some(Meaning::RetryAfter(Some(wait)))) => Some(wait),
        (Outcome::Answered(answer), _) => answer.retry_after,
        (Outcome::Failed { .. }, _) => None,
    };
    match outcome {
        Outcome::Failed { class: Failure::Internal | Failure::Signer, .. } => Sign::Nothing,
        Outcome::Failed { class: Failure::Timeout, .. } => Sign::Pushback(asked),
        Outcome::Failed { .. } => Sign::Bad,
        Outcome::Answered(answer) => match answer.status {
            200..300 if meaning.is_none() => Sign::Good,
            429 | 502..=504 => Sign::Pushback(asked),
            408 => Sign::Bad,
            400..500 => Sign::Refused,
            _ if last => Sign::Refused,
            _ => Sign::Bad,
        },
    }
}

/// When an attempt began and ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When it was sent.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// Now.
    pub now: Instant,
    /// Now, on the wall clock.
    pub at: Millis,
    /// Whether as many were under way as may be.
    pub full: bool,
    /// Drawn from -1 to 1.
    pub chance: f64,
}

/// What follows from an attempt's end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Orders {
    /// Nothing is to be sent before then.
    pub pause: Option<Instant>,
    /// This is to be kept.
    pub keep: Option<Trouble>,
    /// Operators are to be told that it will be disabled.
    pub warn: bool,
    /// It is to be disabled.
    pub disable: bool,
}

/// One endpoint's health.
#[derive(Clone, Debug)]
pub struct Health {
    renewed: u64,
    adapt: Adapt,
    breaker: Breaker,
    /// Until when it is open, on the wall clock.
    until: Millis,
    throttle: Throttle,
    /// Since when, how many, and when its operators were warned.
    failing: Option<(Millis, u64, Option<Millis>)>,
    /// Until when its receiver asked to be left alone, on the wall clock, if for long.
    asked: Option<Millis>,
    kept: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Throttle {
    /// How many times in a row.
    times: u32,
    /// When the last pause began.
    since: Option<Instant>,
}

impl Health {
    /// That of an endpoint with this `renewed` of which nothing is known but how many requests may be under way.
    #[must_use]
    pub fn new(renewed: u64, most: usize) -> Self {
        let (adapt, breaker) = (Adapt::new(most), Breaker::default());
        let throttle = Throttle::default();
        let (failing, asked) = (None, None);
        Self { renewed, adapt, breaker, until: 0, throttle, failing, asked, kept: false }
    }

    /// That of an endpoint of which this was kept, unless it was renewed since.
    #[must_use]
    pub fn restored(
        (renewed, most): (u64, usize),
        trouble: Trouble,
        policy: &Policy,
        (now, at): (Instant, Millis),
    ) -> Self {
        let new = Self::new(renewed, most);
        if trouble.renewed != renewed {
            return new;
        }
        // A clock that was wrong must not leave it alone for longer than it may be.
        let left = trouble.until.map_or(0, |until| until.saturating_sub(at));
        let left = left.min(2 * policy.breaker.open_max_ms);
        let failures = u32::try_from(trouble.failures).unwrap_or(u32::MAX);
        let breaker = match trouble.openings {
            0 => Breaker::default(),
            times => Breaker::opened(failures, times, now + Duration::from_millis(left)),
        };
        let failing = trouble.failing_since.map(|since| (since, trouble.failures, trouble.warned));
        let asked = trouble.asked.map(|until| until.min(at.saturating_add(policy.longest_asked)));
        Self { breaker, until: at + left, failing, asked, kept: true, ..new }
    }

    /// Its endpoint's `renewed`.
    #[must_use]
    pub const fn renewed(&self) -> u64 {
        self.renewed
    }

    /// The endpoint is as of this `renewed`, with as many requests under way as that at most; whether it begins anew.
    pub fn set(&mut self, renewed: u64, most: usize) -> bool {
        self.adapt.set_most(most);
        let is_new = renewed != self.renewed;
        if is_new {
            *self = Self::new(renewed, most);
        }
        is_new
    }

    /// Whether it is that of an endpoint which nothing is known of.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.failing.is_none() && !self.kept && self.in_flight() == self.adapt.most().max(1)
    }

    /// How many requests may be under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match self.breaker.times() {
            0 => self.adapt.limit(),
            _ => 1,
        }
    }

    /// Until when nothing is sent for its breaker's sake.
    #[must_use]
    pub fn open_until(&self, now: Instant) -> Option<Instant> {
        match self.breaker.state(now) {
            State::Open(until) => Some(until),
            State::Closed | State::HalfOpen => None,
        }
    }

    /// For how long its receiver still wants to be left alone, in milliseconds, if it asked for long.
    #[must_use]
    pub fn left_alone(&self, at: Millis) -> Option<Millis> {
        self.asked.map(|until| until.saturating_sub(at)).filter(|left| *left > 0)
    }

    /// How it is.
    #[must_use]
    pub fn shown(&self, now: Instant) -> health::Health {
        let (breaker, until) = match self.breaker.state(now) {
            State::Closed => (health::Breaker::Closed, None),
            State::HalfOpen => (health::Breaker::HalfOpen, None),
            State::Open(_) => (health::Breaker::Open, Some(self.until)),
        };
        health::Health {
            breaker,
            until,
            failing_since: self.failing.map(|(since, ..)| since),
            failures: self.failing.map_or(0, |(_, failures, _)| failures),
            in_flight_limit: self.in_flight(),
        }
    }

    /// An attempt has ended: what follows.
    pub fn ended(&mut self, policy: &Policy, sign: Sign, ended: Ended) -> Orders {
        let Ended { started, took, now, at, full, chance } = ended;
        let mut orders = Orders::default();
        let mut is_longer = false;
        match sign {
            Sign::Nothing => return orders,
            Sign::Good => {
                // What every attempt to a healthy endpoint does: it writes nothing and draws no chance.
                if policy.adaptive {
                    self.adapt.answered(started, took, now, full);
                }
                let is_later = self.throttle.since.is_none_or(|since| started >= since);
                self.throttle.forget(started);
                let was_open = self.breaker.answered(started);
                let was_failing = self.failing.take().is_some();
                // What was sent before says nothing of what was asked for since.
                let was_asked = is_later && self.asked.take().is_some();
                if (was_open || was_failing || was_asked) && self.kept {
                    orders.keep = Some(self.trouble(now));
                }
                return orders;
            }
            Sign::Refused => {
                if self.breaker.answered(started) {
                    orders.keep = Some(self.trouble(now));
                }
            }
            Sign::Pushback(asked) => {
                if policy.adaptive {
                    self.adapt.pushed_back(started, now);
                }
                let asked = asked.map(|asked| asked.min(policy.longest_asked));
                orders.pause = self.throttle.pause(started, now, asked, chance);
                // Not once for each of those that were sent together.
                let until =
                    asked.filter(|asked| *asked >= LONG).map(|asked| at.saturating_add(asked));
                is_longer = until
                    .is_some_and(|until| self.asked.unwrap_or(0).saturating_add(LONG) <= until);
                if is_longer {
                    self.asked = until;
                }
            }
            Sign::Bad => {}
        }
        let (since, failures, _) = self.failing.get_or_insert((at, 0, None));
        *failures += 1;
        let lasts = !self.kept && at.saturating_sub(*since) >= LASTING;
        if matches!(sign, Sign::Pushback(_) | Sign::Bad) {
            let opened = self.breaker.failed(&policy.breaker, started, now, chance);
            orders.pause = orders.pause.max(opened);
            self.until = opened.map_or(self.until, |until| wall(until, now, at));
            if lasts || opened.is_some() || is_longer {
                orders.keep = Some(self.trouble(now));
            }
        } else if lasts {
            orders.keep = Some(self.trouble(now));
        }
        self.judge(policy.disable_after, (now, at), &mut orders);
        self.kept = orders.keep.map_or(self.kept, |trouble| trouble.is_some());
        orders
    }

    /// Whether it has failed for so long that its operators are warned, or that it is disabled: half of the time it takes is
    /// left to them once they know.
    fn judge(&mut self, after: Millis, (now, at): (Instant, Millis), orders: &mut Orders) {
        let Some((since, _, warned)) = &mut self.failing else { return };
        if after == 0 || at.saturating_sub(*since) < after / 2 {
            return;
        }
        match *warned {
            None => {
                *warned = Some(at);
                orders.warn = true;
                orders.keep = Some(self.trouble(now));
            }
            Some(warned) => orders.disable = at.saturating_sub(warned) >= after.div_ceil(2),
        }
    }

    /// What is to be kept of it now.
    fn trouble(&mut self, now: Instant) -> Trouble {
        let (since, failures, warned) = match self.failing {
            Some((since, failures, warned)) => (Some(since), failures, warned),
            None => (None, 0, None),
        };
        let trouble = Trouble {
            renewed: self.renewed,
            openings: self.breaker.times(),
            until: self.open_until(now).map(|_| self.until),
            failing_since: since,
            failures,
            warned,
            asked: self.asked,
        };
        self.kept = trouble.is_some();
        trouble
    }
}

/// A point in time on the wall clock.
fn wall(point: Instant, now: Instant, at: Millis) -> Millis {
    let left = point.saturating_duration_since(now).as_millis();
    at.saturating_add(u64::try_from(left).unwrap_or(u64::MAX))
}

impl Throttle {
    /// A request that was sent at `started` was pushed back; until when the lane is to pause, if that is new.
    fn pause(
        &mut self,
        started: Instant,
        now: Instant,
        asked: Option<Millis>,
        chance: f64,
    ) -> Option<Instant> {
        let asked = asked.filter(|asked| *asked > 0).map(Duration::from_millis);
        // Of what was sent together, one makes the pause; what the receiver asks for counts in any case.
        if self.since.is_some_and(|since| started < since) {
            return asked.map(|asked| now + asked);
        }
        let doubled = PAUSE.saturating_mul(1_u32.checked_shl(self.times).unwrap_or(u32::MAX));
        let usual = doubled.min(LONGEST_PAUSE).mul_f64(chance.mul_add(JITTER, 1.0));
        (self.times, self.since) = (self.times.saturating_add(1), Some(now));
        Some(now + asked.unwrap_or(usual))
    }

    /// A request that was sent at `started` succeeded.
    fn forget(&mut self, started: Instant) {
        if self.since.is_some_and(|since| started >= since) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
