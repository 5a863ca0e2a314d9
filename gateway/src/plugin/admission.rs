//! How a component comes in: in turn, so that however many are uploaded at once, few are compiled at once and none
//! keeps the others' applications out; and with a probe at the end, which makes an instance as every call will. What
//! cannot even be instantiated is refused where its author sees it, and not on the first message.

use super::{
    call::{Call, CallFailure, Done, Settings},
    compile::{self, Loaded, Made, Rejected},
    host::{Host, Inner, outcome, within},
    limits::Meter,
    long,
    state::NOT_GRANTED,
};
use crate::{
    clock,
    gate::{Gate, Turn},
    model::{
        catalog::Tenant,
        dispatch::Verdict,
        grants::Capabilities,
        id::{ApplicationId, Digest, MessageId},
        message::Message,
        name::EventType,
    },
};
use bytes::Bytes;
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot};
use uuid::Uuid;

/// Uploads that are compiled or wait to be, of all applications: each is in memory.
const WAITING: usize = 32;
/// And of one.
const WAITING_OF_ONE: usize = 4;
/// Whose turn a probe has: a queue of their own, so that a new version need not wait for what the one before is slow at.
const PROBING: ApplicationId = ApplicationId(Uuid::nil());
/// How often a probe is tried that the machine kept from ending.
const PROBES: u32 = 3;

/// Who compiles now, and who waits to.
#[derive(Debug)]
pub(super) struct Compiles {
    pub(super) gate: Gate,
    uploads: Mutex<HashMap<ApplicationId, usize>>,
}

/// An upload's place, given back when dropped.
struct Place {
    host: Host,
    application: ApplicationId,
}

impl Compiles {
    pub(super) fn new(at_once: usize) -> Self {
        Self { gate: Gate::new(at_once, 1), uploads: Mutex::default() }
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<ApplicationId, usize>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn take(host: &Host, application: ApplicationId) -> Result<Self, Rejected> {
        let mut uploads = host.0.compiles.uploads();
        let all: usize = uploads.values().sum();
        let own = uploads.get(&application).copied().unwrap_or(0);
        if all >= WAITING || own >= WAITING_OF_ONE {
            return Err(Rejected::Busy);
        }
        uploads.insert(application, own + 1);
        Ok(Self { host: host.clone(), application })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut uploads = self.host.0.compiles.uploads();
        if let Some(own) = uploads.get_mut(&self.application) {
            *own -= 1;
            if *own == 0 {
                uploads.remove(&self.application);
            }
        }
    }
}

impl Host {
    /// Takes an upload: checks and compiles it, in turn, and instantiates it once. Goes on to its end when the future
    /// is dropped, since a caller who leaves must not free a place where something still runs.
    /// What it imports and the application is not granted is why it is refused. What was compiled of it is in memory only,
    /// until it is [kept](Self::keep).
    pub async fn admit(&self, tenant: Arc<Tenant>, bytes: Bytes) -> Result<Arc<Loaded>, Rejected> {
        let (host, application) = (self.clone(), tenant.application.id);
        let place = Place::take(self, application)?;
        let job = async move {
            let _place = place;
            let granted = granted(&tenant);
            let loaded = host.in_turn(application, bytes, Some(granted), false).await?;
            host.probe(tenant, &loaded).await.map_err(Rejected::Probe)?;
            Ok(loaded)
        };
        self.guests().spawn(job).await.map_err(|error| Rejected::Unavailable(error.to_string()))?
    }

    /// [`Self::load_in_turn`] of what was admitted before, and may import only what is granted now.
    pub async fn load_for(&self, tenant: &Tenant, bytes: Bytes) -> Result<Arc<Loaded>, Rejected> {
        self.in_turn(tenant.application.id, bytes, Some(granted(tenant)), true).await
    }

    /// Whether the application is granted now what a component imports that is loaded already.
    pub fn allows(tenant: &Tenant, loaded: &Loaded) -> Result<(), Rejected> {
        let granted = granted(tenant);
        match loaded.capabilities.iter().find(|grant| !granted.has(grant)) {
            Some(grant) => Err(Rejected::NotGranted { import: (*grant).to_owned(), grant }),
            None => Ok(()),
        }
    }

    /// The same of a component that was admitted before, by its bytes.
    pub fn may_import(tenant: &Tenant, bytes: &[u8]) -> Result<(), Rejected> {
        compile::granted(bytes, &granted(tenant))
    }

    /// [`Self::load`] where blocking is allowed, and when it is the application's turn if there is something to compile.
    pub async fn load_in_turn(
        &self,
        application: ApplicationId,
        bytes: Bytes,
    ) -> Result<Arc<Loaded>, Rejected> {
        self.in_turn(application, bytes, None, true).await
    }

