//! Deliver: takes deliveries from the store, lets each endpoint's lane admit them, sends them, decides what follows and
//! hands that back to be recorded.
//!
//! [`lane`], [`limit`], [`schedule`], [`decide`](decide::decide), [`sign`](sign::sign), [`payload`] and [`guard`] are pure;
//! [`client`] speaks HTTP and [`nats`] NATS; this file acts. A lane is locked for a moment and never across a wait.
//! Nothing polls: a lane moves when a delivery comes, when an attempt ends, when its booked slot is there, or when its
//! limits change.

use crate::{
    clock,
    gate::Gate,
    model::{
        attempt::Meaning,
        delivery::{Delivery, Next},
        endpoint::Endpoint,
        id::EndpointId,
    },
    store::{Catalog, Queue, Settlement, StoreError},
};
use guests::Guests;
use lane::{Lane, Limits, Step};
use schedule::RetryOptions;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use wires::Wires;

mod attempt;
pub mod lane;
pub mod limit;
pub mod schedule;
pub mod decide;
pub mod sign;
pub mod payload;
pub mod headers;
pub mod guard;
pub mod guests;
pub mod client;
pub mod nats;
pub mod wires;

/// How many deliveries are taken from the store at once.
const BATCH: usize = 256;

/// The delivery stage's options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The longest an attempt may take, from connecting to the last byte of the answer, in milliseconds.
    pub timeout_ms: u64,
    /// The longest connecting may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How many requests to one endpoint may be under way at once, where the endpoint does not say.
    pub max_in_flight: usize,
    /// When a failed delivery is tried again.
    pub retry: RetryOptions,
    /// NATS as a destination.
    pub nats: nats::Options,
    /// The proxy that HTTP goes through.
    pub proxy: client::proxy::Options,
    /// Whom HTTPS trusts.
    pub tls: client::tls::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            connect_timeout_ms: 5_000,
            max_in_flight: 100,
            retry: RetryOptions::default(),
            nats: nats::Options::default(),
            proxy: client::proxy::Options::default(),
            tls: client::tls::Options::default(),
        }
    }
}

/// The delivery stage.
pub struct Deliver {
    queue: Arc<dyn Queue>,
    catalog: Arc<dyn Catalog>,
    wires: Wires,
    guests: Guests,
    options: Options,
    lanes: RwLock<HashMap<EndpointId, Arc<Mutex<Lane>>>>,
    draining: AtomicBool,
    under_way: AtomicUsize,
    /// Up to here everybody goes at once; beyond, an application waits for its share.
    open: usize,
    gate: Gate,
    ended: Notify,
    meters: Meters,
}

struct Meters {
    delivered: metrics::Counter,
    failed: metrics::Counter,
    seconds: metrics::Histogram,
    arrival: metrics::Histogram,
}

impl Deliver {
    /// A stage that is not running yet. At most `requests` are under way at once; one application may have half of them.
    pub fn new(
        queue: Arc<dyn Queue>,
        catalog: Arc<dyn Catalog>,
        (wires, guests): (Wires, Guests),
        options: Options,
        requests: usize,
    ) -> Arc<Self> {
        let open = requests / 4;
        let meters = Meters {
            delivered: metrics::counter!("octohooks_attempts_total", "outcome" => "delivered"),
            failed: metrics::counter!("octohooks_attempts_total", "outcome" => "failed"),
            seconds: metrics::histogram!("octohooks_attempt_seconds"),
            arrival: metrics::histogram!("octohooks_accept_to_delivered_seconds"),
        };
        Arc::new(Self {
            queue,
            catalog,
            wires,
            guests,
            options,
            lanes: RwLock::default(),
            draining: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            open,
            gate: Gate::new(requests - open, open.max(1)),
            ended: Notify::new(),
            meters,
        })
    }

