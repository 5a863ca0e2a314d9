//! `Idempotency-Key`: the first successful answer to a `POST` is kept for twelve hours and given again to every
//! repetition. The same key with another request is a conflict; of two at once, one runs and the other waits.
//!
//! A handler that changes something durably keeps its answer in the same step ([`Repeatable`]), so that a crash can fall
//! before both or after both. What has no such step is kept here once it was answered.

use super::{auth::Keys, body, error::ApiError};
use crate::{
    clock,
    model::{
        Millis,
        catalog::Change,
        id::{Digest, EnvironmentId},
    },
    store::{AnswerBy, Answers, Catalog, KeptAnswer, Once},
};
use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// How long an answer is kept, in milliseconds.
pub const KEPT: Millis = 12 * 3_600_000;
/// The longest key, in bytes.
const KEY: usize = 256;
/// How many requests with one key may be under way, one at work and the others in line.
const LINE: usize = 64;
const NAME: &str = "idempotency-key";
/// Says that an answer is not the first.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What the layer needs.
#[derive(Clone)]
pub struct Repeats {
    answers: Arc<dyn Answers>,
    keys: Keys,
    /// The longest body of a route, in bytes, by the end of its path.
    limits: Arc<[(&'static str, usize)]>,
    under_way: Arc<Mutex<HashMap<(EnvironmentId, Digest), Turn>>>,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// The status of an answer that is not kept whole: its handler makes it anew, of what was kept and the same request.
pub const ASK_AGAIN: u16 = 0;

/// What a handler kept of its first answer to this request, if that was answered before.
#[derive(Clone, Debug)]
pub struct Earlier(pub Option<Bytes>);

impl<S: Send + Sync> FromRequestParts<S> for Earlier {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self(None)))
    }
}

/// An answer that its handler has kept; set as the response's extension.
#[derive(Clone, Copy, Debug)]
pub struct IsKept;

