//! Dispatch: a message in, its deliveries out. The application's plugin gives a verdict, [`route`] finds the endpoints
//! each of its dispatches means, and from then on deliveries exist.
//!
//! Plugins run on a runtime of their own, so that a busy one delays neither senders nor deliveries. Whatever a plugin
//! does, its message is dispatched, dropped on purpose, or held where a person sees it: never lost.

use crate::{
    clock,
    model::{
        catalog::{Change, Tenant},
        dispatch::Verdict,
        id::{ApplicationId, Digest},
        message::Held,
        plugin::Plugin,
    },
    plugin::{Call, CallFailure, Called, Host, Level, Loaded, Registry, Settings},
    store::{Catalog, Dispatched, LeasedMessage, Queue, StoreError},
};
use deliveries::deliveries;
use futures_util::FutureExt;
use hold::{STARVED, after_failure, hold};
use quarantine::Failures;
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::runtime::Handle;
use turnstile::Turnstile;

mod deliveries;
mod hold;
mod quarantine;
pub mod route;
pub mod turnstile;

/// How many messages are taken from the store at once.
const BATCH: usize = 256;
/// Why a message is parked whose plugin is in quarantine.
const QUARANTINED: &str = "quarantined";

/// The dispatch stage.
pub struct Dispatcher {
    queue: Arc<dyn Queue>,
    catalog: Arc<dyn Catalog>,
    host: Host,
    registry: Arc<Registry>,
    guests: Handle,
    settings: RwLock<HashMap<ApplicationId, Prepared>>,
    turnstiles: Mutex<HashMap<ApplicationId, Turnstile>>,
    failures: Failures,
    meters: Meters,
}

/// A plugin, and its settings as calls take them.
type Prepared = (Arc<Plugin>, Arc<Settings>);

struct Meters {
    dispatched: metrics::Counter,
    seconds: metrics::Histogram,
    passed: metrics::Counter,
    sent: metrics::Counter,
    call_seconds: metrics::Histogram,
    wait_seconds: metrics::Histogram,
}

impl Dispatcher {
    /// A stage that is not running yet. Plugins run on `guests`.
    pub fn new(
        queue: Arc<dyn Queue>,
        catalog: Arc<dyn Catalog>,
        host: Host,
        registry: Arc<Registry>,
        guests: Handle,
    ) -> Arc<Self> {
        let meters = Meters {
            dispatched: metrics::counter!("octohooks_messages_dispatched_total"),
            seconds: metrics::histogram!("octohooks_dispatch_seconds"),
            passed: metrics::counter!("octohooks_plugin_calls_total", "outcome" => "pass"),
            sent: metrics::counter!("octohooks_plugin_calls_total", "outcome" => "send"),
            call_seconds: metrics::histogram!("octohooks_plugin_call_seconds"),
            wait_seconds: metrics::histogram!("octohooks_plugin_wait_seconds"),
        };
        let (settings, turnstiles) = (RwLock::default(), Mutex::default());
        let failures = Failures::default();
        Arc::new(Self {
            queue,
            catalog,
            host,
            registry,
            guests,
            settings,
            turnstiles,
            failures,
            meters,
        })
    }

