//! What a plugin made of a message, a request or an answer, as a case writes it: JSON that a person reads and keeps. For `case` and `trial`.

use crate::{
    model::{
        attempt::Meaning,
        dispatch::{Dispatch, Target, Verdict},
    },
    plugin::CallFailure,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a case expects, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Expected {
    /// The message as it is, to its subscribers.
    Pass,
    /// Nobody gets it, for this reason.
    Drop(String),
    /// These are sent.
    Send(Vec<Sent>),
    /// These sign the request: names and values.
    Headers(Vec<(String, String)>),
    /// The receiver took it.
    Success,
    /// It is tried again.
    Retry(Wait),
    /// It has failed.
    Fail,
    /// The same, and its receiver wants nothing more.
    Disable,
    /// There is no verdict.
    Failure(Failed),
}

/// When it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wait {
    /// Not before these milliseconds are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failed {
    /// The kind, as in the message's record: `reject`, `retry`, `trap`, …
    pub kind: String,
    /// What it says; a case that leaves it out takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a `retry`: milliseconds to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// A dispatch. What is not there is the message's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sent {
    /// To whom.
    #[serde(default = "Audience::subscribed")]
    pub target: Audience,
    /// The event type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The payload, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub payload: Option<Value>,
    /// The payload, if it is another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The payload, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// What keeps its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// Milliseconds before the first attempt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
}

/// Which endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Audience {
    /// Those that subscribe.
    Subscribed,
    /// Those that would, had the message these channels.
    Channels(Vec<String>),
    /// These, by id or uid.
    Endpoints(Vec<String>),
}

impl Audience {
    const fn subscribed() -> Self {
        Self::Subscribed
    }
}

/// A payload that is `null` is one.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_zero(delay: &u64) -> bool {
    *delay == 0
}

impl From<Verdict> for Expected {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Drop(reason) => Self::Drop(reason),
            Verdict::Send(all) => Self::Send(all.iter().map(Into::into).collect()),
        }
    }
}

impl From<Meaning> for Expected {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Success => Self::Success,
            Meaning::RetryAfter(after_ms) => Self::Retry(Wait { after_ms }),
            Meaning::Fail => Self::Fail,
            Meaning::Disable => Self::Disable,
        }
    }
}

impl From<&CallFailure> for Failed {
    fn from(failure: &CallFailure) -> Self {
        let (reason, after_ms) = match failure {
            CallFailure::Reject(reason) | CallFailure::Other(reason) => (reason.clone(), None),
            CallFailure::Retry { reason, after_ms } => (reason.clone(), Some(*after_ms)),
            CallFailure::Trap { reason, .. } => (reason.clone(), None),
            other => (other.to_string(), None),
        };
        Self { kind: failure.kind().to_owned(), reason: Some(reason), after_ms }
    }
}

impl From<&Dispatch> for Sent {
    fn from(dispatch: &Dispatch) -> Self {
        let names = |names: &[String]| names.to_vec();
        let (mut payload, mut text, mut base64) = (None, None, None);
        if let Some(bytes) = &dispatch.payload {
            match serde_json::from_slice(bytes) {
                Ok(json) => payload = Some(json),
                Err(_) => match text_of(bytes) {
                    Some(written) => text = Some(written),
                    None => base64 = Some(BASE64_STANDARD.encode(bytes)),
                },
            }
        }
        Self {
            target: match &dispatch.target {
                Target::Subscribed => Audience::Subscribed,
                Target::Channels(all) => {
                    Audience::Channels(all.iter().map(ToString::to_string).collect())
                }
                Target::Endpoints(all) => Audience::Endpoints(names(all)),
            },
            event_type: dispatch.event_type.as_ref().map(ToString::to_string),
            content_type: dispatch.content_type.clone(),
            payload,
            text,
            base64,
            headers: dispatch.headers.clone(),
            ordering_key: dispatch.ordering_key.clone(),
            delay_ms: dispatch.delay,
        }
    }
}

fn text_of(bytes: &Bytes) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

impl Expected {
    /// Whether that is what was expected.
    #[must_use]
    pub fn is_met_by(&self, got: &Self) -> bool {
        match (self, got) {
            (Self::Failure(expected), Self::Failure(got)) => {
                expected.kind == got.kind
                    && (expected.reason.is_none() || expected.reason == got.reason)
                    && (expected.after_ms.is_none() || expected.after_ms == got.after_ms)
            }
            (expected, got) => expected == got,
        }
    }

    /// As a case writes it.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