impl Repeats {
    /// A layer for routes whose bodies have at most that many bytes, where their paths end like this, or [`body::USUAL`].
    #[must_use]
    pub fn new(
        answers: Arc<dyn Answers>,
        keys: Keys,
        limits: impl Into<Arc<[(&'static str, usize)]>>,
    ) -> Self {
        Self { answers, keys, limits: limits.into(), under_way: Arc::default() }
    }

    fn limit(&self, parts: &Parts) -> usize {
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let own = self.limits.iter().find(|(end, _)| path.ends_with(end));
        own.map_or(body::USUAL, |(_, limit)| *limit)
    }

    /// A place in the line of those with that key. Whoever gives up leaves it.
    async fn turn(&self, once: &Once) -> Result<OwnedMutexGuard<()>, ApiError> {
        let turn = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
            under_way.entry((once.environment, once.key)).or_default().clone()
        };
        if Arc::strong_count(&turn) > LINE {
            return Err(ApiError::conflict(
                "many requests with this idempotency key are under way",
            ));
        }
        Ok(turn.lock_owned().await)
    }

    async fn first_or_again(self, request: Request, next: Next) -> Result<Response, ApiError> {
        let (mut parts, body) = request.into_parts();
        let key = parts.headers.get(NAME).map(HeaderValue::as_bytes).unwrap_or_default();
        if !(1..=KEY).contains(&key.len()) {
            let right = format!("must have 1 to {KEY} characters");
            return Err(ApiError::field("Idempotency-Key", right));
        }
        let Some((environment, rights)) = self.keys.rights(&parts) else {
            // Who may not pass learns it behind.
            return Ok(next.run(Request::from_parts(parts, body)).await);
        };
        let key = digest([&*rights.owner, key]);
        let bytes = body::read(body, self.limit(&parts), "request").await?;
        let target = parts.uri.to_string();
        let what = [rights.scope.as_bytes(), parts.method.as_str().as_bytes(), target.as_bytes()];
        let fingerprint = digest(what.into_iter().chain([&*bytes]));
        let once = Once { environment, key, fingerprint };
        parts.extensions.insert(once);
        let request = Request::from_parts(parts, Body::from(bytes));
        let turn = self.turn(&once).await?;
        // To its end, also if nobody waits for it any more: what is done is answered when it is asked again.
        let run = tokio::spawn(async move {
            let ran = self.run_once(once, request, next).await;
            drop(turn);
            ran
        });
        run.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request ended early");
            let message = "the gateway failed; its log says why";
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        })
    }

    async fn run_once(
        self,
        once: Once,
        mut request: Request,
        next: Next,
    ) -> Result<Response, ApiError> {
        let since = clock::now().saturating_sub(KEPT);
        let kept = self.answers.answer(once.environment, once.key, since).await?;
        match kept {
            Some(kept) if kept.once.fingerprint != once.fingerprint => {
                let message = "the idempotency key was used for another request";
                return Err(ApiError::new(StatusCode::CONFLICT, "key_reused", message));
            }
            Some(kept) if kept.status != ASK_AGAIN => return Ok(again(kept)),
            Some(kept) => {
                request.extensions_mut().insert(Earlier(Some(kept.body)));
                let mut response = next.run(request).await;
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                return Ok(response);
            }
            None => {}
        }
        let response = next.run(request).await;
        if !response.status().is_success() || response.extensions().get::<IsKept>().is_some() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body::read(body, usize::MAX, "answer").await?;
        let kept = KeptAnswer { once, status: head.status.as_u16(), body: body.clone() };
        if let Err(error) = self.answers.keep(kept).await {
            // What it says is done, and stays done.
            tracing::warn!(%error, "an answer could not be kept; a repetition is a request of its own");
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

/// SHA-256 of these, with their lengths between.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

fn again(kept: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (REPLAYED, HeaderValue::from_static("true")),
    ];
    (status, headers, kept.body).into_response()
}

/// The layer.
pub async fn once(State(repeats): State<Repeats>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !has_key(request.headers()) {
        return next.run(request).await;
    }
    repeats.first_or_again(request, next).await.unwrap_or_else(IntoResponse::into_response)
}

fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(NAME)
}

/// A request that may come again, or not: extracted by handlers that keep their answer themselves.
#[derive(Clone, Copy, Debug)]
pub struct Repeatable(pub Option<Once>);

impl<S: Send + Sync> FromRequestParts<S> for Repeatable {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Once>().copied()))
    }
}

impl Repeatable {
    /// The answer to keep in the step that makes it true.
    pub fn answer(self, status: StatusCode, body: &impl Serialize) -> Option<KeptAnswer> {
        let once = self.0?;
        // What is shown always serialises.
        let body = Bytes::from(serde_json::to_vec(body).unwrap_or_default());
        Some(KeptAnswer { once, status: status.as_u16(), body })
    }

    /// The same for what becomes of many, said by that.
    pub fn answer_by<T, B: Serialize>(
        self,
        status: StatusCode,
        body: impl Fn(&[T]) -> B + Send + Sync + 'static,
    ) -> Option<AnswerBy<T>> {
        let once = self.0?;
        let body =
            move |each: &[T]| Bytes::from(serde_json::to_vec(&body(each)).unwrap_or_default());
        Some(AnswerBy { once, status: status.as_u16(), body: Box::new(body) })
    }

    /// Makes the change and keeps this answer to it, in one step.
    pub async fn change(
        self,
        catalog: &dyn Catalog,
        change: Change,
        shown: &impl Serialize,
    ) -> Result<Response, ApiError> {
        catalog.change_once(change, self.answer(StatusCode::OK, shown)).await?;
        Ok(self.kept(Json(shown)))
    }

    /// The response, marked as kept if it was.
    pub fn kept(self, response: impl IntoResponse) -> Response {
        let mut response = response.into_response();
        if self.0.is_some() {
            response.extensions_mut().insert(IsKept);
        }
        response
    }
}
