//! What an engine keeps in memory between its disk and the stages: the [`Front`], what [`Waiting`] knows, the
//! deliveries that are ready, and the catalog's snapshot. Both engines are this plus a way to write and to read.

use super::{
    Current, Depths, Outstanding, Settlement, StoreError, due_later,
    front::Front,
    waiting::{Due, Waiting},
};
use crate::{
    clock,
    model::{
        Millis,
        catalog::{Snapshot, Tenant},
        delivery::{Delivery, DeliveryKey, Next, Place, State},
        id::{ApplicationId, EndpointId},
        message::{Held, Message, Sequence},
    },
};
use arc_swap::ArcSwap;
use nap::until;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
};
use tokio::sync::{Notify, watch};

mod nap;
mod later;

/// The part of an engine that lives in memory.
#[derive(Debug)]
pub struct Handover {
    /// Messages: handed over in order, settled up to the mark.
    pub front: Front,
    waiting: Mutex<Waiting>,
    ready: Mutex<VecDeque<Arc<Delivery>>>,
    ready_changed: Notify,
    catalog: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
    parked: AtomicU64,
}

/// What a catalog change means for what waits.
#[derive(Debug, Default)]
pub struct Effects {
    /// Endpoints that are disabled or gone: their waiting deliveries have ended.
    pub ended: Vec<EndpointId>,
    /// Messages that were parked, and are due from then on.
    pub released: Vec<Sequence>,
    /// When this was written.
    pub at: Millis,
    /// How many of the deliveries that have ended waited far ahead, by their rows.
    pub far: u64,
    /// Messages that were held and are dropped now: when they were due, or none for what was parked.
    pub dropped: Vec<(Sequence, Option<Millis>)>,
    /// The application that is gone, with what was crowded.
    pub gone: Option<ApplicationId>,
}

/// What is due again.
#[derive(Clone, Copy, Debug)]
pub enum Resent {
    /// A delivery's row, when it was due before, if it waited, and when it is now.
    Delivery(DeliveryKey, Option<Millis>, Millis),
    /// A message, to be dispatched from then on.
    Message(Sequence, Millis),
    /// A message that is held, and will be for this endpoint as well when its time comes.
    Held,
}

/// What there is to do to send something again.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// It is due.
    Due(Resent),
    /// It is left alone.
    Nothing,
    /// It is dispatched for another endpoint just now: later.
    Busy,
}

/// What follows an attempt, by what is known at the moment its row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follows {
    /// The delivery's next state.
    pub next: Next,
    /// How many attempts the retry schedule does not count.
    pub spent: u32,
}

impl Follows {
    /// What operators are told of it: not that the schedule is used up, when it begins anew.
    #[must_use]
    pub fn notice(self, settlement: &Settlement) -> Option<&Arc<Message>> {
        let renewed = settlement.next == Next::DeadLetter && self.next != Next::DeadLetter;
        settlement.notice.as_ref().filter(|_| !renewed)
    }
}

/// What follows an attempt, by the catalog at that moment: none to an endpoint that is disabled or gone meanwhile. One that fails of a delivery that was resent meanwhile is made again at once, with the schedule
/// from its start.
#[must_use]
pub fn follows(catalog: &Snapshot, settlement: &Settlement, resent: bool, now: Millis) -> Follows {
    let Settlement { delivery, attempt, next, .. } = settlement;
    let enabled = catalog.endpoint(delivery.key.endpoint).is_some_and(|e| e.enabled);
    let again = resent && enabled && !delivery.message.has_expired(now);
    match (next, attempt) {
        (Next::RetryAt(_), _) if !enabled => {
            Follows { next: Next::Disabled, spent: delivery.spent }
        }
        (Next::RetryAt(_) | Next::DeadLetter | Next::Expired, Some(attempt)) if again => {
            Follows { next: Next::RetryAt(now), spent: attempt.number }
        }
        _ => Follows { next: *next, spent: delivery.spent },
    }
}

/// Why a message is held that is dispatched again for an endpoint that missed it.
#[must_use]
pub const fn again_reason() -> &'static str {
    "sent again, to an endpoint that missed it"
}

/// As what a message is held, by the catalog at the moment its row is written. One whose application is gone would never
/// be released; one that was parked while the application's plugins were changed is for them as they are now.
#[must_use]
pub fn held_as(
    catalog: &Snapshot,
    message: &Message,
    held: &Held,
    called: Option<&Tenant>,
    now: Millis,
) -> Held {
    let Some(tenant) = catalog.tenant(message.application) else { return orphaned() };
    match (held, called) {
        (Held::Parked { reason, .. }, Some(called)) if tenant.runs_otherwise(called) => {
            Held::Retry { due: now, calls: 0, reason: reason.clone() }
        }
        _ => held.clone(),
    }
}

