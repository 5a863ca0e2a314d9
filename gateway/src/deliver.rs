//! Deliver: takes deliveries from the store, lets each endpoint's lane admit them, sends them, decides what follows and
//! hands that back to be recorded.
//!
//! [`lanes`], [`lane`], [`limit`], [`health`], [`breaker`], [`adapt`], [`schedule`], [`decide`](decide::decide), [`sign`](sign::sign), [`payload`] and [`guard`]
//! are pure; [`client`] speaks HTTP and [`nats`] NATS; this file acts. The lanes are locked for a moment and never across
//! a wait. Nothing polls: a lane moves when a delivery comes, when an attempt ends, when its next slot is there, or when
//! its limits change.

use crate::{
    clock,
    model::{
        delivery::{Delivery, Next},
        endpoint::RateLimit,
        id::EndpointId,
    },
    store::{Catalog, Queue, Settlement, StoreError},
};
use attempt::Tried;
use futures_util::FutureExt;
use guests::Guests;
use health::Policy;
use lane::ordered::Fetch;
use lanes::{Lanes, Rules, Step};
use schedule::RetryOptions;
use serde::{Deserialize, Serialize};
use std::{
    num::NonZeroUsize,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use wires::Wires;

mod attempt;
mod heed;
pub mod lanes;
pub mod lane;
pub mod limit;
pub mod health;
pub mod breaker;
pub mod adapt;
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
    /// How many requests may be under way at once, to all endpoints; none: as many as cores and file descriptors bear.
    pub max_in_flight_total: Option<NonZeroUsize>,
    /// How many requests may start in a time, to all endpoints; none: no limit.
    pub rate_limit: Option<RateLimit>,
    /// When a failed delivery is tried again.
    pub retry: RetryOptions,
    /// Whether fewer requests are under way to a receiver that does not keep up.
    pub adaptive: bool,
    /// When an endpoint that fails is left alone.
    pub breaker: breaker::Options,
    /// An endpoint is disabled whose attempts only failed for that long, in seconds. 0: never.
    pub disable_after_seconds: u64,
    /// NATS as a destination.
    pub nats: nats::Options,
    /// The proxy that HTTP goes through.
    pub proxy: client::proxy::Options,
    /// Whom HTTPS trusts.
    pub tls: client::tls::Options,
    /// Who resolves names.
    pub dns: client::names::Options,
}

