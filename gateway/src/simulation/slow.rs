//! A queue that records late: what is settled is on its way to the disk for a moment, as in the embedded engine, and is
//! lost if the gateway is killed meanwhile.

use super::books::Shared;
use crate::{
    clock::simulated,
    model::{
        delivery::{Delivery, Place},
        failure::Failure,
        health::Kept,
        id::{ApplicationId, EndpointId},
        message::Sequence,
    },
    store::{
        Accepted, BatchAnswer, Depths, Dispatched, HealthNote, LeasedMessage, Outstanding, Queue,
        Settlement, StoreError, Submission, memory::Memory,
    },
};
use async_trait::async_trait;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The store in memory, with a slow pen.
pub struct Slow {
    store: Arc<Memory>,
    books: Shared,
    pending: Arc<Mutex<Vec<Settlement>>>,
}

impl Slow {
    pub fn over(store: Arc<Memory>, books: Shared) -> Self {
        Self { store, books, pending: Arc::default() }
    }

    /// How many settlements are on their way.
    pub fn pending(&self) -> usize {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what is on its way.
    pub fn write(store: &Memory, pending: &Mutex<Vec<Settlement>>) {
        let written = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
        written.into_iter().for_each(|settlement| store.settle(settlement));
    }
}

#[async_trait]
impl Queue for Slow {
    async fn accept_once(
        &self,
        batch: Vec<Submission>,
        answer: Option<BatchAnswer>,
    ) -> Result<Vec<Accepted>, StoreError> {
        self.store.accept_once(batch, answer).await
    }

    async fn cancel(&self, message: Sequence) -> Result<bool, StoreError> {
        self.store.cancel(message).await
    }

    async fn next_messages(&self, max: usize) -> Result<Vec<LeasedMessage>, StoreError> {
        self.store.next_messages(max).await
    }

    async fn take_crowded(
        &self,
        application: ApplicationId,
        max: usize,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        self.store.take_crowded(application, max).await
    }

    fn applications_crowded(&self) -> Vec<ApplicationId> {
        self.store.applications_crowded()
    }

    fn note_failure(&self, message: Sequence, failure: Failure) {
        self.store.note_failure(message, failure);
    }

    fn dispatched(&self, message: LeasedMessage, result: Dispatched) {
        self.store.dispatched(message, result);
    }

    async fn next_deliveries(&self, max: usize) -> Result<Vec<Arc<Delivery>>, StoreError> {
        self.store.next_deliveries(max).await
    }

    fn settle(&self, settlement: Settlement) {
        self.books.lock().settled(settlement.delivery.key, settlement.next);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push(settlement);
        if pending.len() == 1 {
            let (store, pending) = (self.store.clone(), self.pending.clone());
            let late = Duration::from_millis(simulated::draw(0..40).unwrap_or_default());
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                Self::write(&store, &pending);
            });
        }
    }

    fn keep_health(&self, note: HealthNote) {
        self.store.keep_health(note);
    }

    async fn troubles(&self) -> Result<Vec<Kept>, StoreError> {
        self.store.troubles().await
    }

    fn set_aside(&self, delivery: Arc<Delivery>) {
        self.store.set_aside(delivery);
    }

    async fn take_aside(
        &self,
        endpoint: EndpointId,
        max: usize,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        self.store.take_aside(endpoint, max).await
    }

    async fn take_places(
        &self,
        endpoint: EndpointId,
        places: &[Place],
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        self.store.take_places(endpoint, places).await
    }

    async fn outstanding(&self, endpoint: EndpointId) -> Result<Vec<Outstanding>, StoreError> {
        Self::write(&self.store, &self.pending);
        self.store.outstanding(endpoint).await
    }

    fn is_behind_start(&self) -> bool {
        self.store.is_behind_start()
    }

    fn endpoints_aside(&self) -> Vec<EndpointId> {
        self.store.endpoints_aside()
    }

    fn depths(&self) -> Depths {
        self.store.depths()
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Self::write(&self.store, &self.pending);
        self.store.flush().await
    }
}
