//! A request and the head of its answer, over a connection that is kept or a new one.

use super::{
    connect::{Connector, Route},
    pool::{Body, IDLE, Lease, Sender},
    trouble::Trouble,
};
use crate::model::attempt::Failure;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use hyper::body::Incoming;
use std::time::Duration;
use url::{Position, Url};

/// How long a connection that is kept may take to be ready: it is at once, unless something is wrong with its other side.
const READY: Duration = Duration::from_millis(250);

/// A request, but for where it goes.
pub struct Draft {
    /// The method.
    pub method: Method,
    /// The headers, without `Host` and what belongs to the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Connector {
    /// Sends what `draft` makes. A connection that was used before and dies before any byte of the answer says nothing of
    /// the request: it is made once more, at once, on a new one.
    pub async fn exchange(
        &self,
        route: &Route<'_>,
        draft: impl Fn() -> Draft,
    ) -> Result<(Response<Incoming>, Lease), Trouble> {
        let mut lease = self.lease(route).await?;
        let trouble = match send(&mut lease, route.url, draft()).await {
            Ok(response) => return Ok((response, lease)),
            Err(trouble) => trouble,
        };
        if !(trouble.died && lease.reused) {
            return Err(trouble);
        }
        drop(lease);
        self.pool.distrust(&route.host);
        metrics::counter!("octohooks_requests_again_total").increment(1);
        let mut lease = self.open(route).await?;
        let response = send(&mut lease, route.url, draft()).await?;
        Ok((response, lease))
    }
}

async fn send(lease: &mut Lease, url: &Url, draft: Draft) -> Result<Response<Incoming>, Trouble> {
    let Draft { method, mut headers, body } = draft;
    let bad = |error: http::Error| Trouble::new(Failure::Protocol, error.to_string());
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let target = PathAndQuery::try_from(target).map_err(|error| bad(error.into()))?;
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let uri = match &lease.sender {
        Sender::One(_) => {
            let host = HeaderValue::from_str(authority).map_err(|error| bad(error.into()))?;
            headers.insert(header::HOST, host);
            Uri::from(target)
        }
        Sender::Shared(..) => {
            let uri = Uri::builder().scheme(url.scheme()).authority(authority);
            uri.path_and_query(target).build().map_err(bad)?
        }
    };
    let mut request = Request::new(Body::new(body));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    if !ready(lease).await {
        return Err(Trouble { died: true, ..Trouble::new(Failure::Connect, "it was not ready") });
    }
    let answered = match &mut lease.sender {
        Sender::One(sender) => {
            lease.hold.patience.begin();
            let answered = sender.send_request(request).await;
            lease.hold.patience.end();
            answered
        }
        Sender::Shared(sender, _) => {
            lease.hold.patience.more();
            sender.send_request(request).await
        }
    };
    answered.map_err(|error| {
        let trouble = Trouble::of(&error, true);
        if let Sender::Shared(_, shared) = &mut lease.sender {
            shared.broken = trouble.died;
        }
        trouble
    })
}

/// Whether the connection takes a request, soon if it was used before: its receiver may have answered the last one without
/// reading it, and then it is written still. A connection that is dead says so when it is used.
async fn ready(lease: &mut Lease) -> bool {
    let becoming = async {
        match &mut lease.sender {
            Sender::One(sender) => drop(sender.ready().await),
            Sender::Shared(sender, _) => drop(sender.ready().await),
        }
    };
    tokio::time::timeout(READY, becoming).await.is_ok() || !lease.reused
}

/// How long a connection may be idle after this answer; none if it ends with it.
pub fn idle(response: &Response<Incoming>) -> Option<Duration> {
    let said = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_closed = said(header::CONNECTION)
        .is_some_and(|text| text.split(',').any(|word| word.trim().eq_ignore_ascii_case("close")));
    if is_closed {
        return None;
    }
    let Some(text) = response.headers().get("keep-alive") else { return Some(IDLE) };
    let text = text.to_str().unwrap_or_default();
    let mut words = text.split(',').filter_map(|word| word.trim().split_once('='));
    let timeout = words.find(|(name, _)| name.eq_ignore_ascii_case("timeout"));
    let Some(seconds) = timeout.and_then(|(_, n)| n.trim().parse::<u64>().ok()) else {
        return Some(IDLE);
    };
    // Closed before the other side does: a request that is under way by then must still arrive.
    let idle = Duration::from_secs(seconds).saturating_sub(Duration::from_secs(1)).min(IDLE);
    (!idle.is_zero()).then_some(idle)
}
