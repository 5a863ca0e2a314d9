//! The two ways in which reports write a time, and the one in which partners read it. For
//! `on_message`.
//!
//! Seconds since the Unix epoch in between. Fractions of a second are dropped: no operator means
//! them. A calendar crate would be most of the component's size for these sixty lines.

/// Reads `YYMMDDhhmm[ss]` (UTC, as in an SMPP receipt) or `YYYY-MM-DDThh:mm:ss[.fff](Z|±hh[:]mm)`.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.iter().all(u8::is_ascii_digit) {
        return parse_smpp(bytes);
    }
    parse_iso(bytes)
}

fn parse_smpp(bytes: &[u8]) -> Option<i64> {
    let second = match bytes.len() {
        10 => 0,
        12 => number(bytes, 10, 2)?,
        _ => return None,
    };
    let day = [2000 + number(bytes, 0, 2)?, number(bytes, 2, 2)?, number(bytes, 4, 2)?];
    seconds(day, [number(bytes, 6, 2)?, number(bytes, 8, 2)?, second])
}

fn parse_iso(bytes: &[u8]) -> Option<i64> {
    for (at, mark) in [(4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")] {
        if bytes.get(at..=at)? != mark {
            return None;
        }
    }
    let day = [number(bytes, 0, 4)?, number(bytes, 5, 2)?, number(bytes, 8, 2)?];
    let clock = [number(bytes, 11, 2)?, number(bytes, 14, 2)?, number(bytes, 17, 2)?];
    let mut zone = bytes.get(19..)?;
    if let [b'.', rest @ ..] = zone {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        zone = rest.get(digits..)?;
    }
    Some(seconds(day, clock)? - offset(zone)?)
}

/// How many seconds this zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, clock) = match zone {
        b"Z" => return Some(0),
        [b'+', clock @ ..] => (1, clock),
        [b'-', clock @ ..] => (-1, clock),
        _ => return None,
    };
    let minutes_at = match clock {
        [_, _, b':', _, _] => 3,
        [_, _, _, _] => 2,
        _ => return None,
    };
    Some(sign * (number(clock, 0, 2)? * 3600 + number(clock, minutes_at, 2)? * 60))
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<i64> {
    bytes
        .get(at..at + len)?
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Refuses what no calendar has.
fn seconds([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let exists = (1..=days_in_month).contains(&day) && hour < 24 && minute < 60 && second < 60;
    exists.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01; the year is taken to begin in March, so that the leap day is its last.
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `YYYY-MM-DDThh:mm:ssZ`.
pub fn format(seconds: i64) -> String {
    let shifted = seconds.div_euclid(86_400) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let clock = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_time_is_the_same_time() {
        for text in [
            "2611240437",
            "261124043700",
            "2026-11-24T04:37:00Z",
            "2026-11-24T04:37:00.999Z",
            "2026-11-24T05:37:00+01:00",
            "2026-11-23T23:07:00.5-0530",
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some("2026-11-24T04:37:00Z"), "{text}");
        }
    }

    #[test]
    fn days_come_back_as_they_went() {
        for day in (-700_000..2_900_000).step_by(97) {
            let text = format(day * 86_400 + 3_723);
            assert_eq!(parse(&text), Some(day * 86_400 + 3_723), "{text}");
        }
        assert_eq!(format(0), "1970-01-01T00:00:00Z");
        assert_eq!(format(951_782_400), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2613240437",
            "261124",
            "2611242437",
            "2026-02-29T00:00:00Z",
            "2026-11-24",
            "2026-11-24 04:37:00Z",
            "2026-11-24T04:37:00",
            "2026-11-24T04:37:00+1",
            "yesterday",
            "2026-11-24T04:37:0éZ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