    /// Dispatches until the store is closed.
    pub async fn run(self: Arc<Self>) {
        for application in self.queue.applications_crowded() {
            self.turnstile(application, |turnstile| *turnstile = Turnstile::crowded());
            self.advance(application);
        }
        loop {
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
            tenant.is_some_and(|tenant| tenant.plugin.is_some())
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
        self.guests.spawn(async move {
            let (application, bytes) = (leased.message.application, leased.message.payload.len());
            // A fault of ours must not keep the message leased, or its place, for ever.
            let transformed = AssertUnwindSafe(stage.transform(&leased)).catch_unwind().await;
            let made = transformed.unwrap_or_else(|_| {
                let reason = "the gateway failed while calling the plugin; its log says why";
                let (kind, reason) = ("internal".to_owned(), reason.to_owned());
                Dispatched::Held(Held::Parked { kind, reason }, None)
            });
            stage.queue.dispatched(leased, made);
            let count = stage.turnstile(application, |turnstile| {
                turnstile.leave(bytes);
                turnstile.fetch()
            });
            stage.start_fetch(application, count);
        });
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

    /// Runs the plugin: what its verdict makes of the message, or why that waits.
    async fn transform(&self, leased: &LeasedMessage) -> Dispatched {
        let arrived = clock::instant();
        let application = leased.message.application;
        let turn = self.host.turn(application).await;
        self.meters.wait_seconds.record(arrived.elapsed().as_secs_f64());
        // After the wait: what was uploaded meanwhile counts.
        let tenant = self.catalog.snapshot().tenant(application).cloned();
        let with_plugin = tenant.and_then(|tenant| Some((tenant.plugin.clone()?, tenant)));
        let Some((plugin, tenant)) = with_plugin else { return self.untouched(leased) };
        if let Some(reason) = plugin.quarantined.clone() {
            let parked = Held::Parked { kind: QUARANTINED.to_owned(), reason };
            return hold(leased, &plugin, QUARANTINED, parked);
        }
        let loaded = match self.loaded(plugin.digest).await {
            Ok(loaded) => loaded,
            Err(failure) => return hold(leased, &plugin, "not-loaded", failure.held(leased.calls)),
        };
        let settings = self.settings_of(&plugin);
        let call = Call { message: leased.message.clone(), tenant: tenant.clone(), settings };
        let called = self.host.call_in_turn(turn, &loaded, call).await;
        self.meters.call_seconds.record(called.cost.wall.as_secs_f64());
        note_log(leased, &called);
        self.count(&plugin, called.result.as_ref().err()).await;
        match called.result {
            Ok(Verdict::Drop(reason)) => hold(leased, &plugin, "drop", Held::Dropped { reason }),
            Ok(verdict) => {
                match verdict {
                    Verdict::Pass => self.meters.passed.increment(1),
                    _ => self.meters.sent.increment(1),
                }
                self.route(leased, &tenant, Some(plugin.digest), &verdict)
            }
            Err(failure) => {
                let held = after_failure(&failure, leased.calls + 1);
                hold(leased, &plugin, failure.kind(), held)
            }
        }
    }

    /// Counts failures in a row, and puts a plugin in quarantine that does nothing else.
    async fn count(&self, plugin: &Plugin, failure: Option<&CallFailure>) {
        let application = plugin.application;
        let Some(failure) = failure else { return self.failures.succeeded(application) };
        let most = self.host.options().quarantine_after;
        if !failure.is_fault() || !self.failures.failed(application, plugin.digest, most) {
            return;
        }
        let reason = format!("{most} failures in a row; the last: {failure}");
        tracing::warn!(%application, plugin = %plugin.digest, reason, "a plugin is in quarantine");
        let change = Change::QuarantinePlugin(application, plugin.digest, reason);
        if let Err(error) = self.catalog.change(change).await {
            tracing::debug!(%error, "it was replaced meanwhile, or is called on");
        }
    }

    /// The deliveries of a message that no plugin is to see. None if its application is gone: nobody is left to send to.
    fn untouched(&self, leased: &LeasedMessage) -> Dispatched {
        match self.catalog.snapshot().tenant(leased.message.application) {
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

    /// The component, compiled when it was uploaded or declared, or now after a start.
    async fn loaded(&self, digest: Digest) -> Result<Arc<Loaded>, NotLoaded> {
        let load = async {
            let code = self.catalog.code(digest).await?;
            let missing = || NotLoaded::Bad(format!("the component {digest} is not in the store"));
            let (code, host) = (code.ok_or_else(missing)?, self.host.clone());
            let load = tokio::task::spawn_blocking(move || host.load(&code)).await;
            let bad = |error: &dyn std::fmt::Display| NotLoaded::Bad(error.to_string());
            load.map_err(|error| bad(&error))?.map_err(|error| bad(&error))
        };
        self.registry.get_or_load(&digest, load).await
    }

    fn settings_of(&self, plugin: &Arc<Plugin>) -> Arc<Settings> {
        let known = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, settings)) = known.get(&plugin.application)
            && Arc::ptr_eq(of, plugin)
        {
            return settings.clone();
        }
        drop(known);
        let settings = Arc::new(Settings::from(plugin.settings.clone()));
        let mut known = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(plugin.application, (plugin.clone(), settings.clone()));
        settings
    }
}

/// Why a component that was checked when it came is not there.
#[derive(Debug, thiserror::Error)]
enum NotLoaded {
    /// Not the component's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It will not be there next time either.
    #[error("{0}")]
    Bad(String),
}

impl NotLoaded {
    /// What becomes of a message that has had that many calls.
    fn held(&self, calls: u32) -> Held {
        let reason = self.to_string();
        match self {
            Self::Store(_) => Held::Retry { due: clock::now() + STARVED, calls, reason },
            Self::Bad(_) => Held::Parked { kind: "not-loaded".into(), reason },
        }
    }
}

fn note_log(leased: &LeasedMessage, called: &Called) {
    let message = &leased.message;
    for line in &called.log {
        let (id, application) = (message.id, message.application);
        match line.level {
            Level::Error | Level::Warn => {
                tracing::warn!(target: "plugin", message_id = %id, %application, "{}", line.text);
            }
            Level::Info => {
                tracing::info!(target: "plugin", message_id = %id, %application, "{}", line.text);
            }
            Level::Debug => {
                tracing::debug!(target: "plugin", message_id = %id, %application, "{}", line.text);
            }
        }
    }
    if called.log_dropped > 0 {
        tracing::warn!(target: "plugin", message_id = %message.id, dropped = called.log_dropped, "too many log lines");
    }
}
