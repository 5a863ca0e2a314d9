//! The port to answers that are given again: the first successful answer to a request with an idempotency key.

use super::{Accepted, StoreError};
use crate::model::{
    Millis,
    id::{Digest, EnvironmentId},
};
use async_trait::async_trait;
use bytes::Bytes;

/// A request that may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// Whose key it is.
    pub environment: EnvironmentId,
    /// SHA-256 of the idempotency key.
    pub key: Digest,
    /// SHA-256 of what makes the request what it is.
    pub fingerprint: Digest,
}

/// The first answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// To which request.
    pub once: Once,
    /// The HTTP status.
    pub status: u16,
    /// The body. That of an accepted message ends before its attributes and its payload, which the store has already: what
    /// is kept with a message is given back with what [`complete`] puts behind it.
    pub body: Bytes,
}

/// Puts a message's attributes, as JSON text, and its payload behind the start of an object. Neither is there any more once
/// its content is gone.
pub fn complete(body: &mut Vec<u8>, attributes: Option<&str>, payload: &[u8]) {
    if let Some(attributes) = attributes {
        body.extend_from_slice(b",\"attributes\":");
        body.extend_from_slice(attributes.as_bytes());
    }
    body.extend_from_slice(b",\"payload\":");
    body.extend_from_slice(if payload.is_empty() { b"null" } else { payload });
    body.push(b'}');
}

/// What is answered to many, by what became of each.
pub type AnswerBody<T> = Box<dyn Fn(&[T]) -> Bytes + Send + Sync>;

/// What whoever asked for many things is answered, to be kept in the step that does them.
pub struct AnswerBy<T> {
    /// To which request.
    pub once: Once,
    /// The HTTP status.
    pub status: u16,
    /// The body, by what became of each.
    pub body: AnswerBody<T>,
}

/// What the sender of many messages is answered.
pub type BatchAnswer = AnswerBy<Accepted>;

/// Whether an operation began; else why not.
pub type Began = Result<(), StoreError>;

impl<T> AnswerBy<T> {
    /// The answer once that is known.
    #[must_use]
    pub fn kept(&self, each: &[T]) -> KeptAnswer {
        KeptAnswer { once: self.once, status: self.status, body: (self.body)(each) }
    }
}

/// Answers that are given again.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// The answer that was kept under that key, if it was at that time or later.
    async fn answer(
        &self,
        environment: EnvironmentId,
        key: Digest,
        since: Millis,
    ) -> Result<Option<KeptAnswer>, StoreError>;

    /// Keeps an answer; durable when it returns. An older one under the same key goes.
    async fn keep(&self, answer: KeptAnswer) -> Result<(), StoreError>;
}
