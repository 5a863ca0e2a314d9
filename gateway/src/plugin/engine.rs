//! The engine's configuration. Code runs only where it was made for the same engine, so that
//! what decides the code is said once, for the host and for the child that compiles.

use super::limits::{self, Options};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

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
pub(super) fn config(options: &Options) -> Config {
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
