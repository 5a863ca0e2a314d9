//! The host: one engine with its pool of instances, and one fresh store per call. Guests run on the runtime
//! of whoever calls, which must have its timer on; a guest gives its thread back every [`TICK`], and
//! `dispatch` calls from a small runtime of its own, so that guests never delay acceptance or delivery.

use super::{
    admission::Compiles,
    builtin,
    cache::Cache,
    call::{Call, CallFailure, Called, Cost, Level, LogLine, Settings, cut, reason},
    check, compile,
    compile::{Loaded, Made, Rejected},
    compiler::Compiler,
    limits::{self, Memory, Meter, Options, TICK},
    v1, wasi,
};
use crate::{
    clock,
    gate::{Gate, Turn},
    model::{
        catalog::Tenant,
        dispatch::Verdict,
        id::{ApplicationId, Digest},
        message::Message,
    },
};
use std::{future::Future, future::poll_fn, io, pin::pin, sync::Arc, thread, time::Duration};
use tokio::runtime::Handle;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig,
    Store, Trap, UpdateDeadline, WasmBacktrace, component::Linker,
};

/// Runs plugins. Cheap to clone.
#[derive(Clone)]
pub struct Host(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) options: Options,
    pub(super) engine: Engine,
    linker: Linker<State>,
    pub(super) cache: Option<Cache>,
    gate: Gate,
    compiler: Compiler,
    pub(super) compiles: Compiles,
    /// Where guests run that nobody calls yet; where the caller runs, if there is none.
    pub(super) guests: Option<Handle>,
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
}

/// What a call's store holds: the limits, and what the imports answer from.
pub(super) struct State {
    pub(super) memory: Memory,
    pub(super) message: Arc<Message>,
    pub(super) tenant: Arc<Tenant>,
    pub(super) settings: Arc<Settings>,
    pub(super) wasi: Option<Box<wasi::Wasi>>,
    log: Vec<LogLine>,
    log_dropped: u32,
    log_lines: usize,
    log_line_bytes: usize,
}

impl State {
    pub(super) fn write_log(&mut self, level: Level, text: String) {
        if self.log.len() < self.log_lines {
            self.log.push(LogLine { level, text: cut(text, self.log_line_bytes) });
        } else {
            self.log_dropped = self.log_dropped.saturating_add(1);
        }
    }
}

/// Stops a guest whose CPU time is used up.
#[derive(Debug, thiserror::Error)]
#[error("out of CPU time")]
struct OutOfCpu;

/// What an attempt to run a guest ends with, unless its time is up.
pub(super) type Ran = wasmtime::Result<Result<Verdict, CallFailure>>;

impl Host {
    /// [`Self::with_compiler`] that compiles in this process, for what is not a stranger's.
    pub fn new(options: Options, cache: Option<Cache>) -> Result<Self, HostError> {
        Self::with_compiler(options, cache, Compiler::InProcess, None)
    }

    /// Makes the engine, its pool and its ticker. With a cache, compiled components outlive the process. `guests` is
    /// where what is uploaded is instantiated for the first time.
    pub fn with_compiler(
        options: Options,
        cache: Option<Cache>,
        compiler: Compiler,
        guests: Option<Handle>,
    ) -> Result<Self, HostError> {
        validate(&options)?;
        let engine = Engine::new(&config(&options)).map_err(|error| {
            let reserved = options.concurrency * limits::MEMORIES as usize * 4;
            HostError::Pool(options.concurrency, reserved, error)
        })?;
        let mut linker = Linker::new(&engine);
        v1::link(&mut linker)
            .and_then(|()| wasmtime_wasi::p2::add_to_linker_async(&mut linker))
            .map_err(HostError::Link)?;
        let weak = engine.weak();
        thread::Builder::new()
            .name("plugin-ticker".into())
            .spawn(move || tick(&weak))
            .map_err(HostError::Ticker)?;
        let gate = Gate::new(options.concurrency, options.per_application);
        let compiles = Compiles::new(options.compile_concurrency);
        Ok(Self(Arc::new(Inner {
            options,
            engine,
            linker,
            cache,
            gate,
            compiler,
            compiles,
            guests,
        })))
    }

