//! CloudEvents over HTTP: whether a request is one, and how. With its attributes in headers, or all of it in the body; many
//! go to the batch's route.

use crate::{
    ingest::{envelope::Written, headers::Headers},
    model::cloud_event::{BATCH, PREFIX, STRUCTURED},
    web::error::ApiError,
};
use axum::http::{HeaderMap, header};
use serde_json::Value;
use utoipa::ToSchema;

const CONTENT_TYPE: &str = "Content-Type";

/// A CloudEvent 1.0 with its attributes in the body. Further attributes may be there; they become attributes of the message.
#[derive(ToSchema)]
#[schema(as = CloudEvent)]
#[allow(dead_code, reason = "only its schema is used: see `envelope::cloud_event`")]
pub struct CloudEvent {
    #[schema(pattern = r"^1\.0$", example = "1.0")]
    specversion: String,
    /// With the source it is the message's idempotency key.
    #[schema(min_length = 1, max_length = 256)]
    id: String,
    #[schema(min_length = 1, max_length = 256, example = "/sms")]
    source: String,
    /// The event type.
    #[schema(pattern = r"^[a-zA-Z0-9\-_.]{1,256}$", example = "sms.status")]
    r#type: String,
    #[schema(nullable = false, format = "date-time")]
    time: Option<String>,
    /// JSON of some kind.
    #[schema(nullable = false, pattern = r"^application/([a-z.]{1,64}\+)?json$")]
    datacontenttype: Option<String>,
    /// Any JSON; its bytes are delivered as they came. Or `data_base64`, with JSON in it.
    data: Value,
}

/// How the request's message is written, with the headers that say so; none: as the API has it.
pub fn written(headers: &HeaderMap) -> Result<Option<(Written, Headers)>, ApiError> {
    let in_headers = headers.contains_key("ce-specversion");
    match media(headers) {
        Some(media) if media == BATCH => {
            Err(ApiError::field(CONTENT_TYPE, "many events go to the path that ends in /batch"))
        }
        Some(media) if media == STRUCTURED && in_headers => {
            let right = format!("must say one thing: ce-specversion or {STRUCTURED}");
            Err(ApiError::field(CONTENT_TYPE, right))
        }
        Some(media) if media == STRUCTURED => Ok(Some((Written::CloudEvent, Headers::default()))),
        _ if in_headers => Ok(Some((Written::CloudEventInHeaders, of_event(headers)?))),
        _ => Ok(None),
    }
}

/// Whether the body is a list of CloudEvents.
pub fn is_batch(headers: &HeaderMap) -> bool {
    media(headers).is_some_and(|media| media == BATCH)
}

/// What comes before the parameters, if it may be an event's.
fn media(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media = value.split(';').next()?.trim().to_ascii_lowercase();
    media.contains("cloudevents").then_some(media)
}

/// The headers that are the event's.
fn of_event(headers: &HeaderMap) -> Result<Headers, ApiError> {
    let own = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(PREFIX) || *name == header::CONTENT_TYPE);
    let pairs = own.map(|(name, value)| match str::from_utf8(value.as_bytes()) {
        Ok(value) => Ok((name.to_string(), value.to_owned())),
        Err(_) => Err(ApiError::field(name.as_str(), "must be UTF-8, percent-encoded")),
    });
    Ok(Headers(pairs.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Written>, String> {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        let found = written(&pairs.collect()).map_err(|error| error.to_string())?;
        Ok(found.map(|(written, _)| written))
    }

    #[test]
    fn headers_say_whether_a_request_is_an_event() {
        for (pairs, expected) in [
            (&[][..], None),
            (&[("content-type", "application/json")], None),
            (&[("content-type", "text/plain")], None),
            (&[("ce-id", "1")], None),
            (
                &[("content-type", "Application/CloudEvents+JSON; charset=utf-8")],
                Some(Written::CloudEvent),
            ),
            (
                &[("ce-specversion", "0.3"), ("content-type", "application/json")],
                Some(Written::CloudEventInHeaders),
            ),
        ] {
            assert_eq!(of(pairs), Ok(expected), "{pairs:?}");
        }
        for bad in [
            &[("content-type", BATCH)][..],
            &[("content-type", STRUCTURED), ("ce-specversion", "1.0")],
        ] {
            assert!(of(bad).expect_err("is refused").starts_with(CONTENT_TYPE), "{bad:?}");
        }
    }
}
