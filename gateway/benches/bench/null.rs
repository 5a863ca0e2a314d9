//! The gateway that does nothing, which is what every other is compared with: the route that takes
//! a message, and a client that posts its payload to each endpoint. No store, no plugin, no
//! signature, no limit, no retry. Its client is set up as Octohooks sets up its own.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

struct Null {
    client: reqwest::Client,
    targets: Vec<reqwest::Url>,
}

/// What is read of a message.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Serves until the process that started it closes its standard input, or dies.
pub(crate) fn serve(listen: SocketAddr, targets: &[String]) -> Result<()> {
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        std::process::exit(0);
    });
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(Duration::from_secs(20))
        .tcp_nodelay(true)
        .build()?;
    let targets = targets.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
    let app = Router::new()
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/api/v1/applications/{app}/messages", post(accept))
        .with_state(Arc::new(Null { client, targets }));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await.context("listening")?;
        let listener = listener.tap_io(|stream| {
            stream.set_nodelay(true).ok();
        });
        Ok(axum::serve(listener, app).await?)
    })
}

async fn accept(State(null): State<Arc<Null>>, body: Bytes) -> StatusCode {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let payload = body.slice_ref(message.payload.get().as_bytes());
    for index in 0..null.targets.len() {
        tokio::spawn(send(null.clone(), index, payload.clone()));
    }
    StatusCode::ACCEPTED
}

async fn send(null: Arc<Null>, target: usize, payload: Bytes) {
    let url = null.targets[target].clone();
    let request =
        null.client.post(url).header(CONTENT_TYPE, "application/json").body(payload).send();
    if let Ok(answer) = request.await {
        // Read to its end, so that the connection goes back to the pool.
        answer.bytes().await.ok();
    }
}