impl Options {
    /// What is wrong with these options, if anything: the key and what would be right.
    pub fn check(&self) -> Result<(), (String, String)> {
        let of = |section: &'static str| {
            move |(key, right): (&str, String)| (format!("{section}.{key}"), right)
        };
        self.retry.check().map_err(of("retry"))?;
        self.breaker.check().map_err(of("breaker"))?;
        match self.max_in_flight {
            0 => Err(("max_in_flight".into(), "at least 1".into())),
            _ => Ok(()),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            connect_timeout_ms: 5_000,
            max_in_flight: 100,
            max_in_flight_total: None,
            rate_limit: None,
            retry: RetryOptions::default(),
            adaptive: true,
            breaker: breaker::Options::default(),
            // Five days: longer than a long weekend, and than the retry schedule.
            disable_after_seconds: 432_000,
            nats: nats::Options::default(),
            proxy: client::proxy::Options::default(),
            tls: client::tls::Options::default(),
            dns: client::names::Options::default(),
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
    policy: Policy,
    lanes: Mutex<Lanes>,
    /// Told when the lanes are to be woken earlier than they were.
    earlier: Notify,
    draining: AtomicBool,
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
    /// A stage that is not running yet. There are file descriptors for so many requests at once.
    pub fn new(
        queue: Arc<dyn Queue>,
        catalog: Arc<dyn Catalog>,
        (wires, guests): (Wires, Guests),
        options: Options,
        requests: usize,
    ) -> Arc<Self> {
        let rules = Rules {
            rate: options.rate_limit,
            places: places(options.max_in_flight_total, requests),
            in_flight: options.max_in_flight,
            began: (clock::instant(), clock::now()),
        };
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
            policy: Policy::from(&options),
            options,
            lanes: Mutex::new(Lanes::new(rules)),
            earlier: Notify::new(),
            draining: AtomicBool::new(false),
            ended: Notify::new(),
            meters,
        })
    }

    /// Delivers until the store is closed.
    pub async fn run(self: Arc<Self>) {
        let watcher = tokio::spawn(self.clone().watch_catalog());
        let waker = tokio::spawn(self.clone().wake_lanes());
        self.restore_health().await;
        self.change(|lanes| {
            let (catalog, now) = (self.catalog.snapshot(), clock::instant());
            let aside = self.queue.endpoints_aside();
            aside.into_iter().for_each(|endpoint| lanes.set_aside(&catalog, endpoint, now));
        });
        loop {
            match self.queue.next_deliveries(BATCH).await {
                Ok(deliveries) => self.offer(deliveries),
                Err(StoreError::Closed) => break,
                Err(error) => {
                    tracing::error!(%error, "deliveries could not be read; tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        watcher.abort();
        waker.abort();
    }

    /// Starts no more attempts and waits for those under way, at most this long; how many were not waited for.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.draining.store(true, Ordering::SeqCst);
        let under_way = || self.depths().2;
        let all_ended = async {
            while under_way() > 0 {
                self.ended.notified().await;
            }
        };
        let _in_time = tokio::time::timeout(limit, all_ended).await;
        under_way()
    }

    /// How many lanes there are, how many deliveries wait in them, and how many attempts are under way.
    #[must_use]
    pub fn depths(&self) -> (usize, usize, usize) {
        self.lanes().depths()
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the lanes, and does what they want done then.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Lanes) -> T) -> T {
        let mut lanes = self.lanes();
        let changed = change(&mut lanes);
        // Under the lock, so that no fetch misses it.
        lanes.over().into_iter().for_each(|over| self.queue.set_aside(over));
        while !self.draining.load(Ordering::Relaxed)
            && let Some(step) = lanes.next(clock::instant(), clock::now())
        {
            drop(lanes);
            match step {
                Step::Send(delivery) => {
                    tokio::spawn(self.clone().attempt(delivery));
                }
                Step::Expire(delivery) => self.queue.settle(expired(delivery)),
                Step::Fetch(endpoint, fetch) => {
                    tokio::spawn(self.clone().fetch(endpoint, fetch));
                }
                Step::Learn(endpoint, count) => {
                    tokio::spawn(self.clone().learn(endpoint, count));
                }
            }
            lanes = self.lanes();
        }
        if lanes.is_alarm_earlier() {
            self.earlier.notify_one();
        }
        changed
    }

    fn offer(self: &Arc<Self>, deliveries: Vec<Arc<Delivery>>) {
        self.change(|lanes| {
            // Under the lock, as all that the lanes know of the catalog: what is changed later is told to them later.
            let (catalog, now) = (self.catalog.snapshot(), clock::instant());
            for delivery in deliveries {
                if let Some(over) = lanes.offer(&catalog, delivery, now) {
                    // Also under the lock, so that no fetch misses it.
                    self.queue.set_aside(over);
                }
            }
        });
    }

    /// Lanes are woken when their times have come.
    async fn wake_lanes(self: Arc<Self>) {
        loop {
            let alarm = self.lanes().alarm();
            let earlier = self.earlier.notified();
            match alarm {
                None => earlier.await,
                Some(at) => drop(tokio::time::timeout_at(at.into(), earlier).await),
            }
            self.change(|lanes| lanes.wake(clock::instant()));
        }
    }

    async fn fetch(self: Arc<Self>, endpoint: EndpointId, fetch: Fetch) {
        let found = match &fetch {
            Fetch::Oldest(count) => self.queue.take_aside(endpoint, *count).await,
            Fetch::Places(places) => self.queue.take_places(endpoint, places).await,
        };
        let found = match found {
            Ok(deliveries) => Some(deliveries),
            Err(error) => {
                tracing::error!(%endpoint, %error, "what was set aside could not be read; tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                None
            }
        };
        self.change(|lanes| lanes.fetched(endpoint, &fetch, found, clock::instant()));
    }

    /// What waits for an endpoint whose lane begins to keep an order.
    async fn learn(self: Arc<Self>, endpoint: EndpointId, count: u64) {
        let found = loop {
            match self.queue.outstanding(endpoint).await {
                Ok(found) => break found,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%endpoint, %error, "what waits could not be read; tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        self.change(|lanes| lanes.learned(endpoint, count, found, clock::instant()));
    }

    /// One attempt, from its start to its record.
    async fn attempt(self: Arc<Self>, delivery: Arc<Delivery>) {
        let (id, attempted) = (delivery.key.endpoint, delivery.clone());
        // A fault of ours must not hold the lane's place for ever.
        let tried = AssertUnwindSafe(self.tried(delivery)).catch_unwind().await;
        let tried = tried.unwrap_or_else(|_| Tried::not(self.harmed(attempted.clone())));
        let Tried { settlement, disable, told } = tried;
        let comes_again = matches!(settlement.next, Next::RetryAt(_));
        self.queue.settle(settlement);
        if let Some(why) = disable {
            self.disable(id, why).await;
        }
        let follows = self.change(|lanes| {
            // Of one that is disabled nothing comes again, whatever was decided.
            let is_enabled = || self.catalog.snapshot().endpoint(id).is_some_and(|e| e.enabled);
            let ends = !(comes_again && is_enabled());
            let lane = lanes.lane(id);
            let follows = lane.zip(told).and_then(|(lane, told)| self.heed(lane, told));
            lanes.finished(&attempted, ends, clock::instant());
            follows
        });
        if let Some(follows) = follows {
            self.follow_up(id, follows).await;
        }
        if self.draining.load(Ordering::SeqCst) {
            self.ended.notify_one();
        }
    }

    async fn tried(&self, delivery: Arc<Delivery>) -> Tried {
        let found = self.catalog.snapshot().endpoint(delivery.key.endpoint).cloned();
        match found.filter(|endpoint| endpoint.enabled) {
            Some(_) if delivery.message.has_expired(clock::now()) => Tried::not(expired(delivery)),
            Some(endpoint) => self.attempt_at(&endpoint, delivery).await,
            None => Tried::not(ended(delivery)),
        }
    }

    /// Lanes follow the catalog; what was in those that are disabled or gone has ended.
    async fn watch_catalog(self: Arc<Self>) {
        let mut changes = self.catalog.watch();
        while changes.changed().await.is_ok() {
            let cleared = self.change(|lanes| {
                let catalog = self.catalog.snapshot();
                lanes.follow(&catalog, clock::instant())
            });
            cleared.into_iter().for_each(|delivery| self.queue.settle(ended(delivery)));
        }
    }
}

/// How many requests are worth having under way on each core: beyond, they only wait for it.
const PER_CORE: usize = 1024;

/// How many requests may be under way at once, where there are descriptors for so many.
fn places(wanted: Option<NonZeroUsize>, descriptors: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = wanted.map_or(cores * PER_CORE, usize::from);
    wanted.min(descriptors).max(1)
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
