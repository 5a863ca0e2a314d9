//! How much a plugin may use: the options an operator sets, and the two counters that hold a running
//! call to them, [`Memory`] for what it allocates and [`Meter`] for its CPU time.

use super::signature::{self, TrustedKey};
use crate::clock;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use wasmtime::ResourceLimiter;

/// The limits of a plugin. All of them hold per call unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// From the start of a call to its end, in milliseconds; waiting for a turn or the world outside is not included. CPU
    /// time is limited, so what takes a second was starved by the machine or by other plugins, and is called again
    /// later; unless it slept, which only those can that are granted a clock.
    pub timeout_ms: u64,
    /// CPU time, in milliseconds, looked at every [`TICK`]. Measured: a small Rust plugin needs 0.01 ms,
    /// a JavaScript one 0.7 (its first call 4), filling 64 MiB of memory 37.
    pub cpu_ms: u64,
    /// Of all linear memories together. Measured at 1 KiB of payload: 1.2 MB in Rust, 9.5 in JavaScript.
    pub memory_bytes: usize,
    /// Payloads, headers and names of all dispatches together, since the host holds and stores them.
    pub output_bytes: usize,
    /// How many dispatches one message may become, since each is stored.
    pub dispatches: usize,
    /// The size of an uploaded component. Measured: 0.1 MB in Rust, 12 in JavaScript (componentize-js 0.23), 18.5 in Python
    /// (componentize-py 0.25).
    pub component_bytes: usize,
    /// The native code that a component becomes, in bytes: it is on the disk, and in memory while the plugin is called.
    /// Measured: 0.6 MB in Rust, 30 in JavaScript, 35 in Python, and 43 where that counts its fuel.
    pub code_bytes: usize,
    /// The same of what all active plugins of one application become together, and what is tried beside them.
    pub code_bytes_per_application: u64,
    /// The same of all applications, which is what plugins may take of the memory; and what is kept on the disk, where what is
    /// not active goes first.
    pub code_bytes_total: u64,
    /// Log lines kept; the rest is counted.
    pub log_lines: usize,
    /// Bytes kept of a log line.
    pub log_line_bytes: usize,
    /// Calls at once, of all applications: the size of the pool. Each reserves address
    /// space, and takes up to `memory_bytes` of memory.
    pub concurrency: usize,
    /// Calls at once of one application, so that a spinning plugin leaves room for the others.
    pub per_application: usize,
    /// After so many failures in a row a plugin is not called any more, and what comes is parked. 0: it is called for ever.
    pub quarantine_after: u32,
    /// Whose components are taken over the API: ed25519 public keys in base64. None: everybody's.
    #[serde(deserialize_with = "signature::keys")]
    pub trusted_keys: Vec<TrustedKey>,
    /// Address space of the process that compiles an upload, in bytes. Measured, with 160 MB for the program itself: a
    /// plugin in Rust takes 200 MB, one in JavaScript or Python 900 MB, and on four threads 1200.
    pub compile_memory_bytes: u64,
    /// CPU time of that process, in seconds, on all its threads together. Measured: 0.2 in Rust, 9 in JavaScript.
    pub compile_cpu_seconds: u64,
    /// From its start to its end, in milliseconds. More than the CPU time: what takes that long is told that it does, and what
    /// takes this long was starved by the machine.
    pub compile_timeout_ms: u64,
    /// Compiled at once, of all applications; one at a time of each.
    pub compile_concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout_ms: 1000,
            cpu_ms: 100,
            memory_bytes: 64 << 20,
            output_bytes: 4 << 20,
            dispatches: 1000,
            component_bytes: 32 << 20,
            code_bytes: 64 << 20,
            code_bytes_per_application: 256 << 20,
            code_bytes_total: 2 << 30,
            log_lines: 64,
            log_line_bytes: 1 << 10,
            concurrency: 64,
            per_application: 8,
            quarantine_after: 100,
            trusted_keys: Vec::new(),
            compile_memory_bytes: 2 << 30,
            compile_cpu_seconds: 60,
            compile_timeout_ms: 120_000,
            compile_concurrency: 2,
        }
    }
}

impl Options {
    /// An option with a value that cannot work, and what it must be.
    pub(super) fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let positive = [
            ("timeout_ms", self.timeout_ms > 0),
            ("cpu_ms", self.cpu_ms > 0),
            ("dispatches", self.dispatches > 0),
            ("code_bytes", self.code_bytes > 0),
            ("per_application", self.per_application > 0),
            ("compile_cpu_seconds", self.compile_cpu_seconds > 0),
            ("compile_timeout_ms", self.compile_timeout_ms > 0),
            ("compile_concurrency", self.compile_concurrency > 0),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, good)| !good) {
            return Some((name, "at least 1"));
        }
        if self.code_bytes_per_application < self.code_bytes as u64 {
            return Some(("code_bytes_per_application", "at least `code_bytes`"));
        }
        if self.code_bytes_total < self.code_bytes_per_application {
            return Some(("code_bytes_total", "at least `code_bytes_per_application`"));
        }
        if !(1..=10_000).contains(&self.concurrency) {
            return Some(("concurrency", "from 1 to 10000"));
        }
        if !(1 << 16..=1 << 32).contains(&self.memory_bytes) {
            return Some(("memory_bytes", "from 65536 to 4294967296"));
        }
        if self.compile_memory_bytes < 256 << 20 {
            return Some(("compile_memory_bytes", "at least 268435456"));
        }
        None
    }

    /// What one crossing of the boundary may make the host allocate: twice the output, and a
    /// kilobyte for each dispatch's record. Generous: what is over the exact limit is refused by `check`.
    pub(super) const fn fuel(&self) -> usize {
        self.output_bytes.saturating_mul(2).saturating_add(self.dispatches.saturating_mul(1024))
    }
}

