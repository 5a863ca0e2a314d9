//! A connection while a request has it.

use super::{super::patience::Patience, Body, Pool};
use hyper::client::conn::{http1, http2};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// That somebody has a connection, or may take it. When nobody does any more, it is closed, whatever its other side does.
#[derive(Clone)]
pub struct Hold {
    _held: Arc<oneshot::Sender<Infallible>>,
    /// With its other side.
    pub patience: Patience,
}

impl Hold {
    /// One hold, and what ends when it and its clones are dropped.
    pub(super) fn new(patience: Patience) -> (Self, impl Future<Output: Send>) {
        let (held, dropped) = oneshot::channel();
        (Self { _held: Arc::new(held), patience }, dropped)
    }
}

/// A connection that one request may use. Dropped before [`done`](Self::done), it is not used again, but for one that is
/// shared.
pub struct Lease {
    pub(super) pool: Arc<Pool>,
    pub(super) host: Arc<str>,
    /// What sends.
    pub sender: Sender,
    pub(super) born: Instant,
    /// Whether it has served before.
    pub reused: bool,
    /// What holds it.
    pub hold: Hold,
}

impl Lease {
    /// The request's answer was read to its end: the connection may serve others, for so long.
    pub fn done(self, idle: Duration) {
        let Self { pool, host, sender, born, hold, .. } = self;
        if let Sender::One(sender) = sender {
            pool.keep(host, (sender, hold), born, idle);
        }
    }
}

/// What requests are sent by.
pub enum Sender {
    /// HTTP/1.1: one at a time.
    One(http1::SendRequest<Body>),
    /// HTTP/2: with others.
    Shared(http2::SendRequest<Body>, Use),
}

/// One of the requests on a shared connection, until it is dropped.
pub struct Use {
    pub(super) pool: Arc<Pool>,
    pub(super) host: Arc<str>,
    pub(super) number: u64,
    /// Whether the connection serves no more.
    pub broken: bool,
}

impl Drop for Use {
    fn drop(&mut self) {
        self.pool.release(&self.host, self.number, self.broken);
    }
}
