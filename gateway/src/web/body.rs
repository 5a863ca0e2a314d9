//! Bodies: read within a limit of bytes and of time, and checked as JSON with the path of what is wrong.

use super::error::ApiError;
use axum::{BoxError, body::Body, http::StatusCode};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use std::{
    error::Error,
    iter::successors,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// How long a body may be where a route says nothing else, in bytes.
pub const USUAL: usize = 256 << 10;

/// A body that fails when it is not whole after that time, counted from when it is first waited for. The timer is made
/// then: most bodies come with their heads and need none.
pub struct Timed<B> {
    body: B,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    /// The body, to be whole within that time.
    pub const fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, timer: None }
    }
}

/// The body took too long.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive within {} ms", .0.as_millis())]
struct Overdue(Duration);

impl<B: HttpBody<Error: Into<BoxError>> + Unpin> HttpBody for Timed<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Some(Err(Overdue(limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads a body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize, what: &str) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, limit).await.map_err(|error| refused(&error, limit, what))
}

fn refused(error: &axum::Error, limit: usize, what: &str) -> ApiError {
    let causes = || successors(Some(error as &(dyn Error + 'static)), |cause| (*cause).source());
    if let Some(overdue) = causes().find_map(|cause| cause.downcast_ref::<Overdue>()) {
        return ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", overdue.to_string());
    }
    if causes().any(|cause| cause.to_string().contains("length limit exceeded")) {
        return ApiError::too_large(what, limit);
    }
    ApiError::new(StatusCode::BAD_REQUEST, "malformed", "the body ended early")
}

/// Reads a body in which every field may be absent, and which may be absent itself.
pub async fn optional<T: DeserializeOwned>(
    body: Body,
    limit: usize,
    what: &str,
) -> Result<T, ApiError> {
    match read(body, limit, what).await? {
        empty if empty.is_empty() => json(b"{}"),
        bytes => object(&bytes),
    }
}

/// The body, which must be a JSON object, as that type. serde would take an array for one, its fields in their order.
pub fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => {
            json::<IgnoredAny>(bytes)?;
            Err(ApiError::field("", "must be an object"))
        }
        _ => json(bytes),
    }
}

/// The body as that type; what is wrong is found by a second reading, which only bad bodies pay for. All of it must be
/// UTF-8, what nobody reads of it too.
pub fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    let malformed = |error: &dyn std::fmt::Display| {
        let message = format!("the body is not JSON: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
    };
    let text = str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    serde_json::from_str(text).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| ApiError::from_json(&error))?;
        reader.end().map_err(|error| malformed(&error))?;
        Ok(value)
    })
}
