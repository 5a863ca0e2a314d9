//! A new connection: the name is resolved once, every address is checked, and one of those is dialled, so that nothing
//! can answer differently between the check and the connection. Then the proxy, TLS and HTTP.

use super::{
    dial::Dial,
    names::Names,
    patience::{Patience, Patient},
    pool::{Lease, Place, Pool},
    proxy::Proxy,
    tls::Tls,
    trouble::{Trouble, innermost},
};
use crate::{clock, deliver::guard::Guard, model::attempt::Failure};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    borrow::Cow,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// How many addresses of a name are tried.
const TRIED: usize = 6;
/// How long an address may take before the next one is tried beside it (RFC 8305 says 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// How long a name is looked up when nothing waits for its addresses: whoever writes a URL down is told early, or not.
const EARLY: Duration = Duration::from_secs(2);
/// How many names are looked up like that at once, so that whoever writes many down takes no sockets from deliveries.
pub const EARLY_AT_ONCE: usize = 16;
/// How much of an answer's head is read, in bytes, and how many headers.
const HEAD: usize = 64 << 10;
const HEADERS: usize = 100;
/// How much of an answer's body a receiver may send before we read it, in bytes: on one stream, and on a connection.
const STREAM_WINDOW: u32 = 64 << 10;
const WINDOW: u32 = 1 << 20;
/// How often a receiver of HTTP/2 that says nothing is asked whether it is there, and how long it may take to say.
const PING: Duration = Duration::from_secs(10);

/// Opens connections.
#[derive(Clone, Debug)]
pub struct Connector {
    /// What may be called.
    pub guard: Guard,
    /// What resolves.
    pub names: Names,
    /// What connects.
    pub dialer: Arc<dyn Dial>,
    /// What connects for us.
    pub proxy: Option<Proxy>,
    /// Whom we trust.
    pub tls: Tls,
    /// Where connections are kept.
    pub pool: Arc<Pool>,
    /// Who may look up names before anything is sent there.
    pub early: Arc<Semaphore>,
}

/// Where to, as whom, and how long it may take.
pub struct Route<'a> {
    /// The URL.
    pub url: &'a Url,
    /// What connections are shared by: the URL's origin, and whose certificate it is.
    pub host: Cow<'a, str>,
    /// TLS, where the scheme has it.
    pub tls: Option<Arc<ClientConfig>>,
    /// The longest that connecting may take: the look-up, TCP, the proxy and TLS.
    pub connect: Duration,
}

impl Connector {
    /// A connection to there, an idle one if there is.
    pub async fn lease(&self, route: &Route<'_>) -> Result<Lease, Trouble> {
        if let Some(lease) = self.pool.take(&route.host) {
            return Ok(lease);
        }
        let turn = self.pool.turn(&route.host).await;
        // Whoever had the turn before may have connected.
        match turn.is_some().then(|| self.pool.take(&route.host)).flatten() {
            Some(lease) => Ok(lease),
            None => self.open(route).await,
        }
    }

