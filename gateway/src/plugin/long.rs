//! Calls that compute for long. All but one of the guests' threads may run them, in turn, so that there is always a thread
//! for a call that comes: most calls end within a tick, and must not wait behind those that do not.

use super::limits::Meter;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The CPU time that a call has for itself. Less than a tick, and more than most calls need.
const OWN: Duration = Duration::from_millis(1);

/// The places for calls that take long, as many as the guests have threads but for one.
pub(super) fn places() -> Arc<Semaphore> {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)))
}

/// What a call that has used so much CPU time does before it goes on.
pub(super) fn turn(
    used: Duration,
    place: &Arc<Place>,
    meter: &Arc<Meter>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    if used < OWN {
        return Box::pin(tokio::task::yield_now());
    }
    let (place, meter) = (Arc::clone(place), Arc::clone(meter));
    Box::pin(async move {
        // What others compute for is not its own time.
        meter.wait();
        place.again().await;
        meter.resume();
    })
}

/// One call's place, or the lack of one.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Semaphore>,
    mine: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Place {
    pub(super) fn new(all: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { all: Arc::clone(all), mine: Mutex::default() })
    }

    fn mine(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets whoever waits go first, and waits for the next turn.
    async fn again(&self) {
        self.give_up();
        tokio::task::yield_now().await;
        // Never closed.
        let permit = Arc::clone(&self.all).acquire_owned().await.ok();
        *self.mine() = permit;
    }

    /// Gives the place back, for instance to wait for the world outside.
    pub(super) fn give_up(&self) {
        self.mine().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn who_computes_for_long_does_so_in_turn() {
        let all = Arc::new(Semaphore::new(1));
        let [first, second] = [(); 2].map(|()| Place::new(&all));
        first.again().await;
        let mut waiting = Box::pin(second.again());
        for _ in 0..3 {
            assert!(waiting.as_mut().now_or_never().is_none(), "the other has the place");
        }
        let mut next = Box::pin(first.again());
        assert!(next.as_mut().now_or_never().is_none());
        waiting.await;
        assert!(next.as_mut().now_or_never().is_none(), "it is behind the other now");
        second.give_up();
        next.await;
        drop(first);
        assert_eq!(all.available_permits(), 1);
    }
}
