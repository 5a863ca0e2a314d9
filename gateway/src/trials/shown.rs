//! What a comparison says, as people and programs read it. Everything a plugin had a hand in is cut: a report is read by
//! people, and a hundred of these are kept.

use crate::model::{
    dispatch::{Dispatch, Target},
    id::MessageId,
    message::{JSON, Message},
    name::{Channel, EventType},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use utoipa::ToSchema;

/// Bytes shown of a payload.
const PAYLOAD: usize = 1024;
/// Bytes shown of any other text.
pub const TEXT: usize = 256;
/// How many headers, channels or endpoints are shown of a dispatch.
const NAMES: usize = 16;

/// How a version fared with a message, beside the active one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginComparison)]
pub struct Comparison {
    /// The message.
    pub message: MessageId,
    /// Whether both made the same of it.
    pub same: bool,
    /// What they said, in one word.
    pub verdict: Verdicts,
    /// Why they dropped it, where one did.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    #[schema(required = false)]
    pub dropped: Reasons,
    /// What only the version that is tried sends.
    pub added: Vec<Sent>,
    /// What only the active version sends.
    pub removed: Vec<Sent>,
    /// How payloads differ of what both send otherwise alike.
    pub payload_diffs: Vec<PayloadDiff>,
    /// Whether they send the same, in another order.
    pub reordered: bool,
    /// How the version that is tried failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<Failed>,
    /// How the active version failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub active_failure: Option<Failed>,
    /// What it took.
    pub cost: Costs,
    /// Whether there is more to tell than is shown.
    pub cut: bool,
}

impl Comparison {
    /// Nothing yet, of that message.
    #[must_use]
    pub fn of(message: MessageId) -> Self {
        Self {
            message,
            same: false,
            verdict: Verdicts::default(),
            dropped: Reasons::default(),
            added: Vec::new(),
            removed: Vec::new(),
            payload_diffs: Vec::new(),
            reordered: false,
            failure: None,
            active_failure: None,
            cost: Costs::default(),
            cut: false,
        }
    }
}

/// The same of both versions. A type each: a generic one has no name of its own in the API's document.
macro_rules! both {
    ($($(#[$doc:meta])* $name:ident of $what:ty as $shown:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
        #[schema(as = $shown)]
        pub struct $name {
            /// Of the active version; null where none is, or it was not called.
            #[schema(required)]
            pub active: Option<$what>,
            /// Of the version that is tried; null where it was not called.
            #[schema(required)]
            pub candidate: Option<$what>,
        }
    )*};
}

both! {
    /// What versions said of a message, in one word.
    Verdicts of Word as PluginVerdicts;
    /// Why versions dropped a message.
    Reasons of String as PluginDropReasons;
    /// What calls of versions took.
    Costs of Cost as PluginCosts;
}

impl Reasons {
    const fn is_empty(&self) -> bool {
        self.active.is_none() && self.candidate.is_none()
    }
}

/// A verdict, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PluginVerdict)]
pub enum Word {
    /// As it is, to its subscribers.
    Pass,
    /// To nobody.
    Drop,
    /// What it says.
    Send,
    /// There is none.
    Failed,
}

/// A dispatch, with what it takes from its message.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginDispatch)]
pub struct Sent {
    /// Which of the version's dispatches, from 0.
    pub dispatch: usize,
    /// To whom.
    pub target: Audience,
    /// The event type.
    pub event_type: EventType,
    /// The media type.
    pub content_type: String,
    /// The payload, if it is short JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>, nullable = false)]
    pub payload: Option<Value>,
    /// The beginning of any other payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// Names and values.
    #[schema(value_type = Vec<Vec<String>>)]
    pub headers: Vec<(String, String)>,
    /// What keeps its order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ordering_key: Option<String>,
    /// Before the first attempt, in milliseconds.
    pub delay_ms: u64,
}

/// Which endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PluginTarget)]
pub enum Audience {
    /// Those that subscribe.
    Subscribed,
    /// Those that would, had the message these channels.
    Channels(Vec<Channel>),
    /// These, by id or uid.
    Endpoints(Vec<String>),
}

/// One place where payloads differ.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = PluginPayloadDiff)]
pub struct PayloadDiff {
    /// Which dispatch of the version that is tried, from 0.
    pub dispatch: usize,
    /// A JSON pointer; empty: the whole payload.
    pub path: String,
    /// What the active version has there; absent: nothing. What is long is the beginning of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>, nullable = false)]
    pub before: Option<Value>,
    /// What the version that is tried has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>, nullable = false)]
    pub after: Option<Value>,
}

/// How a version failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PluginCallFailure)]
pub struct Failed {
    /// In one word, e.g. `trap`.
    pub kind: String,
    /// For people.
    pub reason: String,
}

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginCost)]
pub struct Cost {
    /// What it executed, the same on every machine; null where that was not counted.
    #[schema(required)]
    pub fuel: Option<u64>,
    /// From its start to its end, in microseconds.
    pub wall_micros: u64,
    /// The size of its memories, in bytes.
    pub memory_peak: u64,
}

