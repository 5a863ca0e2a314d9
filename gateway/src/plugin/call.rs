//! The words of a call: what goes in, what comes out, and the ways it can fail. For `dispatch`, which
//! decides what a failure means, and for the API, which runs a plugin on a sample.

pub use crate::model::failure::{Level, LogLine};
use crate::model::{
    attempt::{Answer, Meaning},
    catalog::Tenant,
    dispatch::Verdict,
    endpoint::Endpoint,
    message::Message,
    name::PluginName,
    secret::Secret,
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

/// One message for one plugin.
#[derive(Clone, Debug)]
pub struct Call {
    /// The message.
    pub message: Arc<Message>,
    /// Its application, with the endpoints the plugin may see and choose.
    pub tenant: Arc<Tenant>,
    /// What the application configured.
    pub settings: Arc<Settings>,
    /// The type of the payload, if another plugin has made it and said so.
    pub content_type: Option<String>,
    /// Whether what it does outside counts. If not, it reads what there is, what it writes is gone at its end, and what it
    /// would send is refused.
    pub effects: bool,
}

/// A plugin's settings, with their JSON text written once and not at every call.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) map: Map<String, Value>,
    pub(super) json: String,
}

impl From<Map<String, Value>> for Settings {
    fn from(map: Map<String, Value>) -> Self {
        let json = Value::Object(map.clone()).to_string();
        Self { map, json }
    }
}

/// A request that is about to be sent, for a signer.
#[derive(Clone, Debug)]
pub struct ToSign {
    /// To whom.
    pub endpoint: Arc<Endpoint>,
    /// The header `webhook-id`.
    pub webhook_id: String,
    /// The header `webhook-timestamp`, in seconds since the epoch.
    pub timestamp: u64,
    /// The header `content-type`.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// What it may sign with, and never sees.
    pub keys: Vec<Secret>,
}

/// What a receiver answered, for a classifier.
#[derive(Clone, Debug)]
pub struct ToClassify {
    /// Whose answer.
    pub endpoint: Arc<Endpoint>,
    /// The header `webhook-id` of the request.
    pub webhook_id: String,
    /// Which attempt of the schedule, from 1.
    pub attempt: u32,
    /// The answer.
    pub answer: Answer,
}

impl ToClassify {
    /// The answer's headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answer.headers.lines().filter_map(|line| line.split_once(": "))
    }
}

/// What a plugin is called for; which kinds can do it, the contract says.
#[derive(Debug)]
pub(super) enum Task {
    /// Decide what becomes of the call's message, whose payload is of that type.
    Transform(Option<String>),
    /// Sign.
    Sign(Box<ToSign>),
    /// Classify.
    Classify(Box<ToClassify>),
    /// Say what settings must look like.
    Schema,
}

impl Task {
    /// As a verb.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Transform(_) => "transform",
            Self::Sign(_) => "sign",
            Self::Classify(_) => "classify",
            Self::Schema => "say what its settings are",
        }
    }
}

/// What a task came to.
#[derive(Debug)]
pub(super) enum Done {
    Verdict(Verdict),
    Headers(Vec<(String, String)>),
    Meaning(Meaning),
    Schema(String),
}

/// What a call came to.
#[derive(Debug)]
pub struct Called<T = Verdict> {
    /// What is to become of the message, checked; or why there is no answer.
    pub result: Result<T, CallFailure>,
    /// What it took.
    pub cost: Cost,
    /// What the plugin wrote, in order.
    pub log: Vec<LogLine>,
    /// Lines that were over the limit.
    pub log_dropped: u32,
}

impl<T> Called<T> {
    /// Writes the plugin's lines about a message to the gateway's log.
    pub fn write_log(&self, message: &Message, plugin: &PluginName) {
        let (message_id, application) = (message.id, message.application);
        for LogLine { level, text } in &self.log {
            // One line each: a plugin's text is no line of the gateway's.
            let text = text.replace(char::is_control, " ");
            match level {
                Level::Error | Level::Warn => {
                    tracing::warn!(target: "plugin", %message_id, %application, %plugin, "{text}");
                }
                Level::Info => {
                    tracing::info!(target: "plugin", %message_id, %application, %plugin, "{text}");
                }
                Level::Debug => {
                    tracing::debug!(target: "plugin", %message_id, %application, %plugin, "{text}");
                }
            }
        }
        if self.log_dropped > 0 {
            let dropped = self.log_dropped;
            tracing::warn!(target: "plugin", %message_id, %plugin, dropped, "too many log lines");
        }
    }
}

