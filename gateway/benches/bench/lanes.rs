//! What the delivery stage promises of its lanes: that a rate limit is kept and used up, that receivers who hang or drip
//! cost nobody else anything, and what a waiting delivery and an endpoint with nothing to do cost.
//!
//! Every message is for one endpoint, by its channel, and says when it was sent. One listener is the receiver of all
//! endpoints, so that ten thousand of them need no more ports than one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::histogram::{Histogram, median};
use super::plugins::{Figure, figure};
use super::procfs::Usage;
use super::scenario::Plan;
use super::subject::{Gateway, Launch, Subject};
use super::wire::{self, Frames};

/// How many endpoints an application has here: as many as it may by default.
const EACH: usize = 50;
/// How many messages a batch has.
const BATCH: usize = 100;
/// How many calls of the API go on at once.
const CALLS: usize = 16;
/// What has not come after so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each figure is measured that is compared.
const ROUNDS: usize = 3;

/// What is measured of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// How exactly a rate limit is kept, and how much of it is used.
    Accuracy,
    /// The p99 of those who behave, beside those who do not.
    Fairness,
    /// What a backlog of a million costs in memory.
    Waiting,
    /// How many deliveries go to few endpoints and to many, and what those cost that have nothing to do.
    Endpoints,
}

/// After so long without a message a gateway is idle: connections are closed and lanes are gone.
const SETTLED: Duration = Duration::from_secs(150);

/// Measures these of it, with so many endpoints at most.
pub(crate) async fn measure(
    parts: &[Part],
    most: usize,
    plan: &Plan,
    launch: &Launch,
) -> Result<Vec<Figure>> {
    let scale = if most < 10_000 { 10 } else { 1 };
    let mut figures = Vec::new();
    for part in parts {
        match part {
            Part::Accuracy => {
                figures.extend(accuracy(1_000, launch).await.context("accuracy")?);
                figures.extend(accuracy(5_000, launch).await.context("accuracy")?);
            }
            Part::Fairness => {
                figures.extend(fairness(plan, scale, launch).await.context("fairness")?);
            }
            Part::Waiting => {
                let few = 100_000 / scale;
                figures.extend(waiting(few, launch).await.context("waiting deliveries")?);
            }
            Part::Endpoints => {
                figures.extend(endpoints(most, launch).await.context("many endpoints")?);
            }
        }
    }
    Ok(figures)
}

/// A receiver, what came to it, and the gateway that sends there.
struct Yard {
    gateway: Rc<Gateway>,
    url: String,
    books: Rc<RefCell<Books>>,
    _listener: JoinSet<()>,
}

/// What came to `/ok`.
struct Books {
    /// What senders' times count from.
    base: Instant,
    arrivals: Vec<Instant>,
    latency: Histogram,
}

