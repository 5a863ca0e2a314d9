//! How many requests may be under way to an endpoint at once, learnt from its answers: additive increase, multiplicative
//! decrease (AIMD), within its `maxInFlight`. Pure.
//!
//! It starts at the most there may be: a receiver that keeps up is never slowed, and one that does not says so. Pushback (429,
//! 502, 503, 504, a timeout) halves it, as TCP does; answers that take twice as long as they used to, and longer than a
//! receiver in good health takes, make it a tenth less, as in Netflix's and Vector's limiters. Each cut counts once: what was
//! sent before it says nothing of what is sent after. While it holds requests back and they are answered in time, it rises by a
//! sixteenth of the most with each round of answers, so that it is back after some sixteen rounds at most.

use std::time::{Duration, Instant};

/// With pushback it is that much of what it was.
const PUSHED: f64 = 0.5;
/// With slow answers it is that much of what it was.
const SLOWED: f64 = 0.9;
/// Of the most there may be, it rises by that much.
const STEP: f64 = 1.0 / 16.0;
/// Answers are slow that take so much longer than usual.
const SLOW: f64 = 2.0;
/// And longer than this, in seconds: below, twice as long is nothing to worry about.
const CALM: f64 = 0.25;
/// Of a longer time, so much is taken over with each round: a receiver that has become slower for good is taken as it is.
const PATIENCE: f64 = 1.0 / 16.0;
/// A round has at least so many answers, so that one of them does not make its mean.
const FEW: u32 = 8;

/// One endpoint's limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapt {
    most: usize,
    limit: f64,
    /// How long answers usually take, in seconds; 0: not known.
    usual: f64,
    /// Of this round: how long answers took, how many there were, and whether requests were held back.
    sum: f64,
    count: u32,
    held_back: bool,
    /// When it was last cut.
    cut: Option<Instant>,
}

impl Adapt {
    /// The limit of an endpoint of which nothing is known but the most there may be.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let limit = most as f64;
        Self { most, limit, usual: 0.0, sum: 0.0, count: 0, held_back: false, cut: None }
    }

    /// How many may be under way: from 1 to the most there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        // Between 1 and what a `usize` was.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let limit = self.limit as usize;
        limit.clamp(1, self.most.max(1))
    }

    /// The most there may be.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Another number is the most there may be.
    pub fn set_most(&mut self, most: usize) {
        if self.limit >= self.most as f64 {
            self.limit = most as f64;
        }
        self.most = most;
        self.limit = self.limit.min(most as f64);
    }

    /// A request that was sent at `started` was answered in that time; `full` if as many were under way as may be.
    pub fn answered(&mut self, started: Instant, took: Duration, now: Instant, full: bool) {
        if self.is_old(started) {
            return;
        }
        self.sum += took.as_secs_f64();
        self.count += 1;
        self.held_back |= full;
        if self.count < FEW || f64::from(self.count) < self.limit {
            return;
        }
        let mean = self.sum / f64::from(self.count);
        if self.usual == 0.0 {
            self.usual = mean;
        }
        let is_slow = mean > CALM && mean > self.usual * SLOW;
        match is_slow {
            true => self.cut_to(SLOWED, now),
            false if self.held_back => {
                let step = (self.most as f64 * STEP).max(1.0);
                self.limit = (self.limit + step).min(self.most as f64);
            }
            false => {}
        }
        self.usual = match mean < self.usual {
            true => mean,
            false => (mean - self.usual).mul_add(PATIENCE, self.usual),
        };
        (self.sum, self.count, self.held_back) = (0.0, 0, false);
    }

    /// A request that was sent at `started` was pushed back, or timed out.
    pub fn pushed_back(&mut self, started: Instant, now: Instant) {
        if !self.is_old(started) {
            self.cut_to(PUSHED, now);
            (self.sum, self.count, self.held_back) = (0.0, 0, false);
        }
    }

    fn cut_to(&mut self, share: f64, now: Instant) {
        self.limit = (self.limit * share).max(1.0);
        self.cut = Some(now);
    }

    fn is_old(&self, started: Instant) -> bool {
        self.cut.is_some_and(|cut| started < cut)
    }
}

#[cfg(test)]
mod tests;