/// What dispatches are compared on: a message, as the plugin was given it.
#[derive(Clone, Debug)]
pub struct Given<'m> {
    message: &'m Message,
    content_type: &'m str,
    payload: Payload,
}

/// Bytes, and what they are as JSON, read once.
#[derive(Clone, Debug)]
struct Payload {
    bytes: Bytes,
    json: Option<Arc<Value>>,
    hash: u64,
}

impl Payload {
    fn new(bytes: Bytes) -> Self {
        let json: Option<Value> = serde_json::from_slice(&bytes).ok();
        let hash = json.as_ref().map_or_else(|| hash(&bytes), hash);
        Self { bytes, json: json.map(Arc::new), hash }
    }
}

impl<'m> Given<'m> {
    /// The message, whose payload is of that type.
    #[must_use]
    pub fn new(message: &'m Message, content_type: Option<&'m str>) -> Self {
        let payload = Payload::new(message.payload.clone());
        Self { message, content_type: content_type.unwrap_or(JSON), payload }
    }
}

/// A dispatch with what it takes from its message, for comparison. The hashes are there so that of many dispatches few are
/// looked at closely.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Which of the verdict's.
    pub index: usize,
    event_type: EventType,
    /// Everything but the payload.
    envelope: Dispatch,
    envelope_hash: u64,
    payload: Payload,
}

impl Whole {
    /// A verdict's dispatch on that message.
    #[must_use]
    pub fn new((index, dispatch): (usize, &Dispatch), given: &Given<'_>) -> Self {
        let own = || given.payload.clone();
        let payload = dispatch.payload.clone().map_or_else(own, Payload::new);
        let event_type = dispatch.event_type.as_ref().unwrap_or(&given.message.event_type).clone();
        let content_type = dispatch.content_type.as_deref().unwrap_or(given.content_type);
        let envelope = Dispatch {
            target: dispatch.target.clone(),
            event_type: Some(event_type.clone()),
            content_type: Some(content_type.to_owned()),
            payload: None,
            headers: dispatch.headers.clone(),
            ordering_key: dispatch.ordering_key.clone(),
            delay: dispatch.delay,
        };
        let envelope_hash = hash(&envelope);
        Self { index, event_type, envelope, envelope_hash, payload }
    }

    /// Whether receivers get the same: of JSON, spaces and the order of keys do not count.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let (own, others) = (&self.payload, &other.payload);
        let same_json = || own.json.is_some() && own.json == others.json;
        own.hash == others.hash
            && self.differs_in_payload(other)
            && (own.bytes == others.bytes || same_json())
    }

    /// Whether they differ in nothing but their payloads.
    #[must_use]
    pub fn differs_in_payload(&self, other: &Self) -> bool {
        self.envelope_hash == other.envelope_hash && self.envelope == other.envelope
    }

    /// The payload, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<&Value> {
        self.payload.json.as_deref()
    }

    /// The beginning of the payload as text.
    #[must_use]
    pub fn text(&self, limit: usize) -> String {
        let beginning = &self.payload.bytes[..self.payload.bytes.len().min(limit)];
        cut(&String::from_utf8_lossy(beginning), limit)
    }

    /// As it is shown.
    #[must_use]
    pub fn shown(&self) -> Sent {
        let Dispatch { target, content_type, headers, ordering_key, delay, .. } = &self.envelope;
        let short = |text: &String| cut(text, TEXT);
        let json = self.json().filter(|_| self.payload.bytes.len() <= PAYLOAD).cloned();
        Sent {
            dispatch: self.index,
            target: match target {
                Target::Subscribed => Audience::Subscribed,
                Target::Channels(all) => {
                    Audience::Channels(all.iter().take(NAMES).cloned().collect())
                }
                Target::Endpoints(all) => {
                    Audience::Endpoints(all.iter().take(NAMES).map(short).collect())
                }
            },
            event_type: self.event_type.clone(),
            content_type: content_type.as_ref().map(short).unwrap_or_default(),
            text: json.is_none().then(|| self.text(PAYLOAD)),
            payload: json,
            headers: headers.iter().take(NAMES).map(|(n, v)| (short(n), short(v))).collect(),
            ordering_key: ordering_key.as_ref().map(short),
            delay_ms: *delay,
        }
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The text, cut at the last whole character before the limit.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}
