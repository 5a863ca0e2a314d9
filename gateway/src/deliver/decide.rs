//! Decides what follows an attempt. A function of its arguments.

use super::schedule::RetryOptions;
use crate::model::{Millis, attempt::Attempt, attempt::Outcome, delivery::Next};

/// What follows the attempt, which is the schedule's `number`-th, at `now`; `chance` is drawn from -1 to 1.
#[must_use]
pub fn decide(
    attempt: &Attempt,
    number: u32,
    retry: &RetryOptions,
    now: Millis,
    chance: f64,
) -> Next {
    if attempt.outcome.delivered() {
        return Next::Delivered;
    }
    let asked = match &attempt.outcome {
        Outcome::Answered(answer) => answer.retry_after,
        Outcome::Failed { .. } => None,
    };
    match retry.wait(number, asked, chance) {
        Some(wait) => Next::RetryAt(now + wait),
        None => Next::DeadLetter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attempt::{Answer, Failure};

    fn answered(number: u32, status: u16, retry_after: Option<Millis>) -> Attempt {
        let outcome = Outcome::Answered(Answer { status, retry_after, ..Answer::default() });
        Attempt { number, at: 0, latency: 1, revision: None, outcome }
    }

    #[test]
    fn decisions() {
        let retry = RetryOptions::default();
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
            let decided = decide(&attempt, attempt.number, &retry, 1000, 0.0);
            assert_eq!(decided, expected, "{attempt:?}");
        }
        let resent = decide(&answered(9, 500, None), 1, &retry, 1000, 0.0);
        assert_eq!(resent, Next::RetryAt(6000), "the schedule begins anew");
    }
}
