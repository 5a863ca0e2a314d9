//! What surrounds a payload, the same at every door: the JSON body of the contract, and what is said of one that is not
//! right.

use super::{
    accept::{Draft, Refused},
    headers::Headers,
};
use crate::{
    model::{
        cloud_event,
        message::Attributes,
        name::{AttributeName, AttributeValue, BadName, Channel, EventType, OrderingKey, Uid},
        timing::{AHEAD, Length, Moment, Timing},
    },
    web::{body, error::ApiError},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::{borrow::Cow, num::NonZeroU16};
use utoipa::ToSchema;

mod event;
mod timed;

pub use event::whole_event;

/// It may be this long in bytes: names, channels, white space.
pub const BYTES: usize = 32 << 10;
/// How long an idempotency key may be, in bytes: each is kept, in an index.
const KEY_BYTES: usize = 1024;
/// How many channels a message may name.
const CHANNELS: usize = 100;
/// How many attributes it may have, the trace context among them.
const ATTRIBUTES: usize = 64;
/// The trace context of W3C, which travels with a message as attributes of the same names.
pub const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// A message as it is sent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageDraft)]
pub struct Create<'a> {
    /// What happened.
    #[serde(borrow)]
    #[schema(value_type = EventType)]
    event_type: Option<Cow<'a, str>>,
    /// The audience.
    #[schema(max_items = 100)]
    channels: Option<Vec<Channel>>,
    /// Any JSON; its bytes are delivered as they came.
    #[serde(borrow, default, deserialize_with = "present")]
    #[schema(value_type = Value, required)]
    payload: Option<&'a RawValue>,
    /// Unique in the application.
    uid: Option<Uid>,
    /// For the plugin to read; at most 64.
    #[schema(value_type = Option<BTreeMap<AttributeName, AttributeValue>>)]
    attributes: Option<Attributes>,
    /// After how many days its content goes, if earlier than others'.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535)]
    payload_retention_days: Option<NonZeroU16>,
    /// Not to be sent before then; at most 30 days ahead.
    deliver_at: Option<Moment>,
    /// The same as a length of time, in milliseconds.
    #[schema(maximum = 2592000000u64)]
    delay: Option<u64>,
    /// Neither dispatched nor attempted from then on.
    expires_at: Option<Moment>,
    /// The same as a length of time from when it is to be sent, in milliseconds.
    #[schema(value_type = Option<u64>, minimum = 1)]
    time_to_live: Option<Length>,
    /// Where an endpoint asks for order by key, messages with the same key are sent in theirs.
    ordering_key: Option<OrderingKey>,
}

impl Create<'_> {
    fn timing(&self) -> Result<Timing, ApiError> {
        let (deliver_at, expires_at) = (self.deliver_at.as_ref(), self.expires_at.as_ref());
        let time_to_live = self.time_to_live.map(Length::get);
        let within = self.delay.is_none_or(|delay| delay <= AHEAD);
        if !within {
            return Err(ApiError::field("/delay", "must be at most 30 days"));
        }
        Ok(Timing {
            deliver: timed::said((deliver_at, "/deliverAt".into()), (self.delay, "/delay".into()))?,
            expires: timed::said(
                (expires_at, "/expiresAt".into()),
                (time_to_live, "/timeToLive".into()),
            )?,
        })
    }
}

