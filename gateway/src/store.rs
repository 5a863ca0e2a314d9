//! The ports to the store, and what engines share. Seven traits, each with one contract test-suite that all
//! engines pass (`store/contract.rs`):
//!
//! - [`Queue`]: the path of a message. `accept` is durable when it returns; `next_messages` leases messages to
//!   dispatch; `dispatched` makes the deliveries and ends the message's lease; `next_deliveries` leases deliveries;
//!   `settle` records an attempt and the delivery's next state in one step.
//! - [`Catalog`]: environments with their applications, endpoints, plugins, keys and event types. The hot path reads a
//!   snapshot in memory.
//! - [`Log`]: what was recorded, by key and by page.
//! - [`Answers`]: what is answered again under an idempotency key.
//! - [`Retention`]: what is deleted, and when.
//! - [`KeyValue`]: what plugins remember.
//! - [`Recovery`]: what is sent again, and the operations that do so in the background.
//!
//! Leases live in memory: one process owns an embedded store, and what was leased when it died is due again at its
//! next start. That is why `settle` and `dispatched` only hand over: when their write is lost in a crash, the
//! delivery is made again under the same `webhook-id`. Only `accept` and `change` make promises to a caller.

use crate::{
    clock,
    model::{
        attempt::Attempt,
        catalog::{Bounds, Change, Conflict, Snapshot, Tenant},
        delivery::{Delivery, DeliveryKey, Next, Place},
        failure::Failure,
        health::{Kept, Trouble},
        id::{ApplicationId, Digest, EndpointId, MessageId, OperationId},
        message::{Held, Message, Sequence},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

pub mod vault;
pub mod log;
pub mod recovery;
pub mod answers;
pub mod retention;
pub mod keyvalue;
pub mod front;
pub mod waiting;
pub mod handover;
pub mod onward;
pub mod sqlite;
pub mod memory;
#[cfg(test)]
mod contract;

pub use answers::{AnswerBy, Answers, BatchAnswer, Began, KeptAnswer, Once, complete};
pub use keyvalue::KeyValue;
pub use log::{
    DeadLetter, DeadLetterFilter, DeliveryFilter, DeliveryRecord, Log, MessageFilter,
    MessageRecord, Page, Summary,
};
pub use recovery::{Again, Candidate, Recovery};
pub use retention::{Aged, Forgotten, Retention};

/// What a store could not do, and whose fault it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room: nothing was written; senders try later.
    #[error("the store is full")]
    Full,
    /// More senders wait for a commit than may.
    #[error("too many messages wait to be written")]
    Busy,
    /// The gateway is stopping.
    #[error("the store is closed")]
    Closed,
    /// The change does not keep the catalog's rules.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Another operation goes on on the endpoint: two would send the same, and in two paces.
    #[error("an operation on the endpoint goes on")]
    UnderWay(OperationId),
    /// As many operations of the environment go on as may.
    #[error("{} operations go on; wait for one to end", recovery::RUNNING)]
    TooManyOperations,
    /// The disk or the database failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// How much a store may hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The size of the database, in bytes. None: the disk decides.
    pub bytes: Option<u64>,
    /// How much its catalog may.
    pub catalog: Bounds,
}

/// A message to accept, and what tells its sender's repetitions of it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The message.
    pub message: Arc<Message>,
    /// Sent again under the same key, it is the same message. One application's.
    pub idempotency_key: Option<Box<str>>,
    /// What its sender is answered, to be kept in the same step; the body ends before attributes and payload.
    pub answer: Option<Box<KeptAnswer>>,
}

impl From<Arc<Message>> for Submission {
    fn from(message: Arc<Message>) -> Self {
        Self { message, idempotency_key: None, answer: None }
    }
}

/// What became of one message of an `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk.
    New,
    /// Its idempotency key was used before in the application, by this message: it is on disk.
    Repeated(MessageId),
    /// Its uid was used before in the application, by this message.
    Duplicate(MessageId),
}

