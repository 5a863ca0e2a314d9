//! What surrounds a payload, the same at every door: the JSON body of the contract, and what is said of one that is not
//! right.

use super::accept::{Draft, Refused};
use crate::{
    model::name::{Channel, EventType, Uid},
    web::{body, error::ApiError},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// It may be this long in bytes: names, channels, white space.
pub const BYTES: usize = 32 << 10;
/// How many channels a message may name.
const CHANNELS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    channels: Option<Vec<Channel>>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    uid: Option<Uid>,
}

/// `null` is a payload; only an absent one is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The message that a body of the contract asks for. Its payload is a slice of the body.
pub fn json(bytes: &Bytes) -> Result<Draft, ApiError> {
    let create: Create<'_> = body::json(bytes)?;
    let event_type =
        create.event_type.ok_or_else(|| ApiError::field("/eventType", "is required"))?;
    let event_type = EventType::new(&event_type)
        .map_err(|bad| ApiError::field("/eventType", bad.to_string()))?;
    let payload = create.payload.ok_or_else(|| ApiError::field("/payload", "is required"))?;
    let channels = create.channels.unwrap_or_default();
    if channels.len() > CHANNELS {
        return Err(ApiError::field("/channels", format!("must be at most {CHANNELS}")));
    }
    let payload = bytes.slice_ref(payload.get().as_bytes());
    Ok(Draft { uid: create.uid, event_type, channels, payload, idempotency_key: None })
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoApplication => Self::not_found("application"),
            Refused::TooLarge(limit) => Self::too_large("payload", limit),
            Refused::Duplicate(_) => Self::conflict(refused.to_string()),
            Refused::Store(error) => error.into(),
        }
    }
}

/// What a message from a broker is written in, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The body is the payload; `Octohooks-Event-Type` and its like say the rest.
    Headers,
    /// The body is the contract's, as over HTTP.
    Contract,
    /// A CloudEvent with its attributes in the body.
    CloudEvent,
    /// A CloudEvent with its attributes in headers; the body is its data.
    CloudEventInHeaders,
}

const EVENT_TYPE: &str = "Octohooks-Event-Type";
const CHANNEL_NAMES: &str = "Octohooks-Channels";
const MESSAGE_UID: &str = "Octohooks-Uid";
const MESSAGE_ID: &str = "Nats-Msg-Id";
const CONTENT_TYPE: &str = "Content-Type";
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// Finds a header by its name, whatever the case; the values of a repeated one with commas between.
pub type Header<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl Written {
    /// By these headers; an error if they say two things.
    pub fn by(header: &Header<'_>) -> Result<Self, ApiError> {
        let content = header(CONTENT_TYPE).unwrap_or_default();
        let media = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let says = [
            (Self::Headers, header(EVENT_TYPE).is_some()),
            (Self::CloudEventInHeaders, header("ce-specversion").is_some()),
            (Self::CloudEvent, media == CLOUD_EVENT),
        ];
        let mut said = says.into_iter().filter_map(|(written, says)| says.then_some(written));
        match (said.next(), said.next()) {
            (None, _) if ["", "application/json"].contains(&&*media) => Ok(Self::Contract),
            (None, _) => Err(ApiError::field(
                CONTENT_TYPE,
                format!("must be application/json or {CLOUD_EVENT}, or {EVENT_TYPE} must be given"),
            )),
            (Some(written), None) => Ok(written),
            (Some(_), Some(_)) => Err(ApiError::field(
                CONTENT_TYPE,
                format!("must say one thing: {EVENT_TYPE}, ce-specversion or {CLOUD_EVENT}"),
            )),
        }
    }

    /// The message. Its payload is a slice of the body. `Nats-Msg-Id`, else a CloudEvent's source and id, is its
    /// idempotency key.
    pub fn read(self, body: &Bytes, header: &Header<'_>) -> Result<Draft, ApiError> {
        let mut draft = match self {
            Self::Contract => json(body)?,
            Self::Headers => {
                let event_type = header(EVENT_TYPE).unwrap_or_default();
                let names = [
                    (EVENT_TYPE, event_type),
                    (MESSAGE_UID, header(MESSAGE_UID).unwrap_or_default()),
                ];
                named(
                    names,
                    &header(CHANNEL_NAMES).unwrap_or_default(),
                    CHANNEL_NAMES,
                    whole(body)?,
                )?
            }
            Self::CloudEvent => cloud_event(body)?,
            Self::CloudEventInHeaders => {
                let attribute = |name: &str| header(&format!("ce-{name}")).unwrap_or_default();
                from_attributes("ce-", &attribute, whole(body)?)?
            }
        };
        draft.idempotency_key = message_id(header).or(draft.idempotency_key);
        Ok(draft)
    }
}

