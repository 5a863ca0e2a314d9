//! The host: one engine with its pool of instances, and one fresh store per call. Guests run on the runtime of whoever calls,
//! which must have its timer on; a guest gives its thread back with every tick, and `dispatch` calls from a small runtime of
//! its own, so that guests never delay acceptance or delivery.

use super::{
    admission::Compiles,
    cache::Cache,
    call::{Call, CallFailure, Called, Cost, Done, Task, ToClassify, ToSign},
    check, compile,
    compile::{Loaded, Made, Rejected},
    compiler::Compiler,
    engine, fuel,
    limits::{self, Meter, Options},
    long::{self, Lasting},
    outside::{Nothing, Outlet, Outside},
    state::State,
    ticker::Ticker,
    v1, wasi,
};
use crate::{
    clock,
    gate::{Gate, Turn},
    model::{
        attempt::Meaning,
        catalog::Tenant,
        dispatch::Verdict,
        grants::Capabilities,
        id::{ApplicationId, Digest},
    },
};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use wasmtime::{Config, Engine, Store, UpdateDeadline, component::Linker};

mod beside;
mod outcome;
mod without_code;

pub(super) use outcome::outcome;
use outcome::{OutOfCpu, Ran};

/// Runs plugins. Cheap to clone.
#[derive(Clone)]
pub struct Host(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) options: Options,
    pub(super) engine: Engine,
    pub(super) ticker: Ticker,
    linker: Linker<State>,
    pub(super) cache: Option<Cache>,
    gate: Gate,
    compiler: Compiler,
    pub(super) compiles: Compiles,
    /// Where guests run that nobody calls yet; where the caller runs, if there is none.
    pub(super) guests: Option<Handle>,
    outlet: Arc<Outlet>,
    /// How many instances there may be: one that computed for long when its call was given up is there until its next tick.
    instances: Arc<Semaphore>,
    /// Where calls run that compute for long.
    pub(super) long: Handle,
    /// Of whom that is expected.
    pub(super) lasting: Lasting,
    /// For those of them that run no code, which are on threads of their own.
    codeless: Arc<Semaphore>,
    /// Whether calls say how much fuel they took.
    counts: bool,
}

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An option has a value that cannot work.
    #[error("the plugin option `{0}` must be {1}")]
    Option(&'static str, &'static str),
    /// The pool's address space could not be had, as a rule.
    #[error(
        "the pool for {0} plugin calls at once could not be made, which reserves {1} GiB of address space \
         (not memory): raise `ulimit -v`, or lower the plugin option `concurrency`: {2:#}"
    )]
    Pool(usize, usize, wasmtime::Error),
    /// The linker refused our own functions.
    #[error("the plugin host could not be linked: {0:#}")]
    Link(wasmtime::Error),
    /// No thread for the ticker.
    #[error("the plugin host's ticker could not be started")]
    Ticker(#[source] io::Error),
    /// No threads for calls that compute for long.
    #[error("the threads for plugins that compute for long could not be started")]
    Threads(#[source] io::Error),
}

/// A call's store, and the room for its instance, which is free once the store is gone.
pub(super) struct Seat {
    pub(super) store: Store<State>,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What a host works with beside its options.
pub struct Means {
    /// Where compiled components outlive the process.
    pub cache: Option<Cache>,
    /// What capabilities lead to.
    pub outside: Arc<dyn Outside>,
    /// Who compiles.
    pub compiler: Compiler,
    /// Where what is uploaded is instantiated for the first time; where the caller runs, if there is none.
    pub guests: Option<Handle>,
}

impl Default for Means {
    /// Nothing outside, nothing kept, and what is not a stranger's is compiled in this process.
    fn default() -> Self {
        let (outside, compiler) = (Arc::new(Nothing), Compiler::InProcess);
        Self { cache: None, outside, compiler, guests: None }
    }
}

impl Host {
    /// A host whose plugins have no world outside: every capability that leads there fails.
    pub fn new(options: Options, cache: Option<Cache>) -> Result<Self, HostError> {
        Self::with(options, Means { cache, ..Means::default() })
    }

    /// Makes the engine, its pool and its ticker.
    pub fn with(options: Options, means: Means) -> Result<Self, HostError> {
        validate(&options)?;
        let config = engine::config(&options);
        Self::of(options, &config, means, false)
    }

    /// A host whose calls say how much fuel they took, the same at every call: for a trial, never for
    /// messages. It compiles for itself what it loads, runs it many times slower, and allows it that much more time.
    pub fn counting(options: Options, means: Means) -> Result<Self, HostError> {
        validate(&options)?;
        let options = fuel::options(options);
        let config = fuel::config(engine::code());
        Self::of(options, &config, Means { cache: None, ..means }, true)
    }

    fn of(
        options: Options,
        config: &Config,
        means: Means,
        counts: bool,
    ) -> Result<Self, HostError> {
        let engine = Engine::new(config).map_err(|error| {
            let reserved = options.concurrency * limits::MEMORIES as usize * 4;
            HostError::Pool(options.concurrency, reserved, error)
        })?;
        let mut linker = Linker::new(&engine);
        v1::link(&mut linker).and_then(|()| wasi::link(&mut linker)).map_err(HostError::Link)?;
        let instances = Semaphore::new(options.concurrency);
        let long = long::threads().map_err(HostError::Threads)?;
        let ticker = Ticker::start(&engine).map_err(HostError::Ticker)?;
        let gate = Gate::new(options.concurrency, options.per_application);
        let compiles = Compiles::new(options.compile_concurrency);
        let (places, share) =
            (options.concurrency.div_ceil(4), options.per_application.div_ceil(2));
        let Means { cache, outside, compiler, guests } = means;
        let outlet = Arc::new(Outlet::new(outside, places, share));
        Ok(Self(Arc::new(Inner {
            options,
            engine,
            ticker,
            linker,
            cache,
            gate,
            compiler,
            compiles,
            guests,
            outlet,
            instances: Arc::new(instances),
            long,
            lasting: Lasting::default(),
            codeless: long::places(),
            counts,
        })))
    }

    /// The limits it keeps.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Makes a component callable by this host, whatever capabilities it imports: what was not granted fails when it is
    /// used. Blocking, for as long as compiling takes.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Loaded>, Rejected> {
        self.load_granted(bytes, None, true)
    }

    /// The same for an upload: a component that imports what is not granted is refused, before it is compiled; and it is kept
    /// for the next start where that is said.
    pub(super) fn load_granted(
        &self,
        bytes: &[u8],
        granted: Option<&Capabilities>,
        keeps: bool,
    ) -> Result<Arc<Loaded>, Rejected> {
        let Inner { options, engine, linker, cache, compiler, counts, .. } = &*self.0;
        let rules = (options, granted);
        let compiler = (compiler, *counts);
        let cache = (cache.as_ref(), keeps);
        compile::load(engine, linker, cache, compiler, rules, bytes).map(Arc::new)
    }

    /// Forgets what was compiled of components that are not wanted, for instance because no plugin has a version of them any
    /// more. Blocking, for as long as deleting files takes.
    pub fn forget_compiled(&self, wanted: impl Fn(&Digest) -> bool) {
        match self.0.cache.as_ref().map(|cache| cache.retain(&self.0.engine, wanted)) {
            None | Some(Ok(0)) => {}
            Some(Ok(removed)) => tracing::info!(removed, "compiled plugins were forgotten"),
            Some(Err(error)) => tracing::debug!(%error, "compiled plugins could not be forgotten"),
        }
    }

    /// Whether this can be sent: what plugins asked for one after the other.
    pub fn check(&self, verdict: &Verdict, tenant: &Tenant) -> Result<(), CallFailure> {
        check::verdict(verdict, tenant, &self.0.options)
    }

    /// Waits for the application's turn to call. Dropping the future gives up.
    pub async fn turn(&self, application: ApplicationId) -> Turn<'_> {
        self.0.gate.turn(application).await
    }

    /// [`Self::call_in_turn`] when it is the application's turn.
    pub async fn call(&self, loaded: &Loaded, call: Call) -> Called {
        let turn = self.turn(call.tenant.application.id).await;
        self.call_in_turn(turn, loaded, call).await
    }

    /// Calls a plugin with one message, in an instance of its own, and ends the turn. Dropping the future stops the
    /// guest.
    pub async fn call_in_turn(&self, turn: Turn<'_>, loaded: &Loaded, call: Call) -> Called {
        let task = Task::Transform(call.content_type.clone());
        let called = self.run(turn, loaded, call, task).await;
        called.only(|done| match done {
            Done::Verdict(verdict) => Some(verdict),
            _ => None,
        })
    }

    /// Has a signer make its headers, when it is the application's turn.
    pub async fn sign(
        &self,
        loaded: &Loaded,
        call: Call,
        request: ToSign,
    ) -> Called<Vec<(String, String)>> {
        let turn = self.turn(call.tenant.application.id).await;
        let called = self.run(turn, loaded, call, Task::Sign(Box::new(request))).await;
        called.only(|done| match done {
            Done::Headers(headers) => Some(headers),
            _ => None,
        })
    }

    /// Has a classifier say what an answer means, when it is the application's turn.
    pub async fn classify(
        &self,
        loaded: &Loaded,
        call: Call,
        answer: ToClassify,
    ) -> Called<Meaning> {
        let turn = self.turn(call.tenant.application.id).await;
        let called = self.run(turn, loaded, call, Task::Classify(Box::new(answer))).await;
        called.only(|done| match done {
            Done::Meaning(meaning) => Some(meaning),
            _ => None,
        })
    }

    /// Has a plugin say what its settings must look like, in an instance without grants.
    pub(super) async fn schema(&self, loaded: &Loaded, call: Call) -> Called<String> {
        let turn = self.turn(call.tenant.application.id).await;
        let called = self.run(turn, loaded, call, Task::Schema).await;
        called.only(|done| match done {
            Done::Schema(text) => Some(text),
            _ => None,
        })
    }

    async fn run(&self, turn: Turn<'_>, loaded: &Loaded, call: Call, task: Task) -> Called<Done> {
        let options = &self.0.options;
        let start = clock::instant();
        let ready = match &loaded.made {
            Made::Component(ready) => ready,
            Made::Builtin(definition) => {
                return self.without_code(turn, definition, call).await;
            }
        };
        let meter = Arc::new(Meter::new(start));
        let mut seat = self.seat(&call, &meter).await;
        if let Task::Sign(request) = &task {
            seat.store.data_mut().keys.clone_from(&request.keys);
        }
        let limit = Duration::from_millis(options.timeout_ms);
        let (host, ready, own) = (self.clone(), Arc::clone(ready), Arc::clone(&meter));
        let running = Box::pin(async move {
            let ran = within(&own, limit, ready.call(&mut seat.store, &task)).await;
            // There too: to give back what a guest has filled takes long.
            host.ended(ran, seat, &own, start)
        });
        let who = (call.tenant.application.id, loaded.digest);
        let lasts = self.0.lasting.has(&who);
        let called = long::run(&self.0.long, running, lasts).await;
        self.0.lasting.learn(who, meter.total(), lasts);
        drop(turn);
        called.unwrap_or_else(|| {
            let result = Err(CallFailure::Other("the gateway failed in this call".into()));
            let cost = Cost { wall: start.elapsed(), cpu: meter.total(), ..Cost::default() };
            Called { result, cost, log: Vec::new(), log_dropped: 0 }
        })
    }

    /// What came of a call, whose instance goes.
    fn ended(&self, ran: Option<Ran>, seat: Seat, meter: &Meter, start: Instant) -> Called<Done> {
        let (options, Seat { store, _room }) = (&self.0.options, seat);
        let (wall, cpu) = (start.elapsed(), meter.total());
        let limit = Duration::from_millis(options.timeout_ms);
        let result = match ran {
            None if meter.slept() * 2 >= limit => Err(CallFailure::Slept(options.timeout_ms)),
            None => Err(CallFailure::Timeout(options.timeout_ms)),
            Some(ran) => outcome(ran, store.data(), options),
        };
        let fuel = self.0.counts.then(|| fuel::used(&store));
        let (memory_peak, log, log_dropped) = store.into_data().ended();
        let cost = Cost { wall, cpu, memory_peak, fuel };
        Called { result, cost, log, log_dropped }
    }

    /// A store for a call, once there is room for its instance.
    pub(super) async fn seat(&self, call: &Call, meter: &Arc<Meter>) -> Seat {
        let options = &self.0.options;
        // Never closed.
        let room = Arc::clone(&self.0.instances).acquire_owned().await.ok();
        let present = self.0.ticker.enter();
        let state = State::new(call, options, &self.0.outlet, meter, present);
        let mut store = Store::new(&self.0.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(options.fuel());
        if self.0.counts {
            fuel::fill(&mut store);
        }
        store.set_epoch_deadline(1);
        let (meter, budget) = (Arc::clone(meter), Duration::from_millis(options.cpu_ms));
        store.epoch_deadline_callback(move |_| {
            let used = meter.tick();
            if used > budget {
                return Err(wasmtime::Error::new(OutOfCpu));
            }
            Ok(UpdateDeadline::YieldCustom(1, long::turn(used, &meter)))
        });
        Seat { store, _room: room }
    }
}

/// Runs until it ends, or has had that much time of its own.
pub(super) async fn within<F: Future>(
    meter: &Meter,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut run = pin!(metered(meter, future));
    loop {
        // Looked at again where it waited meanwhile; no finer than timers are.
        let left = limit.checked_sub(meter.own()).filter(|left| !left.is_zero())?;
        let left = left.max(Duration::from_millis(1));
        if let Ok(ended) = tokio::time::timeout(left, &mut run).await {
            return Some(ended);
        }
    }
}

async fn metered<F: Future>(meter: &Meter, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        meter.enter();
        let polled = future.as_mut().poll(context);
        meter.leave();
        polled
    })
    .await
}

fn validate(options: &Options) -> Result<(), HostError> {
    options.wrong().map_or(Ok(()), |(name, must)| Err(HostError::Option(name, must)))
}
