//! The HTTP client: one for every endpoint. Makes a request of a delivery, sends it within its time and reads what of the
//! answer is recorded. No redirects, no proxy from the surroundings, only guarded addresses.
//!
//! [`exchange`] sends over a connection that [`pool`] keeps or [`connect`] opens: resolved by [`names`], checked by the
//! guard, dialled by [`dial`], through the [`proxy`] where there is one, with [`tls`], read with [`patience`]. It is hyper's connections with a
//! pool of our own, because what counts here is no part of a client for everybody: a limit on all sockets, the address
//! that was checked, and whether a connection was used before.

use super::{Options, guard::Guard, headers::headers, payload::payload};
use crate::model::{
    attempt::{Answer, Failure, Outcome},
    credentials::Kind,
    delivery::Delivery,
    endpoint::{self, Endpoint},
};
use connect::{Connector, EARLY_AT_ONCE, Route};
use dial::Dial;
use exchange::{Draft, idle};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use names::Names;
use pool::{Lease, Pool};
use proxy::Proxy;
use std::{borrow::Cow, cmp::Reverse, sync::Arc, time::Duration};
use tls::Tls;
use token::{Tokens, basic, sensitive};
use tokio::sync::Semaphore;
use trouble::Trouble;
use url::{Position, Url};

pub mod connect;
pub mod dial;
mod exchange;
mod fetch;
mod hidden;
pub mod names;
mod patience;
mod pool;
pub mod proxy;
pub mod tls;
mod token;
mod trouble;

/// How much of an answer's body is read and recorded, in bytes.
const ANSWER: usize = 16 << 10;
/// How much of its headers is recorded, in bytes.
const HEADERS: usize = 4 << 10;
/// Who we say we are.
const AGENT: &str = concat!("Octohooks/", env!("CARGO_PKG_VERSION"));

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Client {
    connector: Connector,
    tokens: Tokens,
    timeout: Duration,
    connect: Duration,
}

/// How many sockets there may be.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    /// In all, idle ones among them.
    pub all: usize,
    /// Idle ones to one host: a new connection costs as much as several requests.
    pub idle: usize,
}

impl Client {
    /// A client that asks the guard and connects by that dialer. Must be made on a runtime. An error is a line for the
    /// operator.
    pub fn new(
        guard: Guard,
        options: &Options,
        sockets: Sockets,
        dialer: Arc<dyn Dial>,
    ) -> Result<Self, String> {
        let proxy = Proxy::new(&options.proxy)
            .map_err(|(key, right)| format!("key `delivery.proxy.{key}`: must be {right}"))?;
        let connector = Connector {
            guard,
            names: Names::new(&options.dns)?,
            dialer,
            proxy,
            tls: Tls::new(&options.tls)?,
            pool: Pool::new(sockets.all, sockets.idle),
            early: Arc::new(Semaphore::new(EARLY_AT_ONCE)),
        };
        let timeout = Duration::from_millis(options.timeout_ms);
        let connect = Duration::from_millis(options.connect_timeout_ms);
        Ok(Self { connector, tokens: Tokens::default(), timeout, connect })
    }