/// A message to dispatch. It is nobody else's until `dispatched`.
#[derive(Clone, Debug)]
pub struct LeasedMessage {
    /// The store's number of it.
    pub sequence: Sequence,
    /// The message.
    pub message: Arc<Message>,
    /// Deliveries that exist already, from before a crash: not to be made again.
    pub done: Vec<DeliveryKey>,
    /// The endpoints it is dispatched again for; empty: all.
    pub only: Vec<EndpointId>,
    /// How many plugin calls it has had.
    pub calls: u32,
    /// Whether it was held: then its deliveries get rows in the step that ends the lease.
    pub held: bool,
}

/// What dispatch made of a message.
#[derive(Clone, Debug)]
pub enum Dispatched {
    /// These deliveries, possibly none.
    Deliveries(Vec<Arc<Delivery>>),
    /// None, now or ever: why, and what led there, where plugins were called.
    Held(Held, Option<Box<Cause>>),
}

/// What led to a message being held.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The application as its plugins were called. What is parked is due again at once if they run otherwise by now.
    pub tenant: Arc<Tenant>,
    /// How a plugin failed, if one did.
    pub failure: Option<Failure>,
}

/// An attempt's end: what was tried, and what follows.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which delivery.
    pub delivery: Arc<Delivery>,
    /// None when the delivery ends without a try (its endpoint is gone).
    pub attempt: Option<Attempt>,
    /// What follows.
    pub next: Next,
    /// What operators are told of it, in the same step.
    pub notice: Option<Arc<Message>>,
}

/// A delivery that is not done, as far as its place in an order needs to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// Its place among its endpoint's.
    pub place: Place,
    /// What stands for its ordering key, if it has one.
    pub key: Option<u64>,
    /// Whether it is set aside, and nobody's. Else it is leased, or comes by itself.
    pub aside: bool,
}

/// What became of an endpoint's health.
#[derive(Clone, Debug)]
pub struct HealthNote {
    /// Which endpoint's.
    pub endpoint: EndpointId,
    /// What is to be known of it after a restart.
    pub trouble: Trouble,
    /// What operators are told of it, in the same step.
    pub notice: Option<Arc<Message>>,
}

/// How much waits where, for `/health` and `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depths {
    /// Messages to be handed to dispatch now, for the first time or again.
    pub undispatched: u64,
    /// Messages handed to dispatch whose deliveries are not all recorded.
    pub unsettled: u64,
    /// Deliveries that wait for their due time.
    pub waiting: u64,
    /// Deliveries that wait for room in their lane.
    pub aside: u64,
    /// Messages that wait for a person or a new plugin.
    pub parked: u64,
    /// Messages that wait for their time: scheduled ones, and those that a plugin wants to see again.
    pub scheduled: u64,
}

