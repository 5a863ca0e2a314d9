//! When a message is to be sent, and until when: as its publisher says it, and what that means at the moment the message
//! is accepted. Pure.

use super::Millis;
use jiff::Timestamp;
use serde::Deserialize;
use std::{borrow::Cow, num::NonZeroU64};
use utoipa::ToSchema;

/// How far ahead a message may be scheduled, in milliseconds: 30 days.
pub const AHEAD: Millis = 30 * 24 * 3_600_000;
/// A smaller number of milliseconds is before 1973: seconds were meant.
const SECONDS: Millis = 100_000_000_000;
/// The year 10000, in milliseconds: RFC 3339 has no later one.
const END: Millis = 253_402_300_800_000;

/// A moment as it is written.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "must be a time as in RFC 3339, or milliseconds since the epoch")]
#[schema(as = Moment)]
pub enum Moment {
    /// Milliseconds since the epoch.
    Millis(u64),
    /// As in RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    Text(String),
}

impl Moment {
    /// Which moment that is; or what is wrong with it.
    pub fn millis(&self) -> Result<Millis, &'static str> {
        let millis = match self {
            Self::Millis(millis) => *millis,
            Self::Text(text) => match text.parse::<u64>() {
                Ok(millis) => millis,
                Err(_) => text
                    .parse::<Timestamp>()
                    .ok()
                    .and_then(|time| Millis::try_from(time.as_millisecond()).ok())
                    .ok_or("must be a time as in RFC 3339, or milliseconds since the epoch")?,
            },
        };
        match millis {
            0..SECONDS => Err("must be in milliseconds since the epoch, and after 1973"),
            SECONDS..END => Ok(millis),
            END.. => Err("must be before the year 10000"),
        }
    }
}

/// A moment: one of the calendar, or one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Milliseconds since the epoch.
    At(Millis),
    /// That many milliseconds later.
    In(Millis),
}

impl When {
    fn after(self, start: Millis) -> Millis {
        match self {
            Self::At(at) => at,
            Self::In(length) => start.saturating_add(length),
        }
    }
}

/// A moment, and what is named where something is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The moment.
    pub when: When,
    /// A JSON pointer, or a header's name.
    pub place: Cow<'static, str>,
}

/// When a message is to be sent, and until when, as its publisher says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Not before then. A length counts from acceptance.
    pub deliver: Option<Said>,
    /// Not from then on. A length counts from when it is to be sent.
    pub expires: Option<Said>,
}

/// The same once the message is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Not before then; none: at once.
    pub deliver_at: Option<Millis>,
    /// Not from then on.
    pub expires_at: Option<Millis>,
}

/// A moment that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct BadTime {
    /// Where it was said.
    pub place: Cow<'static, str>,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A length of time as it is written: at least one millisecond.
pub type Length = NonZeroU64;

impl Timing {
    /// What it means for a message that is accepted at that time. What was to be sent by then is sent at once; what has
    /// expired by then is kept, and sent to nobody.
    pub fn resolve(&self, accepted: Millis) -> Result<Times, BadTime> {
        let bad = |said: &Said, what| BadTime { place: said.place.clone(), what };
        let mut times = Times::default();
        if let Some(said) = &self.deliver {
            let at = said.when.after(accepted);
            if at > accepted.saturating_add(AHEAD) {
                return Err(bad(said, "must be at most 30 days ahead"));
            }
            times.deliver_at = Some(at).filter(|at| *at > accepted);
        }
        if let Some(said) = &self.expires {
            let at = said.when.after(times.deliver_at.unwrap_or(accepted));
            if times.deliver_at.is_some_and(|deliver| at <= deliver) {
                return Err(bad(said, "must be after the time at which it is to be sent"));
            }
            if at >= END {
                return Err(bad(said, "must be before the year 10000"));
            }
            times.expires_at = Some(at);
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn moments_as_publishers_write_them() {
        let read = |json: &str| serde_json::from_str::<Moment>(json).map(|moment| moment.millis());
        for (json, expected) in [
            ("1791210600000", 1_791_210_600_000),
            ("\"1791210600000\"", 1_791_210_600_000),
            ("\"2026-10-05T14:30:00Z\"", 1_791_210_600_000),
            ("\"2026-10-05T14:30:00.25+02:00\"", 1_791_210_600_250 - 7_200_000),
        ] {
            assert_eq!(read(json).expect("reads"), Ok(expected), "{json}");
        }
        for (json, part) in [
            ("1791210600", "milliseconds"),
            ("\"tomorrow\"", "RFC 3339"),
            ("\"2026-10-05T14:30:00\"", "RFC 3339"),
            ("\"1960-01-01T00:00:00Z\"", "RFC 3339"),
            ("\"\"", "RFC 3339"),
            ("253402300800000", "10000"),
        ] {
            let said = read(json).expect("reads").expect_err(json);
            assert!(said.contains(part), "{json}: {said}");
        }
        for json in ["-1", "1.5", "true", "{}"] {
            assert!(
                read(json).is_err_and(|error| error.to_string().contains("RFC 3339")),
                "{json}"
            );
        }
    }

    #[test]
    fn times_are_those_of_acceptance_and_within_bounds() {
        use When::{At, In};
        let said = |when: Option<When>, place: &'static str| {
            when.map(|when| Said { when, place: place.into() })
        };
        let resolve = |deliver, expires| {
            let timing = Timing { deliver: said(deliver, "d"), expires: said(expires, "e") };
            let times = timing.resolve(NOW).map_err(|bad| bad.place.into_owned());
            times.map(|times| (times.deliver_at, times.expires_at))
        };
        for (deliver, expires, expected) in [
            (None, None, (None, None)),
            (Some(At(NOW + 1)), None, (Some(NOW + 1), None)),
            (Some(At(NOW)), None, (None, None)),
            (Some(At(NOW - 5)), Some(At(NOW + 5)), (None, Some(NOW + 5))),
            (Some(In(0)), None, (None, None)),
            (Some(In(AHEAD)), None, (Some(NOW + AHEAD), None)),
            (None, Some(In(7)), (None, Some(NOW + 7))),
            (None, Some(At(NOW - 7)), (None, Some(NOW - 7))),
            (Some(In(10)), Some(In(7)), (Some(NOW + 10), Some(NOW + 17))),
            (Some(In(10)), Some(At(NOW + 11)), (Some(NOW + 10), Some(NOW + 11))),
        ] {
            assert_eq!(resolve(deliver, expires), Ok(expected), "{deliver:?} {expires:?}");
        }
        for (deliver, expires, place) in [
            (Some(In(AHEAD + 1)), None, "d"),
            (Some(At(NOW + AHEAD + 1)), None, "d"),
            (Some(In(u64::MAX)), None, "d"),
            (Some(In(10)), Some(At(NOW + 10)), "e"),
            (Some(In(10)), Some(At(NOW - 1)), "e"),
            (None, Some(In(u64::MAX)), "e"),
        ] {
            assert_eq!(resolve(deliver, expires), Err(place.to_owned()), "{deliver:?} {expires:?}");
        }
    }
}
