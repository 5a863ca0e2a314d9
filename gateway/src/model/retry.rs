//! When failed deliveries are tried again, and which answers are final, as owners of endpoints and applications say.

use super::draft::Wrong;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most waits there are between a delivery's attempts.
pub const WAITS: usize = 100;
/// The longest wait, in seconds: 30 days.
pub const LONGEST: f64 = 2_592_000.0;
/// The most that a wait is made longer or shorter, as a share of it.
pub const JITTER: f64 = 0.9;
/// The shortest first wait of those that grow, in seconds: nothing grows from zero.
const SHORTEST: f64 = 0.001;
/// The most that each wait is of the one before.
const FACTOR: f64 = 100.0;
/// The longest of growing waits, in seconds, where nothing is said: the contract's longest.
const CAP: f64 = 36_000.0;
/// The most codes that may be final.
const STATUSES: usize = 100;

/// What an owner says of retries; of what is not said, the next one's counts: the endpoint's, the application's, the
/// configuration's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "RetryDraft", try_from = "RetryDraft")]
pub struct Retry {
    /// How long to wait, and how often.
    pub schedule: Option<Schedule>,
    /// Each wait is made longer or shorter by up to this share.
    pub jitter: Option<f64>,
    /// With an answer of one of these a delivery is a dead letter at once.
    pub final_statuses: Option<Vec<u16>>,
}

/// How long to wait after which failed attempt, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// One attempt more than there are.
    Waits(Vec<f64>),
    /// Waits that grow.
    Exponential {
        /// After the first failed attempt.
        base: f64,
        /// How much longer each is than the one before.
        factor: f64,
        /// The longest.
        cap: f64,
        /// How many attempts there are, the first among them.
        attempts: u32,
    },
}

impl Schedule {
    /// How long to wait after the failure of attempt number `failed` (from 1), in seconds; none if that was the last.
    #[must_use]
    pub fn wait(&self, failed: u32) -> Option<f64> {
        let index = failed.checked_sub(1)?;
        match self {
            Self::Waits(waits) => waits.get(usize::try_from(index).ok()?).copied(),
            Self::Exponential { attempts, .. } if failed >= *attempts => None,
            Self::Exponential { base, factor, cap, .. } => {
                Some((base * factor.powi(i32::try_from(index).ok()?)).min(*cap))
            }
        }
    }
}

/// Retries as they are written and shown: `waits`, or `base` with `attempts`, or neither.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Retry)]
pub struct RetryDraft {
    /// Seconds to wait after each failed attempt; there is one attempt more than there are waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100)]
    pub waits: Option<Vec<f64>>,
    /// Seconds to wait after the first failed attempt, where the waits grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.001, maximum = 2_592_000)]
    pub base: Option<f64>,
    /// How much longer each wait is than the one before; 2 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub factor: Option<f64>,
    /// The longest wait, in seconds; 36000 (10 h) if absent, or `base` if that is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_592_000)]
    pub cap: Option<f64>,
    /// How many attempts there are, the first among them; needed beside `base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 101)]
    pub attempts: Option<u32>,
    /// Each wait is made longer or shorter by up to this share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 0.9)]
    pub jitter: Option<f64>,
    /// Answers with which a delivery is a dead letter at once, from 300 to 599.
    #[serde(alias = "final_statuses", skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100)]
    pub final_statuses: Option<Vec<u16>>,
}

impl RetryDraft {
    /// What it says; none if that is nothing. What is wrong has paths below `/retry`.
    pub fn check(self) -> Result<Option<Retry>, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let schedule = self.schedule(&mut wrong);
        if self.jitter.is_some_and(|jitter| !(0.0..=JITTER).contains(&jitter)) {
            wrong.push(("/retry/jitter".into(), format!("must be a share from 0 to {JITTER}")));
        }
        let statuses = self.final_statuses.iter().flatten();
        for (index, _) in statuses.enumerate().filter(|(_, code)| !(300..600).contains(*code)) {
            let path = format!("/retry/finalStatuses/{index}");
            wrong.push((path, "must be from 300 to 599".into()));
        }
        if self.final_statuses.as_ref().is_some_and(|codes| codes.len() > STATUSES) {
            wrong.push(("/retry/finalStatuses".into(), format!("must be at most {STATUSES}")));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let retry = Retry { schedule, jitter: self.jitter, final_statuses: self.final_statuses };
        let says_nothing = retry.schedule.is_none() && retry.jitter.is_none();
        Ok((!says_nothing || retry.final_statuses.is_some()).then_some(retry))
    }