/// `null` is a payload; only an absent one is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The message that a body of the contract asks for. Its payload is a slice of the body.
pub fn json(bytes: &Bytes) -> Result<Draft, ApiError> {
    let create: Create<'_> = body::object(bytes)?;
    let timing = create.timing()?;
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
    let (uid, attributes) = (create.uid, create.attributes.unwrap_or_default());
    let content_days = create.payload_retention_days.map(NonZeroU16::get);
    let draft = Draft {
        content_days,
        attributes,
        timing,
        ordering_key: create.ordering_key,
        ..Draft::new(uid, event_type, channels, payload)
    };
    few_attributes(draft, "/attributes")
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoApplication => Self::not_found("application"),
            Refused::TooLarge(limit) => Self::too_large("payload", limit),
            Refused::Reserved => Self::conflict(refused.to_string()),
            Refused::Duplicate(ref id) => Self::taken(id, refused.to_string()),
            Refused::Schema(violations) => Self::schema(violations),
            Refused::Time(bad) => Self::field(bad.place, bad.what),
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
/// Before the name of an attribute.
const ATTRIBUTE: &str = "Octohooks-Attribute-";
const CONTENT_TYPE: &str = "Content-Type";
const CLOUD_EVENT: &str = cloud_event::STRUCTURED;

impl Written {
    /// By these headers; an error if they say two things.
    pub fn by(headers: &Headers) -> Result<Self, ApiError> {
        let content = headers.get(CONTENT_TYPE).unwrap_or_default();
        let media = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let says = [
            (Self::Headers, headers.get(EVENT_TYPE).is_some()),
            (Self::CloudEventInHeaders, headers.get("ce-specversion").is_some()),
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
    /// idempotency key. What its headers attach counts where the body says nothing else.
    pub fn read(self, body: &Bytes, headers: &Headers) -> Result<Draft, ApiError> {
        let header = |name: &str| headers.get(name).unwrap_or_default();
        let mut draft = match self {
            Self::Contract => json(body)?,
            Self::Headers => {
                let names = [(EVENT_TYPE, header(EVENT_TYPE)), (MESSAGE_UID, header(MESSAGE_UID))];
                named(names, &header(CHANNEL_NAMES), CHANNEL_NAMES, whole(body)?)?
            }
            Self::CloudEvent => event::cloud_event(body)?,
            Self::CloudEventInHeaders => event::from_headers(body, headers)?,
        };
        draft.idempotency_key = message_id(headers).or(draft.idempotency_key);
        if draft.idempotency_key.as_ref().is_some_and(|key| key.len() > KEY_BYTES) {
            return Err(ApiError::field(
                MESSAGE_ID,
                format!("must have at most {KEY_BYTES} bytes"),
            ));
        }
        let draft = attach(draft, headers)?;
        match self {
            Self::CloudEvent => event::partitioned(draft, "/"),
            Self::CloudEventInHeaders => event::partitioned(draft, "ce-"),
            Self::Headers | Self::Contract => Ok(draft),
        }
    }
}

/// The draft with what its headers say beside the body, where that says nothing: attributes, times, the ordering key.
pub fn attach(mut draft: Draft, headers: &Headers) -> Result<Draft, ApiError> {
    let own = headers.below(ATTRIBUTE).map(|(name, value)| (name, value.to_owned()));
    let trace = TRACE.iter().filter_map(|name| Some(((*name).to_owned(), headers.get(name)?)));
    for (name, value) in own.chain(trace) {
        let (name, value) = attribute(&name, &value, &format!("{ATTRIBUTE}{name}"))?;
        draft.attributes.entry(name).or_insert(value);
    }
    let (timing, key) = timed::texts("", timed::HEADERS, |name| headers.get(name))?;
    draft.timing.deliver = draft.timing.deliver.or(timing.deliver);
    draft.timing.expires = draft.timing.expires.or(timing.expires);
    draft.ordering_key = draft.ordering_key.or(key);
    few_attributes(draft, ATTRIBUTE)
}

fn attribute(
    name: &str,
    value: &str,
    place: &str,
) -> Result<(AttributeName, AttributeValue), ApiError> {
    let bad = |bad: BadName| ApiError::field(place, bad.to_string());
    Ok((AttributeName::new(name).map_err(bad)?, AttributeValue::new(value).map_err(bad)?))
}

fn few_attributes(draft: Draft, place: &str) -> Result<Draft, ApiError> {
    match draft.attributes.len() {
        0..=ATTRIBUTES => Ok(draft),
        _ => Err(ApiError::field(place, format!("must be at most {ATTRIBUTES}"))),
    }
}

/// The key that a publisher gave its message.
fn message_id(headers: &Headers) -> Option<Box<str>> {
    headers.get(MESSAGE_ID).filter(|id| !id.is_empty()).map(Into::into)
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
    Ok(Draft::new(uid, event_type, channels, payload))
}

#[cfg(test)]
mod tests;
