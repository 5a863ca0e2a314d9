//! The HTTP door: `POST /applications/{app}/messages`. The payload is taken out of the body as the bytes it came in.

use super::{accept::Acceptor, envelope};
use crate::{
    model::{
        message::{Attributes, Message},
        name::{AttributeName, AttributeValue, Channel},
    },
    web::{
        auth::{Keys, Publisher},
        body,
        error::ApiError,
    },
};
use axum::{
    Router,
    extract::{FromRef, Path, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Serialize;

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

async fn create(
    State(acceptor): State<Acceptor>,
    publisher: Publisher,
    Path(application): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let limit = acceptor.payload_limit();
    let (head, body) = request.into_parts();
    let bytes = body::read(body, limit + envelope::BYTES, "message").await?;
    let mut draft = envelope::json(&bytes)?;
    trace(&head.headers, &mut draft.attributes);
    let receipt = acceptor.accept(publisher.environment, &application, draft).await?;
    Ok(answer(&receipt.message))
}

/// The trace context travels with the message; one that is not legal is of no use to anybody, and no fault of the message.
fn trace(headers: &HeaderMap, attributes: &mut Attributes) {
    for name in envelope::TRACE {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let value = value.and_then(|value| AttributeValue::new(value).ok());
        if let (Some(value), Ok(name)) = (value, AttributeName::new(name)) {
            attributes.entry(name).or_insert(value);
        }
    }
}

/// A message as the contract shows it, and what was attached.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: String,
    uid: Option<&'a str>,
    event_type: &'a str,
    channels: &'a [Channel],
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: &'a Attributes,
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
        attributes: &message.attributes,
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
