//! The port to what is sent again: single deliveries and messages, and the operations that find and send many of them in
//! the background.

use super::{Page, StoreError};
use crate::model::{
    delivery::DeliveryKey,
    id::{ApplicationId, EndpointId, EnvironmentId, OperationId},
    message::{Head, Sequence},
    operation::Operation,
};
use async_trait::async_trait;
use tokio::sync::watch;

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A delivery: one that has ended, with its retry schedule from the start; one that waits for its time, at once.
    Delivery(DeliveryKey),
    /// A message: dispatched again, for this endpoint alone. What it has there already stays as it is.
    Message(Sequence, EndpointId),
}

/// What an operation may send again, as far as an index tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The delivery or the message.
    pub again: Again,
    /// Its message.
    pub head: Head,
}

/// What is sent again.
#[async_trait]
pub trait Recovery: Send + Sync + 'static {
    /// Makes these due, and keeps the operation as it is now, in one step; how many are due. Durable when it returns. What
    /// is being sent, is held, or has lost its content is left alone; so is everything if the operation has ended.
    async fn again(
        &self,
        again: Vec<Again>,
        operation: Option<Operation>,
    ) -> Result<u64, StoreError>;

    /// The candidates of the operation's mode after its cursor, oldest first: at most `max`, of a bounded number of rows,
    /// and up to where they were looked for. None beyond: all were seen that are settled, below `upto`.
    async fn candidates(
        &self,
        operation: &Operation,
        max: usize,
    ) -> Result<Page<Candidate, Sequence>, StoreError>;

    /// How many of the endpoint's recorded deliveries are to be sent now and are not yet, and how many messages are to be
    /// dispatched for it alone, up to `max` together.
    async fn backlog(&self, endpoint: EndpointId, max: usize) -> Result<usize, StoreError>;

    /// The number that the next message will get, and the lowest that is not settled.
    fn bounds(&self) -> (Sequence, Sequence);

    /// The environment's operation of that id.
    async fn operation(
        &self,
        environment: EnvironmentId,
        id: OperationId,
    ) -> Result<Option<Operation>, StoreError>;

    /// The environment's operations, newest first, at most `max`; of one application, if one is named.
    async fn operations(
        &self,
        environment: EnvironmentId,
        application: Option<ApplicationId>,
        max: usize,
    ) -> Result<Vec<Operation>, StoreError>;

    /// Every operation that goes on, of every environment.
    async fn running(&self) -> Result<Vec<Operation>, StoreError>;

    /// Sees every operation that is kept.
    fn watch_operations(&self) -> watch::Receiver<()>;
}
