//! The engine in memory, for tests and simulation: the same ports and the same [`Handover`] as the embedded engine, with
//! maps where that has a file. Durable means here that the maps have it; whoever wants to keep anything wants
//! [`Sqlite`](super::sqlite::Sqlite).
//!
//! One lock guards the maps and is held until the stages are told, so that they are told in the order of the changes.

use super::{
    Accepted, BatchAnswer, Catalog, Current, Depths, Dispatched, HealthNote, KeptAnswer,
    LeasedMessage, Outstanding, Queue, Settlement, StoreError, Submission, due_later,
    front::{Front, Ready},
    handover::{Handover, follows, held_as},
    onward::onward,
    waiting::{Due, Waiting},
};
use crate::{
    clock,
    model::{
        catalog::{Change, Snapshot},
        delivery::{Delivery, Place, State},
        failure::Failure,
        health::Kept,
        id::{ApplicationId, Digest, EndpointId, MessageId},
        message::{Held, Message, Sequence},
        notice::{self, Notice},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tables::Tables;
use tokio::sync::watch;

mod keyvalue;
mod log;
mod retention;
mod search;
mod tables;
#[cfg(test)]
mod reopened;

/// The store in memory.
#[derive(Debug)]
pub struct Memory {
    handover: Handover,
    tables: Mutex<Tables>,
    operations: watch::Sender<()>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let (front, waiting) = (Front::new(1, 1), Waiting::default());
        let handover = Handover::new(front, waiting, Snapshot::default(), 0);
        Arc::new(Self { handover, tables: Mutex::default(), operations: watch::Sender::default() })
    }

    /// Takes and hands over nothing more.
    pub fn close(&self) {
        self.handover.close();
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends messages of the gateway's own.
    fn tell(&self, tables: &mut Tables, messages: impl IntoIterator<Item = Arc<Message>>) {
        for message in messages {
            let sequence = Sequence(self.handover.front.head());
            let _new = tables.insert(sequence, &message.clone().into(), clock::now());
            self.handover.committed(vec![(sequence, message)]);
        }
    }

    /// Gives a delivery a row in which it waits, or has ended if its endpoint is disabled or gone.
    fn wait(&self, tables: &mut Tables, delivery: &Arc<Delivery>, state: State) {
        let snapshot = self.handover.snapshot();
        let enabled = snapshot.endpoint(delivery.key.endpoint).is_some_and(|e| e.enabled);
        let state = if enabled { state } else { State::Disabled };
        tables.put(delivery, state, None, clock::now());
        self.handover.written(delivery, state);
    }
}

#[async_trait]
impl Queue for Memory {
    async fn accept_once(
        &self,
        batch: Vec<Submission>,
        answer: Option<BatchAnswer>,
    ) -> Result<Vec<Accepted>, StoreError> {
        self.handover.front.check_open()?;
        let mut tables = self.tables();
        let mut next = self.handover.front.head();
        let mut accepted = Vec::with_capacity(batch.len());
        let mut committed = Vec::with_capacity(batch.len());
        for submission in batch {
            let result = tables.insert(Sequence(next), &submission, clock::now());
            if result == Accepted::New {
                committed.push((Sequence(next), submission.message));
                next += 1;
            }
            accepted.push(result);
        }
        if let Some(answer) = answer {
            tables.keep(&answer.kept(&accepted), None, clock::now());
        }
        self.handover.committed(committed);
        Ok(accepted)
    }

    async fn cancel(&self, message: Sequence) -> Result<bool, StoreError> {
        self.handover.front.check_open()?;
        let mut tables = self.tables();
        let Some(due) = tables.cancel(message, &self.handover, clock::now()) else {
            return Ok(false);
        };
        self.handover.free_messages();
        self.handover.cancelled(message, due);
        Ok(true)
    }

    async fn next_messages(&self, max: usize) -> Result<Vec<LeasedMessage>, StoreError> {
        loop {
            self.handover.front.check_open()?;
            let due = self.handover.waiting().due_messages(clock::now(), max.div_ceil(2));
            let mut leased = self.tables().messages_held(&due);
            let room = max - leased.len();
            match self.handover.front.ready(room) {
                Ready::Fresh(fresh) => leased.extend(fresh),
                Ready::Behind(from, to) if room > 0 => {
                    let (read, upto) = self.tables().messages_behind(from, to, room);
                    leased.extend(self.handover.front.behind(upto, read));
                }
                Ready::Nothing if leased.is_empty() => self.handover.wait_for_message().await,
                Ready::Behind(..) | Ready::Nothing => {}
            }
            if !leased.is_empty() {
                return Ok(leased);
            }
        }
    }

    async fn take_crowded(
        &self,
        application: ApplicationId,
        max: usize,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        let taken = self.handover.waiting().take_crowded(application, max);
        Ok(self.tables().messages_held(&taken))
    }

    fn applications_crowded(&self) -> Vec<ApplicationId> {
        self.handover.waiting().applications_crowded()
    }

    fn note_failure(&self, message: Sequence, failure: Failure) {
        self.tables().passed_over.insert(message, failure);
    }

    fn dispatched(&self, message: LeasedMessage, result: Dispatched) {
        let now = clock::now();
        let mut tables = self.tables();
        match result {
            Dispatched::Held(held, cause) => {
                let LeasedMessage { sequence, message, .. } = message;
                let catalog = self.handover.snapshot();
                let called = cause.as_deref().map(|cause| &*cause.tenant);
                let held = held_as(&catalog, &message, &held, called, now);
                tables.hold(sequence, held.clone(), cause.and_then(|cause| cause.failure), now);
                if matches!(held, Held::Crowded { .. }) {
                    self.handover.crowd(message.application, sequence, || {});
                }
                self.handover.held(message.application, sequence, &held);
            }
            Dispatched::Deliveries(deliveries) if message.held => {
                for delivery in &deliveries {
                    tables.put(delivery, State::Waiting, None, now);
                }
                tables.unhold(message.sequence);
                self.handover.unheld(message.sequence, deliveries);
            }
            Dispatched::Deliveries(deliveries) => {
                self.handover.front.dispatched(message.sequence, deliveries.clone());
                let (later, ready) = due_later(deliveries);
                for delivery in later {
                    self.wait(&mut tables, &delivery, State::Waiting);
                }
                self.handover.offer(ready);
                self.handover.front.came_through(message.sequence);
            }
        }
    }

    async fn next_deliveries(&self, max: usize) -> Result<Vec<Arc<Delivery>>, StoreError> {
        loop {
            let (mut leased, keys) = Due::split(self.handover.next_due(max).await?);
            leased.extend(self.tables().waiting(&keys));
            if !leased.is_empty() {
                return Ok(leased);
            }
        }
    }

    fn settle(&self, settlement: Settlement) {
        let mut tables = self.tables();
        let resent = self.handover.waiting().resent().contains(&settlement.delivery.key);
        let catalog = self.handover.snapshot();
        let follows = follows(&catalog, &settlement, resent, clock::now());
        tables.settle(&settlement, follows, clock::now());
        self.tell(&mut tables, follows.notice(&settlement).cloned());
        let onward = onward(&catalog, &settlement, follows, clock::now());
        self.handover.settled(settlement, follows);
        if let Some((onward, state)) = onward {
            let onward = Arc::new(tables.numbered(onward));
            tables.put(&onward, state, None, clock::now());
            self.handover.written(&onward, state);
        }
    }

    fn keep_health(&self, HealthNote { endpoint, trouble, notice }: HealthNote) {
        let mut tables = self.tables();
        let catalog = self.handover.snapshot();
        if catalog.endpoint(endpoint).is_some_and(|known| known.renewed == trouble.renewed) {
            tables.troubles.insert(endpoint, trouble);
            self.tell(&mut tables, notice);
        }
    }

    async fn troubles(&self) -> Result<Vec<Kept>, StoreError> {
        let tables = self.tables();
        let catalog = self.handover.snapshot();
        let some = tables.troubles.iter().filter(|(endpoint, trouble)| {
            let known = catalog.endpoint(**endpoint);
            trouble.is_some() && known.is_some_and(|known| known.renewed == trouble.renewed)
        });
        Ok(some.map(|(endpoint, trouble)| (*endpoint, *trouble)).collect())
    }

    fn set_aside(&self, delivery: Arc<Delivery>) {
        let mut tables = self.tables();
        self.handover.waiting().set_aside(delivery.clone());
        self.wait(&mut tables, &delivery, State::Aside);
    }

    async fn take_aside(
        &self,
        endpoint: EndpointId,
        max: usize,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let (whole, keys) = Due::split(self.handover.waiting().take_aside(endpoint, max));
        Ok([self.tables().waiting(&keys), whole].concat())
    }

    async fn take_places(
        &self,
        endpoint: EndpointId,
        places: &[Place],
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        let (whole, keys) = Due::split(self.handover.waiting().take_places(endpoint, places));
        Ok([self.tables().waiting(&keys), whole].concat())
    }

    async fn outstanding(&self, endpoint: EndpointId) -> Result<Vec<Outstanding>, StoreError> {
        self.handover.front.started().await;
        let tables = self.tables();
        let open = self.handover.front.open_at(endpoint);
        let now = clock::now();
        let rows = tables.deliveries.values().filter(|row| {
            let later = row.state == State::Waiting && row.count() == 0 && row.due > now;
            row.delivery.key.endpoint == endpoint && !row.state.is_final() && !later
        });
        let rows = rows.map(|row| (row.delivery.place(), row.delivery.ordering_hash())).collect();
        Ok(self.handover.outstanding(endpoint, &open, rows))
    }

    fn is_behind_start(&self) -> bool {
        self.handover.front.is_behind_start()
    }

    fn endpoints_aside(&self) -> Vec<EndpointId> {
        self.handover.waiting().endpoints_aside()
    }

    fn depths(&self) -> Depths {
        self.handover.depths()
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.handover.front.check_open()
    }
}

#[async_trait]
impl Catalog for Memory {
    fn snapshot(&self) -> Current {
        self.handover.snapshot()
    }

    async fn change_once(
        &self,
        change: Change,
        answer: Option<KeptAnswer>,
    ) -> Result<(), StoreError> {
        self.handover.front.check_open()?;
        let mut tables = self.tables();
        let mut draft = Snapshot::clone(&self.handover.snapshot());
        draft.check(&change)?;
        if let Some(answer) = answer {
            tables.keep(&answer, None, clock::now());
        }
        let (notices, environment) =
            (notice::of_change(&draft, &change), draft.environment_of(&change));
        let effects = tables.follow(&draft, &change, clock::now());
        let gone = draft.lets_go(&change);
        draft.apply(change);
        draft.without_use(gone).iter().for_each(|digest| drop(tables.code.remove(digest)));
        let listeners = environment.and_then(|id| notice::listeners(&draft, id).cloned());
        let told = listeners.iter().flat_map(|listeners| {
            let message = |notice: &Notice| {
                notice.message(listeners, MessageId(clock::id()), clock::accepted())
            };
            notices.iter().filter_map(message)
        });
        self.handover.publish(draft);
        self.tell(&mut tables, told.map(Arc::new));
        self.handover.changed(&effects);
        Ok(())
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.handover.watch()
    }

    async fn code(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(self.tables().code.get(&digest).cloned())
    }
}
