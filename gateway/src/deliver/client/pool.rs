//! Connections that are kept, and how many sockets there are at all. A connection has one of a fixed number of places from
//! before it is opened until its socket is closed, idle or not; a look-up has two meanwhile. When no place is free, the idle
//! connection that would be closed next is closed, so that idle ones never keep a new one out.
//!
//! HTTP/1.1 connections serve one request at a time, the one used last first, so that the others run into their
//! deadline. An HTTP/2 connection serves as many as its receiver allows; where a receiver is known to speak it, one
//! caller connects and the others wait for that. Nothing polls: one task sleeps until the next deadline.
//!
//! What is not needed for correctness: that a connection taken is alive. Its receiver may be closing it, which is why a
//! request that meets a dead one is made again (see [`Client`](super::Client)).

use super::patience::Patience;
use crate::clock;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use metrics::Gauge;
use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Shorter than what most receivers keep a connection open for; one that says less (`Keep-Alive: timeout=5`) is believed.
pub const IDLE: Duration = Duration::from_secs(20);
/// Then a connection serves no more: a name may mean another address by now.
const AGE: Duration = Duration::from_secs(300);
/// For how long a host whose kept connection died is asked on new ones alone.
const DISTRUST: Duration = Duration::from_secs(10);
/// How long a connection that nobody holds may take to close.
const LINGER: Duration = Duration::from_millis(500);
/// Requests at once on one HTTP/2 connection: what RFC 9113 asks receivers to allow. Where one allows fewer, some wait.
const STREAMS: usize = 100;
/// Hosts without connections that are remembered, since the next request is likely.
const EMPTY: usize = 1024;

use hosts::{Host, Idle, Mark, Shared, State};
pub use lease::{Hold, Lease, Sender, Use};

mod hosts;
mod lease;

/// A request's body.
pub type Body = Full<Bytes>;

/// A socket that may be open.
pub type Place = OwnedSemaphorePermit;

/// All connections.
pub struct Pool {
    places: Arc<Semaphore>,
    /// How many wait for a place.
    waiting: AtomicUsize,
    per_host: usize,
    state: Mutex<State>,
    changed: Arc<Notify>,
    sockets: Gauge,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool(…)")
    }
}

impl Pool {
    /// Room for that many sockets, and for so many idle connections to one host. Must be made on a runtime.
    #[must_use]
    pub fn new(sockets: usize, per_host: usize) -> Arc<Self> {
        let pool = Arc::new(Self {
            places: Arc::new(Semaphore::new(sockets)),
            waiting: AtomicUsize::new(0),
            per_host,
            state: Mutex::default(),
            changed: Arc::new(Notify::new()),
            sockets: metrics::gauge!("octohooks_delivery_sockets"),
        });
        tokio::spawn(close_idle(Arc::downgrade(&pool), pool.changed.clone()));
        pool
    }

