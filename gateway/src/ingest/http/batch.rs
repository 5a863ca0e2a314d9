//! Many messages in one request, each answered for itself: what is wrong with one concerns no other.

use super::{AcceptedMessage, BatchBytes, MessageDraft, whole};
use crate::{
    ingest::{
        accept::{Acceptor, Draft, Receipt, Refused},
        envelope,
    },
    model::{id::MessageId, message::Message},
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Publisher,
        body,
        error::ApiError,
        once::{AskAgain, Repeatable},
    },
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
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
    Invalid { error: ApiError },
}

/// Creates up to 1000 messages, each answered for itself.
///
/// What is wrong with one concerns no other.
#[utoipa::path(
    post,
    path = "/applications/{app}/messages/batch",
    tag = "Messages",
    operation_id = "createMessages",
    request_body(
        content = Batch<'_>,
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
    Path(application): Path<String>,
    body: Body,
) -> Result<(Extension<AskAgain>, Json<Answers>), ApiError> {
    if !acceptor.knows(publisher.environment, &application) {
        return Err(Refused::NoApplication.into());
    }
    let bytes = body::read(body, limit, "batch").await?;
    let batch: Batch<'_> = body::object(&bytes)?;
    let messages = batch.messages.unwrap_or_default();
    if !(1..=MESSAGES).contains(&messages.len()) {
        return Err(ApiError::field("/messages", format!("must be 1 to {MESSAGES}")));
    }
    let drafts = (0..).zip(&messages).map(|(index, text)| draft(&bytes, text, index, repeatable));
    let read: Vec<Result<Draft, ApiError>> = drafts.collect();
    let legal = read.iter().filter_map(|draft| draft.as_ref().ok());
    let legal = legal.map(|draft| (application.clone(), draft.clone())).collect();
    let mut accepted = acceptor.accept_all(publisher.environment, legal).await?.into_iter();
    let mut data = Vec::with_capacity(read.len());
    for draft in read {
        data.push(match draft {
            Err(error) => Answer::Invalid { error },
            Ok(_) => match accepted.next() {
                Some(Err(Refused::NoApplication)) => return Err(Refused::NoApplication.into()),
                Some(Err(Refused::Duplicate(id))) => Answer::Duplicate { id },
                Some(Err(refused)) => Answer::Invalid { error: refused.into() },
                Some(Ok(receipt)) => Answer::Created { message: shown(&receipt) },
                None => continue,
            },
        });
    }
    Ok((Extension(AskAgain), Json(Answers { data })))
}

/// One message. Those of a batch with an idempotency key have keys of their own, so that they are the same messages when the
/// batch comes again, and its answer need not be kept.
fn draft(
    bytes: &Bytes,
    text: &RawValue,
    index: usize,
    repeatable: Repeatable,
) -> Result<Draft, ApiError> {
    let mut draft = envelope::json(&bytes.slice_ref(text.get().as_bytes()))?;
    draft.idempotency_key = repeatable
        .0
        .map(|once| format!("{} {} {index}", once.key, once.fingerprint).into_boxed_str());
    Ok(draft)
}

fn shown(receipt: &Receipt) -> Box<RawValue> {
    let message = match receipt.id == receipt.message.id {
        true => whole(&receipt.message),
        false => {
            let accepted = receipt.id.created().unwrap_or(receipt.message.accepted);
            whole(&Message { id: receipt.id, accepted, ..Message::clone(&receipt.message) })
        }
    };
    // It was made of JSON.
    let text = String::from_utf8(message).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_default()
}
