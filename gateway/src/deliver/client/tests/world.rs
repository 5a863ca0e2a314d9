//! A world for the client's tests that never leaves loopback: a dialer that writes down what it is asked
//! for and refuses it, or leads it somewhere on loopback.

use super::names::NameServer;
use crate::{
    deliver::{
        Options,
        client::{Client, Sockets, dial::Dial},
        guard::{self, Guard},
    },
    model::{
        attempt::{Failure, Outcome},
        endpoint::Endpoint,
        message::Sequence,
        sample,
    },
};
use async_trait::async_trait;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::net::TcpStream;

/// Writes down what it is asked for.
#[derive(Debug, Default)]
pub struct Recorder {
    dialled: Mutex<Vec<SocketAddr>>,
    /// Where it leads instead of there; none: nowhere.
    to: Option<SocketAddr>,
}

impl Recorder {
    /// Leads everything to that port of loopback.
    pub fn leading_to(to: SocketAddr) -> Arc<Self> {
        assert!(to.ip().is_loopback(), "{to} is not ours");
        Arc::new(Self { dialled: Mutex::default(), to: Some(to) })
    }

    /// What was asked for since the last call of this.
    pub fn take(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.dialled.lock().expect("not poisoned"))
    }
}

#[async_trait]
impl Dial for Recorder {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().expect("not poisoned").push(address);
        match self.to {
            Some(to) => TcpStream::connect(to).await,
            None => Err(io::Error::other("nothing leaves a test")),
        }
    }
}

/// A client with that guard that asks the name server and dials by the recorder.
pub fn client(guard: guard::Options, mut options: Options, dialer: Arc<dyn Dial>) -> Client {
    options.timeout_ms = options.timeout_ms.min(20_000);
    let sockets = Sockets { all: 64, idle: 16 };
    Client::new(Guard::new(guard), &options, sockets, dialer).expect("a client")
}

/// Options that ask that name server.
pub fn asking(server: &NameServer) -> Options {
    let mut options = Options::default();
    options.dns.servers = vec![server.address];
    options
}

/// What comes of a delivery to there.
pub async fn sent(client: &Client, url: &str) -> Outcome {
    let endpoint = Endpoint { url: url.parse().expect("a URL"), ..sample::endpoint() };
    send(client, &endpoint).await
}

/// What comes of a delivery to that endpoint.
pub async fn send(client: &Client, endpoint: &Endpoint) -> Outcome {
    let message = Arc::new(sample::message(endpoint.application));
    let delivery = sample::delivery(&message, Sequence(1));
    client.send(endpoint, &delivery, 1_700_000_000, None).await
}

/// How it failed.
pub fn failed(outcome: &Outcome) -> (Failure, &str) {
    match outcome {
        Outcome::Failed { class, detail } => (*class, detail),
        Outcome::Answered(answer) => panic!("answered {}", answer.status),
    }
}
