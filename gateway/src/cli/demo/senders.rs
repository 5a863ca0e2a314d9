//! The senders: a few at once, each with one message under way. An answer that does not come is no reason to give up:
//! the message is sent again under its uid, and a gateway that has it already says so.

use self::{http::Http, nats::Nats};
use super::{books::Books, door::Door, gateway::client, status};
use crate::clock;
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

mod http;
mod nats;

/// How many send at once.
const SENDERS: usize = 16;
/// How long to wait before a message is sent again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one message is sent again and again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one try.
enum Answer {
    /// The message is safe.
    Safe,
    /// Nobody knows, or not now.
    Again,
    /// It will never be accepted, and why.
    Refused(String),
}

/// What all senders share.
struct Senders {
    http: Http,
    nats: Option<Nats>,
    books: Arc<Books>,
    messages: u32,
    next: AtomicU32,
}

/// Sends that many statuses, through all doors if there is NATS; returns when all are accepted.
pub async fn send(
    gateway: SocketAddr,
    nats: Option<async_nats::Client>,
    messages: u32,
    books: Arc<Books>,
) -> Result<()> {
    let all = Arc::new(Senders {
        http: Http::new(client()?, gateway),
        nats: nats.map(Nats::new),
        books,
        messages,
        next: AtomicU32::new(0),
    });
    let mut senders: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..SENDERS {
        let all = Arc::clone(&all);
        senders.spawn(async move {
            loop {
                let n = all.next.fetch_add(1, Ordering::Relaxed);
                if n >= all.messages {
                    return Ok(());
                }
                let sent = timeout(PATIENCE, all.send(n)).await;
                sent.with_context(|| {
                    format!("message {n} was sent for a minute, and never safe")
                })??;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.context("a sender")??;
    }
    Ok(())
}

impl Senders {
    async fn send(&self, n: u32) -> Result<()> {
        let uid = status::id(n);
        let payload = status::payload(n);
        loop {
            self.books.sent(n, clock::instant());
            let answer = match (self.books.doors().of(n), &self.nats) {
                (Door::Request, Some(nats)) => nats.request(&uid, &payload).await,
                (Door::Stream, Some(nats)) => nats.publish(&uid, &payload).await,
                _ => self.http.post(&uid, &payload).await,
            };
            match answer {
                Answer::Safe => {
                    self.books.accepted(n);
                    return Ok(());
                }
                Answer::Again => sleep(PAUSE).await,
                Answer::Refused(why) => bail!("message {n} was refused: {why}"),
            }
        }
    }
}