    /// A new connection to there. Waiting for a place takes none of its time. Boxed: what opens one is sixteen times as large as
    /// what sends over one that is kept, and every attempt would have the room for it.
    pub fn open<'a>(&'a self, route: &'a Route<'_>) -> BoxFuture<'a, Result<Lease, Trouble>> {
        Box::pin(self.opened(route))
    }

    async fn opened(&self, route: &Route<'_>) -> Result<Lease, Trouble> {
        let start = clock::instant();
        let mut limit = route.connect;
        let port = route.url.port_or_known_default().unwrap_or_default();
        let checked = match route.url.host() {
            None => return Err(Trouble::new(Failure::Guard, "must have a host")),
            Some(Host::Ipv4(address)) => self.checked(None, &[address.into()])?,
            Some(Host::Ipv6(address)) => self.checked(None, &[address.into()])?,
            Some(Host::Domain(name)) => {
                let _places = self.places(2).await?;
                let begin = clock::instant();
                let found = within(route, limit, self.resolve(name)).await?;
                limit = limit.saturating_sub(begin.elapsed());
                self.checked(Some(name), &found)?
            }
        };
        let place = self.places(1).await?;
        let addresses: Vec<_> = checked.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let lease = within(route, limit, self.connect(route, &addresses, place)).await?;
        metrics::histogram!("octohooks_connect_seconds").record(start.elapsed().as_secs_f64());
        Ok(lease)
    }

    /// Whether what the URL's name means just now may be called. One that means nothing, or is slow to say, may, and so may
    /// all while many are looked up: they are asked again at every attempt.
    pub async fn check_name(&self, url: &Url) -> Result<(), Trouble> {
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        let Ok(_early) = self.early.try_acquire() else { return Ok(()) };
        let resolved = async {
            let _places = self.places(2).await?;
            self.resolve(name).await
        };
        match tokio::time::timeout(EARLY, resolved).await {
            Ok(Ok(found)) => self.checked(Some(name), &found).map(drop),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    async fn places(&self, count: u32) -> Result<Place, Trouble> {
        self.pool.places(count).await.map_err(|why| Trouble::new(Failure::Internal, why))
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Trouble> {
        let found = self.names.addresses(name).await;
        let found = found.map_err(|error| Trouble::new(Failure::Dns, error))?;
        match found.is_empty() {
            true => Err(Trouble::new(Failure::Dns, "the name has no address")),
            false => Ok(found),
        }
    }

    /// All of them, if all may be called: a name that means an internal address beside a public one means no good.
    fn checked(&self, name: Option<&str>, found: &[IpAddr]) -> Result<Vec<IpAddr>, Trouble> {
        for address in found {
            self.guard.check_address(name, *address)?;
        }
        Ok(found.iter().take(TRIED).copied().collect())
    }

    async fn connect(
        &self,
        route: &Route<'_>,
        addresses: &[SocketAddr],
        place: Place,
    ) -> Result<Lease, Trouble> {
        let stream = self.tcp(addresses).await?;
        let Some(config) = &route.tls else { return self.http1(route, stream, place).await };
        let connector = TlsConnector::from(config.clone());
        let secured = connector.connect(server_name(route.url)?, stream).await;
        let stream = secured.map_err(|error| Trouble::new(Failure::Tls, innermost(&error)))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(route, stream, place).await,
            _ => self.http1(route, stream, place).await,
        }
    }

    /// A connection to one of these addresses, through the proxy if it leads there.
    async fn tcp(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Trouble> {
        let failed = |error: io::Error| Trouble::new(Failure::Connect, innermost(&error));
        let Some(proxy) = &self.proxy else { return self.race(addresses).await.map_err(failed) };
        // Whoever owns a name must not choose the way past the proxy with an excepted address beside another one.
        let through: Vec<_> = addresses.iter().filter(|to| proxy.leads_to(to.ip())).collect();
        if through.is_empty() {
            return self.race(addresses).await.map_err(failed);
        }
        let (host, port) = proxy.place();
        // Operators chose it: the guard has no say.
        let found = match host {
            Host::Ipv4(address) => vec![(*address).into()],
            Host::Ipv6(address) => vec![(*address).into()],
            Host::Domain(name) => self.names.addresses(name).await.map_err(|error| {
                Trouble::new(Failure::Connect, format!("the proxy's name: {error}"))
            })?,
        };
        let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let mut last = Trouble::new(Failure::Connect, "the name has no address");
        for address in through {
            let stream = self.race(&found).await.map_err(|error| {
                Trouble::new(Failure::Connect, format!("the proxy: {}", innermost(&error)))
            })?;
            match proxy.tunnel(stream, *address).await {
                Ok(stream) => return Ok(stream),
                Err(trouble) => last = trouble,
            }
        }
        Err(last)
    }

    /// The first that connects. One that is slow has the next beside it, if there is a place for that.
    async fn race(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut next = addresses.iter();
        let mut dials = FuturesUnordered::new();
        let mut beside: Vec<Place> = Vec::new();
        let mut last = io::Error::other("the name has no address");
        loop {
            if dials.is_empty() {
                match next.next() {
                    Some(address) => dials.push(self.dialer.dial(*address)),
                    None => return Err(last),
                }
            }
            tokio::select! {
                dialled = dials.next() => match dialled {
                    Some(Ok(stream)) => return Ok(stream),
                    Some(Err(error)) => last = error,
                    None => {}
                },
                () = tokio::time::sleep(STAGGER), if next.len() > 0 => {
                    if let Some(place) = self.pool.spare(1) {
                        beside.push(place);
                        dials.extend(next.next().map(|address| self.dialer.dial(*address)));
                    }
                }
            }
        }
    }

    async fn http1<S>(&self, route: &Route<'_>, stream: S, place: Place) -> Result<Lease, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let patience = Patience::default();
        let made = http1::Builder::new()
            .max_headers(HEADERS)
            .max_buf_size(HEAD)
            .handshake(TokioIo::new(Patient::new(stream, patience.clone())))
            .await;
        let (sender, connection) = made.map_err(|error| Trouble::of(&error, true))?;
        let hold = self.pool.drive(connection, place, patience);
        Ok(self.pool.one(&route.host, (sender, hold)))
    }

    async fn http2<S>(&self, route: &Route<'_>, stream: S, place: Place) -> Result<Lease, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let patience = Patience::of_many();
        let made = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(Patient::new(stream, patience.clone())))
            .await;
        let (sender, connection) = made.map_err(|error| Trouble::of(&error, true))?;
        let hold = self.pool.drive(connection, place, patience);
        Ok(self.pool.shared(&route.host, (sender, hold)))
    }
}

/// The name that the receiver's certificate must have.
fn server_name(url: &Url) -> Result<ServerName<'static>, Trouble> {
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(ServerName::from(IpAddr::V4(address))),
        Some(Host::Ipv6(address)) => Ok(ServerName::from(IpAddr::V6(address))),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name)
                .map_err(|error| Trouble::new(Failure::Tls, error.to_string()))
        }
        None => Err(Trouble::new(Failure::Tls, "must have a host")),
    }
}

async fn within<T>(
    route: &Route<'_>,
    limit: Duration,
    doing: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::time::timeout(limit, doing).await.unwrap_or_else(|_| {
        let limit = route.connect.as_millis();
        Err(Trouble::new(Failure::Timeout, format!("no connection within {limit} ms")))
    })
}
