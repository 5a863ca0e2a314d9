//! The HTTP client: one pooled client for every endpoint. Makes a request of a delivery, sends it within its time and
//! reads what of the answer is recorded. No redirects, no proxy from the surroundings, only guarded addresses.

use super::{
    guard::{Guard, GuardedResolver, Refusal},
    headers::headers,
    payload::payload,
};
use crate::model::{
    attempt::{Answer, Failure, Outcome},
    delivery::Delivery,
    endpoint::Endpoint,
};
use http::{HeaderMap, header};
use reqwest::{Method, Request, Response, Url, redirect};
use std::{error::Error, sync::Arc, time::Duration};

mod fetch;

/// How much of an answer's body is read and recorded, in bytes.
const ANSWER: usize = 16 << 10;
/// How much of its headers is recorded, in bytes.
const HEADERS: usize = 4 << 10;
/// Shorter than what receivers keep a connection open for, so that a request seldom meets a closing one.
const IDLE: Duration = Duration::from_secs(20);

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    guard: Guard,
    timeout: Duration,
}

impl Client {
    /// A client that asks the guard, gives a request this long, from connecting to the last byte of the answer, and
    /// keeps that many idle connections to one host: a new connection costs as much as several requests.
    pub fn new(
        guard: Guard,
        connect: Duration,
        timeout: Duration,
        idle: usize,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(GuardedResolver(guard.clone())))
            .connect_timeout(connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .tcp_nodelay(true)
            .user_agent(concat!("Octohooks/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, guard, timeout })
    }

    /// Makes one try, signed as of `seconds` since the epoch, or by these headers.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        seconds: u64,
        signed: Option<&[(String, String)]>,
    ) -> Outcome {
        if let Err(refusal) = self.guard.check_url(&endpoint.url) {
            return Outcome::Failed { class: Failure::Guard, detail: refusal.to_string() };
        }
        let request = request(endpoint, delivery, seconds, signed);
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => Outcome::Answered(answer),
            Ok(Err(error)) => Outcome::Failed { class: classify(&error), detail: describe(&error) },
            Err(_) => Outcome::Failed {
                class: Failure::Timeout,
                detail: format!("no complete answer within {} ms", self.timeout.as_millis()),
            },
        }
    }

    async fn exchange(&self, request: Request) -> Result<Answer, reqwest::Error> {
        let mut response = self.http.execute(request).await?;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let headers = lines(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let room = ANSWER - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                // The rest is not read: the connection is closed instead.
                break;
            }
        }
        Ok(Answer { status, retry_after, headers, body })
    }
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

fn request(
    endpoint: &Endpoint,
    delivery: &Delivery,
    seconds: u64,
    signed: Option<&[(String, String)]>,
) -> Request {
    let mut request = Request::new(Method::POST, Url::clone(&endpoint.url));
    let body = payload(endpoint, delivery);
    *request.headers_mut() = headers(endpoint, delivery, &body, seconds, signed);
    *request.body_mut() = Some(body.into());
    request
}

/// `Retry-After` in seconds or as a date, as milliseconds from now.
fn retry_after(response: &Response) -> Option<u64> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    Some(u64::try_from(at).ok()?.saturating_sub(crate::clock::now()))
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

fn classify(error: &reqwest::Error) -> Failure {
    let has = |text: &str| causes(error).any(|cause| cause.to_string().contains(text));
    if causes(error).any(|cause| cause.is::<Refusal>()) {
        return Failure::Guard;
    }
    if error.is_timeout() {
        return Failure::Timeout;
    }
    if error.is_connect() {
        return match () {
            () if has("dns error") || has("failed to lookup address") => Failure::Dns,
            () if causes(error).any(|cause| cause.is::<rustls::Error>()) || has("tls") => {
                Failure::Tls
            }
            () => Failure::Connect,
        };
    }
    let broken = causes(error).any(|cause| cause.is::<std::io::Error>())
        || has("connection closed")
        || has("connection error");
    if broken { Failure::Reset } else { Failure::Protocol }
}

/// The innermost cause says it best; the URL is in the endpoint.
fn describe(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}
