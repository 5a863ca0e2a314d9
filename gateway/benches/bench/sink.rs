//! The receiver: a port per endpoint, which takes every delivery, enters it in the ledger and
//! answers 204. It does as little as it can, because it shares the machine with the gateway.

use std::time::Instant;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, spawn_local};

use super::ledger::Shared;
use super::wire::{self, Frames, numbers};

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Endpoints that listen until this is dropped.
pub(crate) struct Sink {
    pub(crate) urls: Vec<String>,
    _listeners: JoinSet<()>,
}

impl Sink {
    /// Opens `endpoints` ports on the loopback interface.
    pub(crate) async fn start(endpoints: usize, ledger: &Shared) -> Result<Self> {
        let mut urls = Vec::new();
        let mut listeners = JoinSet::new();
        for endpoint in 0..endpoints {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            urls.push(format!("http://{}/hook", listener.local_addr()?));
            listeners.spawn_local(accept(listener, endpoint, ledger.clone()));
        }
        Ok(Self { urls, _listeners: listeners })
    }
}

async fn accept(listener: TcpListener, endpoint: usize, ledger: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        // A connection that breaks costs its delivery, which the ledger then misses.
        spawn_local(receive(stream, endpoint, ledger.clone()));
    }
}

async fn receive(stream: TcpStream, endpoint: usize, ledger: Shared) -> Result<()> {
    let mut frames = Frames::new(stream, wire::http)?;
    while let Some(frame) = frames.next().await? {
        ledger.borrow_mut().arrive(numbers(frame.body), endpoint, Instant::now());
        frames.stream.write_all(ANSWER).await?;
    }
    Ok(())
}
