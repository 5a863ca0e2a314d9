//! What a page of a long list costs, from the first to the last: the embedded store filled with
//! deliveries to one endpoint, and every page of them read through its port, without HTTP in
//! between to hide a difference.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use octohooks::clock;
use octohooks::model::application::Application;
use octohooks::model::attempt::{Answer, Attempt, Outcome};
use octohooks::model::catalog::Change;
use octohooks::model::delivery::{Delivery, DeliveryKey, Next, State};
use octohooks::model::draft::{EndpointDraft, Fresh};
use octohooks::model::endpoint::Endpoint;
use octohooks::model::id::{ApplicationId, EndpointId, EnvironmentId, MessageId};
use octohooks::model::message::{Attributes, Message};
use octohooks::model::name::EventType;
use octohooks::model::secret::Secret;
use octohooks::store::sqlite::Sqlite;
use octohooks::store::vault::Master;
use octohooks::store::{
    Catalog, DeliveryFilter, Dispatched, Limits, Log, MessageFilter, Queue, Settlement,
};

use super::histogram::Histogram;

/// How many a page shows.
const PAGE: usize = 100;
/// How many messages are accepted at once.
const BATCH: usize = 500;
/// One delivery in so many failed.
const FAILED: usize = 100;

/// The time that the first and the last hundredth of all pages took, p50 in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    pub(crate) rows: usize,
    pub(crate) deliveries: (f64, f64),
    pub(crate) failed: (f64, f64),
    pub(crate) messages: (f64, f64),
}

/// Fills a store with that many deliveries and reads all their pages.
pub(crate) async fn measure(rows: usize, scratch: &Path) -> Result<Pages> {
    let directory = tempfile::Builder::new().prefix("bench-pages-").tempdir_in(scratch)?;
    let master = Master::new(None, directory.path());
    let store =
        Sqlite::open(directory.path(), Limits::default(), &master).map_err(|line| anyhow!(line))?;
    let endpoint = furnish(&store).await?;
    for from in (0..rows).step_by(BATCH) {
        fill(&store, &endpoint, from, BATCH.min(rows - from)).await?;
    }
    store.flush().await?;
    let to = |states: &[State]| DeliveryFilter { states: states.to_vec(), ..Default::default() };
    let deliveries = walk(async |before| {
        let filter = DeliveryFilter { before, ..to(&[]) };
        let page = store.deliveries_to(endpoint.id, filter, PAGE).await?;
        Ok((page.records.len(), page.next))
    });
    let deliveries = deliveries.await?;
    let failed = walk(async |before| {
        let filter = DeliveryFilter { before, ..to(&[State::Failed]) };
        let page = store.deliveries_to(endpoint.id, filter, PAGE).await?;
        Ok((page.records.len(), page.next))
    });
    let failed = failed.await?;
    let messages = walk(async |before| {
        let filter = MessageFilter { before, ..Default::default() };
        let of = (endpoint.environment, endpoint.application);
        let page = store.messages(of.0, of.1, filter, PAGE).await?;
        Ok((page.records.len(), page.next))
    });
    let messages = messages.await?;
    store.close();
    Ok(Pages { rows, deliveries, failed, messages })
}

async fn furnish(store: &Arc<Sqlite>) -> Result<Endpoint> {
    let environment = EnvironmentId::DEFAULT;
    let application = Application {
        environment,
        id: ApplicationId(clock::id()),
        uid: None,
        name: "bench".into(),
        retry: None,
        rate_limit: None,
        declared: false,
        revision: 1,
        created: 1,
        updated: 1,
    };
    let fresh = Fresh {
        environment,
        application: application.id,
        id: EndpointId(clock::id()),
        secret: Secret::new("a secret"),
        now: 1,
    };
    let draft = EndpointDraft { url: Some("http://127.0.0.1:9/".into()), ..Default::default() };
    let made = draft.create(fresh, |_| Ok(()));
    let endpoint = made.map_err(|wrong| anyhow!("{wrong:?}"))?;
    store.change(Change::PutApplication(application)).await?;
    store.change(Change::PutEndpoint(endpoint.clone())).await?;
    Ok(endpoint)
}

/// Accepts messages of 1 KiB and settles a delivery of each.
async fn fill(store: &Arc<Sqlite>, to: &Endpoint, from: usize, count: usize) -> Result<()> {
    let message = |n: usize| Message {
        environment: to.environment,
        application: to.application,
        id: MessageId(clock::id()),
        uid: None,
        event_type: EventType::new("bench").unwrap_or_else(|_| unreachable!("is legal")),
        channels: Vec::new(),
        payload: format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1000)).into(),
        attributes: Attributes::new(),
        accepted: clock::now(),
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
    };
    let batch = (from..from + count).map(|n| Arc::new(message(n)).into()).collect();
    store.accept(batch).await?;
    let mut left = count;
    while left > 0 {
        let leased = store.next_messages(left).await?;
        left -= leased.len();
        for leased in leased {
            let key = DeliveryKey { message: leased.sequence, ordinal: 0, endpoint: to.id };
            let message = leased.message.clone();
            let delivery = Delivery {
                key,
                message,
                content: None,
                plugin: None,
                attempts: 0,
                spent: 0,
                due: 0,
            };
            store.dispatched(leased, Dispatched::Deliveries(vec![Arc::new(delivery)]));
        }
    }
    left = count;
    while left > 0 {
        for delivery in store.next_deliveries(left).await? {
            left -= 1;
            let fails = left.is_multiple_of(FAILED);
            let status = if fails { 500 } else { 200 };
            let outcome = Outcome::Answered(Answer { status, ..Answer::default() });
            let attempt =
                Attempt { number: 1, at: clock::now(), latency: 1, revision: Some(1), outcome };
            let next = if fails { Next::DeadLetter } else { Next::Delivered };
            store.settle(Settlement { delivery, attempt: Some(attempt), next, notice: None });
        }
    }
    Ok(())
}

/// Reads every page; the p50 of the first and of the last hundredth.
async fn walk<Place>(
    mut read: impl AsyncFnMut(Option<Place>) -> Result<(usize, Option<Place>)>,
) -> Result<(f64, f64)> {
    let mut times: Vec<Duration> = Vec::new();
    let mut place = None;
    loop {
        let start = Instant::now();
        let (records, next) = read(place).await?;
        if records == PAGE {
            times.push(start.elapsed());
        }
        place = next;
        if place.is_none() {
            break;
        }
    }
    let part = (times.len() / 100).max(10).min(times.len());
    let p50 = |times: &[Duration]| {
        let mut histogram = Histogram::default();
        times.iter().for_each(|time| histogram.record(*time));
        histogram.quantile_ms(0.5).context("no page was full")
    };
    Ok((p50(&times[..part])?, p50(&times[times.len() - part..])?))
}
