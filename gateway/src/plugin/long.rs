//! Calls that compute for long. Most calls end within a tick, on the guests' threads. One that goes on moves to threads of
//! its own, one fewer than there are cores, which the system runs when nobody else wants the core: whoever is woken
//! meanwhile need not wait for the slice of a plugin that spins. All such calls take turns there, a tick each. After one that
//! went on for some ticks, its plugin's next call for that application begins there.
//!
//! Only guests' code runs there and what is between them and the world outside, which holds no lock of the gateway for longer
//! than it takes to count: what reads, writes and sends is elsewhere, and what comes after a call goes on where that began.

use super::{
    limits::{Meter, TICK},
    precedence,
};
use crate::model::id::{ApplicationId, Digest};
use std::{
    cell::Cell,
    collections::HashSet,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::Poll,
    thread,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Semaphore,
    task::{JoinSet, yield_now},
};

/// The CPU time that a call has on the guests' threads. More than most calls need.
const OWN: Duration = Duration::from_micros(500);
/// The CPU time of a call after which the next is expected to compute for as long. The first tick is a guess.
const LASTING: Duration = TICK.saturating_mul(2);
/// How many are remembered: to forget one costs a tick on the guests' threads.
const REMEMBERED: usize = 10_000;

thread_local! {
    /// Whether the call that was just polled is to move.
    static MOVES: Cell<bool> = const { Cell::new(false) };
}

/// How many of these threads there are: one fewer than there are cores, but at least one.
fn count() -> usize {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    cores.saturating_sub(1).max(1)
}

/// Places for calls that run no code and compute for long: as many as there are threads for those that do.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count()))
}

/// The threads. Cores are the process's: all hosts share them.
pub(super) fn threads() -> io::Result<Handle> {
    static THREADS: OnceLock<Runtime> = OnceLock::new();
    if THREADS.get().is_none() {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(count()).thread_name("plugin-long").enable_time();
        let made = builder.on_thread_start(precedence::last).build()?;
        if let Err(second) = THREADS.set(made) {
            second.shutdown_background();
        }
    }
    let threads = THREADS.get().map(|threads| threads.handle().clone());
    threads.ok_or_else(|| io::Error::other("no threads"))
}

/// Whose last call of a plugin computed for long.
#[derive(Debug, Default)]
pub(super) struct Lasting(Mutex<HashSet<(ApplicationId, Digest)>>);

impl Lasting {
    /// Whether that one's did.
    pub(super) fn has(&self, who: &(ApplicationId, Digest)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(who)
    }

    /// Its call took so much CPU time; whether that was expected.
    pub(super) fn learn(&self, who: (ApplicationId, Digest), cpu: Duration, expected: bool) {
        if expected == (cpu >= LASTING) {
            return;
        }
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if expected {
            lasting.remove(&who);
            return;
        }
        if lasting.len() >= REMEMBERED {
            lasting.clear();
        }
        lasting.insert(who);
    }
}

/// What a call that has used so much CPU time does before it goes on.
pub(super) fn turn(used: Duration, meter: &Arc<Meter>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let meter = Arc::clone(meter);
    Box::pin(async move {
        MOVES.set(used >= OWN);
        // What others compute for is not its own time.
        meter.wait();
        if used >= OWN {
            // The system would let it go on to the end of its slice, which is longer than a tick.
            thread::yield_now();
        }
        yield_now().await;
        meter.resume();
    })
}

/// Runs a call here, and there if it takes long or is expected to. Dropping this stops it, at its next tick.
pub(super) async fn run<F>(
    threads: &Handle,
    mut call: Pin<Box<F>>,
    expected: bool,
) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    if expected {
        return go_on(threads, call).await;
    }
    let here = poll_fn(|context| {
        MOVES.set(false);
        match call.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if MOVES.take() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    if let Some(ended) = here.await {
        return Some(ended);
    }
    go_on(threads, call).await
}

async fn go_on<F>(threads: &Handle, call: Pin<Box<F>>) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut there = JoinSet::new();
    there.spawn_on(call, threads);
    there.join_next().await?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use uuid::Uuid;

    /// Where a call began and ended that used so much CPU time before its first turn.
    async fn stations(used: Duration, expected: bool) -> (Option<String>, Option<String>) {
        let name = || thread::current().name().map(str::to_owned);
        let call = async move {
            let begun = name();
            turn(used, &Arc::new(Meter::new(clock::instant()))).await;
            (begun, name())
        };
        run(&threads().expect("threads"), Box::pin(call), expected).await.expect("an end")
    }

    #[tokio::test]
    async fn who_computes_for_long_goes_on_elsewhere() {
        let (begun, ended) = stations(Duration::ZERO, false).await;
        assert_eq!(begun, ended);
        let (begun, ended) = stations(OWN, false).await;
        assert_ne!(begun, ended);
        assert_eq!(ended.as_deref(), Some("plugin-long"));
        // Who is expected to begins there.
        let (begun, ended) = stations(Duration::ZERO, true).await;
        assert_eq!((begun.as_deref(), begun.clone()), (Some("plugin-long"), ended));
    }

    #[test]
    fn what_the_last_call_took_is_expected_of_the_next() {
        let who = |n| (ApplicationId(Uuid::from_u128(n)), Digest([0; 32]));
        let lasting = Lasting::default();
        for (cpu, expected) in [(OWN, false), (LASTING, true), (LASTING, true), (OWN, false)] {
            lasting.learn(who(1), cpu, lasting.has(&who(1)));
            assert_eq!((lasting.has(&who(1)), lasting.has(&who(2))), (expected, false));
        }
    }

    #[tokio::test]
    async fn who_is_not_wanted_any_more_stops() {
        let (sender, mut ended) = tokio::sync::oneshot::channel::<()>();
        let call = async move {
            let _open = sender;
            loop {
                turn(OWN, &Arc::new(Meter::new(clock::instant()))).await;
            }
        };
        let threads = threads().expect("threads");
        let given_up =
            tokio::time::timeout(Duration::from_millis(20), run(&threads, Box::pin(call), false))
                .await;
        assert!(given_up.is_err());
        // It is dropped.
        assert!((&mut ended).await.is_err());
    }

    #[tokio::test]
    async fn who_comes_to_harm_harms_nobody() {
        let call = async {
            turn(OWN, &Arc::new(Meter::new(clock::instant()))).await;
            panic!("on purpose");
        };
        assert_eq!(run(&threads().expect("threads"), Box::pin(call), false).await, None::<()>);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn these_threads_are_nice_and_no_others() {
        let nice = || rustix::process::getpriority_process(None).expect("a number");
        let usual = nice();
        let call = async move {
            turn(OWN, &Arc::new(Meter::new(clock::instant()))).await;
            nice()
        };
        let there = run(&threads().expect("threads"), Box::pin(call), false).await;
        assert_eq!((there, nice()), (Some(usual.max(precedence::NICE)), usual));
    }
}
