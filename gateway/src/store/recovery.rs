//! The port to what is sent again: single deliveries and messages, and the operations that find and send many of them in
//! the background.

use super::{AnswerBy, Began, KeptAnswer, Page, StoreError};
use crate::model::{
    delivery::DeliveryKey,
    id::{ApplicationId, EndpointId, EnvironmentId, OperationId},
    message::{Head, Sequence},
    operation::Operation,
};
use async_trait::async_trait;
use tokio::sync::watch;

/// How many operations of one environment may go on at once.
pub const RUNNING: usize = 100;

/// Why a new operation does not begin beside these, which go on.
pub fn refusal<'a>(
    new: &Operation,
    running: impl IntoIterator<Item = &'a Operation>,
) -> Option<StoreError> {
    let of = running.into_iter().filter(|other| other.environment == new.environment);
    let of: Vec<_> = of.collect();
    let same = |other: &&&Operation| {
        (other.application, other.endpoint) == (new.application, new.endpoint)
    };
    if let Some(other) = of.iter().find(same) {
        return Some(StoreError::UnderWay(other.id));
    }
    (of.len() >= RUNNING).then_some(StoreError::TooManyOperations)
}

/// Why a message is held that died and is dispatched again.
#[must_use]
pub const fn dead_reason() -> &'static str {
    "sent again, after a plugin had failed on it"
}

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A delivery: one that has ended, with its retry schedule from the start; one that waits for its time, at once.
    Delivery(DeliveryKey),
    /// A message: dispatched again, for this endpoint alone. What it has there already stays as it is.
    Message(Sequence, EndpointId),
    /// A message that died: its plugins see it anew, and it goes to all that it has no delivery to.
    Dead(Sequence),
}

impl Again {
    /// Which message's.
    #[must_use]
    pub const fn message(&self) -> Sequence {
        match self {
            Self::Delivery(key) => key.message,
            Self::Message(sequence, _) | Self::Dead(sequence) => *sequence,
        }
    }
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
    /// Makes these due in their order, and keeps the operation as it is now with what it has done, in one step; how many
    /// are due. Durable when it returns. What is being sent, reaches the endpoint anyway, or has lost its content is left
    /// alone. At a message that is dispatched for another endpoint just now it stops: the operation's cursor stays before it.
    /// Nothing is done if the operation has ended. One that is new is refused while another on its endpoint goes on.
    async fn again(
        &self,
        again: Vec<Again>,
        operation: Option<Operation>,
    ) -> Result<u64, StoreError> {
        self.again_once(again, operation, None).await
    }

    /// The same, and keeps what whoever asked for it is answered, in the same step.
    async fn again_once(
        &self,
        again: Vec<Again>,
        operation: Option<Operation>,
        answer: Option<KeptAnswer>,
    ) -> Result<u64, StoreError>;

    /// Begins those of these new operations that may, each as if it came behind those before it, and keeps what whoever
    /// asked for them is answered, by what became of each, in one step; that. Durable when it returns.
    async fn begin(
        &self,
        operations: Vec<Operation>,
        answer: Option<AnswerBy<Began>>,
    ) -> Result<Vec<Began>, StoreError>;

    /// The candidates of the operation's mode after its cursor, oldest first: at most `max`, of a bounded number of rows,
    /// and up to where they were looked for. What has lost its content is none. None beyond: all were seen that are settled, below `upto`.
    async fn candidates(
        &self,
        operation: &Operation,
        max: usize,
    ) -> Result<Page<Candidate, Sequence>, StoreError>;

    /// How many of the endpoint's recorded deliveries are to be sent now and are not yet, and how many messages are to be
    /// dispatched for it alone, up to `max` together.
    async fn backlog(&self, endpoint: EndpointId, max: usize) -> Result<usize, StoreError>;

    /// The number that the next message will get, and the lowest of the application's that may not be settled.
    fn bounds(&self, application: ApplicationId) -> (Sequence, Sequence);

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
