//! The port to what was recorded: messages, deliveries and attempts, by key and by page.
//!
//! Pages are cut by key and not by count, so that they stay where they are while new rows arrive and the last is as cheap
//! as the first. A page looks at a bounded number of rows: where a filter fits few of them it may be short, or empty,
//! and still say where to go on.

use super::StoreError;
use crate::model::{
    Millis,
    attempt::Attempt,
    delivery::{Content, DeliveryKey, State},
    endpoint::Version,
    failure::Failure,
    id::{ApplicationId, EndpointId, EnvironmentId},
    message::{Head, Held, Message, Sequence},
    name::{Channel, EventType},
};
use async_trait::async_trait;
use std::sync::Arc;

/// How many rows a page looks at before it says where to go on.
pub const SCAN: usize = 10_000;
/// How many bytes of payloads a page has, unless its first is larger.
pub const PAGE_BYTES: usize = 4 << 20;

/// A recorded message.
#[derive(Clone, Debug)]
pub struct MessageRecord {
    /// The store's number of it.
    pub sequence: Sequence,
    /// The message. Its payload is empty once its content is gone.
    pub message: Message,
    /// Why it waits or was dropped, with the time it was noted; none: dispatched, or about to be.
    pub held: Option<(Held, Millis)>,
    /// How a plugin failed on it, if it is held for that or went on without the plugin.
    pub failure: Option<Failure>,
}

/// A recorded delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Which one.
    pub key: DeliveryKey,
    /// Its state; none while it is leased and nothing is recorded yet.
    pub state: Option<State>,
    /// When the next attempt is due, while it waits.
    pub due: Option<Millis>,
    /// When the state was recorded.
    pub updated: Millis,
    /// What the plugin wanted different.
    pub content: Option<Arc<Content>>,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
}

/// A recorded delivery as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which one.
    pub key: DeliveryKey,
    /// Its message.
    pub message: Head,
    /// What the receiver is told as its event type: the plugin's, or the message's.
    pub event_type: EventType,
    /// Its state.
    pub state: State,
    /// When the next attempt is due, while it waits.
    pub due: Option<Millis>,
    /// When the state was recorded.
    pub updated: Millis,
    /// How many attempts were made.
    pub attempts: u32,
    /// The last of them.
    pub last: Option<Attempt>,
}

/// Which messages of an application a page shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Only those held, in this state (`parked`, `retry`, `crowded`, `dropped`, `dead`).
    pub held: Option<String>,
    /// Only those of this type.
    pub event_type: Option<EventType>,
    /// Only those that name this channel.
    pub channel: Option<Channel>,
    /// Only those accepted at that time or later.
    pub after: Option<Millis>,
    /// Only those accepted before that time.
    pub until: Option<Millis>,
    /// Only those before this one: where the page before said to go on.
    pub before: Option<Sequence>,
}

impl MessageFilter {
    /// Whether a page that begins early enough shows the message.
    #[must_use]
    pub fn takes(&self, record: &MessageRecord) -> bool {
        let Message { event_type, channels, accepted, .. } = &record.message;
        let held = record.held.as_ref().map(|(held, _)| held.state());
        self.held.as_deref().is_none_or(|state| held == Some(state))
            && self.before.is_none_or(|before| record.sequence < before)
            && self.fits(event_type, channels, *accepted)
    }

    /// Whether it shows a message of that event type, with these channels, accepted at that time.
    #[must_use]
    pub fn fits(&self, event_type: &EventType, channels: &[Channel], accepted: Millis) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| wanted == event_type)
            && self.channel.as_ref().is_none_or(|wanted| channels.contains(wanted))
            && self.after.is_none_or(|after| accepted >= after)
            && self.until.is_none_or(|until| accepted < until)
    }
}

/// Which deliveries of an endpoint a page shows, newest message first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only those in one of these states; empty: all.
    pub states: Vec<State>,
    /// Only those of messages accepted at that time or later.
    pub after: Option<Millis>,
    /// Only those of messages accepted before that time.
    pub until: Option<Millis>,
    /// Only those before this message and ordinal: where the page before said to go on.
    pub before: Option<(Sequence, u32)>,
}

/// A dead letter as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetter {
    /// A delivery whose retry schedule is used up.
    Delivery(Summary),
    /// A message that a plugin failed on and whose policy ended it: as what it is held, and since when.
    Message(Head, Held, Millis),
}

/// Which dead letters of an application a page shows, newest message first.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    /// Deliveries to these endpoints.
    pub endpoints: Vec<EndpointId>,
    /// Whether messages are shown too that died before they were for any endpoint.
    pub messages: bool,
    /// Only of messages of this type.
    pub event_type: Option<EventType>,
    /// Only of messages accepted at that time or later.
    pub after: Option<Millis>,
    /// Only of messages accepted before that time.
    pub until: Option<Millis>,
    /// Only of messages before this one: where the page before said to go on.
    pub before: Option<Sequence>,
}

impl DeadLetterFilter {
    /// Whether dead letters of that message are shown.
    #[must_use]
    pub fn fits(&self, head: &Head) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| *wanted == head.event_type)
            && self.after.is_none_or(|after| head.accepted >= after)
            && self.until.is_none_or(|until| head.accepted < until)
    }
}

/// A page, and where the next one begins; none if this was the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, Place> {
    /// What it shows.
    pub records: Vec<T>,
    /// Where to go on.
    pub next: Option<Place>,
}

/// What was recorded.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The application's message with that id or uid.
    async fn message(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        id_or_uid: &str,
    ) -> Result<Option<MessageRecord>, StoreError>;

    /// A page of the application's messages, newest first.
    async fn messages(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        filter: MessageFilter,
        limit: usize,
    ) -> Result<Page<MessageRecord, Sequence>, StoreError>;

    /// The message's deliveries with their attempts, by endpoint and ordinal.
    async fn deliveries(&self, message: Sequence) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// A page of the endpoint's recorded deliveries, newest message first.
    async fn deliveries_to(
        &self,
        endpoint: EndpointId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> Result<Page<Summary, (Sequence, u32)>, StoreError>;

    /// A page of the application's dead letters, newest message first. Those of one message are never parted, so that a page
    /// may have some more than its limit.
    async fn dead_letters(
        &self,
        environment: EnvironmentId,
        application: ApplicationId,
        filter: DeadLetterFilter,
        limit: usize,
    ) -> Result<Page<DeadLetter, Sequence>, StoreError>;

    /// What the endpoint's requests looked like as of that revision.
    async fn version(
        &self,
        endpoint: EndpointId,
        revision: u64,
    ) -> Result<Option<Version>, StoreError>;
}
