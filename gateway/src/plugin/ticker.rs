//! The clock that guests feel: the engine's epoch advances every [`TICK`] while any of them is there, and a thread that has
//! nobody to tick for sleeps.

use super::{limits::TICK, precedence};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
};
use wasmtime::{Engine, EngineWeak};

/// How many ticks it goes on with nobody there: a call that comes soon need not wake it.
const LINGERS: u32 = 50;

/// Ticks while guests are there.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    /// How many guests there are.
    guests: AtomicUsize,
    sleeps: AtomicBool,
    ended: AtomicBool,
}

/// A guest for whom it ticks.
#[derive(Debug)]
pub(super) struct Present(Arc<Shared>);

impl Ticker {
    /// Begins to, for that engine.
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        let (shared, engine) = (Arc::<Shared>::default(), engine.weak());
        let own = shared.clone();
        let name = "plugin-ticker".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || {
            precedence::first();
            own.tick(&engine);
        })?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// There is one more guest, until what this gives is dropped.
    pub(super) fn enter(&self) -> Present {
        self.shared.guests.fetch_add(1, SeqCst);
        // Whoever goes to sleep says so first and looks then, so that one of both sees the other.
        if self.shared.sleeps.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Present(self.shared.clone())
    }

    /// Whether it sleeps.
    #[cfg(test)]
    pub(super) fn sleeps(&self) -> bool {
        self.shared.sleeps.load(SeqCst)
    }
}

impl Shared {
    fn tick(&self, engine: &EngineWeak) {
        let mut alone = 0;
        // Who was given up may be there for longer than the host.
        while !self.ended.load(SeqCst) || self.guests.load(SeqCst) > 0 {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            drop(engine);
            alone = if self.guests.load(SeqCst) == 0 { alone + 1 } else { 0 };
            if alone >= LINGERS {
                self.sleep();
                alone = 0;
            }
        }
    }

    fn sleep(&self) {
        loop {
            // Each time: who woke it may be gone again.
            self.sleeps.store(true, SeqCst);
            if self.guests.load(SeqCst) > 0 || self.ended.load(SeqCst) {
                break;
            }
            thread::park();
        }
        self.sleeps.store(false, SeqCst);
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.thread.unpark();
    }
}
