//! Dead letters of a JetStream source: what can never be accepted is published to a subject, with its headers and the
//! reason, before it is gone from its stream. Where a stream keeps that subject, the stream has confirmed it by then.

use super::confirm;
use crate::{model::subject::covers, web::error::ApiError};
use async_nats::{
    HeaderMap, HeaderName, HeaderValue, Subject, header,
    jetstream::{self, AckKind, context::GetStreamByNameErrorKind},
};
use bytes::Bytes;
use futures_util::future::join_all;

/// Why it was given up, in the dead letter's headers.
const REASON: &str = "Octohooks-Reason";
const CODE: &str = "Octohooks-Code";
/// Where it was published.
const SUBJECT: &str = "Octohooks-Subject";
/// What had no room in the dead letter, and how many bytes that were.
const BODY: &str = "Octohooks-Body";
const BODY_BYTES: &str = "Octohooks-Body-Bytes";
const HEADERS: &str = "Octohooks-Headers";
const OMITTED: &str = "omitted";
/// A header with which a publisher commands the server; in a dead letter it must not act again.
const COMMAND: &str = "nats-";
/// How long a reason may be, in bytes: it quotes what its sender wrote.
const LONGEST: usize = 2048;

/// Where a source's dead letters go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    context: jetstream::Context,
    subject: String,
    /// The stream that the messages come from, as in their keys.
    stream: String,
    /// Whether a stream keeps them.
    kept: bool,
}

/// A message that can never be accepted.
#[derive(Debug)]
pub struct Letter {
    /// Where it was published.
    pub subject: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub payload: Bytes,
    /// Its place in its stream.
    pub sequence: u64,
    /// Where it is acknowledged.
    pub ack: Subject,
    /// What is wrong with it.
    pub error: ApiError,
}

impl DeadLetters {
    /// Dead letters of a stream's source on that subject. An error is a line for the operator: they would come back.
    pub async fn find(
        context: jetstream::Context,
        subject: &str,
        (name, created): (&str, i128),
        filters: &[String],
    ) -> Result<Self, String> {
        let kept = match context.stream_by_subject(subject).await {
            Ok(keeper) => {
                let all = filters.is_empty();
                if keeper == name && (all || filters.iter().any(|one| covers(one, subject))) {
                    return Err(format!(
                        "the dead letters on {subject} would come back: the source takes them itself"
                    ));
                }
                true
            }
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => false,
            Err(error) => return Err(error.to_string()),
        };
        let stream = format!("{name} {created}");
        Ok(Self { context, subject: subject.to_owned(), stream, kept })
    }

    /// Whether a stream keeps them.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.kept
    }

    /// Terminates what can never be accepted, each once its dead letter is published: how many the server has confirmed.
    /// The others come again.
    pub async fn give_up(&self, letters: &[Letter]) -> usize {
        let published = join_all(letters.iter().map(|letter| self.publish(letter))).await;
        let mut gone = Vec::with_capacity(letters.len());
        for (letter, published) in letters.iter().zip(published) {
            let (subject, error) = (letter.subject.as_str(), &letter.error);
            tracing::warn!(subject, %error, "a message of a stream can never be accepted");
            match published {
                Ok(()) => gone.push(letter.ack.clone()),
                Err(error) => {
                    tracing::warn!(subject, error, "its dead letter could not be published");
                }
            }
        }
        let client = self.context.client();
        // The terminations follow on the same connection: the server has the dead letters before them.
        if !self.kept && !gone.is_empty() && client.flush().await.is_err() {
            return 0;
        }
        confirm::settle(&client, gone, AckKind::Term).await
    }

    /// Publishes the message as a dead letter; without its body, or its headers too, where it has no room otherwise.
    async fn publish(&self, letter: &Letter) -> Result<(), String> {
        let id = format!("{} {}", self.stream, letter.sequence);
        let mut last = String::new();
        for kept in [Kept::Whole, Kept::Headers, Kept::Reason] {
            let (headers, payload) = letter.written(&id, kept);
            match self.send(headers, payload).await {
                Ok(()) => return Ok(()),
                // As the client, the server and a stream say it.
                Err(error) if error.to_lowercase().contains("exceed") => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn send(&self, headers: HeaderMap, payload: Bytes) -> Result<(), String> {
        let to = self.subject.clone();
        if self.kept {
            let sent = self.context.publish_with_headers(to, headers, payload).await;
            let sent = sent.map_err(|error| error.to_string())?;
            return sent.await.map(drop).map_err(|error| error.to_string());
        }
        let sent = self.context.client().publish_with_headers(to, headers, payload).await;
        sent.map_err(|error| chain(&error))
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// How much of a message its dead letter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Whole,
    Headers,
    Reason,
}

impl Letter {
    /// The headers and the body of its dead letter, which a stream knows by that id.
    fn written(&self, id: &str, kept: Kept) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        let whole = if kept == Kept::Reason { &[][..] } else { &self.headers };
        for (name, value) in whole {
            let is_command = name.to_ascii_lowercase().starts_with(COMMAND);
            let name = if is_command { format!("Octohooks-{name}") } else { name.clone() };
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
            {
                headers.append(name, value);
            }
        }
        let mut reason = self.error.to_string().replace(['\r', '\n'], " ");
        reason.truncate(reason.floor_char_boundary(LONGEST));
        headers.insert(REASON, reason);
        headers.insert(CODE, self.error.code());
        headers.insert(SUBJECT, self.subject.as_str());
        headers.insert(header::NATS_MESSAGE_ID, id);
        if kept == Kept::Whole {
            return (headers, self.payload.clone());
        }
        headers.insert(BODY, OMITTED);
        headers.insert(BODY_BYTES, self.payload.len().to_string());
        if kept == Kept::Reason {
            headers.insert(HEADERS, OMITTED);
        }
        (headers, Bytes::new())
    }
}
