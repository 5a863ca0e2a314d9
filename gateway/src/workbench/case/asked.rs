//! What a case asks of a plugin: to decide on a message, to sign a request that is about to be sent, or to say what a
//! receiver's answer means.

use super::{ACCEPTED, ID, Problem, Target, endpoint};
use crate::{
    model::{
        attempt::Answer, endpoint::Endpoint, id::ApplicationId, message::JSON, plugin::Kind,
        secret::Secret,
    },
    plugin::{ToClassify, ToSign},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// What the last call of a case is for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// What becomes of its message?
    Message,
    /// Which headers sign this?
    Sign(ToSign),
    /// What does this mean?
    Classify(ToClassify),
}

impl Asked {
    /// The kind of plugin that can say.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Message => Kind::Transform,
            Self::Sign(_) => Kind::Sign,
            Self::Classify(_) => Kind::Classify,
        }
    }
}

/// A request, as a case writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Request<'a> {
    #[serde(default)]
    endpoint: Target,
    #[serde(default)]
    webhook_id: Option<String>,
    /// In seconds since the epoch.
    #[serde(default)]
    timestamp: Option<u64>,
    #[serde(default)]
    content_type: Option<String>,
    /// JSON, signed byte for byte.
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
    /// In its place, if it is another text.
    #[serde(default)]
    text: Option<String>,
    /// The endpoint's secrets, the newest first.
    #[serde(default)]
    keys: Vec<String>,
}

/// A receiver's answer, as a case writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Received<'a> {
    #[serde(default)]
    endpoint: Target,
    #[serde(default)]
    webhook_id: Option<String>,
    #[serde(default)]
    attempt: Option<u32>,
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    text: Option<String>,
}

impl Request<'_> {
    pub(super) fn asked(self, application: ApplicationId) -> Result<Asked, Problem> {
        Ok(Asked::Sign(ToSign {
            endpoint: target(application, &self.endpoint)?,
            webhook_id: self.webhook_id.unwrap_or_else(|| ID.to_string()),
            timestamp: self.timestamp.unwrap_or(ACCEPTED / 1000),
            content_type: self.content_type.unwrap_or_else(|| JSON.to_owned()),
            body: body(self.body, self.text)?,
            keys: self.keys.into_iter().map(Secret::new).collect(),
        }))
    }
}

impl Received<'_> {
    pub(super) fn asked(self, application: ApplicationId) -> Result<Asked, Problem> {
        // As they come over HTTP.
        let line = |(name, value): &(String, String)| format!("{}: {value}\n", name.to_lowercase());
        let headers = self.headers.iter().map(line);
        let answer = Answer {
            status: self.status,
            retry_after: None,
            headers: headers.collect(),
            body: body(self.body, self.text)?.into(),
        };
        Ok(Asked::Classify(ToClassify {
            endpoint: target(application, &self.endpoint)?,
            webhook_id: self.webhook_id.unwrap_or_else(|| ID.to_string()),
            attempt: self.attempt.unwrap_or(1),
            answer,
        }))
    }
}

fn target(application: ApplicationId, target: &Target) -> Result<Arc<Endpoint>, Problem> {
    let made = endpoint(application, 0, target).map(Arc::new);
    made.map_err(|error| Problem::new(error.to_string()).at("endpoint"))
}

fn body(json: Option<&RawValue>, text: Option<String>) -> Result<Bytes, Problem> {
    match (json, text) {
        (Some(_), Some(_)) => Err(Problem::new("has both `body` and `text`")),
        (Some(json), None) => Ok(json.get().to_owned().into()),
        (None, text) => Ok(text.unwrap_or_default().into()),
    }
}
