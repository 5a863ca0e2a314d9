//! How a JetStream source is doing, for whoever watches: kept by the source, read by `/health` and `/metrics`. Nothing is
//! asked of the server for it: each message says how many are behind it.

use crate::model::Millis;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A source's books.
#[derive(Debug)]
pub struct Progress {
    stream: String,
    durable: String,
    bound: AtomicBool,
    pending: AtomicU64,
    in_hand: AtomicU64,
    /// When the oldest in hand was published; 0: nothing is in hand.
    oldest: AtomicU64,
    accepted: AtomicU64,
    terminated: AtomicU64,
}

/// A source at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceState {
    /// The stream's name.
    pub stream: String,
    /// The consumer's name.
    pub durable: String,
    /// Whether it takes messages now.
    pub bound: bool,
    /// Messages of the stream that are not accepted yet, as of the last that came.
    pub pending: u64,
    /// Messages accepted since the start, those that came again among them.
    pub accepted: u64,
    /// Messages given up since the start.
    pub terminated: u64,
    /// How long ago the oldest message in hand was published; 0 if none is in hand.
    pub lag_ms: Millis,
}

impl Progress {
    /// The books of a source that is not bound yet.
    #[must_use]
    pub fn new(stream: &str, durable: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            durable: durable.to_owned(),
            bound: AtomicBool::new(false),
            pending: AtomicU64::new(0),
            in_hand: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            terminated: AtomicU64::new(0),
        }
    }

    /// The source is bound, and that many messages wait for it.
    pub fn bound(&self, pending: u64) {
        self.pending.store(pending, Relaxed);
        self.bound.store(true, Relaxed);
    }

    /// The source is not bound any more.
    pub fn unbound(&self) {
        self.bound.store(false, Relaxed);
    }

    /// So many messages are in hand, the oldest published then; so many are behind the last.
    pub fn took(&self, count: u64, oldest: Millis, behind: u64) {
        self.in_hand.store(count, Relaxed);
        self.oldest.store(oldest, Relaxed);
        self.pending.store(behind, Relaxed);
    }

    /// Nothing is in hand any more: that many were accepted.
    pub fn settled(&self, accepted: u64) {
        self.in_hand.store(0, Relaxed);
        self.oldest.store(0, Relaxed);
        self.accepted.fetch_add(accepted, Relaxed);
    }

    /// That many were given up, and the server knows it.
    pub fn terminated(&self, terminated: u64) {
        self.terminated.fetch_add(terminated, Relaxed);
    }

    /// The source as it is at `now`.
    #[must_use]
    pub fn state(&self, now: Millis) -> SourceState {
        let oldest = self.oldest.load(Relaxed);
        SourceState {
            stream: self.stream.clone(),
            durable: self.durable.clone(),
            bound: self.bound.load(Relaxed),
            pending: self.pending.load(Relaxed) + self.in_hand.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            terminated: self.terminated.load(Relaxed),
            lag_ms: if oldest == 0 { 0 } else { now.saturating_sub(oldest) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_pending_until_it_is_settled() {
        let progress = Progress::new("SMS", "octohooks");
        progress.bound(9);
        assert_eq!((progress.state(50).pending, progress.state(50).lag_ms), (9, 0));
        progress.took(4, 20, 5);
        let held = progress.state(50);
        assert_eq!((held.bound, held.pending, held.lag_ms, held.accepted), (true, 9, 30, 0));
        progress.settled(3);
        progress.terminated(1);
        progress.unbound();
        let now = progress.state(50);
        assert_eq!((now.pending, now.lag_ms, now.accepted, now.terminated), (5, 0, 3, 1));
        assert!(!now.bound);
    }
}