    fn schedule(&self, wrong: &mut Vec<Wrong>) -> Option<Schedule> {
        let before = wrong.len();
        let mut no = |path: &str, text: String| wrong.push((format!("/retry{path}"), text));
        let growing = [
            ("/base", self.base.is_some()),
            ("/factor", self.factor.is_some()),
            ("/cap", self.cap.is_some()),
            ("/attempts", self.attempts.is_some()),
        ];
        let given = || growing.iter().filter(|(_, is_given)| *is_given).map(|(path, _)| path);
        if let Some(waits) = &self.waits {
            if let Some(path) = given().next() {
                no(path, "does not go with waits: give one or the other".into());
            }
            if waits.len() > WAITS {
                no("/waits", format!("must be at most {WAITS}"));
            }
            let legal = |wait: &f64| (0.0..=LONGEST).contains(wait);
            for (index, _) in waits.iter().enumerate().filter(|(_, wait)| !legal(wait)) {
                no(&format!("/waits/{index}"), format!("must be from 0 to {LONGEST} seconds"));
            }
            return (wrong.len() == before).then(|| Schedule::Waits(waits.clone()));
        }
        given().next()?;
        let factor = self.factor.unwrap_or(2.0);
        let base = self.base.unwrap_or_default();
        let cap = self.cap.unwrap_or(CAP.max(base));
        let attempts = self.attempts.unwrap_or_default();
        if self.base.is_none() {
            no("/base", "is required beside factor, cap and attempts".into());
        } else if !(SHORTEST..=LONGEST).contains(&base) {
            no("/base", format!("must be from {SHORTEST} to {LONGEST} seconds"));
        }
        if !(1.0..=FACTOR).contains(&factor) {
            no("/factor", format!("must be from 1 to {FACTOR}"));
        }
        if self.cap.is_some() && !(base..=LONGEST).contains(&cap) {
            no("/cap", format!("must be from base to {LONGEST} seconds"));
        }
        if self.attempts.is_none() {
            no("/attempts", "is required beside base".into());
        } else if !(1..=WAITS + 1).contains(&(attempts as usize)) {
            no("/attempts", format!("must be from 1 to {}", WAITS + 1));
        }
        let schedule = Schedule::Exponential { base, factor, cap, attempts };
        (wrong.len() == before).then_some(schedule)
    }
}

impl From<Retry> for RetryDraft {
    fn from(Retry { schedule, jitter, final_statuses }: Retry) -> Self {
        let rest = Self { jitter, final_statuses, ..Self::default() };
        match schedule {
            None => rest,
            Some(Schedule::Waits(waits)) => Self { waits: Some(waits), ..rest },
            Some(Schedule::Exponential { base, factor, cap, attempts }) => Self {
                base: Some(base),
                factor: Some(factor),
                cap: Some(cap),
                attempts: Some(attempts),
                ..rest
            },
        }
    }
}

impl TryFrom<RetryDraft> for Retry {
    type Error = String;

