//! A receiver of webhooks that does what the path says, and keeps every request. [`scripted`] is one for what a proper
//! server does not do: resets, half answers, connections that are counted.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::Notify, task::AbortHandle};

use super::rig::until;

#[allow(dead_code, reason = "shared with the client's own tests")]
pub(crate) mod certificates;
#[allow(dead_code, reason = "shared with the client's own tests")]
pub(crate) mod names;
#[allow(dead_code, reason = "shared with the client's own tests")]
pub(crate) mod scripted;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Received {
    /// A header's value, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The payload's `n`.
    pub(crate) fn n(&self) -> usize {
        let payload: Value = serde_json::from_slice(&self.body).expect("JSON");
        payload["n"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a number")
    }
}

/// A receiver. Its paths: `/ok…` 200; `/status/N`; `/flaky/N…` 500 for a message's first N tries, then 200;
/// `/says/N/WORD…` N with these words;
/// `/retry-after/N` 503 with that header, then 200; `/slow/MS`; `/hang`; `/redirect`; `/endless` a body without end;
/// `/gate…` answers once the gate is opened; `/sometimes` fails every third message's first try.
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<Shared>,
    server: AbortHandle,
}

#[derive(Default)]
struct Shared {
    books: Mutex<Books>,
    gate: Gate,
}

#[derive(Default)]
struct Books {
    received: Vec<Received>,
    tries: HashMap<(String, String), u32>,
    under_way: usize,
    most_under_way: usize,
}

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Notify,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Shared::default());
        let router = Router::new().fallback(receive).with_state(state.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serves");
        });
        Self { address, state, server: server.abort_handle() }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.state.books.lock().expect("not poisoned")
    }

    /// What came for a path, in order.
    pub(crate) fn received(&self, path: &str) -> Vec<Received> {
        self.books().received.iter().filter(|r| r.path == path).cloned().collect()
    }

    /// Everything that came since the last call of this, and forgets it.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.books().received)
    }

    /// What came for a path, once it is that much.
    pub(crate) async fn wait_for(&self, path: &str, count: usize) -> Vec<Received> {
        until(&format!("{count} requests for {path}"), async || {
            Some(self.received(path)).filter(|received| received.len() >= count)
        })
        .await
    }

    /// How many requests there were at once.
    pub(crate) fn most_under_way(&self) -> usize {
        self.books().most_under_way
    }

    /// Lets what waits at the gate, and what comes to it, through.
    pub(crate) fn open_gate(&self) {
        *self.state.gate.open.lock().expect("not poisoned") = true;
        self.state.gate.opened.notify_waiters();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(state): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let id =
        headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let tries = {
        let mut books = state.books.lock().expect("not poisoned");
        let tries = books.tries.entry((path.clone(), id.clone())).or_default();
        *tries += 1;
        let tries = *tries;
        books.received.push(Received { path: path.clone(), headers, body, at: Instant::now() });
        books.under_way += 1;
        books.most_under_way = books.most_under_way.max(books.under_way);
        tries
    };
    let answer = answer(&state, &path, &id, tries).await;
    state.books.lock().expect("not poisoned").under_way -= 1;
    answer
}

async fn answer(state: &Shared, path: &str, id: &str, tries: u32) -> Response {
    let mut parts = path.trim_start_matches('/').split('/');
    let (what, argument) = (parts.next().unwrap_or_default(), parts.next());
    let number = || argument.and_then(|text| text.parse::<u16>().ok()).expect("a number");
    match what {
        "status" => StatusCode::from_u16(number()).expect("a status").into_response(),
        "flaky" if tries <= u32::from(number()) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "not now").into_response()
        }
        "sometimes" if tries == 1 && id.bytes().map(u32::from).sum::<u32>() % 3 == 0 => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        "retry-after" if tries == 1 => {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", number().to_string())])
                .into_response()
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(u64::from(number()))).await;
            StatusCode::OK.into_response()
        }
        "hang" => std::future::pending().await,
        "says" => {
            let words: Vec<_> = parts.collect();
            let status = StatusCode::from_u16(number()).expect("a status");
            (status, words.join(" ")).into_response()
        }
        "redirect" => (StatusCode::FOUND, [("location", "/ok/elsewhere")]).into_response(),
        "endless" => {
            let chunk = || Some((Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 8192])), ()));
            Body::from_stream(futures_util::stream::unfold((), move |()| async move { chunk() }))
                .into_response()
        }
        "gate" => {
            let opened = state.gate.opened.notified();
            let is_open = *state.gate.open.lock().expect("not poisoned");
            if !is_open {
                opened.await;
            }
            StatusCode::OK.into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}
