//! Plugins in a gateway under test: many of them, one that is replaced while messages go through it, and one that spins or
//! fills memory beside an application that works. The quarantine is off, so that harm is done for as long as it is
//! measured.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::histogram::{Histogram, median};
use super::ledger::{Ledger, Shared};
use super::load;
use super::plugins::{Figure, figure, variant};
use super::procfs::Usage;
use super::scenario::{Plan, drain};
use super::sink::Sink;
use super::subject::{APP, Gateway, Launch, Subject, Target};

/// A plugin that does what its message says.
const SCRIPTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/prebuilt/scripted.wasm");
/// How often a plugin is replaced under load.
const SWAP: Duration = Duration::from_millis(200);
/// How often a message comes whose plugin does harm: at 100 ms of CPU time each, more than two cores can do.
const HARM: Duration = Duration::from_millis(25);
const WARM_UP: Duration = Duration::from_secs(1);
/// How often each of what is compared is measured: a p99 of some seconds is the twenty worst messages, and one pause of a
/// shared machine is more than that.
const ROUNDS: usize = 5;
/// What a plugin is told to do, under which names it is reported, and in which words.
const HARMS: [(&str, &str, &str, &str); 2] = [
    (r#"{"do":"spin"}"#, "spinP99Millis", "spinRatio", "a plugin that spins"),
    (r#"{"do":"fill-memory"}"#, "fillP99Millis", "fillRatio", "a plugin that fills memory"),
];

/// A gateway with many plugins, and where it kept them.
pub(crate) struct Many {
    pub(crate) figures: Vec<Figure>,
    pub(crate) store: TempDir,
}

/// One application after another, each with a plugin of its own.
pub(crate) async fn upload_many(distinct: &[Vec<u8>], launch: &Launch) -> Result<Many> {
    let gateway = Gateway::start(Subject::Plain, &[], launch, None).await?;
    let empty = Usage::of(gateway.id())?.memory;
    let mut times = Histogram::default();
    for (n, component) in distinct.iter().enumerate() {
        let uid = format!("own-{n}");
        gateway.application(&uid).await?;
        let start = Instant::now();
        gateway.upload(&uid, component.clone()).await.with_context(|| gateway.log())?;
        times.record(start.elapsed());
    }
    let memory = Usage::of(gateway.id())?.memory.saturating_sub(empty) as f64 / (1 << 20) as f64;
    let count = distinct.len();
    let figures = vec![
        figure("uploadP50Millis", "upload to active p50 ms", 1, times.quantile_ms(0.5)),
        figure("uploadP99Millis", "upload to active p99 ms", 1, times.quantile_ms(0.99)),
        figure("manyMebibytes", format!("memory of {count} plugins MiB"), 1, Some(memory)),
    ];
    Ok(Many { figures, store: gateway.stop() })
}

/// What replacing a plugin under load came to.
pub(crate) struct Swap {
    pub(crate) figures: Vec<Figure>,
    pub(crate) wrong: u64,
}

/// A closed loop through one plugin, which is replaced again and again.
pub(crate) async fn swap(component: &[u8], plan: &Plan, launch: &Launch) -> Result<Swap> {
    let stage = Stage::start(launch).await?;
    let target = stage.target()?;
    let versions = [variant(component, 1), variant(component, 2)];
    for version in &versions {
        stage.gateway.upload(APP, version.clone()).await?;
    }
    let ledger = &stage.ledger;
    load::closed(&target, plan.connections, WARM_UP, ledger).await?;
    drain(ledger).await;
    *ledger.borrow_mut() = Ledger::new(1, 1);
    let mut times = Histogram::default();
    let swapping = async {
        let mut beat = interval(SWAP);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for version in versions.iter().cycle() {
            beat.tick().await;
            let start = Instant::now();
            stage.gateway.upload(APP, version.clone()).await?;
            times.record(start.elapsed());
        }
        anyhow::Ok(())
    };
    tokio::select! {
        sent = load::closed(&target, plan.connections, plan.length, ledger) => sent?,
        failed = swapping => failed?,
    }
    drain(ledger).await;
    let ledger = ledger.borrow();
    let rate = ledger.delivered as f64 / ledger.span().as_secs_f64();
    let wrong = ledger.lost() + ledger.duplicated + ledger.refused;
    let figures = vec![
        figure("swapP50Millis", "swap under load p50 ms", 1, times.quantile_ms(0.5)),
        figure("swapP99Millis", "swap under load p99 ms", 1, times.quantile_ms(0.99)),
        figure("swapDelivered", "delivered/s meanwhile", 0, Some(rate)),
        figure("swapWrong", "lost, doubled or refused meanwhile", 0, Some(wrong as f64)),
    ];
    Ok(Swap { figures, wrong })
}

/// An application at its pace, alone and beside each kind of harm: the largest ratio of its p99, and all figures.
pub(crate) async fn harm(plan: &Plan, launch: &Launch) -> Result<(Option<f64>, Vec<Figure>)> {
    let stage = Stage::start(launch).await?;
    let (good, scripted) = (std::fs::read(&launch.plugin)?, std::fs::read(SCRIPTED)?);
    stage.gateway.upload(APP, good.clone()).await?;
    stage.gateway.application("harm").await?;
    stage.gateway.upload("harm", scripted.clone()).await?;
    // What failed is not there again with the next version.
    let policy = json!({ "policy": "pass-through" }).to_string().into();
    stage.gateway.call(Method::PATCH, "/applications/harm/plugins/main", policy).await?;
    stage.paced(plan, WARM_UP).await?;
    // In turns: what else the machine does meanwhile meets all three.
    let (mut alone, mut harmed) = (Vec::new(), [(); HARMS.len()].map(|()| Vec::new()));
    for _ in 0..ROUNDS {
        alone.extend(stage.paced(plan, plan.length).await?);
        for ((script, ..), p99s) in HARMS.iter().zip(&mut harmed) {
            let beside = tokio::select! {
                beside = stage.paced(plan, plan.length) => beside?,
                failed = stage.send_harm(script) => bail!("no more harm: {failed:?}"),
            };
            p99s.extend(beside);
            // What is under way ends, and what is crowded goes: the next is measured from rest.
            stage.gateway.upload("harm", variant(&good, 0)).await?;
            sleep(Duration::from_secs(1)).await;
            stage.gateway.upload("harm", scripted.clone()).await?;
        }
    }
    let alone = median(alone);
    let mut figures = vec![figure("aloneP99Millis", "send to arrival p99 ms, alone", 2, alone)];
    let mut ratios = Vec::new();
    for ((_, key, ratio_key, what), p99s) in HARMS.iter().zip(harmed) {
        let beside = median(p99s);
        let ratio = beside.zip(alone).map(|(beside, alone)| beside / alone);
        ratios.extend(ratio);
        figures.push(figure(key, format!("  beside {what}"), 2, beside));
        figures.push(figure(ratio_key, "  of alone", 2, ratio));
    }
    Ok((ratios.into_iter().reduce(f64::max), figures))
}

/// A gateway, one application with one endpoint, and its books.
struct Stage {
    gateway: Gateway,
    ledger: Shared,
    _sink: Sink,
}

impl Stage {
    async fn start(launch: &Launch) -> Result<Self> {
        let ledger = Rc::new(RefCell::new(Ledger::new(0, 1)));
        let sink = Sink::start(1, &ledger).await?;
        let gateway = Gateway::start(Subject::Plain, &sink.urls, launch, None).await?;
        Ok(Self { gateway, ledger, _sink: sink })
    }

    fn target(&self) -> Result<load::Target> {
        match self.gateway.target() {
            Target::Http(target) => Ok(target),
            Target::Nats(_) => bail!("over HTTP"),
        }
    }

    /// The p99 from sending to arrival at the plan's pace.
    async fn paced(&self, plan: &Plan, length: Duration) -> Result<Option<f64>> {
        let phase = self.ledger.borrow().phase() + 1;
        *self.ledger.borrow_mut() = Ledger::new(phase, 1);
        load::open(&self.target()?, plan.rate, length, &self.ledger).await?;
        drain(&self.ledger).await;
        Ok(self.ledger.borrow().arrival.quantile_ms(0.99))
    }

    /// Until dropped.
    async fn send_harm(&self, script: &str) -> Result<()> {
        let message = json!({ "eventType": "harm", "payload": serde_json::from_str::<serde_json::Value>(script)? });
        let mut beat = interval(HARM);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let body = message.to_string().into();
            self.gateway.call(Method::POST, "/applications/harm/messages", body).await?;
        }
    }
}
