//! Times as people write and read them: `2h` ago, a day, a time with or without its zone; and milliseconds since the
//! epoch, as the API has them.

use crate::{clock, model::Millis};
use jiff::{
    Span, SpanRelativeTo, Timestamp, Unit, Zoned,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// What the errors say.
const RIGHT: &str = "must be like 2h, 7d, 2026-10-05, 2026-10-05T14:30, 2026-10-05T14:30:00Z, or milliseconds since \
                     the epoch";
/// A smaller number of milliseconds is before 1973: seconds were meant.
const SECONDS: Millis = 100_000_000_000;

/// A time in the past: `2h` is two hours ago.
pub fn past(text: &str) -> Result<Millis, String> {
    parse(text, &now(), |now, span| now.checked_sub(span))
}

/// A time in the future: `2h` is in two hours.
pub fn future(text: &str) -> Result<Millis, String> {
    parse(text, &now(), |now, span| now.checked_add(span))
}

/// A length of time, in milliseconds: `90m`, `7d`.
pub fn length(text: &str) -> Result<Millis, String> {
    let wrong = || "must be like 90s, 30m, 2h or 7d".to_owned();
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let days = SpanRelativeTo::days_are_24_hours();
    let total = span.total((Unit::Millisecond, days)).map_err(|_| wrong())?;
    match total >= 0.0 {
        // No longer than jiff's longest span, which fits.
        true => Ok(total as Millis),
        false => Err(wrong()),
    }
}

fn now() -> Zoned {
    let now =
        i64::try_from(clock::now()).ok().and_then(|now| Timestamp::from_millisecond(now).ok());
    now.unwrap_or_default().to_zoned(TimeZone::system())
}

fn parse(
    text: &str,
    now: &Zoned,
    relative: impl Fn(&Zoned, Span) -> Result<Zoned, jiff::Error>,
) -> Result<Millis, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<Millis>() {
        return match number {
            1..SECONDS => Err("is in milliseconds since the epoch; those were seconds".into()),
            number => Ok(number),
        };
    }
    let local = |time: DateTime| time.to_zoned(now.time_zone().clone()).ok();
    let zoned = |time: Timestamp| time.to_zoned(TimeZone::UTC);
    let absolute = text.parse::<Timestamp>().ok().map(zoned);
    let absolute = absolute.or_else(|| text.parse::<DateTime>().ok().and_then(local));
    let absolute = absolute.or_else(|| text.parse::<Date>().ok().and_then(|d| local(d.into())));
    let found = match absolute {
        Some(time) => Some(time),
        None => text.parse::<Span>().ok().and_then(|span| relative(now, span).ok()),
    };
    let millis = found.map(|time| time.timestamp().as_millisecond());
    millis.and_then(|millis| Millis::try_from(millis).ok()).ok_or_else(|| RIGHT.to_owned())
}

/// In this machine's zone, without it: for tables.
pub fn short(millis: Millis) -> String {
    shown(millis, &TimeZone::system(), "%Y-%m-%d %H:%M:%S")
}

/// In this machine's zone, and with it.
pub fn long(millis: Millis) -> String {
    shown(millis, &TimeZone::system(), "%Y-%m-%d %H:%M:%S%.3f %:z")
}

fn shown(millis: Millis, zone: &TimeZone, format: &str) -> String {
    let time = i64::try_from(millis).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    time.map_or_else(
        || millis.to_string(),
        |t| t.to_zoned(zone.clone()).strftime(format).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    fn at(text: &str) -> Result<Millis, String> {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now = Timestamp::from_millisecond(NOW as i64).expect("a time").to_zoned(zone);
        parse(text, &now, |now, span| now.checked_sub(span))
    }

    #[test]
    fn times_as_people_write_them() {
        let hour = 3_600_000;
        let table = [
            ("2h", NOW - 2 * hour),
            (" 90m ", NOW - hour * 3 / 2),
            ("7d", NOW - 7 * 24 * hour),
            ("1d 2h", NOW - 26 * hour),
            ("2026-10-05T14:30:00Z", 1_791_210_600_000),
            ("2026-10-05T14:30:00+02:00", 1_791_210_600_000 - 2 * hour),
            // Without a zone it is the machine's.
            ("2026-10-05T14:30", 1_791_210_600_000 - 2 * hour),
            ("2026-10-05 14:30", 1_791_210_600_000 - 2 * hour),
            ("2026-10-05", 1_791_158_400_000 - 2 * hour),
            ("1791210600000", 1_791_210_600_000),
            ("0", 0),
        ];
        for (text, expected) in table {
            assert_eq!(at(text), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "2h ago tomorrow", "-5", "2026-13-01"] {
            assert!(at(bad).is_err_and(|error| error.starts_with("must be like")), "{bad}");
        }
        assert!(at("1791210600").is_err_and(|error| error.contains("seconds")));
    }

    #[test]
    fn lengths_as_people_write_them() {
        for (text, expected) in [("90s", 90_000), ("1h 30m", 5_400_000), ("7d", 604_800_000)] {
            assert_eq!(length(text), Ok(expected), "{text}");
        }
        for bad in ["", "7", "-1h", "soon"] {
            assert!(length(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_as_people_read_them() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let shown = shown(1_791_210_600_007, &zone, "%Y-%m-%d %H:%M:%S%.3f %:z");
        assert_eq!(shown, "2026-10-05 09:30:00.007 -05:00");
    }
}
