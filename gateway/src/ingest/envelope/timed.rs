//! When a message is to be sent, until when, and what it is sent in order with, as each door writes it.

use crate::{
    model::{
        Millis,
        name::OrderingKey,
        timing::{Length, Moment, Said, Timing, When},
    },
    web::error::ApiError,
};
use std::borrow::Cow;

/// What each of these is called: the moment it is sent at, the wait before, the moment it expires at, the time until then,
/// and the key.
pub type Names = [&'static str; 5];

/// The headers of a broker's message.
pub const HEADERS: Names = [
    "Octohooks-Deliver-At",
    "Octohooks-Delay",
    "Octohooks-Expires-At",
    "Octohooks-Time-To-Live",
    "Octohooks-Ordering-Key",
];

/// Extensions of ours to a CloudEvent.
pub const EXTENSIONS: Names = [
    "octohooksdeliverat",
    "octohooksdelay",
    "octohooksexpiresat",
    "octohookstimetolive",
    "octohooksorderingkey",
];

/// A moment and a length of time, of which a message has one or none, each with its place in an error.
pub fn said(
    (at, at_place): (Option<&Moment>, Cow<'static, str>),
    (length, length_place): (Option<Millis>, Cow<'static, str>),
) -> Result<Option<Said>, ApiError> {
    match (at, length) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            let other = at_place.trim_start_matches('/');
            Err(ApiError::field(length_place, format!("must not be given beside {other}")))
        }
        (Some(moment), None) => match moment.millis() {
            Ok(at) => Ok(Some(Said { when: When::At(at), place: at_place })),
            Err(what) => Err(ApiError::field(at_place, what)),
        },
        (None, Some(length)) => Ok(Some(Said { when: When::In(length), place: length_place })),
    }
}

/// What is said under these names, which are what follows `before` in an error. What is empty is not said.
pub fn texts(
    before: &str,
    [deliver_at, delay, expires_at, time_to_live, key]: Names,
    of: impl Fn(&str) -> Option<String>,
) -> Result<(Timing, Option<OrderingKey>), ApiError> {
    let of = |name| of(name).filter(|text| !text.is_empty());
    let place = |name: &'static str| match before {
        "" => Cow::Borrowed(name),
        before => format!("{before}{name}").into(),
    };
    let moment = |name| of(name).map(Moment::Text);
    let length = |name| {
        let parsed = of(name).map(|text| text.trim().parse::<Length>().map(Length::get));
        let right = "must be a number of milliseconds, at least 1";
        parsed.transpose().map_err(|_| ApiError::field(place(name), right))
    };
    let (at, until) = (moment(deliver_at), moment(expires_at));
    let timing = Timing {
        deliver: said((at.as_ref(), place(deliver_at)), (length(delay)?, place(delay)))?,
        expires: said(
            (until.as_ref(), place(expires_at)),
            (length(time_to_live)?, place(time_to_live)),
        )?,
    };
    let ordering = of(key).map(|text| OrderingKey::new(&text)).transpose();
    Ok((timing, ordering.map_err(|bad| ApiError::field(place(key), bad.to_string()))?))
}