    fn try_from(draft: RetryDraft) -> Result<Self, String> {
        let none = || Self { schedule: None, jitter: None, final_statuses: None };
        let checked = draft.check().map(|checked| checked.unwrap_or_else(none));
        checked.map_err(|wrong| {
            let lines = wrong.into_iter().map(|(path, text)| format!("{path} {text}"));
            lines.collect::<Vec<_>>().join("; ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn checked(value: Value) -> Result<Option<Retry>, Vec<String>> {
        let draft: RetryDraft = serde_json::from_value(value).expect("is a draft");
        draft.check().map_err(|wrong| wrong.into_iter().map(|(path, _)| path).collect())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (value, paths) in [
            (json!({ "waits": [1, -1, 2_592_001] }), vec!["/retry/waits/1", "/retry/waits/2"]),
            (json!({ "waits": vec![1; 101] }), vec!["/retry/waits"]),
            (json!({ "waits": [1], "attempts": 2 }), vec!["/retry/attempts"]),
            (json!({ "base": 1 }), vec!["/retry/attempts"]),
            (json!({ "attempts": 3 }), vec!["/retry/base"]),
            (json!({ "cap": 3 }), vec!["/retry/base", "/retry/attempts"]),
            (json!({ "base": 0, "attempts": 3 }), vec!["/retry/base"]),
            (json!({ "base": 9, "cap": 8, "attempts": 3 }), vec!["/retry/cap"]),
            (json!({ "base": 1, "factor": 0.5, "attempts": 3 }), vec!["/retry/factor"]),
            (json!({ "base": 1, "attempts": 0 }), vec!["/retry/attempts"]),
            (json!({ "base": 1, "attempts": 102 }), vec!["/retry/attempts"]),
            (json!({ "jitter": 0.95 }), vec!["/retry/jitter"]),
            (json!({ "finalStatuses": [404, 200] }), vec!["/retry/finalStatuses/1"]),
            (json!({ "finalStatuses": vec![404; 101] }), vec!["/retry/finalStatuses"]),
        ] {
            let expected = paths.into_iter().map(str::to_owned).collect();
            assert_eq!(checked(value.clone()), Err(expected), "{value}");
        }
        assert!(serde_json::from_value::<RetryDraft>(json!({ "wait": [1] })).is_err());
    }

    #[test]
    fn what_says_nothing_is_nothing_and_an_empty_list_of_waits_is_one_attempt() {
        assert_eq!(checked(json!({})), Ok(None));
        let once = checked(json!({ "waits": [] })).expect("legal").expect("says something");
        assert_eq!(once.schedule.and_then(|schedule| schedule.wait(1)), None);
        let final_ones = checked(json!({ "final_statuses": [404] })).expect("legal");
        let expected = Retry { schedule: None, jitter: None, final_statuses: Some(vec![404]) };
        assert_eq!(final_ones, Some(expected));
    }

    #[test]
    fn what_is_kept_comes_back() {
        for value in [
            json!({ "waits": [1.5, 60.0], "jitter": 0.2 }),
            json!({ "base": 5.0, "attempts": 9, "finalStatuses": [400, 404] }),
            json!({ "finalStatuses": [] }),
        ] {
            let retry = checked(value).expect("legal").expect("says something");
            let text = serde_json::to_string(&retry).expect("is written");
            assert_eq!(serde_json::from_str::<Retry>(&text).expect("is read"), retry, "{text}");
        }
        let defaults = checked(json!({ "base": 5, "attempts": 9 })).expect("legal");
        let Some(Retry { schedule: Some(schedule), .. }) = defaults else { panic!("has one") };
        let expected = Schedule::Exponential { base: 5.0, factor: 2.0, cap: CAP, attempts: 9 };
        assert_eq!(schedule, expected);
        let long = checked(json!({ "base": 40_000, "attempts": 2 })).expect("legal");
        assert_eq!(
            long.and_then(|retry| retry.schedule?.wait(1)),
            Some(40_000.0),
            "the default gives way"
        );
    }

    proptest! {
        /// Against a loop that multiplies.
        #[test]
        fn growing_waits_are_what_multiplying_gives(
            base in 0.001..1000.0_f64, factor in 1.0..10.0_f64, times in 1.0..1000.0_f64,
            attempts in 1_u32..=101,
        ) {
            let cap = (base * times).min(LONGEST);
            let schedule = Schedule::Exponential { base, factor, cap, attempts };
            let mut model = Some(base);
            for failed in 1..=110 {
                let expected = model.filter(|_| failed < attempts).map(|wait| wait.min(cap));
                let wait = schedule.wait(failed);
                prop_assert_eq!(wait.is_some(), expected.is_some());
                let (wait, expected) = (wait.unwrap_or_default(), expected.unwrap_or_default());
                prop_assert!((wait - expected).abs() <= expected * 1e-9, "{wait} {expected}");
                model = model.map(|wait| wait * factor);
            }
            prop_assert_eq!(schedule.wait(0), None);
        }

        /// A list gives what is in it, and then nothing.
        #[test]
        fn a_list_of_waits_is_used_up_in_order(waits in prop::collection::vec(0.0..LONGEST, 0..100)) {
            let schedule = Schedule::Waits(waits.clone());
            let given: Vec<_> = (1..).map_while(|failed| schedule.wait(failed)).collect();
            prop_assert_eq!(given, waits);
        }
    }
}