    /// Makes one try, signed as of `seconds` since the epoch, or by these headers.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        seconds: u64,
        signed: Option<&[(String, String)]>,
    ) -> Outcome {
        let answered = self.answered(endpoint, delivery, seconds, signed);
        let limit = endpoint.timeout.map_or(self.timeout, Duration::from_millis);
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => Outcome::Answered(answer),
            Ok(Err(trouble)) => trouble.into(),
            Err(_) => Outcome::Failed {
                class: Failure::Timeout,
                detail: format!("no complete answer within {} ms", limit.as_millis()),
            },
        }
    }

    /// Whether what the URL's name means just now may be called, by the rule of every attempt; within two seconds. An error
    /// is a text for the URL's owner.
    pub async fn check_name(&self, url: &Url) -> Result<(), String> {
        self.connector.check_name(url).await.map_err(|trouble| trouble.detail)
    }

    async fn answered(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        seconds: u64,
        signed: Option<&[(String, String)]>,
    ) -> Result<Answer, Trouble> {
        let route = self.route_of(endpoint)?;
        let login = self.login(endpoint).await?;
        let draft = || {
            let body = payload(endpoint, delivery);
            let mut headers = headers(endpoint, delivery, &body, seconds, signed);
            let agent = endpoint.user_agent.as_deref().map(HeaderValue::from_str);
            let agent = agent.and_then(Result::ok).map(|agent| (header::USER_AGENT, agent));
            for (name, value) in agent.iter().chain(&login) {
                headers.insert(name, value.clone());
            }
            let method = match endpoint.method {
                endpoint::Method::Post => Method::POST,
                endpoint::Method::Put => Method::PUT,
            };
            Draft { method, headers: usual(headers), body }
        };
        let (response, lease) = self.connector.exchange(&route, draft).await?;
        if let (401, Some((_, token))) = (response.status().as_u16(), &login) {
            self.tokens.refused(endpoint.id, token);
        }
        let mut answer = read(response, lease).await?;
        if let (Some((_, sent)), Some(credentials)) = (&login, &endpoint.credentials) {
            hide(&mut answer, sent, &credentials.secret.text);
        }
        Ok(answer)
    }

    /// The header that the endpoint's credentials set.
    async fn login(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<(HeaderName, HeaderValue)>, Trouble> {
        let Some(credentials) = &endpoint.credentials else { return Ok(None) };
        let secret = &credentials.secret;
        let name = header::AUTHORIZATION;
        let made = match &credentials.kind {
            Kind::Basic { username } => (name, basic(username, &secret.text)),
            Kind::Bearer => (name, sensitive(&format!("Bearer {}", secret.text))),
            Kind::ApiKey { header } => {
                let name = HeaderName::try_from(header).unwrap_or(name);
                (name, sensitive(&secret.text))
            }
            Kind::OAuth2(options) => {
                let token = Box::pin(self.token(endpoint, options, secret)).await?;
                (name, Ok(token))
            }
        };
        // Both were checked where they came in.
        let value = made.1.map_err(|what| Trouble::new(Failure::Internal, what))?;
        Ok(Some((made.0, value)))
    }

    /// The way to an endpoint: with its own times, and as who it is to see.
    fn route_of<'a>(&self, endpoint: &'a Endpoint) -> Result<Route<'a>, Trouble> {
        let mut route = self.route(&endpoint.url)?;
        if let Some(limit) = endpoint.connect_timeout {
            route.connect = Duration::from_millis(limit);
        }
        let (id, revision) = (endpoint.id, endpoint.revision);
        if let (Some(certificate), true) = (&endpoint.client_certificate, route.tls.is_some()) {
            let own = self.connector.tls.own(id, revision, certificate);
            route.tls = Some(own.map_err(|why| Trouble::new(Failure::Tls, why))?);
            // Nobody else's requests go over its connections.
            route.host = Cow::Owned(format!("{} {id} {revision}", route.host));
        }
        Ok(route)
    }

    /// The way to a URL, if it may be called.
    fn route<'a>(&self, url: &'a Url) -> Result<Route<'a>, Trouble> {
        self.connector.guard.check_url(url)?;
        let tls = match url.scheme() {
            "https" => Some(self.connector.tls.anonymous()),
            _ => None,
        };
        let tls = tls.transpose().map_err(|why| Trouble::new(Failure::Tls, why))?;
        let host = Cow::Borrowed(&url[..Position::BeforePath]);
        Ok(Route { url, host, tls, connect: self.connect })
    }
}

/// The headers, and what every request has unless it says otherwise.
fn usual(mut headers: HeaderMap) -> HeaderMap {
    let usual = [(header::USER_AGENT, AGENT), (header::ACCEPT, "*/*")];
    for (name, value) in usual {
        let _room = headers.try_entry(name).map(|entry: http::header::Entry<'_, HeaderValue>| {
            entry.or_insert(HeaderValue::from_static(value));
        });
    }
    headers
}

/// What is recorded of an answer.
async fn read(response: Response<Incoming>, lease: Lease) -> Result<Answer, Trouble> {
    let (status, keep) = (response.status().as_u16(), idle(&response));
    let retry_after = retry_after(response.headers());
    let headers = lines(response.headers());
    let (mut incoming, mut body) = (response.into_body(), Vec::new());
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| Trouble::of(&error, false))?;
        let Ok(chunk) = frame.into_data() else { continue };
        let room = ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            // The rest is not read: the connection is closed instead.
            return Ok(Answer { status, retry_after, headers, body });
        }
    }
    if let Some(keep) = keep {
        lease.done(keep);
    }
    Ok(Answer { status, retry_after, headers, body })
}

/// A receiver that says what it was sent does not make that known: what an endpoint logs in with is never shown.
fn hide(answer: &mut Answer, sent: &HeaderValue, secret: &str) {
    const INSTEAD: &str = "(not shown)";
    let sent = sent.to_str().unwrap_or_default();
    // The scheme is no secret.
    let value = sent.split_once(' ').map_or(sent, |(_, value)| value);
    let mut secrets = [value, secret];
    // The longer first: the other may be a part of it.
    secrets.sort_by_key(|secret| Reverse(secret.len()));
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        let mut headers = std::mem::take(&mut answer.headers).into_bytes();
        hidden::hide(&mut headers, secret, INSTEAD);
        answer.headers = String::from_utf8(headers)
            .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned());
        hidden::hide(&mut answer.body, secret, INSTEAD);
    }
    // It may have grown.
    answer.body.truncate(ANSWER);
}

/// The headers that are recorded, as lines.
fn lines(headers: &HeaderMap) -> String {
    let mut lines = String::with_capacity(256);
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        if lines.len() + name.as_str().len() + value.len() + 3 > HEADERS {
            break;
        }
        lines.extend([name.as_str(), ": ", &value, "\n"]);
    }
    lines
}

/// `Retry-After` in seconds or as a date, as milliseconds from now.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    Some(u64::try_from(at).ok()?.saturating_sub(crate::clock::now()))
}

#[cfg(test)]
mod tests;
