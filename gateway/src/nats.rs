//! The connection to NATS, which the doors share: how it is made, and how it is doing. It is kept for ever: a server that
//! is away is tried again, and stops nothing else. A client that has ended, by whatever came over the wire, is replaced
//! by a new one; whoever uses the connection asks for its client each time, and notes when it was lost in between.

use crate::{clock, model::Millis};
use async_nats::{Client, Event, Server, ServerAddr, connection};
use options::{Identity, Options, authenticated, server, with_tls};
use progress::{Progress, SourceState};
use serde::Serialize;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::watch;

pub mod options;
pub mod progress;

/// The shortest and the longest wait before a lost connection is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How many messages wait in memory for the gateway, each of at most the server's `max_payload`.
const CAPACITY: usize = 1024;

/// The connection.
#[derive(Clone, Debug)]
pub struct Connection {
    client: watch::Receiver<Client>,
    status: Arc<Status>,
}

#[derive(Debug, Default)]
struct Status {
    link: watch::Sender<Link>,
    connections: AtomicU64,
    sources: Mutex<Vec<Arc<Progress>>>,
    doors: Mutex<Vec<DoorState>>,
    /// Why the servers could not be reached, as it was said.
    failures: Mutex<String>,
}

/// The connection at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    connected: bool,
    /// Counts clients: each that ends is replaced by another.
    client: u64,
    /// Changes before each try to connect, and so before anything can come over a new connection.
    epoch: u64,
}

/// How the connection is doing, and what it is used for.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// Whether it stands.
    pub connected: bool,
    /// How often it was made.
    pub connections: u64,
    /// The doors for requests.
    pub doors: Vec<DoorState>,
    /// The JetStream sources.
    pub sources: Vec<SourceState>,
}

/// A door for requests at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoorState {
    /// Its subjects' prefix.
    pub prefix: String,
    /// Whether the server lets it listen there.
    pub listening: bool,
}

impl Connection {
    /// A connection that is being made, as that identity, which stands under `key` in the configuration. None if no server
    /// is named; an error is a line for the operator.
    pub async fn open(
        options: &Options,
        identity: &Identity,
        key: &'static str,
    ) -> Result<Option<Self>, String> {
        if options.servers.is_empty() {
            return Ok(None);
        }
        metrics::gauge!("octohooks_nats_connected").increment(0);
        let status = Arc::new(Status::default());
        let making = Making {
            options: options.clone(),
            identity: identity.clone(),
            key,
            status: status.clone(),
        };
        let (replaced, client) = watch::channel(making.client(0).await?);
        tokio::spawn(making.replace_for_ever(replaced));
        Ok(Some(Self { client, status }))
    }

    /// What speaks NATS now. Not to be kept: it may end, and another takes its place.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// What speaks NATS, if the connection stands.
    #[must_use]
    pub fn standing(&self) -> Option<Client> {
        let client = self.client();
        let stands = client.connection_state() == connection::State::Connected;
        (stands && self.status.link.borrow().connected).then_some(client)
    }

    /// Waits until the connection stands. It is the same connection for as long as [`Self::is`] says so.
    pub async fn stands(&self) -> u64 {
        let mut link = self.status.link.subscribe();
        // The sender is ours: it does not end.
        link.wait_for(|link| link.connected).await.map(|link| link.epoch).unwrap_or_default()
    }

    /// Whether the connection has not been lost since.
    #[must_use]
    pub fn is(&self, epoch: u64) -> bool {
        self.status.link.borrow().epoch == epoch
    }

    /// Waits until the connection is lost.
    pub async fn lost(&self, epoch: u64) {
        let mut link = self.status.link.subscribe();
        let _lost = link.wait_for(|link| !link.connected || link.epoch != epoch).await;
    }

    /// How it is doing at `now`.
    #[must_use]
    pub fn state(&self, now: Millis) -> State {
        let sources = self.status.sources.lock().unwrap_or_else(PoisonError::into_inner);
        State {
            connected: self.status.link.borrow().connected,
            connections: self.status.connections.load(Relaxed),
            doors: self.doors(),
            sources: sources.iter().map(|source| source.state(now)).collect(),
        }
    }

    fn doors(&self) -> Vec<DoorState> {
        let connected = self.status.link.borrow().connected;
        let doors = self.status.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let now =
            |door: &DoorState| DoorState { listening: door.listening && connected, ..door.clone() };
        doors.iter().map(now).collect()
    }

