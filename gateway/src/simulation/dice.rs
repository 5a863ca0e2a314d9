//! What a simulation draws, and what its gateway is like for as long as a world lasts.

use super::books::IN_FLIGHT;
use crate::{
    clock::simulated::draw,
    deliver::{self, breaker, schedule::RetryOptions},
    model::endpoint::{Per, RateLimit},
};
use std::num::NonZeroU32;

/// A number from that range.
pub fn number(range: std::ops::Range<u64>) -> u64 {
    draw(range).unwrap_or_default()
}

/// Whether it is the one of so many.
pub fn one_in(count: u64) -> bool {
    number(0..count) == 0
}

/// A number from that range that is not 0.
pub fn some(range: std::ops::Range<u64>) -> NonZeroU32 {
    u32::try_from(number(range)).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// A rate limit per that.
pub fn rate(per: Per) -> RateLimit {
    RateLimit { limit: some(1..40), per, burst: some(1..6) }
}

/// How a gateway is configured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many requests may be under way. Where they are few, applications wait for each other's.
    pub requests: usize,
    /// How many may start in a time.
    pub rate: Option<RateLimit>,
    /// When an endpoint is left alone.
    pub breaker: breaker::Options,
    /// Whether fewer requests are under way to a receiver that does not keep up.
    adaptive: bool,
    /// After how many seconds of failing only an endpoint is disabled.
    disable_after: u64,
}

impl Settings {
    /// Some of all that may be.
    pub fn drawn() -> Self {
        let usual = breaker::Options::default();
        let breaker = match number(0..4) {
            0 => breaker::Options { failures: 0, ..usual },
            1 => usual,
            _ => {
                let (open_ms, longer) = (number(100..5_000), number(0..60_000));
                let failures = some(1..6).get();
                breaker::Options { failures, open_ms, open_max_ms: open_ms + longer }
            }
        };
        Self {
            requests: if one_in(3) { 12 } else { 1000 },
            rate: one_in(4).then(|| rate(Per::Second)),
            breaker,
            adaptive: !one_in(4),
            disable_after: if one_in(4) { number(600..7_200) } else { 432_000 },
        }
    }

    /// As the delivery stage takes them; with waits so short that dead letters are made.
    pub fn options(&self) -> deliver::Options {
        let retry =
            RetryOptions { waits_seconds: vec![1.0, 5.0, 60.0, 1800.0], ..RetryOptions::default() };
        deliver::Options {
            max_in_flight: IN_FLIGHT,
            rate_limit: self.rate,
            adaptive: self.adaptive,
            breaker: self.breaker,
            disable_after_seconds: self.disable_after,
            retry,
            ..deliver::Options::default()
        }
    }
}
