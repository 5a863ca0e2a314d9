//! The sender over HTTP, in two shapes. The closed loop keeps every connection busy and finds the
//! highest rate; the open loop sends on a beat, whatever the gateway does, and finds the latency: a
//! message that must wait for a connection is timed from when it was due.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::ledger::Shared;
use super::wire::{self, Frames, Request, status};

/// How long a refused sender waits before it tries again.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(5);

/// A gateway that answers nothing for so long is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where messages go.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) app: &'static str,
    pub(crate) key: &'static str,
}

/// Sends on `connections` at once, each as soon as its last message was answered.
pub(crate) async fn closed(
    target: &Target,
    connections: usize,
    length: Duration,
    ledger: &Shared,
) -> Result<()> {
    let mut senders = JoinSet::new();
    let until = Instant::now() + length;
    for _ in 0..connections {
        let mut connection = Connection::open(target, ledger).await?;
        senders.spawn_local(async move {
            let mut now = Instant::now();
            while now < until {
                if !connection.exchange(now).await? {
                    sleep(BACK_OFF).await;
                }
                now = Instant::now();
            }
            Ok(())
        });
    }
    in_time(length, finish(senders)).await
}

/// Sends `rate` messages a second, evenly spaced.
pub(crate) async fn open(
    target: &Target,
    rate: u32,
    length: Duration,
    ledger: &Shared,
) -> Result<()> {
    let mut senders: JoinSet<Result<()>> = JoinSet::new();
    let idle = Rc::new(RefCell::new(Vec::new()));
    let mut beat = interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..(length.as_secs_f64() * f64::from(rate)) as u64 {
        beat.tick().await;
        // Not the beat's own time: the timer counts in milliseconds.
        let due = Instant::now();
        let waiting = idle.borrow_mut().pop();
        let mut connection = match waiting {
            Some(connection) => connection,
            None => Connection::open(target, ledger).await?,
        };
        let idle = idle.clone();
        senders.spawn_local(async move {
            connection.exchange(due).await?;
            idle.borrow_mut().push(connection);
            Ok(())
        });
    }
    in_time(Duration::ZERO, finish(senders)).await
}

async fn finish(mut senders: JoinSet<Result<()>>) -> Result<()> {
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

/// Ends what takes much longer than `length`.
pub(crate) async fn in_time(
    length: Duration,
    sending: impl Future<Output = Result<()>>,
) -> Result<()> {
    timeout(length + PATIENCE, sending).await.context("the gateway stopped answering")?
}

/// One kept-alive connection to the gateway.
struct Connection {
    frames: Frames,
    request: Request,
    ledger: Shared,
}

impl Connection {
    async fn open(target: &Target, ledger: &Shared) -> Result<Self> {
        let stream = TcpStream::connect(&target.host).await.context("connecting")?;
        let phase = ledger.borrow().phase();
        let request = Request::over_http(&target.host, target.app, target.key, phase);
        let frames = Frames::new(stream, wire::http)?;
        Ok(Self { frames, request, ledger: ledger.clone() })
    }

    /// Sends one message, timed from `due`; whether the gateway accepted it.
    async fn exchange(&mut self, due: Instant) -> Result<bool> {
        let number = self.ledger.borrow_mut().send(due);
        self.frames.stream.write_all(self.request.numbered(number)).await?;
        let frame = self.frames.next().await?.context("the gateway closed a connection")?;
        let accepted = (200..300).contains(&status(&frame)?);
        self.ledger.borrow_mut().answer(number, accepted, Instant::now());
        Ok(accepted)
    }
}
