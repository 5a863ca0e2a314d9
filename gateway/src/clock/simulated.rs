//! Time and chance of a simulation, for the thread that runs it: tokio's paused time from a fixed start, with jumps of the
//! wall clock, and everything drawn from one seed. Two simulations of one seed see the same.

use crate::model::Millis;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use std::{cell::RefCell, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600_000;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct World {
    chance: StdRng,
    /// How long it goes on, until the present runtime began.
    before: Duration,
    began: Option<Instant>,
    /// How far the wall clock was set, in milliseconds.
    jumped: i64,
    accepted: Millis,
}

/// A simulation's time and chance, until it is dropped.
#[derive(Debug)]
pub struct Simulated(());

impl Simulated {
    /// This thread's time and chance are these from now on.
    pub fn begin(seed: u64) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        let (before, began) = (Duration::ZERO, None);
        let world = World { chance, before, began, jumped: 0, accepted: 0 };
        WORLD.set(Some(world));
        Self(())
    }

    /// Within a new runtime, whose time is paused: its clock goes on where that of the one before stood.
    pub fn enter(&self) {
        let now = now_of_runtime();
        with(|world| world.began = Some(now));
    }

    /// Before the runtime ends: notes how long it ran.
    pub fn leave(&self) {
        let now = now_of_runtime();
        with(|world| {
            world.before += world.began.take().map_or(Duration::ZERO, |began| now - began);
        });
    }

    /// Somebody sets the wall clock.
    pub fn jump(&self, millis: i64) {
        with(|world| world.jumped += millis);
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

#[allow(clippy::disallowed_methods, reason = "tokio's time, which is paused")]
fn now_of_runtime() -> Instant {
    Instant::now()
}

fn with<T>(act: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(act))
}

/// The wall clock, if this thread runs a simulation.
pub fn now() -> Option<Millis> {
    elapsed().and_then(|elapsed| {
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        with(|world| (EPOCH + world.jumped + elapsed).unsigned_abs())
    })
}

/// How long the simulation goes on, whatever the wall clock says.
pub fn elapsed() -> Option<Duration> {
    let began = with(|world| (world.before, world.began))?;
    Some(began.0 + began.1.map_or(Duration::ZERO, |began| now_of_runtime() - began))
}

/// A point on the monotonic clock.
pub fn instant() -> Option<std::time::Instant> {
    with(|_| ())?;
    Some(now_of_runtime().into_std())
}

/// When a message is accepted now: not before the last one.
pub fn accepted() -> Option<Millis> {
    let now = now()?;
    with(|world| {
        world.accepted = world.accepted.max(now);
        world.accepted
    })
}

/// A number from that range.
pub fn draw(range: std::ops::Range<u64>) -> Option<u64> {
    with(|world| world.chance.random_range(range))
}

/// A number in `-1.0..1.0`.
pub fn chance() -> Option<f64> {
    with(|world| world.chance.random_range(-1.0..1.0))
}

/// 32 bytes.
pub fn bytes() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    with(|world| world.chance.fill_bytes(&mut bytes))?;
    Some(bytes)
}

/// An id of this moment.
pub fn id() -> Option<Uuid> {
    let now = now()?;
    let chance = with(|world| world.chance.random())?;
    Some(uuid::Builder::from_unix_timestamp_millis(now, &chance).into_uuid())
}
