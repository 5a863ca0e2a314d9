//! The gateway's side for a plugin's own tests. For `cargo test`, on any machine; it is not in the
//! component.
//!
//! ```
//! use octohooks_plugin::testing::{Host, message};
//! use octohooks_plugin::{Failure, Message, Verdict, setting};
//!
//! fn on_message(_: Message) -> Result<Verdict, Failure> {
//!     Ok(Verdict::drop(setting("reason").unwrap_or_default()))
//! }
//!
//! let host = Host::new().settings(serde_json::json!({ "reason": "spring" }));
//! assert_eq!(host.call(on_message, message("a.b", "{}")), Ok(Verdict::drop("spring")));
//! ```
//!
//! The answers are kept per thread, so tests may run side by side.

use crate::log::Level;
use crate::{Endpoint, Failure, Message, Verdict};
use serde_json::Value;
use std::cell::RefCell;

pub mod outside;

/// What the gateway would answer, and the lines it was given.
#[derive(Clone, Debug)]
pub struct Host {
    settings: Value,
    endpoints: Vec<Endpoint>,
    lines: Vec<(Level, String)>,
}

thread_local! {
    static HOST: RefCell<Host> = const { RefCell::new(Host::new()) };
}

impl Host {
    /// Nothing configured, no endpoints.
    #[must_use]
    pub const fn new() -> Self {
        Self { settings: Value::Null, endpoints: Vec::new(), lines: Vec::new() }
    }

    /// What the application configured: an object.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// One enabled endpoint more.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Calls the plugin as the gateway does, in front of this host.
    ///
    /// # Errors
    /// What the plugin gave.
    pub fn call(
        &self,
        on_message: impl FnOnce(Message) -> Result<Verdict, Failure>,
        message: Message,
    ) -> Result<Verdict, Failure> {
        HOST.set(self.clone());
        on_message(message)
    }

    /// The lines that this thread's last call wrote.
    #[must_use]
    pub fn lines() -> Vec<(Level, String)> {
        HOST.with_borrow(|host| host.lines.clone())
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// A message as the gateway would give it, without channels. Its fields are public: change what
/// the test is about.
#[must_use]
pub fn message(event_type: &str, payload: impl Into<Vec<u8>>) -> Message {
    Message {
        id: "01980000-0000-7000-8000-000000000001".into(),
        uid: None,
        application: "test".into(),
        event_type: event_type.into(),
        channels: Vec::new(),
        accepted_at: 1_700_000_000_000,
        content_type: "application/json".into(),
        payload: payload.into(),
        attributes: Vec::new(),
    }
}

pub(crate) fn settings_json() -> String {
    HOST.with_borrow(|host| match &host.settings {
        Value::Null => "{}".into(),
        settings => settings.to_string(),
    })
}

pub(crate) fn setting(key: &str) -> Option<String> {
    HOST.with_borrow(|host| match host.settings.get(key)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    })
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    HOST.with_borrow(|host| host.endpoints.clone())
}

pub(crate) fn write_log(level: Level, line: &str) {
    HOST.with_borrow_mut(|host| host.lines.push((level, line.to_owned())));
}
