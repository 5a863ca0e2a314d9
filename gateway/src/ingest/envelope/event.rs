//! CloudEvents 1.0 as they come: all in the body, or with their attributes in headers.

use super::{CONTENT_TYPE, KEY_BYTES, attribute, few_attributes, named, timed, whole};
use crate::{
    ingest::{accept::Draft, headers::Headers},
    model::{
        cloud_event::{self, PREFIX},
        message::{JSON, is_json},
        name::{BadName, OrderingKey},
    },
    web::{body, error::ApiError},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::HashMap;

/// What the type of an event's data is called among its attributes.
const OF_DATA: &str = "datacontenttype";

/// The CloudEvents extension that says what belongs together.
const PARTITION_KEY: &str = "partitionkey";

/// The draft of a CloudEvent, in order with those of its partition key where it has no other.
pub fn partitioned(mut draft: Draft, before: &str) -> Result<Draft, ApiError> {
    if draft.ordering_key.is_none()
        && let Some(key) = draft.attributes.get(&*format!("ce-{PARTITION_KEY}"))
        && !key.is_empty()
    {
        let bad =
            |bad: BadName| ApiError::field(format!("{before}{PARTITION_KEY}"), bad.to_string());
        draft.ordering_key = Some(OrderingKey::new(key).map_err(bad)?);
    }
    Ok(draft)
}

/// What CloudEvents have no word for: extensions of ours.
const EXTENSIONS: [&str; 2] = ["octohooksuid", "octohookschannels"];

/// A CloudEvent 1.0 by its attributes; `before` stands before their names in errors. What the message has no field for
/// becomes its attributes.
fn from_attributes(
    before: &str,
    attributes: &HashMap<String, String>,
    payload: Bytes,
) -> Result<Draft, ApiError> {
    let place = |name: &str| match before {
        "/" => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        before => format!("{before}{name}"),
    };
    let of = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    if of("specversion") != cloud_event::VERSION {
        let right = format!("must be {}", cloud_event::VERSION);
        return Err(ApiError::field(place("specversion"), right));
    }
    for required in ["id", "source", "type"] {
        if of(required).is_empty() {
            return Err(ApiError::field(place(required), "is required"));
        }
    }
    if attributes.get("time").is_some_and(|time| !cloud_event::is_time(time)) {
        return Err(ApiError::field(place("time"), "must be a time as in RFC 3339"));
    }
    let of_data = of(OF_DATA);
    if !of_data.is_empty() && !is_json(&of_data) {
        let right = "must be application/json or end in +json: a payload is JSON";
        let of_data = if before == PREFIX { CONTENT_TYPE.to_owned() } else { place(OF_DATA) };
        return Err(ApiError::field(of_data, right));
    }
    let [uid, channels] = EXTENSIONS;
    let names = [(&*place("type"), of("type")), (&*place(uid), of(uid))];
    let mut draft = named(names, &of(channels), &place(channels), payload)?;
    // The two together are unique, says the specification.
    draft.idempotency_key = Some(idempotency_key(&of("source"), &of("id"), &place("id"))?);
    let own = |name: &str| attributes.get(name).cloned();
    (draft.timing, draft.ordering_key) = timed::texts(before, timed::EXTENSIONS, own)?;
    let said = ["specversion", "type", uid, channels];
    let is_said = |name: &str| said.contains(&name) || timed::EXTENSIONS.contains(&name);
    for (name, value) in attributes.iter().filter(|(name, _)| !is_said(name)) {
        if name == OF_DATA && (value.is_empty() || is_usual(value)) {
            continue;
        }
        if !cloud_event::is_name(name) {
            return Err(ApiError::field(place(name), "must be called by small letters and digits"));
        }
        let (name, value) = attribute(&format!("{PREFIX}{name}"), value, &place(name))?;
        draft.attributes.insert(name, value);
    }
    few_attributes(draft, before)
}

fn idempotency_key(source: &str, id: &str, place: &str) -> Result<Box<str>, ApiError> {
    let key = format!("{source} {id}");
    match key.len() {
        0..=KEY_BYTES => Ok(key.into()),
        _ => {
            let right = format!("and source must have at most {KEY_BYTES} bytes together");
            Err(ApiError::field(place, right))
        }
    }
}

/// Whether it is what a payload is anyway.
fn is_usual(content_type: &str) -> bool {
    content_type.split(';').next().is_none_or(|media| media.trim().eq_ignore_ascii_case(JSON))
}

/// A CloudEvent with its attributes in headers, percent-encoded; the type of its data is the body's.
pub fn from_headers(body: &Bytes, headers: &Headers) -> Result<Draft, ApiError> {
    let mut attributes = HashMap::new();
    for (name, value) in headers.below(PREFIX) {
        let place = || format!("{PREFIX}{name}");
        let right = "must be UTF-8, percent-encoded";
        let value = cloud_event::decode(value).ok_or_else(|| ApiError::field(place(), right))?;
        attributes.insert(name, value);
    }
    attributes.extend(headers.get(CONTENT_TYPE).map(|value| (OF_DATA.to_owned(), value)));
    from_attributes(PREFIX, &attributes, whole(body)?)
}

/// One of many that come together.
pub fn whole_event(body: &Bytes) -> Result<Draft, ApiError> {
    partitioned(cloud_event(body)?, "/")
}

#[derive(Deserialize)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    #[serde(flatten)]
    attributes: HashMap<String, Value>,
}

/// A CloudEvent that has everything in its body. Its payload is a slice of that, unless it is in base64.
pub fn cloud_event(body: &Bytes) -> Result<Draft, ApiError> {
    let event: CloudEvent<'_> = body::object(body)?;
    let payload = match (event.data, event.data_base64) {
        (Some(data), None) => body.slice_ref(data.get().as_bytes()),
        (None, Some(data)) => {
            let data = STANDARD.decode(data).ok().map(Bytes::from);
            let payload = data.and_then(|data| whole(&data).ok());
            let right = "must be JSON, in base64: a payload is JSON";
            payload.ok_or_else(|| ApiError::field("/data_base64", right))?
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::field("/data_base64", "cannot be there beside data"));
        }
        (None, None) => return Err(ApiError::field("/data", "is required")),
    };
    let mut attributes = HashMap::new();
    for (name, value) in event.attributes {
        let text = match value {
            // Null is absent.
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                return Err(ApiError::field(format!("/{name}"), "must be a text or a number"));
            }
        };
        attributes.insert(name, text);
    }
    from_attributes("/", &attributes, payload)
}
