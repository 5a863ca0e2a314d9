//! Many messages in one request, each answered for itself: what is wrong with one concerns no other.

use super::{AcceptedMessage, BatchBytes, CloudEvent, MessageDraft, cloud_event, whole};
use crate::{
    ingest::{
        accept::{Acceptor, Draft, Refused},
        envelope,
    },
    model::{
        id::{ApplicationId, EnvironmentId, MessageId},
        message::Message,
    },
    store::{Accepted, BatchAnswer, Submission},
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Publisher,
        body,
        error::ApiError,
        once::{ASK_AGAIN, Earlier, Repeatable},
    },
};
use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// How many messages a batch may have.
const MESSAGES: usize = 1000;

/// Many messages.
#[derive(Deserialize, ToSchema)]
struct Batch<'a> {
    #[serde(borrow)]
    #[schema(value_type = Vec<MessageDraft<'a>>, min_items = 1, max_items = 1000)]
    messages: Option<Vec<&'a RawValue>>,
}

/// What became of each, in the order of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchAnswers)]
pub struct Answers {
    data: Vec<Answer>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BatchAnswer)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    /// It is on disk.
    Created {
        #[schema(value_type = AcceptedMessage<'static>)]
        message: Box<RawValue>,
    },
    /// Its uid was used before, by this message.
    Duplicate { id: MessageId },
    /// It is not as it must be, or the store could not.
    Invalid {
        #[schema(value_type = ApiError)]
        error: Box<RawValue>,
    },
}

/// Creates up to 1000 messages, each answered for itself.
///
/// What is wrong with one concerns no other. It may be a list of CloudEvents 1.0.
#[utoipa::path(
    post,
    path = "/applications/{app}/messages/batch",
    tag = "Messages",
    operation_id = "createMessages",
    request_body(
        content(
            (
                Batch<'_> = "application/json",
                example = json!({
                    "messages": [
                        {
                            "eventType": "sms.status",
                            "channels": ["north"],
                            "uid": "sms-1",
                            "payload": { "to": "+4915112345678", "status": "delivered" },
                        },
                    ],
                }),
            ),
            (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        ),
    ),
    responses(
        (
            status = 200,
            description = "What became of each, in the order of the request.",
            body = Answers,
        ),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn create(
    State(acceptor): State<Acceptor>,
    State(BatchBytes(limit)): State<BatchBytes>,
    publisher: Publisher,
    repeatable: Repeatable,
    earlier: Earlier,
    Path(application): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    if earlier.0.is_none() && !acceptor.knows(publisher.environment, &application) {
        return Err(Refused::NoApplication.into());
    }
    let (head, body) = request.into_parts();
    let bytes = body::read(body, limit, "batch").await?;
    let drafts =
        if cloud_event::is_batch(&head.headers) { events(&bytes)? } else { drafts(&bytes)? };
    if let Some(earlier) = earlier.0 {
        let kept = serde_json::from_slice(&earlier).map_err(|error| {
            tracing::error!(%error, "what was kept of an answer cannot be read");
            ApiError::conflict("the first answer cannot be read any more")
        })?;
        return Ok(Json(answers(&drafts, kept)).into_response());
    }
    let legal = drafts.iter().filter_map(|draft| draft.as_ref().ok());
    let legal = legal.map(|draft| (application.clone(), draft.clone())).collect();
    let answer = |made: &[Result<Submission, Refused>]| {
        let once = repeatable.0?;
        let gone = |one: &Result<_, Refused>| matches!(one, Err(Refused::NoApplication));
        let slots = slots(&drafts, made);
        let body = move |accepted: &[Accepted]| keep(&slots, accepted);
        let answer = BatchAnswer { once, status: ASK_AGAIN, body: Box::new(body) };
        Some(answer).filter(|_| !made.iter().any(gone))
    };
    let each = acceptor.accept_all_once(publisher.environment, legal, answer).await?;
    let mut each = each.into_iter();
    let mut kept = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        kept.push(match draft {
            Err(error) => Kept::Invalid(text(error)),
            Ok(_) => match each.next() {
                Some(Err(Refused::NoApplication)) => return Err(Refused::NoApplication.into()),
                Some(Err(Refused::Duplicate(id))) => Kept::Duplicate(id),
                Some(Err(refused)) => Kept::Invalid(text(&refused.into())),
                Some(Ok(receipt)) => Kept::Created(receipt.id),
                None => continue,
            },
        });
    }
    Ok(repeatable.kept(Json(answers(&drafts, kept))))
}

/// The messages as they are written.
fn drafts(bytes: &Bytes) -> Result<Vec<Result<Draft, ApiError>>, ApiError> {
    let batch: Batch<'_> = body::object(bytes)?;
    let messages = batch.messages.unwrap_or_default();
    if !(1..=MESSAGES).contains(&messages.len()) {
        return Err(ApiError::field("/messages", format!("must be 1 to {MESSAGES}")));
    }
    let read = |text: &&RawValue| envelope::json(&bytes.slice_ref(text.get().as_bytes()));
    Ok(messages.iter().map(read).collect())
}

/// The messages of a list of CloudEvents, which may be empty.
fn events(bytes: &Bytes) -> Result<Vec<Result<Draft, ApiError>>, ApiError> {
    let events: Vec<&RawValue> = body::json(bytes)?;
    if events.len() > MESSAGES {
        return Err(ApiError::field("", format!("must be at most {MESSAGES}")));
    }
    let read = |text: &&RawValue| envelope::whole_event(&bytes.slice_ref(text.get().as_bytes()));
    Ok(events.iter().map(read).collect())
}

/// What is kept of the answer to one message; the message itself comes again with the request.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Created(MessageId),
    Duplicate(MessageId),
    Invalid(Box<RawValue>),
}

