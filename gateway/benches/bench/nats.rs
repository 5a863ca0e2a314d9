//! The sender over NATS, in the two shapes that [`load`] has over HTTP: requests as NATS' clients
//! make them, all on one connection, what is written meanwhile in one go, and the replies told
//! apart by their subjects.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::ledger::Shared;
use super::load::{self, BACK_OFF};
use super::wire::{self, Frames, Request, numbers};

/// What the subjects of replies begin with.
const INBOX: &str = "inbox.";

/// Where messages go.
pub(crate) struct Target {
    /// The nats-server's host and port.
    pub(crate) server: String,
    pub(crate) subject: String,
}

/// Keeps so many requests in flight, each followed by the next as soon as it was answered.
pub(crate) async fn closed(
    target: &Target,
    in_flight: usize,
    length: Duration,
    ledger: &Shared,
) -> Result<()> {
    let mut requests = Requests::open(target, ledger).await?;
    let until = Instant::now() + length;
    load::in_time(length, async {
        for _ in 0..in_flight {
            requests.send(Instant::now());
        }
        while requests.in_flight > 0 {
            requests.flush().await?;
            let refused = requests.receive().await?;
            if refused > 0 {
                sleep(BACK_OFF).await;
            }
            let now = Instant::now();
            while now < until && requests.in_flight < in_flight {
                requests.send(now);
            }
        }
        Ok(())
    })
    .await
}

/// Sends `rate` requests a second, evenly spaced.
pub(crate) async fn open(
    target: &Target,
    rate: u32,
    length: Duration,
    ledger: &Shared,
) -> Result<()> {
    let mut requests = Requests::open(target, ledger).await?;
    let mut left = (length.as_secs_f64() * f64::from(rate)) as u64;
    let mut beat = interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    load::in_time(length, async {
        while left > 0 || requests.in_flight > 0 {
            tokio::select! {
                _ = beat.tick(), if left > 0 => {
                    left -= 1;
                    // Not the beat's own time: the timer counts in milliseconds.
                    requests.send(Instant::now());
                }
                answered = requests.receive() => { answered?; }
            }
            requests.flush().await?;
        }
        Ok(())
    })
    .await
}

/// A connection to the nats-server, and the requests on it that wait for a reply.
struct Requests {
    frames: Frames,
    request: Request,
    ledger: Shared,
    phase: u16,
    in_flight: usize,
    /// What is to be written.
    out: Vec<u8>,
}

impl Requests {
    async fn open(target: &Target, ledger: &Shared) -> Result<Self> {
        let stream = TcpStream::connect(&target.server).await.context("connecting")?;
        let phase = ledger.borrow().phase();
        let request = Request::over_nats(&target.subject, INBOX, phase);
        let frames = Frames::new(stream, wire::nats)?;
        // Told at once that nobody listens yet, a request is refused instead of lost.
        let hello = r#"CONNECT {"verbose":false,"headers":true,"no_responders":true}"#;
        let out = format!("{hello}\r\nSUB {INBOX}* 1\r\n").into_bytes();
        Ok(Self { frames, request, ledger: ledger.clone(), phase, in_flight: 0, out })
    }

    /// Makes a request, timed from `due`, that the next flush will write.
    fn send(&mut self, due: Instant) {
        let number = self.ledger.borrow_mut().send(due);
        self.out.extend_from_slice(self.request.numbered(number));
        self.in_flight += 1;
    }

    async fn flush(&mut self) -> Result<()> {
        self.frames.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Takes what has come, at least one message; how many requests were refused. Nothing is lost
    /// when it is dropped.
    async fn receive(&mut self) -> Result<usize> {
        let mut refused = 0;
        loop {
            let frame = self.frames.next().await?.context("the nats-server closed a connection")?;
            if frame.head.starts_with(b"PING") {
                self.out.extend_from_slice(b"PONG\r\n");
            } else if frame.head.starts_with(b"-ERR") {
                bail!("the nats-server says {}", String::from_utf8_lossy(frame.head).trim_end());
            } else if let Some((phase, number)) = numbers(frame.head) {
                ensure!(phase == self.phase, "a reply to a request of another phase");
                // An acceptance has no headers; a refusal does, and so has the server's own word
                // that nobody listens.
                let accepted = frame.head.starts_with(b"MSG");
                self.ledger.borrow_mut().answer(number, accepted, Instant::now());
                refused += usize::from(!accepted);
                self.in_flight -= 1;
            }
            if !self.frames.has_next()? {
                return Ok(refused);
            }
        }
    }
}
