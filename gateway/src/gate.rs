//! Who may go now, where a number of places is shared: a queue in front of the places, and one in front of that for
//! each application, so that none takes them all. Plugin calls pass one, and requests to receivers.

use crate::model::id::ApplicationId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Both queues, first come first served.
#[derive(Debug)]
pub struct Gate {
    all: Semaphore,
    places: usize,
    per_application: usize,
    applications: Mutex<HashMap<ApplicationId, Arc<Semaphore>>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Turn<'g> {
    /// None: it takes none of its application's places.
    _application: Option<Waiting<'g>>,
    _all: Option<SemaphorePermit<'g>>,
}

/// An application that waits for a turn or has one. The last one to go takes the application's queue with it.
#[derive(Debug)]
struct Waiting<'g> {
    gate: &'g Gate,
    id: ApplicationId,
    queue: Arc<Semaphore>,
    admitted: bool,
}

impl Gate {
    /// A gate before that many places, of which an application may have so many.
    #[must_use]
    pub fn new(places: usize, per_application: usize) -> Self {
        let (all, applications) = (Semaphore::new(places), Mutex::default());
        Self { all, places, per_application, applications }
    }

    /// A place that nobody misses: while more than half of all are free, and none of an application's.
    pub fn spare(&self) -> Option<Turn<'_>> {
        let is_quiet = self.all.available_permits() > self.places / 2;
        let place = is_quiet.then(|| self.all.try_acquire().ok()).flatten()?;
        Some(Turn { _all: Some(place), _application: None })
    }

    /// Waits for a turn. Giving up is dropping the future. Neither queue is ever closed, so that waiting
    /// cannot fail.
    pub async fn turn(&self, id: ApplicationId) -> Turn<'_> {
        let queue = Arc::clone(
            self.applications()
                .entry(id)
                .or_insert_with(|| Arc::new(Semaphore::new(self.per_application))),
        );
        let mut waiting = Waiting { gate: self, id, queue, admitted: false };
        if let Ok(permit) = waiting.queue.acquire().await {
            permit.forget();
            waiting.admitted = true;
        }
        Turn { _all: self.all.acquire().await.ok(), _application: Some(waiting) }
    }

    fn applications(&self) -> MutexGuard<'_, HashMap<ApplicationId, Arc<Semaphore>>> {
        self.applications.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.admitted {
            self.queue.add_permits(1);
        }
        let mut applications = self.gate.applications();
        // The map's and ours: nobody else waits, and nobody can start to without the lock.
        if Arc::strong_count(&self.queue) == 2 {
            applications.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::Future, pin::pin, task::Context, task::Waker};
    use uuid::Uuid;

    #[tokio::test]
    async fn an_application_waits_for_its_own_calls_and_leaves_nothing_behind() {
        let gate = Gate::new(3, 2);
        let (a, b) = (ApplicationId(Uuid::from_u128(1)), ApplicationId(Uuid::from_u128(2)));
        let (first, _second) = (gate.turn(a).await, gate.turn(a).await);
        let mut third = Box::pin(gate.turn(a));
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending(), "two at once is the limit");
        let other = gate.turn(b).await;
        assert!(pin!(gate.turn(b)).poll(&mut context).is_pending(), "the pool is full");
        drop(first);
        let third = third.await;
        assert_eq!(gate.applications().len(), 2);
        drop((_second, third, other));
        assert!(gate.applications().is_empty());
        assert_eq!(gate.all.available_permits(), 3);
    }

    #[tokio::test]
    async fn a_spare_place_is_there_while_more_than_half_are_free_and_is_no_applications() {
        let gate = Gate::new(4, 1);
        let application = ApplicationId(Uuid::from_u128(1));
        let turn = gate.turn(application).await;
        let spare = gate.spare().expect("three of four are free");
        assert!(gate.spare().is_none(), "two are free");
        drop(turn);
        let turn = gate.turn(application).await;
        assert!(gate.spare().is_none());
        drop((turn, spare));
        assert_eq!(gate.all.available_permits(), 4);
        assert!(Gate::new(1, 1).spare().is_some(), "also of one");
    }
}