/// What is known of each before it is accepted: it is created, if its uid is free.
fn slots(drafts: &[Result<Draft, ApiError>], made: &[Result<Submission, Refused>]) -> Vec<Kept> {
    let mut made = made.iter();
    let slots = drafts.iter().filter_map(|draft| match draft {
        Err(error) => Some(Kept::Invalid(text(error))),
        Ok(_) => made.next().map(|one| match one {
            Ok(submission) => Kept::Created(submission.message.id),
            Err(refused) => Kept::Invalid(text(&refused.clone().into())),
        }),
    });
    slots.collect()
}

/// What is kept of the answer, by what became of those that could be accepted.
fn keep(slots: &[Kept], accepted: &[Accepted]) -> Bytes {
    let mut accepted = accepted.iter();
    let kept = slots.iter().map(|slot| match slot {
        Kept::Created(_) => match accepted.next() {
            Some(Accepted::Duplicate(id)) => Kept::Duplicate(*id),
            Some(Accepted::Repeated(id)) => Kept::Created(*id),
            _ => slot.clone(),
        },
        other => other.clone(),
    });
    // Ids and texts always serialise.
    serde_json::to_vec(&kept.collect::<Vec<_>>()).unwrap_or_default().into()
}

fn answers(drafts: &[Result<Draft, ApiError>], kept: Vec<Kept>) -> Answers {
    let each = drafts.iter().zip(kept).map(|(draft, kept)| match (kept, draft) {
        (Kept::Created(id), Ok(draft)) => Answer::Created { message: shown(draft, id) },
        (Kept::Created(id) | Kept::Duplicate(id), _) => Answer::Duplicate { id },
        (Kept::Invalid(error), _) => Answer::Invalid { error },
    });
    Answers { data: each.collect() }
}

fn text(error: &ApiError) -> Box<RawValue> {
    // Words and texts always serialise.
    serde_json::value::to_raw_value(error).unwrap_or_default()
}

/// The message that was made of the draft under that id, in which the moment is.
fn shown(draft: &Draft, id: MessageId) -> Box<RawValue> {
    let accepted = id.created().unwrap_or_default();
    // They could be when it was accepted.
    let times = draft.timing.resolve(accepted).unwrap_or_default();
    let message = Message {
        environment: EnvironmentId::DEFAULT,
        application: ApplicationId(id.0),
        id,
        uid: draft.uid.clone(),
        event_type: draft.event_type.clone(),
        channels: draft.channels.clone(),
        payload: draft.payload.clone(),
        attributes: draft.attributes.clone(),
        accepted,
        content_until: None,
        deliver_at: times.deliver_at,
        expires_at: times.expires_at,
        ordering_key: draft.ordering_key.clone(),
    };
    // It was made of JSON.
    let text = String::from_utf8(whole(&message)).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_default()
}
