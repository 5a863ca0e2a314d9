//! The retry schedule: how long to wait after which failure. A function of its arguments.

use crate::model::Millis;
use serde::{Deserialize, Serialize};

/// Retries of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOptions {
    /// Seconds to wait after each failed attempt, counted from the failure; one attempt more than there are waits.
    /// The default is the provider's schedule of eight attempts: the first at once, then after 5 s, 5 min, 30 min, 2 h,
    /// 5 h, 10 h and 10 h.
    pub waits_seconds: Vec<f64>,
    /// Each wait is made longer or shorter by up to this share, so that what failed together does not return together.
    pub jitter: f64,
    /// A receiver's `Retry-After` is honoured up to this many seconds.
    pub retry_after_max_seconds: u64,
}

impl Default for RetryOptions {
    fn default() -> Self {
        let waits = [5, 300, 1800, 7200, 18_000, 36_000, 36_000];
        Self {
            waits_seconds: waits.into_iter().map(f64::from).collect(),
            jitter: 0.1,
            retry_after_max_seconds: 3600,
        }
    }
}

impl RetryOptions {
    /// What is wrong with these options, if anything: the key and what would be right.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let legal = |wait: &f64| (0.0..=2_592_000.0).contains(wait);
        if self.waits_seconds.len() > 100 || !self.waits_seconds.iter().all(legal) {
            return Err((
                "waits_seconds",
                "at most 100 waits of 0 to 2592000 (30 days) each".into(),
            ));
        }
        match (0.0..=0.9).contains(&self.jitter) {
            true => Ok(()),
            false => Err(("jitter", "a share from 0 to 0.9".into())),
        }
    }

    /// How long to wait after the failure of attempt number `failed` (from 1), in milliseconds; none if that was the
    /// last. `chance` is drawn from -1 to 1. What the receiver asked for counts where it is longer.
    #[must_use]
    pub fn wait(&self, failed: u32, asked: Option<Millis>, chance: f64) -> Option<Millis> {
        let index = usize::try_from(failed.checked_sub(1)?).ok()?;
        let seconds = self.waits_seconds.get(index)?;
        let jittered = (seconds * 1000.0 * chance.mul_add(self.jitter, 1.0)).round();
        // Checked to be finite, not negative and far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let wait = jittered.max(0.0) as Millis;
        let asked = asked.unwrap_or(0).min(self.retry_after_max_seconds.saturating_mul(1000));
        Some(wait.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schedule_is_the_contracts() {
        let options = RetryOptions::default();
        let waits: Vec<_> = (1..=8).map(|failed| options.wait(failed, None, 0.0)).collect();
        let seconds = [5, 300, 1800, 7200, 18_000, 36_000, 36_000].map(|s| Some(s * 1000));
        assert_eq!(waits[..7], seconds);
        assert_eq!(waits[7], None, "the eighth attempt is the last");
    }

    #[test]
    fn what_the_receiver_asks_for_counts_up_to_a_limit() {
        let options = RetryOptions::default();
        assert_eq!(options.wait(1, Some(7000), 0.0), Some(7000));
        assert_eq!(
            options.wait(2, Some(7000), 0.0),
            Some(300_000),
            "the schedule's wait is longer"
        );
        assert_eq!(options.wait(1, Some(Millis::MAX), 0.0), Some(3_600_000));
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let options = RetryOptions::default();
        assert_eq!(options.wait(1, None, 1.0), Some(5500));
        assert_eq!(options.wait(1, None, -1.0), Some(4500));
    }
}