    /// A caller who leaves gives up waiting. What has begun goes on to its end, and keeps the turn until then.
    async fn in_turn(
        &self,
        application: ApplicationId,
        bytes: Bytes,
        granted: Option<Capabilities>,
        keeps: bool,
    ) -> Result<Arc<Loaded>, Rejected> {
        let (host, (mut caller, loaded)) = (self.clone(), oneshot::channel());
        self.guests().spawn(async move {
            let turn = tokio::select! {
                turn = host.turn_to_compile(application, bytes.clone()) => turn,
                () = caller.closed() => return,
            };
            let loading = host.clone();
            let load = move || loading.load_granted(&bytes, granted.as_ref(), keeps);
            let loaded = match turn {
                Ok(_turn) => blocking(load).await,
                Err(rejected) => Err(rejected),
            };
            let _gone = caller.send(loaded.and_then(|loaded| loaded));
        });
        let ended = |_| Err(Rejected::Unavailable("compiling came to no end".into()));
        loaded.await.unwrap_or_else(ended)
    }

    /// Keeps what was compiled of an upload for the next start, now that it is a version of a plugin: what is refused, or given
    /// up, takes no room on the disk.
    pub async fn keep(&self, loaded: &Arc<Loaded>) {
        let (host, loaded) = (self.clone(), Arc::clone(loaded));
        let kept = blocking(move || {
            let Inner { engine, cache: Some(cache), .. } = &*host.0 else { return };
            if let (Made::Component(ready), Some(_)) = (&loaded.made, loaded.compiled_in) {
                match ready.component().serialize() {
                    Ok(code) => compile::keep(cache, engine, &loaded.digest, &code),
                    Err(error) => tracing::warn!(%error, "a compiled plugin could not be kept"),
                }
            }
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "a compiled plugin could not be kept");
        }
    }

    /// None, where there is nothing to compile.
    async fn turn_to_compile(
        &self,
        application: ApplicationId,
        bytes: Bytes,
    ) -> Result<Option<Turn<'_>>, Rejected> {
        let host = self.clone();
        let compiled = blocking(move || {
            let digest = Digest(Sha256::digest(&bytes).into());
            host.0.cache.as_ref().is_some_and(|cache| cache.has(&host.0.engine, &digest))
        });
        match compiled.await? {
            true => Ok(None),
            false => Ok(Some(self.0.compiles.gate.turn(application).await)),
        }
    }

    /// Where it goes on without its caller.
    fn guests(&self) -> Handle {
        self.0.guests.clone().unwrap_or_else(Handle::current)
    }

    /// Makes an instance, under the limits of a call: whatever it runs before it is called ends here, or is why it
    /// cannot be used.
    pub async fn probe(&self, tenant: Arc<Tenant>, loaded: &Loaded) -> Result<(), CallFailure> {
        let Made::Component(ready) = &loaded.made else { return Ok(()) };
        let Ok(event_type) = EventType::new("octohooks.probe") else { return Ok(()) };
        let call = Call {
            message: Arc::new(placeholder(&tenant, event_type)),
            tenant,
            settings: Arc::new(Settings::from(Map::new())),
            content_type: None,
            effects: false,
        };
        let options = &self.0.options;
        for _ in 0..PROBES {
            let _turn = self.turn(PROBING).await;
            let meter = Arc::new(Meter::new(clock::instant()));
            let mut seat = self.seat(&call, &meter).await;
            let limit = Duration::from_millis(options.timeout_ms);
            let (ready, own) = (Arc::clone(ready), Arc::clone(&meter));
            let making = Box::pin(async move {
                let made = within(&own, limit, ready.instantiate(&mut seat.store)).await;
                (made, seat)
            });
            let Some((made, seat)) = long::run(&self.0.long, making, false).await else {
                return Err(CallFailure::Other("the gateway failed in this call".into()));
            };
            if let Some(made) = made {
                let done = made.map(|()| Ok(Done::Verdict(Verdict::Pass)));
                return outcome(done, seat.store.data(), options).map(drop);
            }
        }
        Err(CallFailure::Timeout(options.timeout_ms))
    }
}

fn granted(tenant: &Tenant) -> Capabilities {
    let granted = tenant.grants.as_deref().map(|grants| grants.capabilities.clone());
    granted.unwrap_or_else(|| NOT_GRANTED.clone())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Rejected> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Rejected::Unavailable(error.to_string()))
}

/// What a guest sees that is called for no delivery. No such message was ever sent.
#[must_use]
pub fn placeholder(tenant: &Tenant, event_type: EventType) -> Message {
    Message {
        environment: tenant.application.environment,
        application: tenant.application.id,
        id: MessageId(clock::id()),
        uid: None,
        event_type,
        channels: Vec::new(),
        payload: Bytes::from_static(b"{}"),
        attributes: Vec::new().into_iter().collect(),
        accepted: clock::now(),
        content_until: None,
        deliver_at: None,
        expires_at: None,
        ordering_key: None,
    }
}
