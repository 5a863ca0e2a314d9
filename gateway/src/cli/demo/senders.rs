//! The senders: a few at once, each with one message under way. An answer that does not come is no reason to give up:
//! the message is sent again under its uid, and a gateway that has it already says so.

use super::{
    books::Books,
    gateway::{APPLICATION, KEY, client},
    status,
};
use crate::clock;
use anyhow::{Context, Result, bail};
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// How many post at once.
const SENDERS: usize = 16;
/// How long to wait before a message is sent again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often one message is sent at most: a minute's worth.
const TRIES: u32 = 1200;

/// Sends that many statuses; returns when all are accepted.
pub async fn send(gateway: SocketAddr, messages: u32, books: Arc<Books>) -> Result<()> {
    let url = format!("http://{gateway}/api/v1/applications/{APPLICATION}/messages");
    let next = Arc::new(AtomicU32::new(0));
    let client = client()?;
    let mut senders: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..SENDERS {
        let (client, url) = (client.clone(), url.clone());
        let (next, books) = (Arc::clone(&next), Arc::clone(&books));
        senders.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= messages {
                    return Ok(());
                }
                post(&client, &url, n, &books).await?;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.context("a sender")??;
    }
    Ok(())
}

async fn post(client: &Client, url: &str, n: u32, books: &Books) -> Result<()> {
    let body = json!({
        "eventType": "sms.status", "uid": status::id(n), "payload": status::payload(n),
    });
    let body = body.to_string();
    for _ in 0..TRIES {
        books.posted(n, clock::instant());
        let request = client.post(url).header("authorization", KEY).body(body.clone());
        match request.send().await.map(|answer| answer.status()) {
            // The second: an earlier try was accepted, and its answer lost.
            Ok(StatusCode::OK | StatusCode::CONFLICT) => {
                books.accepted(n);
                return Ok(());
            }
            Ok(status) if !status.is_server_error() => bail!("a message was refused: {status}"),
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    bail!("message {n} was sent {TRIES} times and never accepted")
}
