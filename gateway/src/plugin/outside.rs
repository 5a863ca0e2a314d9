//! What capabilities are answered from: the port through which plugins reach the store and other hosts. The composition
//! root gives it, so that nothing here knows of either.

use crate::{
    gate::{Gate, Turn},
    model::{
        id::ApplicationId,
        keyvalue::{Entry, Write, Written},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use url::Url;

/// The world outside a call. Errors are texts for a plugin's log.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// The value under the application's key, now.
    async fn value(&self, application: ApplicationId, key: String)
    -> Result<Option<Entry>, String>;

    /// Writes a value; durable when it returns.
    async fn write(&self, write: Write) -> Result<Written, String>;

    /// Sends a request and reads the whole answer. Whether the address may be called is decided here.
    async fn send(&self, request: Request) -> Result<Response, Unsent>;
}

/// A request of a plugin.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// `http` or `https`, at a host that was granted.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How many bytes the answer may have, its headers included.
    pub bytes: usize,
    /// How long it may take in all.
    pub timeout: Duration,
}

/// What a plugin's request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Those that are text.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The address may not be called.
    #[error("{0}")]
    Refused(String),
    /// The answer has more bytes than it may.
    #[error("the answer is too large")]
    TooLarge,
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("{0}")]
    Failed(String),
}

/// The way out, and how many calls at once may wait for answers of others, of all and of one application: each holds a place
/// of the pool meanwhile. As many more may wait until they may: the rest of the pool is for calls that do not wait.
pub(super) struct Outlet {
    pub(super) outside: Arc<dyn Outside>,
    places: Gate,
    waiting: Semaphore,
}

impl Outlet {
    /// With so many places, of which an application may have a share.
    pub(super) fn new(outside: Arc<dyn Outside>, places: usize, share: usize) -> Self {
        Self { outside, places: Gate::new(places, share), waiting: Semaphore::new(places) }
    }

    /// Waits for one. None, where too many wait already.
    pub(super) async fn place(&self, application: ApplicationId) -> Option<Turn<'_>> {
        let mut turn = pin!(self.places.turn(application));
        if let Some(turn) = turn.as_mut().now_or_never() {
            return Some(turn);
        }
        let _waits = self.waiting.try_acquire().ok()?;
        Some(turn.await)
    }
}

/// A capability was used that is not granted any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("`{0}` is not granted")]
pub(super) struct NotGranted(pub(super) &'static str);

/// No world: for a host that runs plugins without a gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

const NOTHING: &str = "there is no gateway behind this";

#[async_trait]
impl Outside for Nothing {
    async fn value(&self, _: ApplicationId, _: String) -> Result<Option<Entry>, String> {
        Err(NOTHING.into())
    }

    async fn write(&self, _: Write) -> Result<Written, String> {
        Err(NOTHING.into())
    }

    async fn send(&self, _: Request) -> Result<Response, Unsent> {
        Err(Unsent::Failed(NOTHING.into()))
    }
}
