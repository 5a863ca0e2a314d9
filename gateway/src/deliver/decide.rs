//! Decides what follows an attempt. A function of its arguments.

use super::schedule::Rules;
use crate::model::{
    Millis,
    attempt::{Attempt, Failure, Meaning, Outcome},
    delivery::{Delivery, Next},
};

/// The status of a receiver that is gone for good.
const GONE: u16 = 410;

/// What an answer means where nobody says: with 410 its receiver wants nothing more.
#[must_use]
pub fn usual_meaning(outcome: &Outcome) -> Option<Meaning> {
    (outcome.status() == Some(GONE)).then_some(Meaning::Disable)
}

/// What follows the attempt, which is the schedule's `number`-th, at `now`; `chance` is drawn from -1 to 1. The answer means
/// what the endpoint's classifier says, if that says something.
#[must_use]
pub fn decide(
    attempt: &Attempt,
    meaning: Option<Meaning>,
    number: u32,
    rules: &Rules<'_>,
    now: Millis,
    chance: f64,
) -> Next {
    let usual = match &attempt.outcome {
        Outcome::Answered(answer) => answer.retry_after,
        Outcome::Failed { .. } => None,
    };
    let asked = match meaning {
        Some(Meaning::Success) => return Next::Delivered,
        Some(Meaning::Fail | Meaning::Disable) => return Next::DeadLetter,
        Some(Meaning::RetryAfter(wait)) => wait.or(usual),
        None if attempt.outcome.delivered() => return Next::Delivered,
        None if attempt.outcome.status().is_some_and(|status| rules.is_final(status)) => {
            return Next::DeadLetter;
        }
        None => usual,
    };
    match rules.wait(number, asked, chance) {
        Some(wait) => Next::RetryAt(now + wait),
        None => Next::DeadLetter,
    }
}

/// The attempt in which the gateway itself came to harm at `now`, and what follows it.
#[must_use]
pub fn harmed(delivery: &Delivery, rules: &Rules<'_>, now: Millis, chance: f64) -> (Attempt, Next) {
    let attempt = Attempt {
        number: delivery.attempts + 1,
        at: now,
        latency: 0,
        revision: None,
        outcome: Outcome::Failed {
            class: Failure::Internal,
            detail: "the gateway failed; its log says why".into(),
        },
    };
    let next = decide(&attempt, None, attempt.number - delivery.spent, rules, now, chance);
    (attempt, next.unless_expired(&delivery.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::schedule::RetryOptions;
    use crate::model::{
        attempt::Answer,
        message::Sequence,
        retry::{Retry, Schedule},
        sample,
    };
    use std::sync::Arc;

    fn answered(number: u32, status: u16, retry_after: Option<Millis>) -> Attempt {
        let outcome = Outcome::Answered(Answer { status, retry_after, ..Answer::default() });
        Attempt { number, at: 0, latency: 1, revision: None, outcome }
    }

    #[test]
    fn decisions() {
        let usual = RetryOptions::default();
        let rules = Rules { endpoint: None, application: None, usual: &usual };
        let timeout = Outcome::Failed { class: Failure::Timeout, detail: String::new() };
        let failed = |number| Attempt { outcome: timeout.clone(), ..answered(number, 0, None) };
        for (attempt, expected) in [
            (answered(1, 200, None), Next::Delivered),
            (answered(8, 204, None), Next::Delivered),
            (answered(1, 500, None), Next::RetryAt(6000)),
            (answered(2, 404, None), Next::RetryAt(301_000)),
            (answered(1, 302, None), Next::RetryAt(6000)),
            (answered(1, 503, Some(9000)), Next::RetryAt(10_000)),
            (answered(8, 500, Some(2000)), Next::DeadLetter),
            (failed(1), Next::RetryAt(6000)),
            (failed(8), Next::DeadLetter),
        ] {
            let decided = decide(&attempt, None, attempt.number, &rules, 1000, 0.0);
            assert_eq!(decided, expected, "{attempt:?}");
        }
        let resent = decide(&answered(9, 500, None), None, 1, &rules, 1000, 0.0);
        assert_eq!(resent, Next::RetryAt(6000), "the schedule begins anew");
    }

    #[test]
    fn an_answer_means_what_the_classifier_says() {
        let usual = RetryOptions::default();
        let rules = Rules { endpoint: None, application: None, usual: &usual };
        for (number, status, asked, meaning, expected) in [
            (1, 500, None, Meaning::Success, Next::Delivered),
            (1, 200, None, Meaning::Fail, Next::DeadLetter),
            (1, 503, Some(9000), Meaning::Disable, Next::DeadLetter),
            (1, 200, None, Meaning::RetryAfter(None), Next::RetryAt(6000)),
            (1, 200, None, Meaning::RetryAfter(Some(7000)), Next::RetryAt(8000)),
            (1, 503, Some(9000), Meaning::RetryAfter(None), Next::RetryAt(10_000)),
            (1, 503, Some(9000), Meaning::RetryAfter(Some(7000)), Next::RetryAt(8000)),
            (8, 200, None, Meaning::RetryAfter(Some(7000)), Next::DeadLetter),
        ] {
            let attempt = answered(number, status, asked);
            let decided = decide(&attempt, Some(meaning), number, &rules, 1000, 0.0);
            assert_eq!(decided, expected, "{status} {meaning:?}");
        }
    }

    #[test]
    fn an_answer_that_is_final_ends_a_delivery_and_a_410_its_endpoint() {
        let usual = RetryOptions::default();
        let own = Retry {
            schedule: Some(Schedule::Waits(vec![2.0])),
            jitter: None,
            final_statuses: Some(vec![404, 422]),
        };
        let rules = Rules { endpoint: Some(&own), application: None, usual: &usual };
        for (status, meaning, expected) in [
            (404, None, Next::DeadLetter),
            (422, None, Next::DeadLetter),
            (400, None, Next::RetryAt(3000)),
            (404, Some(Meaning::RetryAfter(None)), Next::RetryAt(3000)),
            (200, None, Next::Delivered),
            (410, usual_meaning(&answered(1, 410, None).outcome), Next::DeadLetter),
        ] {
            let decided = decide(&answered(1, status, None), meaning, 1, &rules, 1000, 0.0);
            assert_eq!(decided, expected, "{status} {meaning:?}");
        }
        for status in [200, 404, 500] {
            assert_eq!(usual_meaning(&answered(1, status, None).outcome), None);
        }
    }

    #[test]
    fn what_harms_us_does_so_as_often_as_the_schedule_says() {
        let usual = RetryOptions::default();
        let message = Arc::new(sample::message(sample::application().id));
        let mut delivery = sample::delivery(&message, Sequence(1));
        for (attempts, spent, expected) in [
            (0, 0, Next::RetryAt(6000)),
            (1, 0, Next::RetryAt(301_000)),
            (7, 0, Next::DeadLetter),
            (8, 8, Next::RetryAt(6000)),
        ] {
            (delivery.attempts, delivery.spent) = (attempts, spent);
            let rules = Rules { endpoint: None, application: None, usual: &usual };
            let (attempt, next) = harmed(&delivery, &rules, 1000, 0.0);
            assert_eq!((attempt.number, next), (attempts + 1, expected));
            assert!(matches!(attempt.outcome, Outcome::Failed { class: Failure::Internal, .. }));
        }
    }
}