impl Yard {
    async fn open(launch: &Launch) -> Result<Self> {
        let books =
            Books { base: Instant::now(), arrivals: Vec::new(), latency: Histogram::default() };
        let books = Rc::new(RefCell::new(books));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut listeners = JoinSet::new();
        let own = books.clone();
        listeners.spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(receive(stream, own.clone()));
            }
        });
        let gateway = Gateway::start(Subject::Plain, &[], launch, None).await?;
        let gateway = Rc::new(gateway);
        Ok(Self { gateway, url, books, _listener: listeners })
    }

    /// Applications with so many endpoints together, each with a channel of its own.
    async fn furnish(
        &self,
        count: usize,
        limits: &Value,
        path: impl Fn(usize) -> String,
    ) -> Result<()> {
        let make = async |from: usize| -> Result<()> {
            let uid = format!("app-{}", from / EACH);
            self.gateway.application(&uid).await?;
            for n in from..count.min(from + EACH) {
                let mut endpoint = limits.clone();
                endpoint["url"] = json!(format!("{}{}", self.url, path(n)));
                endpoint["channels"] = json!([format!("c{n}")]);
                let to = format!("/applications/{uid}/endpoints");
                self.gateway.call(Method::POST, &to, endpoint.to_string().into()).await?;
            }
            Ok(())
        };
        let mut firsts: VecDeque<usize> = (0..count).step_by(EACH).collect();
        while !firsts.is_empty() {
            let some = firsts.drain(..CALLS.min(firsts.len()));
            try_join_all(some.map(make)).await?;
        }
        Ok(())
    }

    fn message(&self, endpoint: usize) -> Value {
        let at = self.books.borrow().base.elapsed().as_micros() as u64;
        json!({ "eventType": "bench.lane", "channels": [format!("c{endpoint}")], "payload": { "at": at } })
    }

    /// So many messages, for the endpoints of each batch in turn.
    async fn publish(&self, count: usize, endpoint: impl Fn(usize) -> usize) -> Result<()> {
        let send = async |batch: usize| -> Result<()> {
            let first = endpoint(batch * BATCH);
            let path = format!("/applications/app-{}/messages/batch", first / EACH);
            let messages = (batch * BATCH..(batch + 1) * BATCH).map(|n| self.message(endpoint(n)));
            let body = json!({ "messages": messages.collect::<Vec<_>>() });
            self.gateway.call(Method::POST, &path, body.to_string().into()).await.map(drop)
        };
        let mut batches: VecDeque<usize> = (0..count / BATCH).collect();
        while !batches.is_empty() {
            let some = batches.drain(..CALLS.min(batches.len()));
            try_join_all(some.map(send)).await.with_context(|| self.gateway.log())?;
        }
        Ok(())
    }

    /// Waits until so many came.
    async fn arrived(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.books.borrow().arrivals.len() < count && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// At a steady rate, each to another endpoint: the p99 from sending to arrival.
    async fn paced(&self, plan: &Plan, endpoints: std::ops::Range<usize>) -> Result<Option<f64>> {
        self.books.borrow_mut().latency = Histogram::default();
        let before = self.books.borrow().arrivals.len();
        let mut beat = interval(Duration::from_secs(1) / plan.rate);
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let count = (plan.length.as_secs_f64() * f64::from(plan.rate)) as usize;
        let sending = (0..count).map(|n| endpoints.start + n * 7919 % endpoints.len());
        let mut calls = JoinSet::new();
        for endpoint in sending {
            beat.tick().await;
            let path = format!("/applications/app-{}/messages", endpoint / EACH);
            let body = self.message(endpoint).to_string().into();
            let gateway = self.gateway.clone();
            calls.spawn_local(
                async move { gateway.call(Method::POST, &path, body).await.map(drop) },
            );
        }
        while let Some(called) = calls.join_next().await {
            called??;
        }
        self.arrived(before + count).await;
        Ok(self.books.borrow().latency.quantile_ms(0.99))
    }

    /// How many a second arrive of so many, which go to its endpoints by turns; a quarter as many go ahead.
    async fn rate(&self, endpoints: usize, messages: usize) -> Result<f64> {
        // Each batch is for one application's endpoints, one after the other.
        let apps = endpoints.div_ceil(EACH);
        let endpoint =
            |n: usize| (n / BATCH % apps * EACH + n % EACH.min(endpoints)).min(endpoints - 1);
        self.publish(messages / 4, endpoint).await?;
        self.arrived(messages / 4).await;
        let began = Instant::now();
        self.publish(messages, endpoint).await?;
        self.arrived(messages + messages / 4).await;
        Ok(messages as f64 / began.elapsed().as_secs_f64())
    }

    fn memory(&self) -> Result<f64> {
        Ok(Usage::of(self.gateway.id())?.memory as f64 / f64::from(1 << 20))
    }
}

/// One connection: `/hang` answers never, `/drip` begins to and goes on for ever, `/slow` takes a while.
async fn receive(stream: TcpStream, books: Rc<RefCell<Books>>) -> Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    let mut frames = Frames::new(stream, wire::http)?;
    while let Some(frame) = frames.next().await? {
        let path = frame.head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match path {
            b"/hang" => std::future::pending().await,
            b"/drip" => {
                frames
                    .stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
                    .await?;
                loop {
                    frames.stream.write_all(b".").await?;
                    sleep(Duration::from_secs(1)).await;
                }
            }
            b"/slow" => sleep(Duration::from_millis(100)).await,
            _ => {
                let at = serde_json::from_slice::<Value>(frame.body)?["at"].as_u64();
                let mut books = books.borrow_mut();
                let now = Instant::now();
                let sent = books.base + Duration::from_micros(at.unwrap_or_default());
                books.arrivals.push(now);
                books.latency.record(now.saturating_duration_since(sent));
            }
        }
        frames.stream.write_all(ANSWER).await?;
    }
    Ok(())
}

