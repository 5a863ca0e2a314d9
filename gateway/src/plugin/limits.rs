//! How much a plugin may use: the options an operator sets, and the two counters that hold a running
//! call to them, [`Memory`] for what it allocates and [`Meter`] for its time on a thread.

use crate::clock;
use serde::{Deserialize, Serialize};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use wasmtime::ResourceLimiter;

/// The limits of a plugin. All of them hold per call unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// From the start of a call to its end, in milliseconds, waiting for a turn not included. A call
    /// never waits for the outside, so what takes a second is stuck or starved.
    pub timeout_ms: u64,
    /// On a thread, in milliseconds, looked at every [`TICK`]. It is the time between getting the thread
    /// and giving it back, so being preempted by the system counts too. Measured: a small Rust plugin
    /// needs 0.01 ms, a JavaScript one 0.7 (its first call 4), filling 64 MiB of memory 37.
    pub cpu_ms: u64,
    /// Of all linear memories together. Measured at 1 KiB of payload: 1.2 MB in Rust, 9.5 in JavaScript.
    pub memory_bytes: usize,
    /// Payloads, headers and names of all dispatches together, since the host holds and stores them.
    pub output_bytes: usize,
    /// How many dispatches one message may become, since each is stored.
    pub dispatches: usize,
    /// The size of an uploaded component. JavaScript components have 12 MB; Python's have 18.5 and need
    /// this raised.
    pub component_bytes: usize,
    /// Log lines kept; the rest is counted.
    pub log_lines: usize,
    /// Bytes kept of a log line.
    pub log_line_bytes: usize,
    /// Calls at once, of all applications: the size of the pool. Each reserves address
    /// space, and takes up to `memory_bytes` of memory.
    pub concurrency: usize,
    /// Calls at once of one application, so that a spinning plugin leaves room for the others.
    pub per_application: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout_ms: 1000,
            cpu_ms: 100,
            memory_bytes: 64 << 20,
            output_bytes: 4 << 20,
            dispatches: 1000,
            component_bytes: 16 << 20,
            log_lines: 64,
            log_line_bytes: 1 << 10,
            concurrency: 64,
            per_application: 8,
        }
    }
}

impl Options {
    /// What one crossing of the boundary may make the host allocate: twice the output, and a
    /// kilobyte for each dispatch's record. Generous: what is over the exact limit is refused by `check`.
    pub(super) const fn fuel(&self) -> usize {
        self.output_bytes.saturating_mul(2).saturating_add(self.dispatches.saturating_mul(1024))
    }
}

/// How often the epoch advances: how long a plugin runs before it lets others run on its thread.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// Linear memories one component may have; composed ones have one per part.
pub(super) const MEMORIES: u32 = 4;
/// Tables one component may have.
pub(super) const TABLES: u32 = 16;
/// Core instances one component may have. Those of componentize-py need more than 4.
pub(super) const CORE_INSTANCES: u32 = 20;
/// Elements of all tables together: 256 KiB of pointers. A JavaScript component (componentize-js) fits.
pub(super) const TABLE_ELEMENTS: usize = 32_768;

/// Counts all linear memories and tables of one store, since wasmtime's own limits are per memory.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    bytes: usize,
    elements: usize,
    /// Whether anything was refused: a trap that follows is the limit's doing.
    pub(super) refused: bool,
}

impl Memory {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, elements: 0, refused: false }
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
            self.refused = true;
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
            self.refused = true;
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

/// Counts the time a call spends on a thread: `enter` and `leave` stand around every poll of its future.
/// Atomic only because the store must be `Send`; one thread at a time uses it.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    entered: AtomicU64,
    used: AtomicU64,
}

impl Meter {
    pub(super) const fn new(start: Instant) -> Self {
        Self { start, entered: AtomicU64::new(0), used: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::instant().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn enter(&self) {
        self.entered.store(self.now(), Relaxed);
    }

    pub(super) fn leave(&self) {
        let running = self.now().saturating_sub(self.entered.load(Relaxed));
        self.used.fetch_add(running, Relaxed);
    }

    /// What was used in all, for the one after the last `leave`.
    pub(super) fn total(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// What was used so far, for the one between `enter` and `leave`.
    pub(super) fn used(&self) -> Duration {
        let running = self.now().saturating_sub(self.entered.load(Relaxed));
        Duration::from_nanos(self.used.load(Relaxed).saturating_add(running))
    }
}
