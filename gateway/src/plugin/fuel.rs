//! Fuel: what a call costs in a figure that is the same on every machine and at every call. For
//! `octohooks plugin test` and for simulations, which compare versions of a plugin by it.
//!
//! Counting slows guests down, so the engine that runs messages does not; this is the other one's configuration. It
//! compiles quickly and not for speed, since what is counted are the component's instructions and not the machine's.

use super::{limits::Options, state::State};
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, Store};

/// How many times slower a guest may be here than on messages; measured, it is 4 times.
const SLOWER: u64 = 20;

/// More than any call can use.
const FULL: u64 = u64::MAX;

/// The limits of a call that is counted.
pub(super) fn options(options: Options) -> Options {
    let slower = |milliseconds: u64| milliseconds.saturating_mul(SLOWER);
    Options { timeout_ms: slower(options.timeout_ms), cpu_ms: slower(options.cpu_ms), ..options }
}

/// The same machine, without a pool and with a counter.
pub(super) fn config(mut config: Config) -> Config {
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .cranelift_opt_level(OptLevel::None)
        .consume_fuel(true);
    config
}

/// Before a call.
pub(super) fn fill(store: &mut Store<State>) {
    let filled = store.set_fuel(FULL);
    debug_assert!(filled.is_ok(), "an engine that counts has fuel");
}

/// After a call, however it ended.
pub(super) fn used(store: &Store<State>) -> u64 {
    FULL - store.get_fuel().unwrap_or(FULL)
}
