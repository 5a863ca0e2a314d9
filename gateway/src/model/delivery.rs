//! A delivery: one message bound for one endpoint. It exists from dispatch on and has a state.

use super::{
    Millis, dead_letter,
    id::{DeliveryId, Digest, EndpointId, MessageId},
    message::{Message, Sequence},
    name::EventType,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};
use uuid::Uuid;

/// What makes a delivery one of its own. A plugin may ask for several dispatches of one message to the same
/// endpoint: `ordinal` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The message.
    pub message: Sequence,
    /// Which dispatch of the message, from 0.
    pub ordinal: u32,
    /// Where to.
    pub endpoint: EndpointId,
}

/// Where a delivery stands among its endpoint's: by its message, and among what was made of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The message.
    pub message: Sequence,
    /// Which dispatch of the message.
    pub ordinal: u32,
}

impl From<DeliveryKey> for Place {
    fn from(DeliveryKey { message, ordinal, .. }: DeliveryKey) -> Self {
        Self { message, ordinal }
    }
}

impl Place {
    /// The key of the delivery to that endpoint.
    #[must_use]
    pub const fn at(self, endpoint: EndpointId) -> DeliveryKey {
        DeliveryKey { message: self.message, ordinal: self.ordinal, endpoint }
    }
}

/// What stands for an ordering key where there are many.
#[must_use]
pub fn ordering_hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.finish()
}

/// One message bound for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What makes it one of its own.
    pub key: DeliveryKey,
    /// What was accepted.
    pub message: Arc<Message>,
    /// What the plugin wants different, shared by the deliveries of one dispatch.
    pub content: Option<Arc<Content>>,
    /// The plugin that asked for it.
    pub plugin: Option<Digest>,
    /// How many attempts were made and recorded.
    pub attempts: u32,
    /// How many of them were made before it was last resent: the retry schedule counts from there.
    pub spent: u32,
    /// Not to be attempted earlier.
    pub due: Millis,
}

/// What a dispatch sends instead of the message's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Instead of the message's event type.
    pub event_type: Option<EventType>,
    /// Instead of `application/json`.
    pub content_type: Option<String>,
    /// Instead of the message's payload.
    pub payload: Option<Bytes>,
    /// Beside the gateway's own and the endpoint's.
    pub headers: Vec<(String, String)>,
    /// Deliveries with the same key keep their order, where the endpoint asks for it.
    pub ordering_key: Option<String>,
}

impl Delivery {
    /// Its id in the API: a name-based UUID, so that it needs no room in the store.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        delivery_id(self.message.id, self.key)
    }

    /// The `webhook-id`: the message's id, and for the second and later dispatches of one message `-n` behind
    /// it, since receivers drop what they have seen.
    #[must_use]
    pub fn webhook_id(&self) -> String {
        webhook_id(self.message.id, self.key.ordinal)
    }

    /// The bytes to send.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        self.own_payload().unwrap_or(&self.message.payload)
    }

    /// The bytes to send, if a plugin made them.
    #[must_use]
    pub fn own_payload(&self) -> Option<&Bytes> {
        self.content.as_ref()?.payload.as_ref()
    }

    /// What it holds in memory, but for names: its message's payload and what the plugin made, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let made = self.own_payload().map_or(0, Bytes::len);
        let headers = self.content.iter().flat_map(|content| &content.headers);
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        self.message.payload.len() + made + headers
    }

    /// Deliveries to one endpoint with the same key keep their order, where the endpoint asks for it: what the plugin set,
    /// else the publisher.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&str> {
        let own = self.content.as_ref().and_then(|content| content.ordering_key.as_deref());
        own.or(self.message.ordering_key.as_deref())
    }

    /// What stands for its ordering key, if it has one.
    #[must_use]
    pub fn ordering_hash(&self) -> Option<u64> {
        self.ordering_key().map(ordering_hash)
    }

    /// Where it stands among its endpoint's deliveries.
    #[must_use]
    pub fn place(&self) -> Place {
        self.key.into()
    }

    /// The type of those bytes.
    #[must_use]
    pub fn content_type(&self) -> &str {
        let own = self.content.as_ref().and_then(|c| c.content_type.as_deref());
        own.unwrap_or(super::message::JSON)
    }
}

/// The `webhook-id` of a message's dispatch, or of a dead letter of it that goes on to another endpoint.
#[must_use]
pub fn webhook_id(message: MessageId, ordinal: u32) -> String {
    match ordinal {
        0 => message.to_string(),
        n if dead_letter::is_onward(n) => format!("{message}-dead-{}", n - dead_letter::FIRST + 1),
        n => format!("{message}-{n}"),
    }
}

/// The id of the delivery of `message` with that key.
#[must_use]
pub fn delivery_id(message: MessageId, key: DeliveryKey) -> DeliveryId {
    let mut name = [0; 20];
    name[..16].copy_from_slice(key.endpoint.0.as_bytes());
    name[16..].copy_from_slice(&key.ordinal.to_be_bytes());
    DeliveryId(Uuid::new_v5(&message.0, &name))
}

/// A delivery's state. The numbers are the store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum State {
    /// Waits for its due time.
    Waiting = 0,
    /// Waits for room in its lane.
    Aside = 1,
    /// Delivered.
    Success = 2,
    /// Dead letter: the retry schedule is used up.
    Failed = 3,
    /// Its endpoint was disabled or removed.
    Disabled = 4,
    /// It was too late to attempt it, or would have been.
    Expired = 5,
}

impl State {
    /// The state of that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Waiting,
            1 => Self::Aside,
            2 => Self::Success,
            3 => Self::Failed,
            4 => Self::Disabled,
            5 => Self::Expired,
            _ => return None,
        })
    }

    /// Whether nothing more will be attempted.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Disabled | Self::Expired)
    }
}

/// What follows an attempt (or the lack of one). Made by `decide`, recorded by `settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Delivered,
    /// Again, not before this time.
    RetryAt(Millis),
    /// Given up; kept for a person.
    DeadLetter,
    /// The endpoint is disabled or gone.
    Disabled,
    /// It is too late, or would be by the next attempt.
    Expired,
}

impl Next {
    /// The same, but no retry of a message that has expired by then: that ends now, and waits for nothing.
    #[must_use]
    pub fn unless_expired(self, message: &Message) -> Self {
        match self {
            Self::RetryAt(due) if message.has_expired(due) => Self::Expired,
            next => next,
        }
    }

    /// The state a delivery is in after this.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Delivered => State::Success,
            Self::RetryAt(_) => State::Waiting,
            Self::DeadLetter => State::Failed,
            Self::Disabled => State::Disabled,
            Self::Expired => State::Expired,
        }
    }
}