    /// A door with that prefix has asked to listen: until the server says no, it does.
    pub fn listens(&self, prefix: &str) {
        let mut doors = self.status.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|door| door.prefix != prefix);
        doors.push(DoorState { prefix: prefix.to_owned(), listening: true });
    }

    /// The books of a new source.
    #[must_use]
    pub fn source(&self, stream: &str, durable: &str) -> Arc<Progress> {
        let progress = Arc::new(Progress::new(stream, durable));
        let mut sources = self.status.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.push(progress.clone());
        progress
    }
}

/// What clients are made of.
struct Making {
    options: Options,
    identity: Identity,
    key: &'static str,
    status: Arc<Status>,
}

impl Making {
    /// A client that is connecting, with that number.
    async fn client(&self, number: u64) -> Result<Client, String> {
        let servers: Vec<ServerAddr> =
            self.options.servers.iter().map(|url| server(url)).collect::<Result<_, _>>()?;
        let (watcher, life) = (self.status.clone(), Life { status: self.status.clone(), number });
        let connect = authenticated(&self.identity, self.key)
            .await?
            .name(concat!("Octohooks/", env!("CARGO_PKG_VERSION")))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|failed| back_off(failed, BACK_OFF))
            // Called before each try, and knows how the last one failed. None: the next server as usual. What it holds
            // is dropped with the task that speaks to the server.
            .reconnect_to_server_callback(move |servers, _| {
                let life = &life;
                life.status.lost(number);
                life.status.note_failures(&servers);
                async { None }
            })
            .subscription_capacity(CAPACITY)
            .event_callback(move |event| {
                let watcher = watcher.clone();
                async move { watcher.note(&event, number) }
            });
        let client = with_tls(connect, &self.options.tls)?.connect(servers).await;
        client.map_err(|error| format!("nats: {error}"))
    }

    /// Makes a new client whenever the last one has ended.
    async fn replace_for_ever(self, replaced: watch::Sender<Client>) {
        let mut link = self.status.link.subscribe();
        let (mut number, mut failed) = (0, 0);
        loop {
            let started = clock::instant();
            let Ok(next) = link.wait_for(|link| link.client > number).await.map(|link| link.client)
            else {
                return;
            };
            number = next;
            failed = if started.elapsed() > BACK_OFF.1 { 0 } else { failed + 1 };
            tracing::error!("the NATS client has ended, by something that came; a new one is made");
            metrics::counter!("octohooks_nats_clients_ended_total").increment(1);
            tokio::time::sleep(back_off(failed, BACK_OFF)).await;
            match self.client(number).await {
                Ok(client) => drop(replaced.send_replace(client)),
                Err(error) => {
                    tracing::error!(error, "no NATS client can be made; tried again");
                    self.status.ended(number);
                }
            }
        }
    }
}

/// Lives as long as the task of a client that speaks to the server, which a panic may end.
struct Life {
    status: Arc<Status>,
    number: u64,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.status.ended(self.number);
    }
}

impl Status {
    fn note(&self, event: &Event, client: u64) {
        match event {
            Event::Connected => {
                // What an ended client has left in its queue says nothing any more.
                let made = self.link.send_if_modified(|link| {
                    let made = link.client == client && !link.connected;
                    link.connected |= made;
                    made
                });
                if made {
                    metrics::gauge!("octohooks_nats_connected").increment(1);
                }
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
                self.connections.fetch_add(1, Relaxed);
                // The client asks again for what it listened on.
                self.listening(|_| true);
                tracing::info!("connected to NATS");
            }
            Event::Closed => self.lost(client),
            Event::Disconnected => {
                self.lost(client);
                tracing::warn!("the connection to NATS is lost; it is tried again");
            }
            Event::SlowConsumer(_) => {
                metrics::counter!("octohooks_nats_slow_total").increment(1);
                tracing::warn!(
                    "more came from NATS than could be taken; what had no room is not answered"
                );
            }
            Event::ServerError(error) => {
                tracing::warn!(%error, "NATS refused something");
                self.listening(|door| !is_deaf(&error.to_string(), &door.prefix) && door.listening);
            }
            Event::ClientError(error) => tracing::debug!(%error, "the connection to NATS failed"),
            Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS"),
        }
    }