    /// That many places, once they are free.
    pub async fn places(&self, count: u32) -> Result<Place, &'static str> {
        const NEVER: &str = "there are no sockets";
        if let Some(places) = self.spare(count) {
            return Ok(places);
        }
        let _waits = Waits::new(&self.waiting);
        for _ in 0..count {
            self.evict();
        }
        self.places.clone().acquire_many_owned(count).await.map_err(|_| NEVER)
    }

    /// That many places, if they are free.
    #[must_use]
    pub fn spare(&self, count: u32) -> Option<Place> {
        self.places.clone().try_acquire_many_owned(count).ok()
    }

    /// Runs a connection until it is closed, or nobody holds it, and gives its place back then.
    pub fn drive<E: Send>(
        &self,
        connection: impl Future<Output = Result<(), E>> + Send + 'static,
        place: Place,
        patience: Patience,
    ) -> Hold {
        let sockets = self.sockets.clone();
        sockets.increment(1);
        let (hold, dropped) = Hold::new(patience);
        tokio::spawn(async move {
            // Given back behind the socket.
            let _place = place;
            let mut connection = pin!(connection);
            // How it ended is the request's to tell.
            tokio::select! {
                _ended = &mut connection => {}
                _dropped = dropped => {
                    // A receiver that reads nothing would keep it, and its place, for ever.
                    let _ended = tokio::time::timeout(LINGER, connection).await;
                }
            }
            sockets.decrement(1);
        });
        hold
    }

    /// A connection to that host, if there is one.
    pub fn take(self: &Arc<Self>, host: &str) -> Option<Lease> {
        let now = clock::instant();
        let mut state = self.state();
        let State { hosts, idle, .. } = &mut *state;
        let host = hosts.get_mut(host)?;
        let is_young = |born: Instant| now.saturating_duration_since(born) < AGE;
        if !host.shared.is_empty() {
            host.shared.retain(|shared| !shared.sender.is_closed());
            let free = |shared: &&mut Shared| shared.streams < STREAMS && is_young(shared.born);
            if let Some(shared) = host.shared.iter_mut().find(free) {
                if let Some(mark) = shared.idle.take() {
                    idle.remove(&mark);
                }
                shared.streams += 1;
                let (sender, born, hold) =
                    (shared.sender.clone(), shared.born, shared.hold.clone());
                let sender = self.sender(sender, &host.name, shared.number);
                return Some(self.lease(host.name.clone(), (sender, hold), born, true));
            }
        }
        while let Some(Idle { mark, sender, born, hold }) = host.idle.pop_back() {
            idle.remove(&mark);
            if mark.0 > now && is_young(born) && !sender.is_closed() {
                let sender = (Sender::One(sender), hold);
                return Some(self.lease(host.name.clone(), sender, born, true));
            }
        }
        None
    }

    /// The turn to connect to a host that is known to speak HTTP/2.
    pub async fn turn(&self, host: &str) -> Option<OwnedMutexGuard<()>> {
        let turn = self.state().hosts.get(host).and_then(|host| host.turn.clone())?;
        Some(turn.lock_owned().await)
    }

    /// A new HTTP/1.1 connection.
    pub fn one(
        self: &Arc<Self>,
        host: &str,
        (sender, hold): (http1::SendRequest<Body>, Hold),
    ) -> Lease {
        self.lease(host.into(), (Sender::One(sender), hold), clock::instant(), false)
    }

    /// A new HTTP/2 connection, which others use as well; or the one that somebody else made meanwhile.
    pub fn shared(
        self: &Arc<Self>,
        host: &str,
        (sender, hold): (http2::SendRequest<Body>, Hold),
    ) -> Lease {
        if let Some(lease) = self.take(host) {
            return lease;
        }
        let born = clock::instant();
        let mut state = self.state();
        state.number += 1;
        let number = state.number;
        let name: Arc<str> = host.into();
        let host = state.hosts.entry(name).or_insert_with_key(|name| Host::new(name.clone()));
        host.turn.get_or_insert_default();
        let (again, held) = (sender.clone(), hold.clone());
        host.shared.push(Shared { number, sender, streams: 1, born, idle: None, hold });
        let sender = self.sender(again, &host.name, number);
        self.lease(host.name.clone(), (sender, held), born, false)
    }

    fn sender(
        self: &Arc<Self>,
        sender: http2::SendRequest<Body>,
        host: &Arc<str>,
        number: u64,
    ) -> Sender {
        let (pool, host) = (self.clone(), host.clone());
        Sender::Shared(sender, Use { pool, host, number, broken: false })
    }

    fn lease(
        self: &Arc<Self>,
        host: Arc<str>,
        (sender, hold): (Sender, Hold),
        born: Instant,
        reused: bool,
    ) -> Lease {
        Lease { pool: self.clone(), host, sender, born, reused, hold }
    }

    /// Keeps a connection for so long, unless somebody waits for its place.
    fn keep(
        &self,
        host: Arc<str>,
        (sender, hold): (http1::SendRequest<Body>, Hold),
        born: Instant,
        idle: Duration,
    ) {
        if self.waiting.load(SeqCst) > 0 {
            return;
        }
        let mut state = self.state();
        let mark = state.mark(idle);
        let room = self.per_host.max(1);
        let entry = state.hosts.entry(host.clone());
        let entry = entry.or_insert_with_key(|name| Host::new(name.clone()));
        if entry.distrusted.is_some_and(|until| clock::instant() < until) {
            return;
        }
        let kept = &mut entry.idle;
        kept.push_back(Idle { mark, sender, born, hold });
        let over = if kept.len() > room { kept.pop_front() } else { None };
        if let Some(over) = over {
            state.idle.remove(&over.mark);
        }
        state.idle.insert(mark, host);
        self.tell(&state, mark);
    }

    /// A connection that the host kept died under a request. For a while none is kept: a receiver that closes them like this
    /// would see each request twice.
    pub fn distrust(&self, host: &str) {
        let mut state = self.state();
        let State { hosts, idle, .. } = &mut *state;
        let host = hosts.entry(host.into()).or_insert_with_key(|name| Host::new(name.clone()));
        host.distrusted = Some(clock::instant() + DISTRUST);
        host.idle.drain(..).for_each(|closed| drop(idle.remove(&closed.mark)));
    }

    /// A request less on a shared connection.
    fn release(&self, host: &Arc<str>, number: u64, broken: bool) {
        let waited_for = self.waiting.load(SeqCst) > 0;
        let mut state = self.state();
        let mark = state.mark(IDLE);
        let Some(found) = state.hosts.get_mut(host) else { return };
        let Some(at) = found.shared.iter().position(|shared| shared.number == number) else {
            return;
        };
        let shared = &mut found.shared[at];
        shared.streams -= 1;
        if broken || (shared.streams == 0 && waited_for) {
            found.shared.remove(at);
        } else if shared.streams == 0 {
            shared.idle = Some(mark);
            state.idle.insert(mark, host.clone());
            self.tell(&state, mark);
        }
    }

    /// Wakes whoever closes what is idle, if it would sleep for too long.
    fn tell(&self, state: &State, mark: Mark) {
        if state.idle.first_key_value().is_some_and(|(first, _)| *first == mark) {
            self.changed.notify_one();
        }
    }

    /// Closes the idle connection that would be closed next.
    fn evict(&self) {
        let mut state = self.state();
        if let Some((mark, host)) = state.idle.pop_first() {
            state.close(mark, &host);
        }
    }

    /// Closes what has been idle for long enough at `now`; when there is more to close.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        while let Some(first) = state.idle.first_entry().filter(|first| first.key().0 <= now) {
            let (mark, host) = first.remove_entry();
            state.close(mark, &host);
        }
        if state.hosts.len() > state.idle.len() + EMPTY {
            state.hosts.retain(|_, host| !host.is_empty());
        }
        state.idle.first_key_value().map(|((at, _), _)| *at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places are taken, and how many connections are idle.
    #[cfg(test)]
    pub fn depths(&self, of: usize) -> (usize, usize) {
        (of - self.places.available_permits(), self.state().idle.len())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

/// Somebody who waits for a place, or gives up.
struct Waits<'p>(&'p AtomicUsize);

impl<'p> Waits<'p> {
    fn new(waiting: &'p AtomicUsize) -> Self {
        waiting.fetch_add(1, SeqCst);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn close_idle(pool: Weak<Pool>, changed: Arc<Notify>) {
    loop {
        let Some(next) = pool.upgrade().map(|pool| pool.expire(clock::instant())) else { return };
        match next {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = changed.notified() => {}
                }
            }
            None => changed.notified().await,
        }
    }
}
