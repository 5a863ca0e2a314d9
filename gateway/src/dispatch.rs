//! Dispatch: a message in, its deliveries out. The application's plugins give a verdict ([`transform`]), [`route`] finds
//! the endpoints each of its dispatches means, and from then on deliveries exist.
//!
//! Plugins run on a runtime of their own, so that a busy one delays neither senders nor deliveries. Whatever a plugin
//! does, its message is dispatched, dropped on purpose, or held where a person sees it: never lost.

use crate::{
    clock,
    model::{
        catalog::Tenant,
        dispatch::Verdict,
        id::{ApplicationId, Digest},
        message::Held,
    },
    plugin::{Host, Registry},
    quarantine::Quarantine,
    store::{Catalog, Dispatched, LeasedMessage, Queue, StoreError},
    trials::Trials,
};
use components::Prepared;
use deliveries::deliveries;
use futures_util::FutureExt;
use line::Line;
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::runtime::Handle;
use turnstile::Turnstile;

mod transform;
mod chain;
mod components;
mod deliveries;
mod hold;
mod trial;
pub mod route;
pub mod line;
pub mod turnstile;

/// How many messages are taken from the store at once.
const BATCH: usize = 256;

/// The dispatch stage.
pub struct Dispatcher {
    queue: Arc<dyn Queue>,
    catalog: Arc<dyn Catalog>,
    host: Host,
    registry: Arc<Registry>,
    guests: Handle,
    settings: RwLock<HashMap<ApplicationId, Vec<Prepared>>>,
    turnstiles: Mutex<HashMap<ApplicationId, Turnstile>>,
    lines: Mutex<Lines>,
    quarantine: Quarantine,
    trials: Arc<Trials>,
    meters: Meters,
}

type Lines = HashMap<ApplicationId, Line<(LeasedMessage, Dispatched)>>;

struct Meters {
    dispatched: metrics::Counter,
    seconds: metrics::Histogram,
    passed: metrics::Counter,
    sent: metrics::Counter,
    dropped: metrics::Counter,
    call_seconds: metrics::Histogram,
    wait_seconds: metrics::Histogram,
}

impl Dispatcher {
    /// A stage that is not running yet. Plugins run on `guests`; what is known of them goes to `trials`.
    pub fn new(
        queue: Arc<dyn Queue>,
        catalog: Arc<dyn Catalog>,
        host: &Host,
        registry: &Arc<Registry>,
        trials: &Arc<Trials>,
        guests: Handle,
    ) -> Arc<Self> {
        let meters = Meters {
            dispatched: metrics::counter!("octohooks_messages_dispatched_total"),
            seconds: metrics::histogram!("octohooks_dispatch_seconds"),
            passed: metrics::counter!("octohooks_plugin_calls_total", "outcome" => "pass"),
            sent: metrics::counter!("octohooks_plugin_calls_total", "outcome" => "send"),
            dropped: metrics::counter!("octohooks_plugin_calls_total", "outcome" => "drop"),
            call_seconds: metrics::histogram!("octohooks_plugin_call_seconds"),
            wait_seconds: metrics::histogram!("octohooks_plugin_wait_seconds"),
        };
        let (settings, turnstiles) = (RwLock::default(), Mutex::default());
        let quarantine = Quarantine::new(catalog.clone(), host.options().quarantine_after);
        let (host, registry, trials) = (host.clone(), registry.clone(), trials.clone());
        Arc::new(Self {
            queue,
            catalog,
            host,
            registry,
            guests,
            settings,
            turnstiles,
            lines: Mutex::default(),
            quarantine,
            trials,
            meters,
        })
    }