    fn listening(&self, is: impl Fn(&DoorState) -> bool) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.iter_mut().for_each(|door| door.listening = is(door));
    }

    /// That client has no connection, and may try to make one now.
    fn lost(&self, client: u64) {
        self.cut(|link| link.client == client, |_| {});
    }

    /// That client has ended; the next has the next number.
    fn ended(&self, client: u64) {
        self.cut(|link| link.client == client, |link| link.client += 1);
    }

    fn cut(&self, is: impl Fn(&Link) -> bool, more: impl Fn(&mut Link)) {
        self.link.send_if_modified(|link| {
            if !is(link) {
                return false;
            }
            if link.connected {
                metrics::gauge!("octohooks_nats_connected").decrement(1);
            }
            link.connected = false;
            link.epoch += 1;
            more(link);
            true
        });
    }

    /// Says why servers cannot be reached, once until that changes.
    fn note_failures(&self, servers: &[Server]) {
        let failures = servers.iter().filter_map(|server| {
            let error = server.last_error.as_ref()?;
            Some(format!("{}:{}: {error}", server.addr.host(), server.addr.port()))
        });
        let failures = failures.collect::<Vec<_>>().join("; ");
        let mut said = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if !failures.is_empty() && *said != failures {
            tracing::warn!(error = failures, "NATS cannot be reached; it is tried again");
            *said = failures;
        }
    }
}

/// Whether the server says that a door with that prefix may not listen.
fn is_deaf(error: &str, prefix: &str) -> bool {
    let error = error.to_ascii_lowercase();
    let subject = format!("\"{}.>\"", prefix.to_ascii_lowercase());
    error.contains("permissions violation for subscription") && error.contains(&subject)
}

/// How long to wait after that many failures, between the shortest and the longest: twice as long each time, and a random
/// part less, so that many gateways do not come at once.
#[must_use]
pub fn back_off(failed: usize, (shortest, longest): (Duration, Duration)) -> Duration {
    let doubled =
        shortest * 2_u32.saturating_pow(u32::try_from(failed).unwrap_or(u32::MAX).min(16));
    doubled.min(longest).mul_f64(clock::chance().abs().mul_add(-0.5, 1.0))
}

#[cfg(test)]
mod tests {
    use super::{options::Tls, *};
    use std::path::PathBuf;

    #[test]
    fn the_back_off_grows_to_its_limit() {
        for (failed, most) in [(0, 100), (1, 200), (3, 800), (10, 10_000), (usize::MAX, 10_000)] {
            let wait = back_off(failed, BACK_OFF).as_millis();
            assert!((most / 2..=most).contains(&wait), "{failed}: {wait}");
        }
    }

    async fn open(options: &Options) -> Result<Option<Connection>, String> {
        Connection::open(options, &options.identity(), "nats").await
    }

    #[tokio::test]
    async fn options_that_cannot_work_are_told() {
        let good = Options { servers: vec!["nats://127.0.0.1:1".into()], ..Options::default() };
        let some = |text: &str| Some(text.to_owned());
        let missing = Some(PathBuf::from("/nowhere.pem"));
        let tls = |tls: Tls| Options { tls, ..good.clone() };
        for (options, key) in [
            (Options { servers: vec!["nats://a b".into()], ..good.clone() }, "nats.servers"),
            (Options { token: some("t"), user: some("u"), ..good.clone() }, "one of"),
            (Options { user: some("u"), ..good.clone() }, "password"),
            (Options { credentials: missing.clone(), ..good.clone() }, "nats.credentials"),
            (tls(Tls { ca: missing.clone(), ..Tls::default() }), "nats.tls.ca"),
            (tls(Tls { ca: Some("Cargo.toml".into()), ..Tls::default() }), "nats.tls.ca"),
            (tls(Tls { ca: Some("src".into()), ..Tls::default() }), "nats.tls.ca"),
            (tls(Tls { cert: Some("Cargo.toml".into()), ..Tls::default() }), "nats.tls.cert"),
            (tls(Tls { key: Some("Cargo.toml".into()), ..Tls::default() }), "nats.tls.key"),
            (Options { nkey: some("junk"), ..good.clone() }, "nats.nkey"),
        ] {
            let error = open(&options).await.expect_err(key);
            assert!(error.contains(key) && error.starts_with("configuration"), "{error}");
        }
        assert!(open(&Options::default()).await.expect("off").is_none());
        let away = open(&good).await.expect("is tried").expect("on");
        assert!(!away.state(0).connected);
    }
}
