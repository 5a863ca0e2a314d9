//! The WASI a guest's standard library expects, with nothing behind it: no files, sockets, environment or
//! output. Clocks and random numbers come from the message, so that the same message gives the same
//! verdict, unless the application is granted real ones. Made when a guest first asks: one without WASI pays nothing.

use super::state::State;
use crate::model::{grants::Capabilities, message::Message};
use sha2::{Digest, Sha256};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView,
};

/// Resources (streams, pollables) of one call: they are the host's memory, which no other limit counts.
const MAX_RESOURCES: usize = 1024;
/// Random bytes per request: each one fills a buffer of the host's.
const MAX_RANDOM: u64 = 64 << 10;

/// One call's WASI.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    fn new(message: &Message, granted: &Capabilities) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let seed = message.id.0.as_u128();
        let mut context = WasiCtx::builder();
        context.max_random_size(MAX_RANDOM).allow_tcp(false).allow_udp(false);
        if !granted.clock {
            context
                .wall_clock(Accepted(Duration::from_millis(message.accepted)))
                .monotonic_clock(Counter(AtomicU64::new(0)));
        }
        if !granted.random {
            context
                .secure_random(random(seed, 0))
                .insecure_random(random(seed, 1))
                .insecure_random_seed(seed);
        }
        Self { context: context.build(), table }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = match self.wasi.take() {
            Some(wasi) => wasi,
            None => Box::new(Wasi::new(&self.message, self.granted())),
        };
        let wasi = self.wasi.insert(wasi);
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// A kilobyte drawn from the seed, over and over. Not for secrets: a plugin has none to make.
fn random(seed: u128, stream: u8) -> Deterministic {
    let block = |n: u8| Sha256::new().chain_update(seed.to_be_bytes()).chain_update([stream, n]);
    Deterministic::new((0..32).flat_map(|n| block(n).finalize()).collect())
}

/// Always the moment the message was accepted.
struct Accepted(Duration);

impl HostWallClock for Accepted {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn now(&self) -> Duration {
        self.0
    }
}

/// A microsecond later each time it is read, so that who waits for it gets on.
struct Counter(AtomicU64);

impl HostMonotonicClock for Counter {
    fn resolution(&self) -> u64 {
        1000
    }
    fn now(&self) -> u64 {
        self.0.fetch_add(1000, Relaxed)
    }
}
