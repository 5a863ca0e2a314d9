//! The scenarios, and how one is run: a fresh gateway and sink, a warm-up, the measured phase, and
//! a drain, after which everything accepted must have arrived.
//!
//! The drain belongs to the measurement. A gateway that answers fast and delivers later is charged
//! the time and the CPU of the later part.
//!
//! A backlog has no warm-up and no sender: the messages wait in a stream when the gateway starts.
//! It delivers what it accepts meanwhile, as it does under any other load; what is timed is from
//! the moment that it is ready until its own count of accepted messages is complete.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use tokio::time::sleep;

use super::broker::Broker;
use super::ledger::{Ledger, Shared};
use super::procfs::Usage;
use super::sink::Sink;
use super::subject::{Gateway, Launch, Sample, Subject, Target};
use super::{load, nats};

const WARM_UP: Duration = Duration::from_secs(1);

/// What has not arrived when nothing has arrived for so long is lost. Longer than the first delayed
/// retry (5 s), so that one failed attempt is not taken for a loss.
const SILENCE: Duration = Duration::from_secs(8);

/// Time for the gateway to write down the outcome of the last deliveries.
const SETTLE: Duration = Duration::from_millis(300);

/// How often a gateway with a backlog is asked how far it is: seldom enough to cost it nothing.
const GLANCE: Duration = Duration::from_millis(50);

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
    /// What waits in a stream of NATS when the gateway starts, to one endpoint.
    #[value(alias = "d")]
    Backlog,
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] = [Self::Saturation, Self::Backlog, Self::Paced, Self::Fanout];

    pub(crate) fn title(self, plan: &Plan) -> String {
        match self {
            Self::Saturation => format!("saturation: {} in flight, 1 endpoint", plan.connections),
            Self::Paced => format!("paced: {} messages/s, 1 endpoint", plan.rate),
            Self::Fanout => format!("fanout: {} in flight, {FAN} endpoints", plan.connections),
            Self::Backlog => format!("backlog: {} in a stream, 1 endpoint", plan.backlog),
        }
    }

    /// Whether it can be run against the subject.
    pub(crate) fn suits(self, subject: Subject) -> bool {
        self != Self::Backlog || subject == Subject::Nats
    }

    fn endpoints(self) -> usize {
        if self == Self::Fanout { FAN } else { 1 }
    }

    async fn send(self, to: &Target, plan: &Plan, length: Duration, ledger: &Shared) -> Result<()> {
        let in_flight = plan.connections;
        match (to, self == Self::Paced) {
            (Target::Http(to), true) => load::open(to, plan.rate, length, ledger).await,
            (Target::Http(to), false) => load::closed(to, in_flight, length, ledger).await,
            (Target::Nats(to), true) => nats::open(to, plan.rate, length, ledger).await,
            (Target::Nats(to), false) => nats::closed(to, in_flight, length, ledger).await,
        }
    }
}

/// How hard and how long.
pub(crate) struct Plan {
    pub(crate) length: Duration,
    pub(crate) connections: usize,
    pub(crate) rate: u32,
    /// How many messages wait in the stream.
    pub(crate) backlog: usize,
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
    /// CPU of the nats-server for each delivery.
    pub(crate) broker_cpu_us: Option<f64>,
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
    if scenario == Scenario::Backlog {
        return drain_a_backlog(subject, plan, launch).await;
    }
    let endpoints = scenario.endpoints();
    let ledger = Rc::new(RefCell::new(Ledger::new(0, endpoints)));
    let sink = Sink::start(endpoints, &ledger).await?;
    let broker = match subject {
        Subject::Nats => Some(Broker::start(launch).await?),
        _ => None,
    };
    let gateway = Gateway::start(subject, &sink.urls, launch, broker).await?;
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
    settle(scenario, &gateway, &ledger, sending, before).await
}

async fn drain_a_backlog(subject: Subject, plan: &Plan, launch: &Launch) -> Result<Measurement> {
    let scenario = Scenario::Backlog;
    let mut broker = Broker::start(launch).await?;
    broker.fill(plan.backlog, 1).await?;
    let ledger = Rc::new(RefCell::new(Ledger::new(1, scenario.endpoints())));
    (0..plan.backlog).for_each(|_| ledger.borrow_mut().expect());
    let sink = Sink::start(scenario.endpoints(), &ledger).await?;

    let gateway = Gateway::start(subject, &sink.urls, launch, Some(broker)).await?;
    let began = Instant::now();
    ledger.borrow_mut().began = began;
    let before = (gateway.sample().await?, Usage::of(std::process::id())?);
    let accepting = accept(&gateway, plan.backlog).await;
    accepting.with_context(|| gateway.log())?;
    settle(scenario, &gateway, &ledger, began.elapsed(), before).await
}

/// Waits until the gateway has accepted so many.
async fn accept(gateway: &Gateway, count: usize) -> Result<()> {
    let (mut seen, mut since) = (0, Instant::now());
    while seen < count as u64 {
        sleep(GLANCE).await;
        let accepted = gateway.accepted().await?;
        if accepted != seen {
            (seen, since) = (accepted, Instant::now());
        }
        ensure!(since.elapsed() < load::PATIENCE, "{seen} of {count} messages were accepted");
    }
    Ok(())
}

/// Waits for what is still to arrive, and closes the books.
async fn settle(
    scenario: Scenario,
    gateway: &Gateway,
    ledger: &Shared,
    sending: Duration,
    (before, own_before): (Sample, Usage),
) -> Result<Measurement> {
    drain(ledger).await;
    let own = Usage::of(std::process::id())?;
    sleep(SETTLE).await;
    let after = gateway.sample().await.with_context(|| gateway.log())?;
    let load_cpu = own.cpu - own_before.cpu;
    let ledger = ledger.borrow();
    Ok(measurement(scenario, gateway.subject, &ledger, sending, &(before, after), load_cpu))
}

/// Waits until everything accepted has arrived, or nothing arrives any more.
pub(crate) async fn drain(ledger: &Shared) {
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
        broker_cpu_us: after
            .broker_cpu
            .zip(before.broker_cpu)
            .map(|(after, before)| per_delivery_us(after - before)),
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