/// The path of a message.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Makes the messages durable: on disk when it returns `Ok`, and unseen when it returns an error. Those that are to be
    /// sent later are held as [`Held::Scheduled`] in the same step, and leased when they are due.
    async fn accept(&self, batch: Vec<Submission>) -> Result<Vec<Accepted>, StoreError> {
        self.accept_once(batch, None).await
    }

    /// The same, and keeps what the sender of them all is answered, in the same step.
    async fn accept_once(
        &self,
        batch: Vec<Submission>,
        answer: Option<BatchAnswer>,
    ) -> Result<Vec<Accepted>, StoreError>;

    /// Takes back a message that is scheduled, so that it is never dispatched; whether it was. Durable when it returns.
    async fn cancel(&self, message: Sequence) -> Result<bool, StoreError>;

    /// Leases the next messages in order of acceptance, at least one and at most `max`; waits for them.
    async fn next_messages(&self, max: usize) -> Result<Vec<LeasedMessage>, StoreError>;

    /// Leases the application's messages that were held as [`Held::Crowded`], oldest first, at most `max`; does not
    /// wait.
    async fn take_crowded(
        &self,
        application: ApplicationId,
        max: usize,
    ) -> Result<Vec<LeasedMessage>, StoreError>;

    /// The applications that have such messages.
    fn applications_crowded(&self) -> Vec<ApplicationId>;

    /// Notes that a plugin failed on the message, which goes on without it. The last such failure is kept.
    fn note_failure(&self, message: Sequence, failure: Failure);

    /// Makes the message's deliveries and ends its lease.
    fn dispatched(&self, message: LeasedMessage, result: Dispatched);

    /// Leases deliveries that are new or due, at least one and at most `max`; waits for them.
    async fn next_deliveries(&self, max: usize) -> Result<Vec<Arc<Delivery>>, StoreError>;

    /// Records the attempt and the delivery's next state in one step, and ends its lease.
    fn settle(&self, settlement: Settlement);

    /// Keeps how an endpoint's health is now. Of one that was renewed or removed meanwhile, nothing is kept. Hands over.
    fn keep_health(&self, note: HealthNote);

    /// What is kept of endpoints that are not well.
    async fn troubles(&self) -> Result<Vec<Kept>, StoreError>;

    /// Gives a delivery back that its lane has no room for.
    fn set_aside(&self, delivery: Arc<Delivery>);

    /// Leases what was set aside for the endpoint, oldest first, at most `max`; does not wait.
    async fn take_aside(
        &self,
        endpoint: EndpointId,
        max: usize,
    ) -> Result<Vec<Arc<Delivery>>, StoreError>;

    /// Leases those of what was set aside for the endpoint, as far as they are there; does not wait.
    async fn take_places(
        &self,
        endpoint: EndpointId,
        places: &[Place],
    ) -> Result<Vec<Arc<Delivery>>, StoreError>;

    /// Every delivery of the endpoint that is not done and whose time has come once, at a moment between call and return. After a
    /// start it waits until what was accepted before has been dispatched.
    async fn outstanding(&self, endpoint: EndpointId) -> Result<Vec<Outstanding>, StoreError>;

    /// Whether messages that were accepted before the start are still to be handed to dispatch.
    fn is_behind_start(&self) -> bool;

    /// The endpoints that have deliveries set aside.
    fn endpoints_aside(&self) -> Vec<EndpointId>;

    /// How much waits where.
    fn depths(&self) -> Depths;

    /// Returns when everything handed over before is durable.
    async fn flush(&self) -> Result<(), StoreError>;
}

/// The catalog at one moment. To be held for a moment: unlike an `Arc` it has no count that all threads would share.
pub type Current = arc_swap::Guard<Arc<Snapshot>>;

/// Environments, applications, endpoints, plugins, keys, event types.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// The catalog as it is now.
    fn snapshot(&self) -> Current;

    /// Makes a change durable and visible in the snapshot, or refuses it. In the same step the waiting deliveries
    /// of an endpoint that is disabled or removed become `disabled`, the parked messages of an application whose plugins
    /// run otherwise become due, in order, and components go that no plugin has a version of any more.
    async fn change(&self, change: Change) -> Result<(), StoreError> {
        self.change_once(change, None).await
    }

    /// The same, and keeps what whoever asked for it is answered, in the same step.
    async fn change_once(
        &self,
        change: Change,
        answer: Option<KeptAnswer>,
    ) -> Result<(), StoreError>;

    /// Sees the snapshot's number grow with every change.
    fn watch(&self) -> tokio::sync::watch::Receiver<u64>;

    /// A component's bytes.
    async fn code(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;
}

/// Those that are due later, and those that are due now.
fn due_later(deliveries: Vec<Arc<Delivery>>) -> (Vec<Arc<Delivery>>, Vec<Arc<Delivery>>) {
    let now = clock::now();
    deliveries.into_iter().partition(|delivery| delivery.due > now)
}

/// Adds the deliveries that have no row yet to those that have.
fn add_open(records: &mut Vec<DeliveryRecord>, open: &[Arc<Delivery>]) {
    for delivery in open {
        if !records.iter().any(|record| record.key == delivery.key) {
            records.push(DeliveryRecord {
                key: delivery.key,
                state: None,
                due: None,
                updated: delivery.message.accepted,
                content: delivery.content.clone(),
                attempts: Vec::new(),
            });
        }
    }
    records.sort_by_key(|record| (record.key.endpoint, record.key.ordinal));
}
