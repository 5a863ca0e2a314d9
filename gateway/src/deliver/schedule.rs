//! The retry schedule: how long to wait after which failure. A function of its arguments.

use crate::model::{
    Millis,
    retry::{JITTER, LONGEST, Retry, WAITS},
};
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
        let legal = |wait: &f64| (0.0..=LONGEST).contains(wait);
        if self.waits_seconds.len() > WAITS || !self.waits_seconds.iter().all(legal) {
            return Err((
                "waits_seconds",
                "at most 100 waits of 0 to 2592000 (30 days) each".into(),
            ));
        }
        match (0.0..=JITTER).contains(&self.jitter) {
            true => Ok(()),
            false => Err(("jitter", "a share from 0 to 0.9".into())),
        }
    }

    fn seconds(&self, failed: u32) -> Option<f64> {
        let index = usize::try_from(failed.checked_sub(1)?).ok()?;
        self.waits_seconds.get(index).copied()
    }

    /// How much of a wait that a receiver asked for it is given, in milliseconds.
    #[must_use]
    pub fn granted(&self, asked: Option<Millis>) -> Millis {
        asked.unwrap_or(0).min(self.retry_after_max_seconds.saturating_mul(1000))
    }
}

/// Who has a say in a delivery's retries. What its endpoint says counts first, then its application, then the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The endpoint's.
    pub endpoint: Option<&'a Retry>,
    /// The application's.
    pub application: Option<&'a Retry>,
    /// The configuration's.
    pub usual: &'a RetryOptions,
}

impl<'a> Rules<'a> {
    fn said<T>(&self, what: impl Fn(&'a Retry) -> Option<T>) -> Option<T> {
        [self.endpoint, self.application].into_iter().flatten().find_map(what)
    }

    /// Whether an answer with that status ends a delivery at once.
    #[must_use]
    pub fn is_final(&self, status: u16) -> bool {
        let codes = self.said(|retry| retry.final_statuses.as_deref());
        codes.is_some_and(|codes| codes.contains(&status))
    }

    /// How long to wait after the failure of attempt number `failed` (from 1), in milliseconds; none if that was the
    /// last. `chance` is drawn from -1 to 1. What the receiver asked for counts where it is longer.
    #[must_use]
    pub fn wait(&self, failed: u32, asked: Option<Millis>, chance: f64) -> Option<Millis> {
        let seconds = match self.said(|retry| retry.schedule.as_ref()) {
            Some(schedule) => schedule.wait(failed)?,
            None => self.usual.seconds(failed)?,
        };
        let jitter = self.said(|retry| retry.jitter).unwrap_or(self.usual.jitter);
        let jittered = (seconds * 1000.0 * chance.mul_add(jitter, 1.0)).round();
        // Checked to be finite, not negative and far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let wait = jittered.max(0.0) as Millis;
        Some(wait.max(self.usual.granted(asked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::retry::Schedule;
    use proptest::prelude::*;

    fn usual(options: &RetryOptions) -> Rules<'_> {
        Rules { endpoint: None, application: None, usual: options }
    }

    #[test]
    fn the_default_schedule_is_the_contracts() {
        let options = RetryOptions::default();
        let rules = usual(&options);
        let waits: Vec<_> = (1..=8).map(|failed| rules.wait(failed, None, 0.0)).collect();
        let seconds = [5, 300, 1800, 7200, 18_000, 36_000, 36_000].map(|s| Some(s * 1000));
        assert_eq!(waits[..7], seconds);
        assert_eq!(waits[7], None, "the eighth attempt is the last");
    }

    #[test]
    fn what_the_receiver_asks_for_counts_up_to_a_limit() {
        let options = RetryOptions::default();
        let rules = usual(&options);
        assert_eq!(rules.wait(1, Some(7000), 0.0), Some(7000));
        assert_eq!(rules.wait(2, Some(7000), 0.0), Some(300_000), "the schedule's wait is longer");
        assert_eq!(rules.wait(1, Some(Millis::MAX), 0.0), Some(3_600_000));
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let options = RetryOptions::default();
        let rules = usual(&options);
        assert_eq!(rules.wait(1, None, 1.0), Some(5500));
        assert_eq!(rules.wait(1, None, -1.0), Some(4500));
    }

    fn retry() -> impl Strategy<Value = Retry> {
        let waits = prop::collection::vec(0.0..LONGEST, 0..5).prop_map(Schedule::Waits);
        let growing = (0.001..9.0_f64, 1.0..4.0_f64, 9.0..99.0_f64, 1_u32..9).prop_map(
            |(base, factor, cap, attempts)| Schedule::Exponential { base, factor, cap, attempts },
        );
        let schedule = prop::option::of(prop_oneof![waits, growing]);
        let statuses = prop::option::of(prop::collection::vec(300_u16..600, 0..4));
        (schedule, prop::option::of(0.0..=JITTER), statuses).prop_map(
            |(schedule, jitter, final_statuses)| Retry { schedule, jitter, final_statuses },
        )
    }

    proptest! {
        /// The endpoint's word beats the application's, and that the configuration's, each thing by itself; and every wait
        /// is the schedule's within its jitter, or what the receiver asked for.
        #[test]
        fn whoever_is_nearer_has_the_say(
            endpoint in prop::option::of(retry()), application in prop::option::of(retry()),
            failed in 1_u32..12, asked in prop::option::of(0..9_000_000_u64),
            chance in -1.0..1.0_f64, status in 300_u16..600,
        ) {
            let options = RetryOptions::default();
            let (near, far) = (endpoint.as_ref(), application.as_ref());
            let rules = Rules { endpoint: near, application: far, usual: &options };
            let mut schedule = Schedule::Waits(options.waits_seconds.clone());
            let (mut jitter, mut codes) = (options.jitter, Vec::new());
            for said in [far, near].into_iter().flatten().cloned() {
                schedule = said.schedule.unwrap_or(schedule);
                jitter = said.jitter.unwrap_or(jitter);
                codes = said.final_statuses.unwrap_or(codes);
            }
            prop_assert_eq!(rules.is_final(status), codes.contains(&status));
            let wait = rules.wait(failed, asked, chance);
            prop_assert_eq!(wait.is_some(), schedule.wait(failed).is_some());
            let (Some(wait), Some(seconds)) = (wait, schedule.wait(failed)) else { return Ok(()) };
            let asked = asked.unwrap_or(0).min(3_600_000) as f64;
            let (low, high) = (seconds * 1e3 * (1.0 - jitter), seconds * 1e3 * (1.0 + jitter));
            let wait = wait as f64;
            prop_assert!(wait >= low.max(asked) - 1.0, "{wait} {low} {asked}");
            prop_assert!(wait <= high.max(asked) + 1.0, "{wait} {high} {asked}");
        }
    }
}
