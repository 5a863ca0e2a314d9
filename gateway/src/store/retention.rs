//! The port to what is deleted because it is old, or because somebody wants it gone. In small pieces, each a share of one
//! commit, so that no sender waits for them.

use super::StoreError;
use crate::model::{Millis, id::EnvironmentId, message::Sequence};
use async_trait::async_trait;

/// What is forgotten of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forgotten {
    /// Its payload and attributes, and what a plugin made of them. The row stays.
    Content,
    /// What its deliveries' attempts were. The deliveries stay, so that what was delivered is not missing.
    Attempts,
    /// Everything.
    All,
}

impl Forgotten {
    /// In one word, for the store and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Attempts => "attempts",
            Self::All => "all",
        }
    }
}

/// Old messages, as far as they were looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aged {
    /// The messages, oldest first.
    pub records: Vec<Sequence>,
    /// Up to where they were looked for; none: there are no more.
    pub next: Option<Sequence>,
    /// Whether younger ones were passed over, which a clock that was wrong had put between them.
    pub passed_over: bool,
}

/// What goes.
#[async_trait]
pub trait Retention: Send + Sync + 'static {
    /// The environment's settled messages after that one that were accepted before that time, oldest first, of a bounded
    /// number of rows; and up to where they were looked for. None beyond: what follows is younger.
    async fn aged(
        &self,
        environment: EnvironmentId,
        after: Sequence,
        before: Millis,
    ) -> Result<Aged, StoreError>;

    /// Messages whose publisher wants their content gone by now, and that can be forgotten, at most `max`.
    async fn outlived(&self, now: Millis, max: usize) -> Result<Vec<Sequence>, StoreError>;

    /// Forgets that of these messages, and notes how far the environment's have come; how many. One with a delivery that
    /// waits, that waits itself, or that is not settled, is left as it is. One that is parked is dropped with its content.
    async fn forget(
        &self,
        what: Forgotten,
        messages: Vec<Sequence>,
        upto: Option<(EnvironmentId, Sequence)>,
    ) -> Result<u64, StoreError>;

    /// How far the environment's messages have come, as was noted last.
    async fn forgotten_upto(
        &self,
        what: Forgotten,
        environment: EnvironmentId,
    ) -> Result<Sequence, StoreError>;

    /// Deletes answers that were kept, and operations that ended, before their times, at most `max` of each; how many.
    async fn forget_answers(
        &self,
        answers: Millis,
        operations: Millis,
        max: usize,
    ) -> Result<u64, StoreError>;
}