/// How often the epoch advances: how long a plugin runs before it lets others run on its thread.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Linear memories one component may have; composed ones have one per part.
pub(super) const MEMORIES: u32 = 4;
/// Tables one component may have.
pub(super) const TABLES: u32 = 16;
/// Core instances one component may have. Those of componentize-py 0.25 have 38.
pub(super) const CORE_INSTANCES: u32 = 64;
/// Elements of all tables together: 256 KiB of pointers. A JavaScript component (componentize-js) fits.
pub(super) const TABLE_ELEMENTS: usize = 32_768;

/// Counts all linear memories and tables of one store, since wasmtime's own limits are per memory.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    bytes: usize,
    elements: usize,
    /// What was refused last, if anything was: a trap that follows is the limit's doing.
    pub(super) refused: Option<Refused>,
}

/// What a guest wanted more of than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Linear memory.
    Memory,
    /// Elements of tables.
    Table,
}

impl Memory {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, elements: 0, refused: None }
    }

    /// The most that was in use. Linear memories never shrink.
    pub(super) const fn peak(&self) -> u64 {
        self.bytes as u64
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.bytes.saturating_add(desired.saturating_sub(current));
        if total > self.limit {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        self.bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            self.refused = Some(Refused::Table);
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

/// Counts the CPU time of a call: `enter` and `leave` stand around every poll of its future, and `tick` is where the
/// guest notices the epoch.
///
/// A thread's CPU clock costs a system call, so it is read from the first tick on; most calls end before it and are
/// shown with their wall time. What came before the first tick counts as one tick, however long the system kept the
/// thread waiting: a busy machine must not look like a busy plugin. Atomic only because the store must be `Send`; one
/// thread at a time uses it.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    /// When the poll began, until there was a tick.
    entered: AtomicU64,
    ticked: AtomicBool,
    /// The CPU clock as it was read last, from the first tick on.
    cpu: AtomicU64,
    used: AtomicU64,
    /// How long it waited for the world outside, without a wait that goes on; and since when that does, plus one.
    waited: AtomicU64,
    waits: AtomicU64,
    /// How long it slept, and until when that is counted.
    slept: AtomicU64,
    slept_until: AtomicU64,
}

/// A guest's sleep, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Asleep {
    meter: Arc<Meter>,
    from: u64,
    /// When it wanted to be woken, if ever.
    until: Option<u64>,
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let now = self.meter.wall();
        // What the machine takes to wake it is no sleep, and what it sleeps several times at once is one.
        let until = self.until.map_or(now, |until| until.min(now));
        let counted = self.meter.slept_until.fetch_max(until, Relaxed);
        self.meter.slept.fetch_add(until.saturating_sub(self.from.max(counted)), Relaxed);
    }
}

impl Meter {
    pub(super) const fn new(start: Instant) -> Self {
        Self {
            start,
            entered: AtomicU64::new(0),
            ticked: AtomicBool::new(false),
            cpu: AtomicU64::new(0),
            used: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            slept: AtomicU64::new(0),
            slept_until: AtomicU64::new(0),
        }
    }

    /// It sleeps from now on, until then or for ever.
    pub(super) fn sleeps(self: &Arc<Self>, until: Option<Instant>) -> Asleep {
        let until = until.map(|until| nanoseconds(until.saturating_duration_since(self.start)));
        Asleep { meter: Arc::clone(self), from: self.wall(), until }
    }

    /// How long it slept.
    pub(super) fn slept(&self) -> Duration {
        Duration::from_nanos(self.slept.load(Relaxed))
    }

    /// A wait for the world outside begins.
    pub(super) fn wait(&self) {
        self.waits.store(self.wall().saturating_add(1), Relaxed);
    }

    /// It is over.
    pub(super) fn resume(&self) {
        let since = self.waits.swap(0, Relaxed);
        if since > 0 {
            self.waited.fetch_add(self.wall().saturating_sub(since - 1), Relaxed);
        }
    }

    /// How much of the time since the start was the call's own: it did not wait for the world outside.
    pub(super) fn own(&self) -> Duration {
        let (wall, since) = (self.wall(), self.waits.load(Relaxed));
        let waits = if since > 0 { wall.saturating_sub(since - 1) } else { 0 };
        let waited = self.waited.load(Relaxed).saturating_add(waits);
        Duration::from_nanos(wall.saturating_sub(waited))
    }

    fn wall(&self) -> u64 {
        nanoseconds(clock::instant().duration_since(self.start))
    }

    pub(super) fn enter(&self) {
        match self.ticked.load(Relaxed) {
            true => self.cpu.store(nanoseconds(clock::thread_cpu()), Relaxed),
            false => self.entered.store(self.wall(), Relaxed),
        }
    }

    /// What was used so far.
    pub(super) fn tick(&self) -> Duration {
        let cpu = nanoseconds(clock::thread_cpu());
        let since = match self.ticked.swap(true, Relaxed) {
            true => cpu.saturating_sub(self.cpu.load(Relaxed)),
            false => nanoseconds(TICK).min(self.wall().saturating_sub(self.entered.load(Relaxed))),
        };
        self.cpu.store(cpu, Relaxed);
        Duration::from_nanos(self.used.fetch_add(since, Relaxed).saturating_add(since))
    }

    pub(super) fn leave(&self) {
        let since = match self.ticked.load(Relaxed) {
            true => nanoseconds(clock::thread_cpu()).saturating_sub(self.cpu.load(Relaxed)),
            false => self.wall().saturating_sub(self.entered.load(Relaxed)),
        };
        self.used.fetch_add(since, Relaxed);
    }

    /// What was used in all, after the last `leave`.
    pub(super) fn total(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