/// The key that a publisher gave its message.
pub fn message_id(header: &Header<'_>) -> Option<Box<str>> {
    header(MESSAGE_ID).filter(|id| !id.is_empty()).map(Into::into)
}

/// The body as a payload.
pub fn whole(body: &Bytes) -> Result<Bytes, ApiError> {
    let payload: &RawValue = body::json(body)?;
    Ok(body.slice_ref(payload.get().as_bytes()))
}

/// A message with that type and uid, each under the name it has in an error, and with channels that have commas between.
pub fn named(
    [(type_name, event_type), (uid_name, uid)]: [(&str, String); 2],
    channels: &str,
    channels_name: &str,
    payload: Bytes,
) -> Result<Draft, ApiError> {
    let event_type =
        EventType::new(&event_type).map_err(|bad| ApiError::field(type_name, bad.to_string()))?;
    let uid = (!uid.is_empty()).then(|| Uid::new(&uid)).transpose();
    let uid = uid.map_err(|bad| ApiError::field(uid_name, bad.to_string()))?;
    let names = channels.split(',').map(str::trim).filter(|name| !name.is_empty());
    let channels: Vec<Channel> = names
        .map(Channel::new)
        .collect::<Result<_, _>>()
        .map_err(|bad| ApiError::field(channels_name, bad.to_string()))?;
    if channels.len() > CHANNELS {
        return Err(ApiError::field(channels_name, format!("must be at most {CHANNELS}")));
    }
    Ok(Draft { uid, event_type, channels, payload, idempotency_key: None })
}

/// A CloudEvent 1.0 by its attributes; `before` stands before their names in errors. The extensions `octohooksuid` and
/// `octohookschannels` say what CloudEvents have no word for.
fn from_attributes(
    before: &str,
    attribute: &dyn Fn(&str) -> String,
    payload: Bytes,
) -> Result<Draft, ApiError> {
    let name = |name: &str| format!("{before}{name}");
    if attribute("specversion") != "1.0" {
        return Err(ApiError::field(name("specversion"), "must be 1.0"));
    }
    for required in ["id", "source", "type"] {
        if attribute(required).is_empty() {
            return Err(ApiError::field(name(required), "is required"));
        }
    }
    let names =
        [(&*name("type"), attribute("type")), (&*name("octohooksuid"), attribute("octohooksuid"))];
    let channels = attribute("octohookschannels");
    let mut draft = named(names, &channels, &name("octohookschannels"), payload)?;
    // The two together are unique, says the specification.
    let key = format!("{} {}", attribute("source"), attribute("id"));
    draft.idempotency_key = Some(key.into());
    Ok(draft)
}

#[derive(Deserialize)]
struct CloudEvent<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<serde::de::IgnoredAny>,
    #[serde(flatten)]
    attributes: std::collections::HashMap<Cow<'a, str>, serde_json::Value>,
}

fn cloud_event(body: &Bytes) -> Result<Draft, ApiError> {
    let event: CloudEvent<'_> = body::json(body)?;
    if event.data_base64.is_some() {
        return Err(ApiError::field("/data_base64", "cannot be sent: a payload is JSON"));
    }
    let data = event.data.ok_or_else(|| ApiError::field("/data", "is required"))?;
    let payload = body.slice_ref(data.get().as_bytes());
    let attribute = |name: &str| match event.attributes.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    from_attributes("/", &attribute, payload)
}

#[cfg(test)]
mod tests;
