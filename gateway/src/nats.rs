//! The connection to NATS, which the doors share: how it is made, and how it is doing. It is kept for ever: a server that
//! is away is tried again, and stops nothing else.

use crate::{
    clock,
    model::{Millis, list::texts},
};
use async_nats::{Client, ConnectOptions, Event, Server, ServerAddr};
use progress::{Progress, SourceState};
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub mod progress;

/// The shortest and the longest wait before a lost connection is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How many messages wait in memory for the gateway, each of at most the server's `max_payload`.
const CAPACITY: usize = 1024;

/// Where NATS is, and who the gateway is there. At most one way to prove that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `nats://host:4222`, or `tls://…`, in a list or a text with commas; several are one cluster. None: NATS is not used.
    #[serde(deserialize_with = "texts")]
    pub servers: Vec<String>,
    /// A file with a user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// A user's nkey seed.
    pub nkey: Option<String>,
    /// A user's name, with `password`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// TLS, whatever the servers' URLs say.
    pub tls: Tls,
}

/// Who the gateway is for a server, and so in which account; at most one way to prove that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// A file with a user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// A user's nkey seed.
    pub nkey: Option<String>,
    /// A user's name, with `password`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
}

/// TLS to NATS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Refuse a connection without it.
    pub required: bool,
    /// Certificates to trust instead of the system's, as PEM.
    pub ca: Option<PathBuf>,
    /// The gateway's own certificate, as PEM, with `key`.
    pub cert: Option<PathBuf>,
    /// Its key, as PEM.
    pub key: Option<PathBuf>,
}

/// The connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// What speaks NATS.
    pub client: Client,
    status: Arc<Status>,
}

#[derive(Debug, Default)]
struct Status {
    connected: AtomicBool,
    connections: AtomicU64,
    sources: Mutex<Vec<Arc<Progress>>>,
    /// Why the servers could not be reached, as it was said.
    failures: Mutex<String>,
}

/// How the connection is doing, and what it is used for.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// Whether it stands.
    pub connected: bool,
    /// How often it was made.
    pub connections: u64,
    /// The JetStream sources.
    pub sources: Vec<SourceState>,
}

impl Options {
    /// Who the gateway is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Self { credentials, nkey, user, password, token, .. } = self.clone();
        Identity { credentials, nkey, user, password, token }
    }
}