    /// Delivers until the store is closed.
    pub async fn run(self: Arc<Self>) {
        let watcher = tokio::spawn(self.clone().watch_catalog());
        for endpoint in self.queue.endpoints_aside() {
            let lane = self.lane(endpoint, true);
            self.advance(&lane, endpoint);
        }
        loop {
            match self.queue.next_deliveries(BATCH).await {
                Ok(deliveries) => deliveries.into_iter().for_each(|delivery| self.offer(delivery)),
                Err(StoreError::Closed) => break,
                Err(error) => {
                    tracing::error!(%error, "deliveries could not be read; tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        watcher.abort();
    }

    /// Starts no more attempts and waits for those under way, at most this long; how many were not waited for.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.draining.store(true, Ordering::SeqCst);
        let all_ended = async {
            while self.under_way.load(Ordering::SeqCst) > 0 {
                self.ended.notified().await;
            }
        };
        let _in_time = tokio::time::timeout(limit, all_ended).await;
        self.under_way.load(Ordering::SeqCst)
    }

    /// How many lanes there are, how many deliveries wait in them, and how many attempts are under way.
    #[must_use]
    pub fn depths(&self) -> (usize, usize, usize) {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let queued = lanes.values().map(|lane| lock(lane).depths().0).sum();
        (lanes.len(), queued, self.under_way.load(Ordering::Relaxed))
    }

    fn offer(self: &Arc<Self>, delivery: Arc<Delivery>) {
        let endpoint = delivery.key.endpoint;
        let lane = self.lane(endpoint, false);
        {
            let mut lane = lock(&lane);
            if let Some(over) = lane.offer(delivery) {
                // Under the lane's lock, so that what is set aside keeps its order.
                self.queue.set_aside(over);
            }
        }
        self.advance(&lane, endpoint);
    }

    /// Does what the lane wants done, until it rests.
    fn advance(self: &Arc<Self>, lane: &Arc<Mutex<Lane>>, endpoint: EndpointId) {
        while !self.draining.load(Ordering::Relaxed) {
            let (late, step) = {
                let mut lane = lock(lane);
                (lane.expired(clock::now()), lane.step(clock::instant()))
            };
            late.into_iter().for_each(|delivery| self.queue.settle(expired(delivery)));
            match step {
                Step::Send(delivery) => {
                    let is_open = self.under_way.fetch_add(1, Ordering::SeqCst) < self.open;
                    tokio::spawn(self.clone().attempt(lane.clone(), delivery, is_open));
                }
                Step::WakeAt(at) => {
                    let (stage, lane) = (self.clone(), lane.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep_until(at.into()).await;
                        stage.advance(&lane, endpoint);
                    });
                    return;
                }
                Step::Fetch(count) => {
                    tokio::spawn(self.clone().fetch(lane.clone(), endpoint, count));
                }
                Step::Rest => return,
            }
        }
    }

    async fn fetch(self: Arc<Self>, lane: Arc<Mutex<Lane>>, endpoint: EndpointId, count: usize) {
        match self.queue.take_aside(endpoint, count).await {
            Ok(deliveries) => lock(&lane).fetched(deliveries),
            Err(error) => {
                tracing::error!(%endpoint, %error, "what was set aside could not be read; tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                lock(&lane).not_fetched();
            }
        }
        self.advance(&lane, endpoint);
    }

    /// One attempt, from its start to its record.
    async fn attempt(
        self: Arc<Self>,
        lane: Arc<Mutex<Lane>>,
        delivery: Arc<Delivery>,
        is_open: bool,
    ) {
        let id = delivery.key.endpoint;
        let place = match is_open {
            true => None,
            false => Some(self.gate.turn(delivery.message.application).await),
        };
        let found = self.catalog.snapshot().endpoint(id).cloned();
        let settlement = match found.filter(|endpoint| endpoint.enabled) {
            Some(_) if delivery.message.has_expired(clock::now()) => (expired(delivery), None),
            Some(endpoint) => self.attempt_at(&endpoint, delivery).await,
            None => (ended(delivery), None),
        };
        drop(place);
        let (settlement, meaning) = settlement;
        self.queue.settle(settlement);
        if meaning == Some(Meaning::Disable) {
            self.disable(id).await;
        }
        lock(&lane).finished();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.draining.load(Ordering::SeqCst) {
            self.ended.notify_one();
        }
        self.advance(&lane, id);
    }

    /// Changes the endpoint's lane, if it has one, and goes on with it.
    pub fn at_lane(self: &Arc<Self>, endpoint: EndpointId, change: impl FnOnce(&mut Lane)) {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(lane) = lanes.get(&endpoint).cloned() else { return };
        drop(lanes);
        change(&mut lock(&lane));
        self.advance(&lane, endpoint);
    }

    /// The endpoint's lane, made if there is none; `aside` if the store holds deliveries for it.
    fn lane(&self, endpoint: EndpointId, aside: bool) -> Arc<Mutex<Lane>> {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&endpoint) {
            return lane.clone();
        }
        drop(lanes);
        let snapshot = self.catalog.snapshot();
        let limits = self.limits(snapshot.endpoint(endpoint).map(Arc::as_ref));
        let new = Lane::new(limits, aside);
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(endpoint).or_insert_with(|| Arc::new(Mutex::new(new))).clone()
    }

    fn limits(&self, endpoint: Option<&Endpoint>) -> Limits {
        let own =
            endpoint.and_then(|e| e.max_in_flight).and_then(|n| usize::try_from(n.get()).ok());
        Limits {
            rate: endpoint.and_then(|e| e.rate_limit),
            in_flight: own.unwrap_or(self.options.max_in_flight).max(1),
        }
    }

    /// Lanes follow their endpoints: changed limits count at once, what is disabled or gone is emptied.
    async fn watch_catalog(self: Arc<Self>) {
        let mut changes = self.catalog.watch();
        while changes.changed().await.is_ok() {
            let snapshot = self.catalog.snapshot();
            let lanes: Vec<_> = {
                let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
                lanes.iter().map(|(id, lane)| (*id, lane.clone())).collect()
            };
            for (id, lane) in lanes {
                match snapshot.endpoint(id) {
                    Some(endpoint) if endpoint.enabled => {
                        lock(&lane).set_limits(self.limits(Some(endpoint)));
                    }
                    Some(_) => self.empty(&lane),
                    None => {
                        self.empty(&lane);
                        // Its id is never used again.
                        self.lanes.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    }
                }
                self.advance(&lane, id);
            }
        }
    }

    fn empty(&self, lane: &Mutex<Lane>) {
        let cleared = lock(lane).clear();
        for delivery in cleared {
            self.queue.settle(ended(delivery));
        }
    }
}

/// How a delivery ends whose endpoint is disabled or gone.
fn ended(delivery: Arc<Delivery>) -> Settlement {
    Settlement { delivery, attempt: None, next: Next::Disabled, notice: None }
}

/// How a delivery ends that it is too late to attempt.
fn expired(delivery: Arc<Delivery>) -> Settlement {
    metrics::counter!("octohooks_deliveries_expired_total").increment(1);
    Settlement { delivery, attempt: None, next: Next::Expired, notice: None }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}
