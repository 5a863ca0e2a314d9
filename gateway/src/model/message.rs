//! A message: one accepted event. Immutable from the moment it is durable.

use super::{
    Millis,
    id::{ApplicationId, EnvironmentId, MessageId},
    name::{AttributeName, AttributeValue, Channel, EventType, OrderingKey, Uid},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The content type of a payload whose publisher named none.
pub const JSON: &str = "application/json";

/// Whether that content type says that a payload is JSON.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == JSON || media.ends_with("+json")
}

/// What a publisher attached to a message, for the plugin to read: CloudEvents attributes under `ce-` and their names, the
/// trace context under `traceparent` and `tracestate`, and its own.
pub type Attributes = BTreeMap<AttributeName, AttributeValue>;

/// One event, as its publisher sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The environment of its application.
    pub environment: EnvironmentId,
    /// The tenant it was sent to.
    pub application: ApplicationId,
    /// The gateway's id, stable over retries and restarts.
    pub id: MessageId,
    /// The publisher's own identifier, unique in the application.
    pub uid: Option<Uid>,
    /// What happened.
    pub event_type: EventType,
    /// Narrow the audience; see `route`.
    pub channels: Vec<Channel>,
    /// The payload's bytes, exactly as they came. JSON.
    pub payload: Bytes,
    /// What the publisher attached.
    pub attributes: Attributes,
    /// When the gateway took it, shortly before it was durable.
    pub accepted: Millis,
    /// When its content goes, if its publisher wants that earlier than the environment's retention.
    pub content_until: Option<Millis>,
    /// Not dispatched before then; none where that was at once.
    pub deliver_at: Option<Millis>,
    /// Neither dispatched nor attempted from then on.
    pub expires_at: Option<Millis>,
    /// Its deliveries and those of others with the same key keep their order, where the endpoint asks for it.
    pub ordering_key: Option<OrderingKey>,
}

impl Message {
    /// Whether it is too late to send it.
    #[must_use]
    pub fn has_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Its attributes as JSON text, if it has any.
    #[must_use]
    pub fn attributes_text(&self) -> Option<String> {
        // Names and texts always serialise.
        (!self.attributes.is_empty())
            .then(|| serde_json::to_string(&self.attributes).unwrap_or_default())
    }
}

/// What tells a message from others, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The gateway's id.
    pub id: MessageId,
    /// The publisher's own identifier.
    pub uid: Option<Uid>,
    /// What happened.
    pub event_type: EventType,
    /// The audience.
    pub channels: Vec<Channel>,
    /// When the gateway took it.
    pub accepted: Millis,
}

impl From<&Message> for Head {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id,
            uid: message.uid.clone(),
            event_type: message.event_type.clone(),
            channels: message.channels.clone(),
            accepted: message.accepted,
        }
    }
}

/// The store's number of a message: ascending in the order of acceptance, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

/// Why a message waits before it is dispatched (again), or will never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is to be sent later. No plugin has seen it: those of its time will.
    Scheduled {
        /// When it is due.
        due: Millis,
    },
    /// The plugin failed; a person, or a new plugin, releases it.
    Parked {
        /// The plugin's outcome, e.g. `trap`.
        kind: String,
        /// What went wrong, for people.
        reason: String,
    },
    /// The plugin asked for another try.
    Retry {
        /// When it is due.
        due: Millis,
        /// How many calls it has had.
        calls: u32,
        /// What the plugin said.
        reason: String,
    },
    /// More came than the plugin keeps up with; its turn comes.
    Crowded {
        /// How many calls it has had.
        calls: u32,
    },
    /// The plugin dropped it: sent to nobody, on purpose.
    Dropped {
        /// What the plugin said.
        reason: String,
    },
    /// The plugin failed, and its policy ends the message: only a person has it sent again.
    Dead {
        /// The plugin's outcome, e.g. `trap`.
        kind: String,
        /// What went wrong, for people.
        reason: String,
    },
    /// Its publisher took it back before it was dispatched.
    Cancelled,
    /// It was too late to dispatch it.
    Expired,
}

/// The states of held messages.
pub const HELD: [&str; 8] =
    ["scheduled", "parked", "retry", "crowded", "dropped", "dead", "cancelled", "expired"];

impl Held {
    /// Whether nothing more becomes of the message by itself.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Dropped { .. } | Self::Dead { .. } | Self::Cancelled | Self::Expired)
    }

    /// One word for the API and the metrics.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Scheduled { .. } => "scheduled",
            Self::Parked { .. } => "parked",
            Self::Retry { .. } => "retry",
            Self::Crowded { .. } => "crowded",
            Self::Dropped { .. } => "dropped",
            Self::Dead { .. } => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Scheduled { .. } => "it is sent at its time",
            Self::Cancelled => "it was cancelled before its time",
            Self::Expired => "it expired before it was dispatched",
            Self::Crowded { .. } => "the plugin is slower than its messages come",
            Self::Parked { reason, .. }
            | Self::Retry { reason, .. }
            | Self::Dropped { reason }
            | Self::Dead { reason, .. } => reason,
        }
    }
}
