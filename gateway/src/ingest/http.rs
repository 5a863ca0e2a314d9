//! The HTTP door: `POST /applications/{app}/messages`, and many at once below `/batch`. The payload is taken out of the body
//! as the bytes it came in.

use super::{
    accept::{Acceptor, Receipt, Shape},
    envelope,
};
use crate::{
    model::{
        Millis,
        id::MessageId,
        message::{Attributes, Message},
        name::{AttributeName, AttributeValue, Channel, EventType, OrderingKey, Uid},
    },
    store::complete,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::{Keys, Publisher},
        body,
        error::ApiError,
        once::Repeatable,
    },
};
use axum::{
    Router,
    extract::{FromRef, Path, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};
use cloud_event::CloudEvent;
use envelope::Create as MessageDraft;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

mod batch;
mod cloud_event;

/// What the door needs.
#[derive(Clone, FromRef)]
pub struct Door {
    /// Behind the door.
    pub acceptor: Acceptor,
    /// Who may pass.
    pub keys: Keys,
    /// The largest batch.
    pub batch: BatchBytes,
}

/// How long the body of a batch may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct BatchBytes(pub usize);

impl Door {
    /// How long the bodies of its routes may be, in bytes, by the end of their paths.
    #[must_use]
    pub fn limits(&self) -> [(&'static str, usize); 2] {
        let message = self.acceptor.payload_limit() + envelope::BYTES;
        [("/messages", message), ("/messages/batch", self.batch.0)]
    }
}

/// The calls of this door, for the document of the API.
#[derive(OpenApi)]
#[openapi(paths(create, batch::create))]
pub struct Calls;

/// The door's route.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/applications/{app}/messages", post(create))
        .route("/applications/{app}/messages/batch", post(batch::create))
        .with_state(door)
}

/// Creates a message.
///
/// It is on disk before this is answered. The payload arrives at the endpoints byte for byte as it was sent. It may be a
/// CloudEvent 1.0: as such a body, or with its attributes in headers (`ce-…`) and any JSON as the body. A CloudEvent that
/// comes again, by source and id, is the same message.
#[utoipa::path(
    post,
    path = "/applications/{app}/messages",
    tag = "Messages",
    operation_id = "createMessage",
    request_body(
        content(
            (
                MessageDraft<'_> = "application/json",
                example = json!({
                    "eventType": "sms.status",
                    "channels": ["north"],
                    "uid": "sms-1",
                    "payload": { "to": "+4915112345678", "status": "delivered" },
                }),
            ),
            (CloudEvent = "application/cloudevents+json"),
        ),
    ),
    responses(
        (status = 200, description = "The message: it is on disk.", body = AcceptedMessage<'_>),
        Denied, Missing, BadBody, NotDone,
    ),
)]
async fn create(
    State(acceptor): State<Acceptor>,
    publisher: Publisher,
    repeatable: Repeatable,
    Path(application): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let limit = acceptor.payload_limit() + envelope::BYTES;
    let (head, body) = request.into_parts();
    let bytes = body::read(body, limit, "message").await?;
    let mut draft = match cloud_event::written(&head.headers)? {
        None => envelope::json(&bytes)?,
        Some((written, headers)) => written.read(&bytes, &headers)?,
    };
    trace(&head.headers, &mut draft.attributes);
    let once = repeatable.0.map(|once| (once, answer as Shape));
    let receipt = acceptor.accept_once(publisher.environment, &application, draft, once).await?;
    let known = receipt.id != receipt.message.id;
    let answer = if known { response(&known_as(&receipt)) } else { response(&receipt.message) };
    Ok(repeatable.kept(answer))
}

/// The message that was sent before, as it is sent now.
fn known_as(receipt: &Receipt) -> Message {
    let (id, accepted) = (receipt.id, receipt.id.created().unwrap_or_default());
    Message { id, accepted, ..Message::clone(&receipt.message) }
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

/// A message as the contract shows it, up to what was attached and the payload.
#[derive(Serialize, ToSchema)]
#[schema(as = AcceptedHead)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: MessageId,
    #[schema(value_type = Option<Uid>, required)]
    uid: Option<&'a str>,
    #[schema(value_type = EventType)]
    event_type: &'a str,
    channels: &'a [Channel],
    /// When it is sent; absent where that is at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deliver_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OrderingKey>, nullable = false)]
    ordering_key: Option<&'a str>,
    created: Millis,
    updated: Millis,
}

/// A message that is on disk.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used: see `answer`")]
struct AcceptedMessage<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    #[schema(value_type = BTreeMap<AttributeName, AttributeValue>, required = false)]
    attributes: &'a Attributes,
    /// Any JSON.
    #[schema(value_type = Value)]
    payload: &'a [u8],
}

/// What surrounds a payload in an answer is seldom longer than this, in bytes.
const SHOWN: usize = 512;

/// The answer up to attributes and payload, which was checked when it came in and is put in as it is.
fn answer(message: &Message) -> Vec<u8> {
    let shown = Shown {
        id: message.id,
        uid: message.uid.as_deref(),
        event_type: &message.event_type,
        channels: &message.channels,
        deliver_at: message.deliver_at,
        expires_at: message.expires_at,
        ordering_key: message.ordering_key.as_deref(),
        created: message.accepted,
        updated: message.accepted,
    };
    let mut body = Vec::with_capacity(SHOWN + message.payload.len());
    // Texts and numbers always serialise, and memory takes them all.
    let _written = serde_json::to_writer(&mut body, &shown);
    body.pop();
    body
}

/// The whole answer, as JSON text.
fn whole(message: &Message) -> Vec<u8> {
    let mut body = answer(message);
    complete(&mut body, message.attributes_text().as_deref(), &message.payload);
    body
}

fn response(message: &Message) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], whole(message)).into_response()
}
