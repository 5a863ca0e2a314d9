//! Outbound HTTP, within what was granted.

use super::transform::bindings::octohooks::plugin::http::{self as wire, HttpError};
use crate::{
    clock,
    model::{draft::PROTOCOL, grants::HttpGrant},
    plugin::{
        outside::{NotGranted, Request, Unsent},
        state::State,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::time::Duration;
use url::Url;
use wasmtime::Result;

/// A request that may be sent as far as it tells by itself, yet without time or room for an answer; and its size in bytes.
fn checked(grant: &HttpGrant, request: wire::Request) -> Result<(Request, u64), String> {
    let method = Method::from_bytes(request.method.as_bytes());
    let method = method.map_err(|_| "the method is not one".to_owned())?;
    if method == Method::CONNECT {
        return Err("the method CONNECT is not for plugins".into());
    }
    let url = Url::parse(&request.url).map_err(|error| format!("the URL is none: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme must be http or https, not {}", url.scheme()));
    }
    if !grant.hosts.iter().any(|pattern| pattern.matches(&url)) {
        let host = url.host_str().unwrap_or_default();
        return Err(format!("the application is not granted the host {host}"));
    }
    let mut size = request.method.len() + request.url.len() + request.body.len();
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        size += name.len() + value.len();
        let bad = |why: &str| format!("the header {:?} {why}", name.get(..64).unwrap_or(&name));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("is not a name"))?;
        if PROTOCOL.contains(&parsed.as_str()) {
            return Err(bad("is set by the protocol"));
        }
        let value = HeaderValue::from_str(&value).map_err(|_| bad("has an illegal value"))?;
        headers.try_append(parsed, value).map_err(|_| "there are too many headers".to_owned())?;
    }
    let (body, timeout) = (request.body.into(), Duration::ZERO);
    Ok((Request { method, url, headers, body, bytes: 0, timeout }, size as u64))
}

impl State {
    async fn send_within(
        &mut self,
        grant: &HttpGrant,
        request: wire::Request,
    ) -> Result<wire::Response, HttpError> {
        let over = |what: String| Err(HttpError::Budget(what));
        let wanted = request.timeout.map(Duration::from_millis);
        let (request, size) = checked(grant, request).map_err(HttpError::Refused)?;
        if self.spent.requests >= grant.calls {
            return over(format!("a call may send {} requests", grant.calls));
        }
        let Some(bytes) = grant.bytes.checked_sub(self.spent.bytes + size) else {
            return over(format!("a call may send and receive {} bytes", grant.bytes));
        };
        let left = Duration::from_millis(grant.timeout_ms).saturating_sub(self.spent.waited);
        if left.is_zero() {
            return over(format!("a call may wait {} ms for answers", grant.timeout_ms));
        }
        let timeout = wanted.map_or(left, |wanted| wanted.min(left));
        let (outlet, start) = (self.outlet.clone(), clock::instant());
        let application = self.tenant.application.id;
        let place = self.waits(timeout, outlet.place(application)).await;
        let _place = match place {
            Some(Some(place)) => place,
            Some(None) => {
                return Err(HttpError::Failed("too many plugins wait for answers".into()));
            }
            None => {
                self.spent.waited += start.elapsed();
                return Err(HttpError::Timeout);
            }
        };
        self.spent.requests += 1;
        self.spent.bytes += size;
        let room = usize::try_from(bytes).unwrap_or(usize::MAX);
        let request = Request { bytes: room, timeout, ..request };
        // What waiting for the place has left of the time.
        let left = timeout.saturating_sub(start.elapsed());
        let sent = self.waits(left, outlet.outside.send(request)).await;
        self.spent.waited += start.elapsed();
        match sent {
            Some(Ok(response)) => {
                let headers = response.headers.iter().map(|(name, value)| name.len() + value.len());
                let received = response.body.len() + headers.sum::<usize>();
                self.spent.bytes = self.spent.bytes.saturating_add(received as u64);
                let (status, headers) = (response.status, response.headers);
                Ok(wire::Response { status, headers, body: response.body })
            }
            Some(Err(Unsent::Refused(why))) => Err(HttpError::Refused(why)),
            Some(Err(Unsent::TooLarge)) => {
                self.spent.bytes = grant.bytes;
                over(format!("a call may send and receive {} bytes", grant.bytes))
            }
            Some(Err(Unsent::Failed(why))) => Err(HttpError::Failed(why)),
            Some(Err(Unsent::Timeout)) | None => Err(HttpError::Timeout),
        }
    }
}

impl wire::Host for State {
    async fn send(&mut self, request: wire::Request) -> Result<Result<wire::Response, HttpError>> {
        let Some(grant) = self.granted().http.clone() else {
            return Err(NotGranted("http").into());
        };
        Ok(self.send_within(&grant, request).await)
    }
}
