//! An operation: work in the background that sends again what an endpoint missed, or what a plugin failed on for good. It is
//! kept with how far it has come, so that a restart goes on with it.

use super::{
    Millis,
    application::Application,
    delivery::State as DeliveryState,
    endpoint::Endpoint,
    id::{ApplicationId, EndpointId, EnvironmentId, OperationId},
    message::{Head, Sequence},
    name::{Channel, EventType},
};
use serde::{Deserialize, Serialize};

/// Recovers an endpoint: sends again what failed, or what it never got. Without an endpoint: an application's dead messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The environment of its application.
    pub environment: EnvironmentId,
    /// The gateway's id.
    pub id: OperationId,
    /// Whose endpoint.
    pub application: ApplicationId,
    /// Which endpoint; none: messages that died before they were for any.
    pub endpoint: Option<EndpointId>,
    /// What is sent again.
    pub wanted: Wanted,
    /// Whether it only counts.
    pub dry_run: bool,
    /// How it is doing.
    pub state: State,
    /// How many there are to do, as far as they are counted.
    pub total: u64,
    /// Whether all are counted.
    pub counted: bool,
    /// How many are done.
    pub done: u64,
    /// Everything up to this message is counted, or done once all are counted.
    pub cursor: Sequence,
    /// One more than the last message that there was when it began: what came later found the endpoint.
    pub upto: Sequence,
    /// When it was asked for.
    pub created: Millis,
    /// When it last came further.
    pub updated: Millis,
}

/// What an operation sends again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Which of the endpoint's.
    pub mode: Mode,
    /// Of messages accepted at that time or later.
    pub since: Millis,
    /// Of messages accepted before that time, if it is not all of them.
    pub until: Option<Millis>,
    /// Of these types; empty: all.
    pub event_types: Vec<EventType>,
    /// Of messages that name one of these; empty: all.
    pub channels: Vec<Channel>,
}

/// Which of an endpoint's an operation sends again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Deliveries that ended in one of these states.
    Ended(Vec<DeliveryState>),
    /// Messages that it would have got and has no delivery of, and deliveries that ended since it was disabled.
    Missing,
    /// Messages that a plugin failed on and whose policy ended them; they are dispatched again.
    Dead,
}

/// How an operation is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It goes on.
    Running,
    /// It did everything.
    Done,
    /// Somebody stopped it.
    Cancelled,
    /// It cannot go on, and why.
    Failed(String),
}

impl Operation {
    /// One that begins, for all that there is; nothing of it is counted or done.
    #[must_use]
    pub const fn new(
        id: OperationId,
        application: &Application,
        endpoint: Option<EndpointId>,
        wanted: Wanted,
        now: Millis,
    ) -> Self {
        Self {
            environment: application.environment,
            id,
            application: application.id,
            endpoint,
            wanted,
            dry_run: false,
            state: State::Running,
            total: 0,
            counted: false,
            done: 0,
            cursor: Sequence(0),
            upto: Sequence(u64::MAX),
            created: now,
            updated: now,
        }
    }

    /// The operation once that many more are due; it comes back to the message at which it had to stop.
    #[must_use]
    pub fn after(&self, due: u64, stopped: Option<Sequence>) -> Self {
        let mut after = Self { done: self.done + due, ..self.clone() };
        if let Some(message) = stopped {
            after.cursor = Sequence(message.0.saturating_sub(1)).min(self.cursor);
            after.state = State::Running;
        } else if after.state == State::Done && !after.dry_run {
            // What others sent meanwhile was not to be done any more.
            after.total = after.done;
        }
        after
    }
}

impl Wanted {
    /// In which state a delivery is that is sent again.
    #[must_use]
    pub fn states(&self) -> &[DeliveryState] {
        match &self.mode {
            Mode::Ended(states) => states,
            Mode::Missing => &[DeliveryState::Disabled],
            Mode::Dead => &[],
        }
    }

    /// Whether a message is one of these; `endpoint` if only what it subscribes to counts.
    #[must_use]
    pub fn takes(&self, head: &Head, endpoint: Option<&Endpoint>) -> bool {
        let (event_type, channels) = (&head.event_type, &head.channels);
        let of_type = self.event_types.is_empty() || self.event_types.contains(event_type);
        let on_channel = || self.channels.iter().any(|channel| channels.contains(channel));
        head.accepted >= self.since
            && self.until.is_none_or(|until| head.accepted < until)
            && of_type
            && (self.channels.is_empty() || on_channel())
            && endpoint.is_none_or(|endpoint| endpoint.subscribes(event_type, channels))
    }
}