/// What becomes of a held message whose application is deleted: nobody is left to release it.
#[must_use]
pub fn orphaned() -> Held {
    Held::Dropped { reason: "the application was deleted".to_owned() }
}

/// What becomes of a parked message whose content goes: there is nothing left to release.
#[must_use]
pub fn emptied() -> Held {
    Held::Dropped { reason: "its content was removed before a plugin released it".to_owned() }
}

impl Handover {
    /// What an engine starts with.
    #[must_use]
    pub fn new(front: Front, waiting: Waiting, catalog: Snapshot, parked: u64) -> Self {
        Self {
            front,
            waiting: Mutex::new(waiting),
            ready: Mutex::default(),
            ready_changed: Notify::new(),
            catalog: ArcSwap::from_pointee(catalog),
            version: watch::Sender::new(0),
            parked: AtomicU64::new(parked),
        }
    }

    /// What waits. Held for a moment only.
    pub fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Arc<Delivery>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands deliveries over to the deliver stage.
    pub fn offer(&self, deliveries: impl IntoIterator<Item = Arc<Delivery>>) {
        self.ready().extend(deliveries);
        self.ready_changed.notify_one();
    }

    /// Messages are durable, with the holds of those that are scheduled.
    pub fn committed(&self, batch: Vec<(Sequence, Arc<Message>)>) {
        let scheduled = batch.iter().filter_map(|(seq, message)| Some((*seq, message.deliver_at?)));
        let scheduled: Vec<_> = scheduled.collect();
        self.front.committed(batch);
        scheduled.into_iter().for_each(|(sequence, due)| self.hold_until(sequence, due));
    }

    /// A delivery's row waits until its due time, from now on.
    fn wait(&self, delivery: &Arc<Delivery>) {
        let due = delivery.due;
        self.waiting().add_timer(delivery.key, due, Some(delivery.clone()), clock::now());
        self.ready_changed.notify_one();
    }

    /// An attempt's end is recorded.
    pub fn settled(&self, settlement: Settlement, follows: Follows) {
        let key = settlement.delivery.key;
        self.waiting().settled(key);
        if let Next::RetryAt(due) = follows.next {
            let attempts = settlement.attempt.map_or(settlement.delivery.attempts, |a| a.number);
            let (spent, delivery) = (follows.spent, Delivery::clone(&settlement.delivery));
            let again = Delivery { attempts, spent, due, ..delivery };
            self.wait(&Arc::new(again));
        }
        self.front.settled(&key);
    }

    /// A delivery has a row in that state.
    pub fn written(&self, delivery: &Arc<Delivery>, state: State) {
        match state {
            State::Aside => self.waiting().aside_written(delivery.key),
            State::Waiting => self.wait(delivery),
            State::Disabled => self.waiting().aside_ended(delivery.key),
            _ => {}
        }
        self.front.settled(&delivery.key);
    }

    /// A message waits until its application's plugin has room; `note` hands its row over. Under the lock, so that
    /// nobody can take it before.
    pub fn crowd(&self, application: ApplicationId, sequence: Sequence, note: impl FnOnce()) {
        let mut waiting = self.waiting();
        waiting.crowd(application, sequence);
        note();
    }

    /// It is noted why a message of that application goes nowhere for now.
    pub fn held(&self, application: ApplicationId, sequence: Sequence, held: &Held) {
        match held {
            Held::Retry { due, .. } | Held::Scheduled { due } => self.hold_until(sequence, *due),
            Held::Parked { .. } => {
                self.parked.fetch_add(1, Ordering::Relaxed);
            }
            Held::Dropped { .. } | Held::Dead { .. } | Held::Cancelled | Held::Expired => {
                self.waiting().uncrowd(application, sequence);
            }
            Held::Crowded { .. } => {}
        }
        self.front.dispatched(sequence, Vec::new());
        if !matches!(held, Held::Crowded { .. }) {
            self.front.came_through(sequence);
        }
    }

    /// A held message's deliveries have rows, and it is held no more. These were not offered when it was dispatched.
    pub fn unheld(&self, sequence: Sequence, rest: Vec<Arc<Delivery>>) {
        let (later, ready) = due_later(rest);
        later.iter().for_each(|delivery| self.wait(delivery));
        ready.iter().for_each(|delivery| self.noted(delivery));
        self.offer(ready);
        self.front.came_through(sequence);
    }