    /// The limits it keeps.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Checks an upload and makes it callable, by this host. Blocking, for as long as compiling takes.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Loaded>, Rejected> {
        let Inner { options, engine, linker, cache, compiler, .. } = &*self.0;
        compile::load(engine, linker, cache.as_ref(), compiler, options, bytes).map(Arc::new)
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
        let options = &self.0.options;
        let start = clock::instant();
        let ready = match &loaded.made {
            Made::Component(ready) => ready,
            Made::Builtin(definition) => {
                let result = builtin::apply(definition, &call.message);
                let result =
                    result.and_then(|verdict| self.check(&verdict, &call.tenant).map(|()| verdict));
                let wall = start.elapsed();
                let cost = Cost { wall, cpu: wall, memory_peak: 0 };
                return Called { result, cost, log: Vec::new(), log_dropped: 0 };
            }
        };
        let meter = Arc::new(Meter::new(start));
        let mut store = self.store(&call, &meter);
        let ran = {
            let content_type = call.content_type.as_deref();
            let run = ready.call(&mut store, &call.message, content_type, &call.tenant);
            let limit = Duration::from_millis(options.timeout_ms);
            tokio::time::timeout(limit, metered(&meter, run)).await
        };
        let result = match ran {
            Err(_) => Err(CallFailure::Timeout(options.timeout_ms)),
            Ok(ran) => outcome(ran, store.data(), options),
        };
        let State { memory, log, log_dropped, .. } = store.into_data();
        drop(turn);
        let cost = Cost { wall: start.elapsed(), cpu: meter.total(), memory_peak: memory.peak() };
        Called { result, cost, log, log_dropped }
    }

    pub(super) fn store(&self, call: &Call, meter: &Arc<Meter>) -> Store<State> {
        let options = &self.0.options;
        let state = State {
            memory: Memory::new(options.memory_bytes),
            message: Arc::clone(&call.message),
            tenant: Arc::clone(&call.tenant),
            settings: Arc::clone(&call.settings),
            wasi: None,
            log: Vec::new(),
            log_dropped: 0,
            log_lines: options.log_lines,
            log_line_bytes: options.log_line_bytes,
        };
        let mut store = Store::new(&self.0.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(options.fuel());
        store.set_epoch_deadline(1);
        let (meter, budget) = (Arc::clone(meter), Duration::from_millis(options.cpu_ms));
        store.epoch_deadline_callback(move |_| {
            if meter.tick() > budget {
                return Err(wasmtime::Error::new(OutOfCpu));
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

/// Says whose doing it was that a call ended.
pub(super) fn outcome(ran: Ran, state: &State, options: &Options) -> Result<Verdict, CallFailure> {
    let error = match ran {
        Ok(answer) => {
            let verdict = answer?;
            check::verdict(&verdict, &state.tenant, options)?;
            return Ok(verdict);
        }
        Err(error) => error,
    };
    Err(if error.is::<OutOfCpu>() {
        CallFailure::CpuLimit(options.cpu_ms)
    } else if state.memory.refused {
        CallFailure::MemoryLimit(options.memory_bytes)
    } else if out_of_fuel(&error) {
        CallFailure::OutputTooLarge(options.output_bytes)
    } else {
        let trap = error.downcast_ref::<Trap>().map(ToString::to_string);
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
        CallFailure::Trap {
            reason: reason(trap.unwrap_or_else(|| error.root_cause().to_string())),
            backtrace: cut(backtrace.unwrap_or_default(), BACKTRACE),
        }
    })
}

/// Bytes kept of a backtrace.
const BACKTRACE: usize = 4096;

/// Whether the guest handed over more than [`Options::fuel`]. wasmtime has no name for this error; a test
/// holds it to these words.
fn out_of_fuel(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

pub(super) async fn metered<F: Future>(meter: &Meter, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        meter.enter();
        let polled = future.as_mut().poll(context);
        meter.leave();
        polled
    })
    .await
}

fn tick(engine: &EngineWeak) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        thread::sleep(TICK);
    }
}

fn validate(options: &Options) -> Result<(), HostError> {
    let positive = [
        ("timeout_ms", options.timeout_ms > 0),
        ("cpu_ms", options.cpu_ms > 0),
        ("dispatches", options.dispatches > 0),
        ("per_application", options.per_application > 0),
        ("compile_cpu_seconds", options.compile_cpu_seconds > 0),
        ("compile_timeout_ms", options.compile_timeout_ms > 0),
        ("compile_concurrency", options.compile_concurrency > 0),
    ];
    if let Some((name, _)) = positive.into_iter().find(|(_, good)| !good) {
        return Err(HostError::Option(name, "at least 1"));
    }
    if !(1..=10_000).contains(&options.concurrency) {
        return Err(HostError::Option("concurrency", "from 1 to 10000"));
    }
    if !(1 << 16..=1 << 32).contains(&options.memory_bytes) {
        return Err(HostError::Option("memory_bytes", "from 65536 to 4294967296"));
    }
    if options.compile_memory_bytes < 256 << 20 {
        return Err(HostError::Option("compile_memory_bytes", "at least 268435456"));
    }
    Ok(())
}

/// What decides the code: the same where it is made and where it runs.
pub(super) fn code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_gc(false);
    config
}

/// For running. The numbers of the pool are measured: resident pages are reset in place
/// where the kernel can say which ones were touched (Linux 6.7), which is 20 µs a call faster; where it
/// cannot, keeping pages costs more than it saves.
fn config(options: &Options) -> Config {
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let keep = |bytes: usize| if scan { bytes } else { 0 };
    let calls = u32::try_from(options.concurrency).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(limits::CORE_INSTANCES))
        .total_memories(calls.saturating_mul(limits::MEMORIES))
        .total_tables(calls.saturating_mul(limits::TABLES))
        .total_stacks(calls)
        .max_core_instances_per_component(limits::CORE_INSTANCES)
        .max_memories_per_component(limits::MEMORIES)
        .max_tables_per_component(limits::TABLES)
        .max_memories_per_module(limits::MEMORIES)
        .max_tables_per_module(limits::TABLES)
        .table_elements(limits::TABLE_ELEMENTS)
        .max_memory_size(options.memory_bytes)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(keep(2 << 20))
        .async_stack_keep_resident(keep(64 << 10))
        .table_keep_resident(keep(64 << 10));
    let mut config = code();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
