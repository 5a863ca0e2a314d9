//! `octohooks demo`: everything in one command, for who wants to see it before reading on. A real gateway process on
//! a temporary directory, a receiver that verifies what it gets, senders that do not give up; and the books, so
//! that the end is a proof and not a show: what was accepted must have arrived.
//!
//! The cast: [`status`] says what is sent and what must become of it, and [`door`] through which door; [`gateway`] is the
//! [`process`], and [`broker`] with `--nats` another; [`senders`] send; [`receiver`] verifies and keeps the [`books`];
//! [`table`] draws; [`summary`] says how it ended.

use anyhow::{Context, Result};
use broker::Broker;
use clap::Args;
use door::Doors;
use gateway::Gateway;
use std::{future::Future, process::ExitCode, sync::Arc, time::Duration};
use summary::Summary;
use table::Table;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

mod status;
mod door;
mod process;
mod gateway;
mod broker;
mod senders;
mod receiver;
mod books;
mod table;
mod summary;

/// What must come is waited for until nothing has come for so long: a stream delivers again after 10 s.
const SILENCE: Duration = Duration::from_secs(30);

/// What may be asked for.
#[derive(Debug, Args)]
pub struct Options {
    /// How many SMS statuses to send
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Print the summary as one line of JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Kill the gateway with SIGKILL half-way, and start it again
    #[arg(long)]
    crash: bool,
    /// Send half of the messages over NATS, as requests and through a JetStream stream; needs a nats-server on PATH, or
    /// named by NATS_SERVER
    #[arg(long)]
    nats: bool,
}

/// Runs the command: 0 if nothing was lost and every signature verified.
pub fn run(options: &Options) -> ExitCode {
    let done = Runtime::new().context("the runtime").and_then(|runtime| {
        let done = runtime.block_on(until_stopped(demo(options)));
        runtime.shutdown_timeout(Duration::from_millis(100));
        done
    });
    match done {
        Ok(Some(summary)) if summary.is_good() => ExitCode::SUCCESS,
        Ok(Some(_)) => ExitCode::FAILURE,
        Ok(None) => ExitCode::from(super::INTERRUPTED),
        Err(error) => super::fail(&format!("demo: {error:#}"), 1),
    }
}

/// None if a signal came first; dropping the demo stops its processes and removes its files.
async fn until_stopped(demo: impl Future<Output = Result<Summary>>) -> Result<Option<Summary>> {
    let mut terminate = signal(SignalKind::terminate())?;
    // A terminal that is closed: the processes take the signal for a new configuration, and would stay.
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        done = demo => done.map(Some),
        _ = terminate.recv() => Ok(None),
        _ = hangup.recv() => Ok(None),
        _ = tokio::signal::ctrl_c() => Ok(None),
    }
}

async fn demo(options: &Options) -> Result<Summary> {
    let doors = if options.nats { Doors::All } else { Doors::Http };
    let broker = if options.nats { Some(Broker::start().await?) } else { None };
    let receiver = receiver::start(doors).await.context("the receiver")?;
    let settings = broker.as_ref().map(Broker::settings).unwrap_or_default();
    let mut gateway = Gateway::start(settings).await?;
    let table = Table::new(options, gateway.address(), broker.as_ref());
    let secrets = gateway.set_up(receiver.address).await?;
    receiver.books.know(secrets);
    if let Some(broker) = &broker {
        broker.heard().await?;
    }

    let sending = tokio::spawn(senders::send(
        gateway.address(),
        broker.as_ref().map(|broker| broker.client().clone()),
        options.messages,
        Arc::clone(&receiver.books),
    ));
    let drawing = tokio::spawn(table.clone().follow(Arc::clone(&receiver.books)));
    if options.crash {
        receiver.books.accepted_at_least(options.messages / 2).await;
        gateway.kill();
        table.say_killed();
        gateway.run().await.context("the gateway did not come back")?;
    }
    let sent = sending.await.context("the senders")?;
    let all_came = receiver.books.complete(options.messages);
    until_silent(all_came, || receiver.books.arrivals()).await;
    let dropped = match sent {
        Ok(()) => gateway.dropped(books::expected_drops(options.messages)).await?,
        Err(_) => 0,
    };
    drawing.abort();
    let _ended = drawing.await;
    table.finish(&receiver.books);
    let summary = receiver.books.summary(options.messages, dropped, options.crash);
    summary.print(options.json);
    if !summary.is_good() && !options.json {
        gateway.print_log();
    }
    sent?;
    Ok(summary)
}

/// Waits for it as long as `progress` grows.
async fn until_silent(it: impl Future<Output = ()>, progress: impl Fn() -> u32) {
    let mut it = std::pin::pin!(it);
    let mut before = progress();
    loop {
        let came = timeout(SILENCE, &mut it).await.is_ok();
        let now = progress();
        if came || now == before {
            return;
        }
        before = now;
    }
}