impl Connection {
    /// A connection that is being made, as that identity, which stands under `key` in the configuration. None if no server
    /// is named; an error is a line for the operator.
    pub async fn open(
        options: &Options,
        identity: &Identity,
        key: &str,
    ) -> Result<Option<Self>, String> {
        if options.servers.is_empty() {
            return Ok(None);
        }
        let servers: Vec<ServerAddr> =
            options.servers.iter().map(|url| server(url)).collect::<Result<_, _>>()?;
        let status = Arc::new(Status::default());
        let (watcher, trying) = (status.clone(), status.clone());
        metrics::gauge!("octohooks_nats_connected").increment(0);
        let connect = authenticated(identity, key)
            .await?
            .name(concat!("Octohooks/", env!("CARGO_PKG_VERSION")))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|failed| back_off(failed, BACK_OFF))
            // Called before each try, and knows how the last one failed. None: the next server as usual.
            .reconnect_to_server_callback(move |servers, _| {
                trying.note_failures(&servers);
                async { None }
            })
            .subscription_capacity(CAPACITY)
            .event_callback(move |event| {
                let watcher = watcher.clone();
                async move { watcher.note(&event) }
            });
        let client = with_tls(connect, &options.tls)?.connect(servers).await;
        let client = client.map_err(|error| format!("nats: {error}"))?;
        Ok(Some(Self { client, status }))
    }

    /// How it is doing at `now`.
    #[must_use]
    pub fn state(&self, now: Millis) -> State {
        let sources = self.status.sources.lock().unwrap_or_else(PoisonError::into_inner);
        State {
            connected: self.status.connected.load(Relaxed),
            connections: self.status.connections.load(Relaxed),
            sources: sources.iter().map(|source| source.state(now)).collect(),
        }
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

impl Status {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                if !self.connected.swap(true, Relaxed) {
                    metrics::gauge!("octohooks_nats_connected").increment(1);
                }
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
                self.connections.fetch_add(1, Relaxed);
                tracing::info!("connected to NATS");
            }
            Event::Closed => self.lost(),
            Event::Disconnected => {
                self.lost();
                tracing::warn!("the connection to NATS is lost; it is tried again");
            }
            Event::SlowConsumer(_) => {
                metrics::counter!("octohooks_nats_slow_total").increment(1);
                tracing::warn!(
                    "more came from NATS than could be taken; what had no room is not answered"
                );
            }
            Event::ServerError(error) => tracing::warn!(%error, "NATS refused something"),
            Event::ClientError(error) => tracing::debug!(%error, "the connection to NATS failed"),
            Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS"),
        }
    }

    fn lost(&self) {
        if self.connected.swap(false, Relaxed) {
            metrics::gauge!("octohooks_nats_connected").decrement(1);
        }
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

fn server(url: &str) -> Result<ServerAddr, String> {
    url.parse().map_err(|error| {
        format!("configuration: key `nats.servers`: `{url}` is not like nats://host:4222: {error}")
    })
}

async fn authenticated(identity: &Identity, key: &str) -> Result<ConnectOptions, String> {
    let wrong = |what: &str| Err(format!("configuration: key `{key}`: {what}"));
    let Identity { credentials, nkey, user, password, token } = identity;
    let ways = [credentials.is_some(), nkey.is_some(), user.is_some(), token.is_some()];
    if ways.into_iter().filter(|given| *given).count() > 1 {
        return wrong("give one of `credentials`, `nkey`, `user` and `token`");
    }
    let connect = ConnectOptions::new();
    Ok(match (credentials, nkey, user, password, token) {
        (Some(path), ..) => {
            let read = connect.credentials_file(path).await;
            read.map_err(|error| {
                format!("configuration: key `{key}.credentials`: {}: {error}", path.display())
            })?
        }
        (_, Some(seed), ..) => connect.nkey(seed.clone()),
        (_, _, Some(user), Some(password), _) => {
            connect.user_and_password(user.clone(), password.clone())
        }
        (_, _, Some(_), None, _) => return wrong("`user` needs a `password`"),
        (_, _, None, Some(_), _) => return wrong("`password` needs a `user`"),
        (.., Some(token)) => connect.token(token.clone()),
        _ => connect,
    })
}

fn with_tls(mut connect: ConnectOptions, tls: &Tls) -> Result<ConnectOptions, String> {
    let wrong = |key: &str, what: String| format!("configuration: key `nats.tls.{key}`: {what}");
    for (key, path) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        if let Some(path) = path
            && let Err(error) = std::fs::File::open(path)
        {
            return Err(wrong(key, format!("{}: {error}", path.display())));
        }
    }
    if let Some(ca) = &tls.ca {
        connect = connect.add_root_certificates(ca.clone());
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            connect = connect.add_client_certificate(cert.clone(), key.clone());
        }
        (None, None) => {}
        _ => return Err(wrong("cert", "`cert` and `key` go together".into())),
    }
    Ok(connect.require_tls(tls.required))
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
    use super::*;

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
            (tls(Tls { key: Some("Cargo.toml".into()), ..Tls::default() }), "go together"),
        ] {
            let error = open(&options).await.expect_err(key);
            assert!(error.contains(key) && error.starts_with("configuration"), "{error}");
        }
        assert!(open(&Options::default()).await.expect("off").is_none());
        let away = open(&good).await.expect("is tried").expect("on");
        assert!(!away.state(0).connected);
    }
}