    /// What of the endpoint's is not done: what has no row yet, and what has one.
    #[must_use]
    pub fn outstanding(
        &self,
        endpoint: EndpointId,
        open: &[Arc<Delivery>],
        rows: Vec<(Place, Option<u64>)>,
    ) -> Vec<Outstanding> {
        let waiting = self.waiting();
        let open = open.iter().map(|delivery| (delivery.place(), delivery.ordering_hash()));
        let found = open.chain(rows).map(|(place, key)| {
            let aside = waiting.is_aside(place.at(endpoint));
            Outstanding { place, key, aside }
        });
        found.collect()
    }

    /// A step has been written, or was not: what was kept from being leased meanwhile may be.
    pub fn free_messages(&self) {
        if self.waiting().free_messages() {
            self.front.wake();
        }
    }

    /// That many parked messages are dropped, since their content is gone.
    pub fn emptied(&self, count: u64) {
        if count > 0 {
            self.parked.fetch_sub(count, Ordering::Relaxed);
            metrics::counter!("octohooks_parked_messages_emptied_total").increment(count);
            tracing::warn!(count, "parked messages are dropped: their content is gone");
        }
    }

    /// A catalog change is durable, with these effects.
    pub fn changed(&self, effects: &Effects) {
        let mut unparked = effects.released.len() as u64;
        {
            let mut waiting = self.waiting();
            waiting.remove_endpoints(&effects.ended, effects.far);
            if let Some(application) = effects.gone {
                let gone = waiting.remove_crowded(application);
                gone.into_iter().for_each(|sequence| self.front.came_through(sequence));
            }
            for (sequence, due) in &effects.dropped {
                match due {
                    Some(due) => waiting.remove_message(*sequence, *due),
                    None => unparked += 1,
                }
            }
        }
        effects.released.iter().for_each(|sequence| self.hold_until(*sequence, effects.at));
        self.parked.fetch_sub(unparked, Ordering::Relaxed);
    }

    /// These are due, from now on.
    pub fn resent(&self, resent: Vec<Resent>) {
        let now = clock::now();
        let mut messages = Vec::new();
        {
            let mut waiting = self.waiting();
            for one in resent {
                match one {
                    Resent::Message(sequence, due) => messages.push((sequence, due)),
                    Resent::Held => {}
                    Resent::Delivery(key, before, due) => {
                        waiting.resend(key, before, due, now);
                        // A first attempt is under way, and has a row now.
                        self.front.settled(&key);
                    }
                }
            }
        }
        self.ready_changed.notify_one();
        messages.into_iter().for_each(|(sequence, due)| self.hold_until(sequence, due));
    }

    /// A message waits until `due`, from now on.
    fn hold_until(&self, sequence: Sequence, due: Millis) {
        self.waiting().add_message(sequence, due, clock::now());
        self.front.wake();
    }

    /// The catalog as it is.
    #[must_use]
    pub fn snapshot(&self) -> Current {
        self.catalog.load()
    }

    /// The catalog is this from now on.
    pub fn publish(&self, catalog: Snapshot) {
        self.catalog.store(Arc::new(catalog));
        self.version.send_modify(|version| *version += 1);
    }

    /// Sees every `publish`.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until deliveries are ready or due; at least one.
    pub async fn next_due(&self, max: usize) -> Result<Vec<Due>, StoreError> {
        loop {
            self.front.check_open()?;
            let mut taken: Vec<Due> = {
                let mut ready = self.ready();
                let count = max.min(ready.len());
                ready.drain(..count).map(Due::Whole).collect()
            };
            taken.extend(self.waiting().due(clock::now(), max - taken.len()));
            if !taken.is_empty() {
                return Ok(taken);
            }
            let next = self.waiting().next_due();
            until(next, self.ready_changed.notified()).await;
        }
    }

    /// Waits until a message is committed, behind or due.
    pub async fn wait_for_message(&self) {
        let next = self.waiting().next_message();
        until(next, self.front.changed()).await;
    }

    /// How much waits where.
    #[must_use]
    pub fn depths(&self) -> Depths {
        let (undispatched, unsettled) = self.front.depths();
        let (waiting, aside, retries, scheduled) = self.waiting().depths(clock::now());
        let parked = self.parked.load(Ordering::Relaxed);
        let undispatched = undispatched + retries;
        Depths { undispatched, unsettled, waiting, aside, parked, scheduled }
    }

    /// Nothing is handed over any more.
    pub fn close(&self) {
        self.front.close();
        self.ready_changed.notify_one();
    }
}
