//! How much a receiver may say before it answers. HTTP lets it send informational answers (`1xx`) without end, each of which
//! is read and dropped; a receiver that sends nothing else would keep a core busy for as long as the attempt may take.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes may come before an answer's head has: twice what a head may have. Over HTTP/2, how many may come for a
/// request in all: what a head and a stream's window may have.
const MOST: usize = 128 << 10;
/// For how many requests' answers a connection that is shared is read at most beyond what came for those before.
const SAVED: usize = 100;
/// While no answer is waited for.
const ANY: usize = usize::MAX;

/// What is left of our patience with a connection.
#[derive(Clone, Debug)]
pub struct Patience(Arc<AtomicUsize>);

impl Default for Patience {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ANY)))
    }
}

impl Patience {
    /// With a connection that many requests share: all that comes over it is counted, pings and settings too.
    pub fn of_many() -> Self {
        Self(Arc::new(AtomicUsize::new(MOST)))
    }

    /// One more request goes out over a connection that is shared.
    pub fn more(&self) {
        let more = |left: usize| Some(left.saturating_add(MOST).min(SAVED * MOST));
        let _before = self.0.fetch_update(Relaxed, Relaxed, more);
    }

    /// A request goes out: its answer's head is waited for.
    pub fn begin(&self) {
        self.0.store(MOST, Relaxed);
    }

    /// It has come.
    pub fn end(&self) {
        self.0.store(ANY, Relaxed);
    }

    /// Whether so many bytes more are borne.
    fn bears(&self, bytes: usize) -> bool {
        let less = |left: usize| match left {
            ANY => Some(ANY),
            _ => left.checked_sub(bytes),
        };
        self.0.fetch_update(Relaxed, Relaxed, less).is_ok()
    }
}

/// The receiver said too much before it answered, or beside what it answered.
#[derive(Debug, thiserror::Error)]
#[error("more than {MOST} bytes beside the answer")]
struct TooMuch;

/// What kind of error that is: of an error under HTTP/2 only the kind is left.
pub const TOO_MUCH: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// A connection that is read with patience.
pub struct Patient<S> {
    stream: S,
    patience: Patience,
}

impl<S> Patient<S> {
    /// That stream.
    pub const fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        match self.patience.bears(into.filled().len() - before) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::Error::new(TOO_MUCH, TooMuch))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