/// A backlog at a rate limit: the most of any second, and how much of ten seconds' limit was used.
async fn accuracy(limit: usize, launch: &Launch) -> Result<[Figure; 2]> {
    let yard = Yard::open(launch).await?;
    let rate = json!({ "rateLimit": { "limit": limit, "burst": 1 }, "maxInFlight": 500 });
    yard.furnish(1, &rate, |_| "/ok".into()).await?;
    yard.publish(limit * 14, |_| 0).await?;
    // The senders are done: what the limit lets through from now on.
    sleep(Duration::from_millis(200)).await;
    let from = yard.books.borrow().arrivals.len();
    yard.arrived(from + limit * 10 + 100).await;
    let books = yard.books.borrow();
    let measured = &books.arrivals[from..];
    let ten = measured.iter().take_while(|at| **at - measured[0] < Duration::from_secs(10)).count();
    let (mut most, mut first) = (0, 0);
    for (last, at) in measured.iter().enumerate() {
        while *at - measured[first] >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    let used = ten as f64 / (limit * 10) as f64 * 100.0;
    let [window, share] = match limit {
        1_000 => ["window1000", "used1000Percent"],
        _ => ["window5000", "used5000Percent"],
    };
    Ok([
        figure(window, format!("limit {limit}/s: most in a second"), 0, Some(most as f64)),
        figure(share, "  used over 10 s, per cent", 1, Some(used)),
    ])
}

/// The p99 of those who behave, alone and beside those who do not.
async fn fairness(plan: &Plan, scale: usize, launch: &Launch) -> Result<[Figure; 3]> {
    let path = |n: usize| match n {
        0..10 => "/hang".into(),
        10..20 => "/drip".into(),
        20 => "/slow".into(),
        _ => format!("/ok/{n}"),
    };
    let count = 1_000 / scale;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // In turns, as what else the machine does meets both.
    for _ in 0..ROUNDS {
        let yard = Yard::open(launch).await?;
        yard.furnish(count, &json!({}), path).await?;
        yard.paced(plan, 21..count).await?;
        alone.extend(yard.paced(plan, 21..count).await?);
        yard.publish(4_000, |n| n / BATCH % 20).await?;
        yard.publish(100_000 / scale, |_| 20).await?;
        beside.extend(yard.paced(plan, 21..count).await?);
    }
    let (alone, beside) = (median(alone), median(beside));
    let ratio = beside.zip(alone).map(|(beside, alone)| beside / alone);
    Ok([
        figure(
            "lanesAloneP99Millis",
            format!("{count} endpoints: send to arrival p99 ms"),
            2,
            alone,
        ),
        figure("lanesBesideP99Millis", "  beside 10 that hang, 10 that drip, 1 backlog", 2, beside),
        figure("fairnessRatio", "  of alone", 2, ratio),
    ])
}

/// What deliveries cost that wait for a receiver who does not answer: so many, and ten times as many.
async fn waiting(few: usize, launch: &Launch) -> Result<[Figure; 2]> {
    let yard = Yard::open(launch).await?;
    yard.furnish(2, &json!({ "maxInFlight": 1 }), |n| ["/hang", "/ok"][n].into()).await?;
    // The store's and the writer's own memory is there before.
    yard.publish(20_000, |_| 1).await?;
    yard.arrived(20_000).await;
    let before = yard.memory()?;
    let grown = async |more: usize| -> Result<f64> {
        yard.publish(more, |_| 0).await?;
        sleep(Duration::from_secs(2)).await;
        Ok(yard.memory()? - before)
    };
    let some = grown(few).await?;
    let many = grown(few * 9).await?;
    let million = (few >= 100_000).then_some(many);
    Ok([
        figure(
            "waitingMebibytes",
            format!("memory of {few} waiting deliveries MiB"),
            1,
            Some(some),
        ),
        figure("waitingMillionMebibytes", format!("  of {}", few * 10), 1, million),
    ])
}

/// What endpoints cost that have nothing to do, and how many deliveries go to few and to many.
async fn endpoints(most: usize, launch: &Launch) -> Result<Vec<Figure>> {
    let counts = [("throughput1", 1), ("throughput100", 100), ("throughputMany", most)];
    let mut rates = counts.map(|_| Vec::new());
    // In turns, as what else the machine does meets all of them.
    for _ in 0..ROUNDS {
        for (rates, (_, count)) in rates.iter_mut().zip(counts) {
            let yard = Yard::open(launch).await?;
            yard.furnish(count, &json!({}), |_| "/ok".into()).await?;
            rates.push(yard.rate(count, most * 10).await?);
        }
    }
    let rates = rates.map(median);
    let mut figures = Vec::new();
    for ((key, count), rate) in counts.into_iter().zip(rates) {
        figures.push(figure(key, format!("delivered/s to {count} endpoints"), 0, rate));
    }
    let least = rates.into_iter().flatten().reduce(f64::min);
    let ratio = least.zip(rates.into_iter().flatten().reduce(f64::max)).map(|(l, m)| l / m);
    figures.push(figure("throughputRatio", "  least of most", 2, ratio));

    let yard = Yard::open(launch).await?;
    let empty = yard.memory()?;
    yard.furnish(most, &json!({}), |_| "/ok".into()).await?;
    let scaled = (yard.memory()? - empty) * 10_000.0 / most as f64;
    yard.rate(most, most).await?;
    sleep(SETTLED).await;
    let before = Usage::of(yard.gateway.id())?.cpu;
    sleep(Duration::from_secs(10)).await;
    let cpu = (Usage::of(yard.gateway.id())?.cpu - before).as_secs_f64() / 10.0 * 100.0;
    let memory = "memory of 10,000 endpoints MiB";
    figures.push(figure("endpointsMebibytes", memory, 1, Some(scaled)));
    let idle = format!("CPU with {most} idle endpoints, per cent");
    figures.push(figure("idlePercent", idle, 2, Some(cpu)));
    Ok(figures)
}
