//! The HTTP door: `POST /applications/{app}/messages`. The payload is taken out of the body as the bytes it came in.

use super::accept::{Acceptor, Draft, Refused};
use crate::{
    model::{
        message::Message,
        name::{Channel, EventType, Uid},
    },
    web::{
        auth::{Caller, Keys},
        body,
        error::ApiError,
    },
};
use axum::{
    Router,
    body::Body,
    extract::{FromRef, Path, State},
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What surrounds a payload in a body may be this long in bytes: names, channels, white space.
const ENVELOPE: usize = 32 << 10;
/// How many channels a message may name.
const CHANNELS: usize = 100;

/// What the door needs.
#[derive(Clone, FromRef)]
pub struct Door {
    /// Behind the door.
    pub acceptor: Acceptor,
    /// Who may pass.
    pub keys: Keys,
}

/// The door's route.
pub fn router(door: Door) -> Router {
    Router::new().route("/applications/{app}/messages", post(create)).with_state(door)
}

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

async fn create(
    State(acceptor): State<Acceptor>,
    caller: Caller,
    Path(application): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let limit = acceptor.payload_limit();
    let bytes = body::read(body, limit + ENVELOPE, "message").await?;
    let draft = draft(&bytes)?;
    let accepted = acceptor.accept(caller.environment, &application, draft).await;
    let message = accepted.map_err(|refused| match refused {
        Refused::NoApplication => ApiError::not_found("application"),
        Refused::TooLarge(limit) => ApiError::too_large("payload", limit),
        Refused::Duplicate(_) => ApiError::conflict(refused.to_string()),
        Refused::Store(error) => error.into(),
    })?;
    Ok(answer(&message))
}

fn draft(bytes: &Bytes) -> Result<Draft, ApiError> {
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
    Ok(Draft { uid: create.uid, event_type, channels, payload })
}

/// A message as the contract shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: String,
    uid: Option<&'a str>,
    event_type: &'a str,
    channels: &'a [Channel],
    created: u64,
    updated: u64,
}

/// What surrounds a payload in an answer is seldom longer than this, in bytes.
const SHOWN: usize = 512;

/// The payload was checked when it came in, and is put in as it is.
fn answer(message: &Message) -> Response {
    let shown = Shown {
        id: message.id.to_string(),
        uid: message.uid.as_deref(),
        event_type: &message.event_type,
        channels: &message.channels,
        created: message.accepted,
        updated: message.accepted,
    };
    let mut body = Vec::with_capacity(SHOWN + message.payload.len());
    // Texts and numbers always serialise, and memory takes them all.
    let _written = serde_json::to_writer(&mut body, &shown);
    body.pop();
    body.extend_from_slice(b",\"payload\":");
    body.extend_from_slice(&message.payload);
    body.push(b'}');
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