impl<T> Called<T> {
    /// The same with what was made of the result.
    pub fn map<U>(self, made: impl FnOnce(T) -> U) -> Called<U> {
        let Self { result, cost, log, log_dropped } = self;
        Called { result: result.map(made), cost, log, log_dropped }
    }
}

impl Called<Done> {
    /// The same for what is asked of it: the host gives what the task is for.
    pub(super) fn only<T>(self, pick: impl FnOnce(Done) -> Option<T>) -> Called<T> {
        let other = || CallFailure::Other("it answered something else".to_owned());
        let result = self.result.and_then(|done| pick(done).ok_or_else(other));
        Called { result, cost: self.cost, log: self.log, log_dropped: self.log_dropped }
    }
}

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From its start to its end.
    pub wall: Duration,
    /// On the CPU. Of a call that ended within a tick, as all quick ones do, the time on a thread.
    pub cpu: Duration,
    /// The size of its linear memories, in bytes.
    pub memory_peak: u64,
    /// What the guest executed, in wasmtime's units, of which most instructions take one. Only a host that counts knows
    /// it ([`Host::counting`](super::Host::counting)); it does not depend on the machine. Of a call that was stopped it is a part.
    pub fuel: Option<u64>,
}

/// Why a call gave no verdict. Every text a plugin had a hand in is cut at [`REASON`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The plugin crashed.
    #[error("the plugin crashed: {reason}")]
    Trap {
        /// What the machine says.
        reason: String,
        /// Where, innermost first; empty if not known.
        backtrace: String,
    },
    /// The time was up.
    #[error("the plugin took longer than its time limit of {0} ms")]
    Timeout(u64),
    /// The time was up, half of which or more it slept on a real clock.
    #[error("the plugin slept until its time limit of {0} ms was over")]
    Slept(u64),
    /// The CPU time was used up.
    #[error("the plugin used up its CPU time of {0} ms")]
    CpuLimit(u64),
    /// It wanted more memory than it may have.
    #[error("the plugin wanted more memory than its limit of {0} bytes")]
    MemoryLimit(usize),
    /// It wanted larger tables than it may have.
    #[error("the plugin wanted more than the {0} elements that its tables may have together")]
    TableLimit(usize),
    /// It answered with more than it may.
    #[error("the plugin's output is larger than its limit of {0} bytes")]
    OutputTooLarge(usize),
    /// Its answer cannot be sent.
    #[error("the plugin's verdict cannot be used: {0}")]
    BadOutput(String),
    /// Its answer names an endpoint the application does not have.
    #[error("the plugin chose the endpoint `{0}`, which the application does not have")]
    UnknownEndpoint(String),
    /// It used a capability that its application is not granted any more.
    #[error("the plugin used `{0}`, which its application is not granted any more")]
    NotGranted(&'static str),
    /// It says the message will never work.
    #[error("the plugin rejected the message: {0}")]
    Reject(String),
    /// It asks to be called again.
    #[error("the plugin asks to be called again in {after_ms} ms: {reason}")]
    Retry {
        /// Why.
        reason: String,
        /// When, in milliseconds from now.
        after_ms: u64,
    },
    /// It failed in a way later versions of the contract may tell apart.
    #[error("the plugin failed: {0}")]
    Other(String),
}

impl CallFailure {
    /// Whether the plugin itself is at fault, and not the message or the machine.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Reject(_) | Self::Retry { .. } | Self::Timeout(_) | Self::NotGranted(_)
        )
    }

    /// Its name in the store and the metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Timeout(_) => "timeout",
            Self::Slept(_) => "slept",
            Self::CpuLimit(_) => "cpu-limit",
            Self::MemoryLimit(_) => "memory-limit",
            Self::TableLimit(_) => "table-limit",
            Self::OutputTooLarge(_) => "output-too-large",
            Self::BadOutput(_) => "bad-output",
            Self::UnknownEndpoint(_) => "unknown-endpoint",
            Self::NotGranted(_) => "not-granted",
            Self::Reject(_) => "reject",
            Self::Retry { .. } => "retry",
            Self::Other(_) => "other",
        }
    }
}

/// Bytes kept of a reason, which is stored with the message and shown to people.
const REASON: usize = 1024;

/// The text, cut at [`REASON`].
pub(super) fn reason(text: String) -> String {
    cut(text, REASON)
}

/// The text, cut at the last whole character before the limit.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.shrink_to_fit();
    }
    text
}
