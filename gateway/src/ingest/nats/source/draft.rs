//! What a message of a stream says: its application, and the message that it is.

use super::{
    super::template::{Source as Found, Template},
    options::Options,
};
use crate::{
    ingest::{
        accept::Draft,
        envelope::{self, Written},
        headers::Headers,
    },
    web::{self, error::ApiError},
};
use bytes::Bytes;
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, collections::HashMap};

/// What a message of a stream is read from.
pub struct Letter<'a> {
    /// Where it was published.
    pub subject: &'a str,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: &'a Bytes,
}

/// The application's id or uid, and the message. Its key is for whoever knows its place in the stream.
pub fn draft(
    letter: &Letter<'_>,
    options: &Options,
    limit: usize,
) -> Result<(String, Draft), ApiError> {
    let Letter { subject, headers, body } = letter;
    let Options { application, event_type, channels, uid, payload, .. } = options;
    if headers.bytes() + body.len() > limit + envelope::BYTES {
        return Err(ApiError::too_large("message", limit));
    }
    let templates = [Some(application), event_type.as_ref(), channels.as_ref(), uid.as_ref()];
    let reads_body = templates.iter().flatten().any(|template| template.reads_body());
    let value: Option<Value> = reads_body.then(|| serde_json::from_slice(body).ok()).flatten();
    let found = Found { subject, headers, body: value.as_ref() };
    let fill = |key: &str, template: Option<&Template>| match template {
        None => Ok(String::new()),
        Some(template) => template.fill(&found).map_err(|what| ApiError::field(key, what)),
    };
    let application = fill("application", Some(application))?;
    let Some(event_type) = event_type else {
        return Ok((application, Written::by(headers)?.read(body, headers)?));
    };
    let names =
        [("eventType", fill("eventType", Some(event_type))?), ("uid", fill("uid", uid.as_ref())?)];
    let channels = fill("channels", channels.as_ref())?;
    let payload = part(body, payload.as_deref())?;
    let draft = envelope::named(names, &channels, "channels", payload)?;
    Ok((application, envelope::attach(draft, headers)?))
}

/// The payload: the body, or what the pointer finds in it, as the bytes it came in.
fn part(body: &Bytes, pointer: Option<&str>) -> Result<Bytes, ApiError> {
    let whole = envelope::whole(body)?;
    let Some(pointer) = pointer else { return Ok(whole) };
    let missing = || ApiError::field(pointer, "is not in the body");
    let mut found: &RawValue = web::body::json(&whole)?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let object: Result<HashMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_str(found.get());
        let inside = match object {
            Ok(mut fields) => fields.remove(&*token),
            Err(_) => {
                let list: Vec<&RawValue> = serde_json::from_str(found.get()).unwrap_or_default();
                token.parse().ok().and_then(|index: usize| list.get(index).copied())
            }
        };
        found = inside.ok_or_else(missing)?;
    }
    Ok(body.slice_ref(found.get().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_body_keeps_its_bytes() {
        let body =
            Bytes::from_static(br#" {"a/b": [0, { "z": 1.50,  "a": "\u00e9" }], "n": null}"#);
        for (pointer, expected) in [
            ("/a~1b/1", r#"{ "z": 1.50,  "a": "\u00e9" }"#),
            ("/a~1b/1/a", r#""\u00e9""#),
            ("/n", "null"),
        ] {
            assert_eq!(part(&body, Some(pointer)).expect(pointer), expected);
        }
        for pointer in ["/x", "/a~1b/2", "/n/x", "/a~1b/x"] {
            assert!(part(&body, Some(pointer)).is_err(), "{pointer}");
        }
        assert!(part(&Bytes::from_static(b"no"), Some("/x")).is_err());
    }
}