    /// Dispatches until the store is closed.
    pub async fn run(self: Arc<Self>) {
        let mut crowded = self.queue.applications_crowded();
        for application in &crowded {
            self.turnstile(*application, |turnstile| *turnstile = Turnstile::crowded());
        }
        loop {
            // What was in plugins when the process ended is older than what waited for room there.
            if !self.queue.is_behind_start() {
                crowded.drain(..).for_each(|application| self.advance(application));
            }
            match self.queue.next_messages(BATCH).await {
                Ok(messages) => messages.into_iter().for_each(|message| self.dispatch(message)),
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "messages could not be read; tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// One message: at once where no plugin is concerned, else on the guests' runtime when there is room.
    fn dispatch(self: &Arc<Self>, leased: LeasedMessage) {
        let application = leased.message.application;
        let has_plugin = {
            let catalog = self.catalog.snapshot();
            let tenant = catalog.tenant(application);
            tenant.is_some_and(|tenant| tenant.transforms().next().is_some())
        };
        if !has_plugin {
            let made = self.untouched(&leased);
            return self.queue.dispatched(leased, made);
        }
        let bytes = leased.message.payload.len();
        match self.turnstile(application, |turnstile| turnstile.enter(bytes)) {
            true => self.call(leased),
            false => {
                let held = Held::Crowded { calls: leased.calls };
                self.queue.dispatched(leased, Dispatched::Held(held, None));
            }
        }
    }

    /// One message that went in, on the guests' runtime.
    fn call(self: &Arc<Self>, leased: LeasedMessage) {
        let stage = self.clone();
        let place = self.enter_line(&leased);
        self.guests.spawn(async move {
            let (application, bytes) = (leased.message.application, leased.message.payload.len());
            // A fault of ours must not keep the message leased, or its place, for ever.
            let transformed = AssertUnwindSafe(stage.transform(&leased)).catch_unwind().await;
            let made = transformed.unwrap_or_else(|_| {
                let reason = "the gateway failed while calling the plugin; its log says why";
                let (kind, reason) = ("internal".to_owned(), reason.to_owned());
                Dispatched::Held(Held::Parked { kind, reason }, None)
            });
            stage.hand_over(application, place, leased, made);
            let count = stage.turnstile(application, |turnstile| {
                turnstile.leave(bytes);
                turnstile.fetch()
            });
            stage.start_fetch(application, count);
        });
    }

    /// A place in the application's line, if one of its endpoints asks for an order, or the message was held: what was
    /// parked goes on in order.
    fn enter_line(&self, leased: &LeasedMessage) -> Option<u64> {
        let (application, catalog) = (leased.message.application, self.catalog.snapshot());
        let ordered = leased.held || catalog.tenant(application)?.keeps_order();
        ordered.then(|| self.lines().entry(application).or_default().enter())
    }

    /// What was made of a message goes on, when its place in the line has come.
    fn hand_over(
        &self,
        application: ApplicationId,
        place: Option<u64>,
        leased: LeasedMessage,
        made: Dispatched,
    ) {
        let Some(place) = place else { return self.queue.dispatched(leased, made) };
        // Under the lock, so that nobody overtakes.
        let mut lines = self.lines();
        let line = lines.entry(application).or_default();
        let next = line.leave(place, (leased, made));
        next.into_iter().for_each(|(leased, made)| self.queue.dispatched(leased, made));
        if line.is_empty() {
            lines.remove(&application);
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what waits on disk for room, if there is room.
    fn advance(self: &Arc<Self>, application: ApplicationId) {
        let count = self.turnstile(application, Turnstile::fetch);
        self.start_fetch(application, count);
    }

    fn start_fetch(self: &Arc<Self>, application: ApplicationId, count: Option<usize>) {
        if let Some(count) = count {
            self.guests.spawn(self.clone().fetch(application, count));
        }
    }

    async fn fetch(self: Arc<Self>, application: ApplicationId, count: usize) {
        match self.queue.take_crowded(application, count).await {
            Ok(taken) => {
                self.turnstile(application, |turnstile| {
                    turnstile.fetched(taken.len());
                    taken.iter().for_each(|leased| turnstile.admit(leased.message.payload.len()));
                });
                taken.into_iter().for_each(|leased| self.call(leased));
            }
            Err(error) => {
                tracing::error!(%application, %error, "messages could not be read; tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.turnstile(application, Turnstile::not_fetched);
            }
        }
        self.advance(application);
    }

    fn turnstile<T>(&self, application: ApplicationId, act: impl FnOnce(&mut Turnstile) -> T) -> T {
        let mut turnstiles = self.turnstiles.lock().unwrap_or_else(PoisonError::into_inner);
        let turnstile = turnstiles.entry(application).or_default();
        let acted = act(turnstile);
        if turnstile.idle() {
            turnstiles.remove(&application);
        }
        acted
    }

    /// The deliveries of a message that no plugin is to see. None if its application is gone: nobody is left to send to.
    fn untouched(&self, leased: &LeasedMessage) -> Dispatched {
        match self.catalog.snapshot().tenant(leased.message.application) {
            Some(_) if leased.message.has_expired(clock::now()) => hold::expired(leased),
            Some(tenant) => self.route(leased, tenant, None, &Verdict::Pass),
            None => Dispatched::Deliveries(Vec::new()),
        }
    }

    /// Routes the verdict's dispatches and makes the deliveries.
    fn route(
        &self,
        leased: &LeasedMessage,
        tenant: &Tenant,
        plugin: Option<Digest>,
        verdict: &Verdict,
    ) -> Dispatched {
        let now = clock::now();
        self.meters.dispatched.increment(1);
        let since = Duration::from_millis(now.saturating_sub(leased.message.accepted));
        self.meters.seconds.record(since.as_secs_f64());
        Dispatched::Deliveries(deliveries(leased, tenant, plugin, verdict, now))
    }
}
