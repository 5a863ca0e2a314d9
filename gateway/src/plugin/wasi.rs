//! The WASI a guest's standard library expects, with nothing behind it: no files, sockets, environment or
//! output. Clocks and random numbers come from the message, so that the same message gives the same
//! verdict, unless the application is granted real ones. Made when a guest first asks: one without WASI pays nothing.
//!
//! Nobody sleeps on a clock that stands still: what waits for a time goes on at once, and the time has come. On a real one a
//! guest may sleep, which is a part of its time limit, and its own doing.

use super::{limits::Meter, state::State};
use crate::{
    clock,
    model::{grants::Capabilities, message::Message},
};
use sha2::{Digest, Sha256};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::{
    Deterministic, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView,
    p2::{
        DynPollable, Pollable, add_to_linker_async, bindings::clocks::monotonic_clock, subscribe,
    },
};

/// Gives components WASI.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_to_linker_async(linker)?;
    // In place of the one that sleeps whoever asks.
    linker.allow_shadowing(true);
    let linked = monotonic_clock::add_to_linker::<_, HasSelf<State>>(linker, |state| state);
    linker.allow_shadowing(false);
    linked
}

/// Resources (streams, pollables) of one call: they are the host's memory, which no other limit counts.
const MAX_RESOURCES: usize = 1024;
/// Random bytes per request: each one fills a buffer of the host's.
const MAX_RANDOM: u64 = 64 << 10;

/// One call's WASI.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    clock: Clock,
}

impl Wasi {
    fn new(message: &Message, granted: &Capabilities) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let seed = message.id.0.as_u128();
        let mut context = WasiCtx::builder();
        context.max_random_size(MAX_RANDOM).allow_tcp(false).allow_udp(false);
        let clock = match granted.clock {
            true => Clock::Runs(clock::instant()),
            false => {
                context.wall_clock(Accepted(Duration::from_millis(message.accepted)));
                Clock::Stands(Arc::new(AtomicU64::new(0)))
            }
        };
        if !granted.random {
            context
                .secure_random(random(seed, 0))
                .insecure_random(random(seed, 1))
                .insecure_random_seed(seed);
        }
        Self { context: context.build(), table, clock }
    }
}

impl State {
    fn wasi(&mut self) -> &mut Wasi {
        let wasi = match self.wasi.take() {
            Some(wasi) => wasi,
            None => Box::new(Wasi::new(&self.message, self.granted())),
        };
        self.wasi.insert(wasi)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
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

/// The clock that measures, in nanoseconds.
#[derive(Clone, Debug)]
enum Clock {
    /// A microsecond later each time it is read, so that who looks at it until it is late enough gets on; and at the time
    /// that somebody waited for.
    Stands(Arc<AtomicU64>),
    /// The real one, from its start.
    Runs(Instant),
}

/// A microsecond.
const STEP: u64 = 1000;

impl Clock {
    fn now(&self) -> u64 {
        match self {
            Self::Stands(time) => time.fetch_add(STEP, Relaxed),
            Self::Runs(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.wasi().clock.now())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(match self.wasi().clock {
            Clock::Stands(_) => STEP,
            Clock::Runs(_) => 1,
        })
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let meter = Arc::clone(&self.meter);
        let Wasi { table, clock, .. } = self.wasi();
        let alarm = match clock {
            Clock::Stands(time) => Alarm::Come(Arc::clone(time), when),
            Clock::Runs(start) => {
                Alarm::Sleep { until: start.checked_add(Duration::from_nanos(when)), meter }
            }
        };
        let alarm = table.push(alarm)?;
        subscribe(table, alarm)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.wasi().clock.now().saturating_add(duration);
        self.subscribe_instant(when)
    }
}

/// A time that a guest may wait for.
enum Alarm {
    /// On a clock that stands still.
    Come(Arc<AtomicU64>, u64),
    /// On a real one.
    Sleep {
        /// None: never.
        until: Option<Instant>,
        meter: Arc<Meter>,
    },
}

#[wasmtime_wasi::async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        match self {
            Self::Come(time, when) => {
                time.fetch_max(*when, Relaxed);
            }
            Self::Sleep { until, meter } => {
                if until.is_some_and(|until| until <= clock::instant()) {
                    return;
                }
                let _asleep = meter.sleeps(*until);
                match until {
                    Some(until) => tokio::time::sleep_until((*until).into()).await,
                    None => std::future::pending().await,
                }
            }
        }
    }
}
