//! Dead letters of a JetStream source: what can never be accepted is published to a subject, with its headers and the
//! reason, before it is gone from its stream. Where a stream keeps that subject, the stream has confirmed it by then.

use super::confirm;
use crate::{model::subject::covers, web::error::ApiError};
use async_nats::{
    HeaderMap,
    jetstream::{self, AckKind, Message, context::GetStreamByNameErrorKind},
};
use std::slice;

/// Why it was given up, in the dead letter's headers.
const REASON: &str = "Octohooks-Reason";
const CODE: &str = "Octohooks-Code";
/// Where it was published.
const SUBJECT: &str = "Octohooks-Subject";
/// A header with which a publisher commands the server; in a dead letter it must not act again.
const COMMAND: &str = "Nats-";
/// One that does no harm: it keeps a dead letter from being stored twice.
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// Where a source's dead letters go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    context: jetstream::Context,
    subject: String,
    /// Whether a stream keeps them.
    kept: bool,
}

impl DeadLetters {
    /// Dead letters of the stream's source on that subject. An error is a line for the operator: they would come back.
    pub async fn find(
        context: jetstream::Context,
        subject: &str,
        stream: &str,
        filters: &[String],
    ) -> Result<Self, String> {
        let kept = match context.stream_by_subject(subject).await {
            Ok(keeper) => {
                let all = filters.is_empty();
                if keeper == stream && (all || filters.iter().any(|one| covers(one, subject))) {
                    return Err(format!(
                        "the dead letters on {subject} would come back: the source takes them itself"
                    ));
                }
                true
            }
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => false,
            Err(error) => return Err(error.to_string()),
        };
        Ok(Self { context, subject: subject.to_owned(), kept })
    }

    /// Terminates what can never be accepted, once its dead letter is published.
    pub async fn give_up(&self, message: &Message, error: &ApiError) {
        let subject = message.subject.as_str();
        tracing::warn!(subject, %error, "a message of a stream can never be accepted");
        match self.publish(message, error).await {
            Ok(()) => {
                let client = self.context.client();
                confirm::settle(&client, slice::from_ref(message), AckKind::Term).await;
            }
            Err(error) => {
                tracing::warn!(
                    subject,
                    error,
                    "its dead letter could not be published; tried again"
                );
            }
        }
    }

    /// Publishes the message as a dead letter; it is with the server, or with its stream, when this returns.
    async fn publish(&self, message: &Message, error: &ApiError) -> Result<(), String> {
        let headers = headers(message, error);
        let (to, payload) = (self.subject.clone(), message.payload.clone());
        if self.kept {
            let sent = self.context.publish_with_headers(to, headers, payload).await;
            let sent = sent.map_err(|error| error.to_string())?;
            return sent.await.map(drop).map_err(|error| error.to_string());
        }
        // The termination follows on the same connection: the server has this before that.
        let client = self.context.client();
        let sent = client.publish_with_headers(to, headers, payload).await;
        sent.map_err(|error| error.to_string())?;
        client.flush().await.map_err(|error| error.to_string())
    }
}

fn headers(message: &Message, error: &ApiError) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let text: &str = name.as_ref();
        let renamed =
            (text.starts_with(COMMAND) && text != MESSAGE_ID).then(|| format!("Octohooks-{text}"));
        for value in values {
            headers.append(renamed.as_deref().unwrap_or(text), value.clone());
        }
    }
    headers.insert(REASON, error.to_string().replace(['\r', '\n'], " "));
    headers.insert(CODE, error.code());
    headers.insert(SUBJECT, message.subject.as_str());
    headers
}
