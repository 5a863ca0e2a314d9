//! The three scenarios, and how one is run: a fresh gateway and sink, a warm-up, the measured
//! phase, and a drain, after which everything accepted must have arrived.
//!
//! The drain belongs to the measurement. A gateway that answers fast and delivers later is charged
//! the time and the CPU of the later part.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tokio::time::sleep;

use super::ledger::{Ledger, Shared};
use super::load::{self, Target};
use super::procfs::Usage;
use super::sink::Sink;
use super::subject::{Gateway, Launch, Sample, Subject};

const WARM_UP: Duration = Duration::from_secs(1);

/// What has not arrived when nothing has arrived for so long is lost. Longer than the first delayed
/// retry (5 s), so that one failed attempt is not taken for a loss.
const SILENCE: Duration = Duration::from_secs(8);

/// Time for the gateway to write down the outcome of the last deliveries.
const SETTLE: Duration = Duration::from_millis(300);

const FAN: usize = 5;

/// A way to load a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// As fast as it goes, to one endpoint.
    #[value(alias = "a")]
    Saturation,
    /// At a fixed rate, to one endpoint.
    #[value(alias = "b")]
    Paced,
    /// As fast as it goes, to five endpoints.
    #[value(alias = "c")]
    Fanout,
}

impl Scenario {
    pub(crate) fn title(self, plan: &Plan) -> String {
        match self {
            Self::Saturation => format!("saturation: {} connections, 1 endpoint", plan.connections),
            Self::Paced => format!("paced: {} messages/s, 1 endpoint", plan.rate),
            Self::Fanout => format!("fanout: {} connections, {FAN} endpoints", plan.connections),
        }
    }

    fn endpoints(self) -> usize {
        if self == Self::Fanout { FAN } else { 1 }
    }

    async fn send(self, to: &Target, plan: &Plan, length: Duration, ledger: &Shared) -> Result<()> {
        match self {
            Self::Paced => load::open(to, plan.rate, length, ledger).await,
            Self::Saturation | Self::Fanout => {
                load::closed(to, plan.connections, length, ledger).await
            }
        }
    }
}

/// How hard and how long.
pub(crate) struct Plan {
    pub(crate) length: Duration,
    pub(crate) connections: usize,
    pub(crate) rate: u32,
}

/// What one scenario measured of one subject.
pub(crate) struct Measurement {
    pub(crate) scenario: Scenario,
    pub(crate) subject: Subject,
    pub(crate) accepted_per_s: f64,
    pub(crate) delivered_per_s: f64,
    /// CPU of the gateway, and of the load tool, for each delivery.
    pub(crate) cpu_us: f64,
    pub(crate) load_cpu_us: f64,
    pub(crate) arrival_p50_ms: Option<f64>,
    pub(crate) arrival_p99_ms: Option<f64>,
    pub(crate) accept_p50_ms: Option<f64>,
    pub(crate) accept_p99_ms: Option<f64>,
    pub(crate) peak_mib: f64,
    /// For each accepted message.
    pub(crate) written_bytes: f64,
    pub(crate) fsyncs: Option<f64>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) strays: u64,
}

/// Runs one scenario against one subject.
pub(crate) async fn run(
    scenario: Scenario,
    subject: Subject,
    plan: &Plan,
    launch: &Launch,
) -> Result<Measurement> {
    let endpoints = scenario.endpoints();
    let ledger = Rc::new(RefCell::new(Ledger::new(0, endpoints)));
    let sink = Sink::start(endpoints, &ledger).await?;
    let gateway = Gateway::start(subject, &sink.urls, launch).await?;
    let target = gateway.target();

    let warm_up = WARM_UP.min(plan.length);
    scenario.send(&target, plan, warm_up, &ledger).await.with_context(|| gateway.log())?;
    drain(&ledger).await;
    sleep(SETTLE).await;

    let before = (gateway.sample().await?, Usage::of(std::process::id())?);
    *ledger.borrow_mut() = Ledger::new(1, endpoints);
    let began = Instant::now();
    scenario.send(&target, plan, plan.length, &ledger).await.with_context(|| gateway.log())?;
    let sending = began.elapsed();
    drain(&ledger).await;
    let own = Usage::of(std::process::id())?;
    sleep(SETTLE).await;
    let after = gateway.sample().await.with_context(|| gateway.log())?;

    let load_cpu = own.cpu - before.1.cpu;
    let ledger = ledger.borrow();
    Ok(measurement(scenario, subject, &ledger, sending, &(before.0, after), load_cpu))
}

/// Waits until everything accepted has arrived, or nothing arrives any more.
async fn drain(ledger: &Shared) {
    let (mut seen, mut since) = (0, Instant::now());
    while !ledger.borrow().is_drained() && since.elapsed() < SILENCE {
        let delivered = ledger.borrow().delivered;
        if delivered != seen {
            (seen, since) = (delivered, Instant::now());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn measurement(
    scenario: Scenario,
    subject: Subject,
    ledger: &Ledger,
    sending: Duration,
    (before, after): &(Sample, Sample),
    load_cpu: Duration,
) -> Measurement {
    let accepted = ledger.accepted.max(1) as f64;
    let delivered = ledger.delivered.max(1) as f64;
    let per_delivery_us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / delivered;
    Measurement {
        scenario,
        subject,
        accepted_per_s: ledger.accepted as f64 / sending.as_secs_f64(),
        delivered_per_s: ledger.delivered as f64 / ledger.span().max(sending).as_secs_f64(),
        cpu_us: per_delivery_us(after.usage.cpu - before.usage.cpu),
        load_cpu_us: per_delivery_us(load_cpu),
        arrival_p50_ms: ledger.arrival.quantile_ms(0.50),
        arrival_p99_ms: ledger.arrival.quantile_ms(0.99),
        accept_p50_ms: ledger.accept.quantile_ms(0.50),
        accept_p99_ms: ledger.accept.quantile_ms(0.99),
        peak_mib: after.usage.peak_memory as f64 / (1024.0 * 1024.0),
        written_bytes: (after.usage.written - before.usage.written) as f64 / accepted,
        fsyncs: after
            .commits
            .zip(before.commits)
            .map(|(after, before)| (after - before) / accepted),
        accepted: ledger.accepted,
        refused: ledger.refused,
        lost: ledger.lost(),
        duplicated: ledger.duplicated,
        strays: ledger.strays,
    }
}
