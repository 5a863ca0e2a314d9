//! Dispatch: a message in, its deliveries out. The application's plugin gives a verdict, [`route`] finds the endpoints
//! each of its dispatches means, and from then on deliveries exist.
//!
//! Plugins run on a runtime of their own, so that a busy one delays neither senders nor deliveries. Whatever a plugin
//! does, its message is dispatched, dropped on purpose, or held where a person sees it: never lost.

use crate::{
    clock,
    model::{
        Millis,
        catalog::Tenant,
        delivery::{Content, Delivery, DeliveryKey},
        dispatch::{Dispatch, Target, Verdict},
        id::{ApplicationId, Digest},
        message::Held,
        plugin::Plugin,
    },
    plugin::{Call, CallFailure, Called, Host, Level, Loaded, Registry, Settings},
    store::{Catalog, Dispatched, LeasedMessage, Queue, StoreError},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Handle;

pub mod route;

/// How many messages are taken from the store at once.
const BATCH: usize = 256;
/// How many messages of one application may be in its plugin or wait for it; more are held for a moment.
const CALLS: usize = 2048;
/// How long those are held, in milliseconds.
const CROWDED: Millis = 1000;
/// How often a message may be called again.
const RETRIES: u32 = 20;
/// How much longer each time, in milliseconds, when the plugin did not get the CPU it may have.
const STARVED: Millis = 1000;

/// The dispatch stage.
pub struct Dispatcher {
    queue: Arc<dyn Queue>,
    catalog: Arc<dyn Catalog>,
    host: Host,
    registry: Arc<Registry>,
    guests: Handle,
    settings: RwLock<HashMap<ApplicationId, Prepared>>,
    calls: Mutex<HashMap<ApplicationId, Arc<AtomicUsize>>>,
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
        let (settings, calls) = (RwLock::default(), Mutex::default());
        Arc::new(Self { queue, catalog, host, registry, guests, settings, calls, meters })
    }

    /// Dispatches until the store is closed.
    pub async fn run(self: Arc<Self>) {
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

    /// One message: at once where no plugin is concerned, else on the guests' runtime.
    fn dispatch(self: &Arc<Self>, leased: LeasedMessage) {
        let snapshot = self.catalog.snapshot();
        let Some(tenant) = snapshot.tenant(leased.message.application) else {
            // The application was deleted: nobody is left to send to.
            return self.queue.dispatched(leased, Dispatched::Deliveries(Vec::new()));
        };
        let Some(plugin) = tenant.plugin.clone() else {
            return self.finish(leased, tenant, None, &Verdict::Pass);
        };
        let calls = self.calls_of(leased.message.application);
        if calls.fetch_add(1, Ordering::Relaxed) >= CALLS {
            calls.fetch_sub(1, Ordering::Relaxed);
            let due = clock::now() + CROWDED;
            let reason = "the plugin is slower than its messages come".to_owned();
            let held = Held::Retry { due, calls: leased.calls, reason };
            return self.queue.dispatched(leased, Dispatched::Held(held));
        }
        let (stage, tenant) = (self.clone(), tenant.clone());
        self.guests.spawn(async move {
            stage.transform(leased, &tenant, &plugin).await;
            calls.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Runs the plugin and follows its verdict, or holds the message.
    async fn transform(&self, leased: LeasedMessage, tenant: &Arc<Tenant>, plugin: &Arc<Plugin>) {
        let loaded = match self.loaded(plugin.digest).await {
            Ok(loaded) => loaded,
            Err(reason) => {
                let kind = "not-loaded";
                let held = Held::Parked { kind: kind.into(), reason };
                return self.hold(leased, plugin.digest, kind, held);
            }
        };
        let call = Call {
            message: leased.message.clone(),
            tenant: tenant.clone(),
            settings: self.settings_of(plugin),
        };
        let called = self.host.call(&loaded, call).await;
        self.meters.call_seconds.record(called.cost.wall.as_secs_f64());
        self.meters.wait_seconds.record(called.cost.queued.as_secs_f64());
        note_log(&leased, &called);
        match called.result {
            Ok(Verdict::Drop(reason)) => {
                self.hold(leased, plugin.digest, "drop", Held::Dropped { reason });
            }
            Ok(verdict) => {
                match verdict {
                    Verdict::Pass => self.meters.passed.increment(1),
                    _ => self.meters.sent.increment(1),
                }
                self.finish(leased, tenant, Some(plugin.digest), &verdict);
            }
            Err(failure) => {
                let held = after_failure(&failure, leased.calls + 1);
                self.hold(leased, plugin.digest, failure.kind(), held);
            }
        }
    }

    /// Routes the verdict's dispatches and makes the deliveries.
    fn finish(
        &self,
        leased: LeasedMessage,
        tenant: &Tenant,
        plugin: Option<Digest>,
        verdict: &Verdict,
    ) {
        let now = clock::now();
        let deliveries = deliveries(&leased, tenant, plugin, verdict, now);
        self.meters.dispatched.increment(1);
        let since = Duration::from_millis(now.saturating_sub(leased.message.accepted));
        self.meters.seconds.record(since.as_secs_f64());
        self.queue.dispatched(leased, Dispatched::Deliveries(deliveries));
    }

    fn hold(&self, leased: LeasedMessage, plugin: Digest, outcome: &'static str, held: Held) {
        metrics::counter!("octohooks_plugin_calls_total", "outcome" => outcome).increment(1);
        let message_id = leased.message.id;
        match &held {
            Held::Dropped { .. } => {}
            Held::Retry { reason, .. } => {
                tracing::info!(%message_id, %plugin, outcome, reason, "a message waits for another call");
            }
            Held::Parked { reason, .. } => {
                tracing::warn!(%message_id, %plugin, outcome, reason, "a message is parked");
            }
        }
        self.queue.dispatched(leased, Dispatched::Held(held));
    }

    /// The component, compiled when it was uploaded or declared, or now after a start.
    async fn loaded(&self, digest: Digest) -> Result<Arc<Loaded>, String> {
        if let Some(loaded) = self.registry.get(&digest) {
            return Ok(loaded);
        }
        let code = self.catalog.code(digest).await.map_err(|error| error.to_string())?;
        let code = code.ok_or_else(|| format!("the component {digest} is not in the store"))?;
        let host = self.host.clone();
        let load = tokio::task::spawn_blocking(move || host.load(&code)).await;
        let loaded = load.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.registry.insert(&loaded);
        Ok(loaded)
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

    fn calls_of(&self, application: ApplicationId) -> Arc<AtomicUsize> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(application).or_default().clone()
    }
}

/// The deliveries of a message. One that exists from before a crash is not made again.
fn deliveries(
    leased: &LeasedMessage,
    tenant: &Tenant,
    plugin: Option<Digest>,
    verdict: &Verdict,
    now: Millis,
) -> Vec<Arc<Delivery>> {
    let pass = [pass()];
    let dispatches = match verdict {
        Verdict::Pass => &pass[..],
        Verdict::Drop(_) => &[],
        Verdict::Send(dispatches) => dispatches,
    };
    let message = &leased.message;
    let mut made = Vec::new();
    for (ordinal, dispatch) in (0..).zip(dispatches) {
        let event_type = dispatch.event_type.as_ref().unwrap_or(&message.event_type);
        let content = content(dispatch);
        for endpoint in route::recipients(tenant, &dispatch.target, event_type, &message.channels) {
            let key = DeliveryKey { message: leased.sequence, ordinal, endpoint: endpoint.id };
            if leased.done.contains(&key) {
                continue;
            }
            made.push(Arc::new(Delivery {
                key,
                message: message.clone(),
                content: content.clone(),
                plugin,
                attempts: 0,
                due: now + dispatch.delay,
            }));
        }
    }
    made
}

const fn pass() -> Dispatch {
    Dispatch {
        target: Target::Subscribed,
        event_type: None,
        content_type: None,
        payload: None,
        headers: Vec::new(),
        ordering_key: None,
        delay: 0,
    }
}

/// What a dispatch wants different from its message, if anything.
fn content(dispatch: &Dispatch) -> Option<Arc<Content>> {
    let content = Content {
        event_type: dispatch.event_type.clone(),
        content_type: dispatch.content_type.clone(),
        payload: dispatch.payload.clone(),
        headers: dispatch.headers.clone(),
        ordering_key: dispatch.ordering_key.clone(),
    };
    (content != Content::default()).then(|| Arc::new(content))
}

/// What becomes of a message whose plugin failed, after that many calls.
fn after_failure(failure: &CallFailure, calls: u32) -> Held {
    match failure {
        // Nothing it did: the CPU was not to be had.
        CallFailure::Timeout(_) if calls < RETRIES => {
            let due = clock::now().saturating_add(STARVED * u64::from(calls));
            Held::Retry { due, calls, reason: failure.to_string() }
        }
        CallFailure::Retry { reason, after_ms } if calls < RETRIES => {
            let due = clock::now().saturating_add(*after_ms);
            Held::Retry { due, calls, reason: reason.clone() }
        }
        other => Held::Parked { kind: other.kind().to_owned(), reason: other.to_string() },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starved_call_is_made_again_and_a_failed_one_waits_for_a_person() {
        let starved = CallFailure::Timeout(1000);
        let before = clock::now();
        for calls in [1, 2, RETRIES - 1] {
            let Held::Retry { due, calls: noted, .. } = after_failure(&starved, calls) else {
                panic!("call {calls} is not the last")
            };
            assert_eq!(noted, calls);
            assert!(due >= before + STARVED * u64::from(calls));
        }
        for (failure, calls) in [(starved, RETRIES), (CallFailure::CpuLimit(100), 1)] {
            let held = after_failure(&failure, calls);
            assert_eq!(held.state(), "parked");
            assert_eq!(held.reason(), failure.to_string());
        }
    }
}
