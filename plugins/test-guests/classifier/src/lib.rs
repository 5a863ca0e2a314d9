//! Says what an answer means by the first word of its body. For the gateway's tests of classifiers.

use octohooks_plugin::classify::{Answer, Meaning};

#[allow(clippy::needless_pass_by_value, reason = "a classifier is given its answer")]
fn classify(answer: Answer) -> Result<Meaning, String> {
    let body = String::from_utf8_lossy(&answer.body);
    let mut words = body.split_whitespace();
    match words.next().unwrap_or_default() {
        "ok" => Ok(Meaning::Success),
        "busy" => Ok(Meaning::RetryAfter(words.next().and_then(|wait| wait.parse().ok()))),
        "second" if answer.attempt > 1 => Ok(Meaning::Success),
        "second" => Ok(Meaning::RetryAfter(None)),
        "never" => Ok(Meaning::Fail),
        "gone" => Ok(Meaning::Disable),
        "panic" => panic!("as told"),
        "header" => match answer.header("x-result") {
            Some("good") => Ok(Meaning::Success),
            _ => Ok(Meaning::Fail),
        },
        other => Err(format!("{} with {other:?} is new", answer.status)),
    }
}

octohooks_plugin::export_classifier!(classify);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides() {
        let says =
            |body: &str| classify(Answer { body: body.into(), attempt: 1, ..Answer::default() });
        assert_eq!(says("ok"), Ok(Meaning::Success));
        assert_eq!(says("busy 50"), Ok(Meaning::RetryAfter(Some(50))));
        assert_eq!(says("second"), Ok(Meaning::RetryAfter(None)));
        assert_eq!(says("gone"), Ok(Meaning::Disable));
        assert!(says("what").is_err());
    }
}
