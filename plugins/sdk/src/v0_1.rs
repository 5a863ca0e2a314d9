//! The contract `wit/since-v0.1` on one side, this crate's nouns on the other. For `export!` and
//! `host`; only in a component.
//!
//! Every conversion moves what it is given: strings and payloads are not copied.

use crate::log::Level;
use crate::{Dispatch, Endpoint, Failure, Message, Target, Verdict};

#[doc(hidden)]
#[allow(unsafe_code, missing_docs, reason = "generated: the canonical ABI speaks in pointers")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/since-v0.1",
        world: "transform",
        pub_export_macro: true,
        export_macro_name: "export_component",
    });
}

pub use bindings::export_component;
pub use bindings::exports::octohooks::plugin::transformer::Guest;
pub use bindings::octohooks::plugin::types;

pub mod capabilities;
pub mod classify;
pub mod configuration;
pub mod sign;

/// What the macros name, whatever the plugin's own prelude has.
pub mod __private {
    pub use std::string::String;
    pub use std::vec::Vec;
}

/// A panic's text goes to the log before the trap, since a trap has no text.
fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| write_log(Level::Error, &panic.to_string())));
}

use bindings::octohooks::plugin::{application, log as wire_log, settings as wire_settings};

/// One call: the message in, the plugin, its answer out.
pub fn call(
    on_message: fn(Message) -> Result<Verdict, Failure>,
    message: types::Message,
) -> Result<types::Verdict, types::Failure> {
    tell_of_panics();
    match on_message(message.into()) {
        Ok(verdict) => Ok(verdict.into()),
        Err(failure) => Err(failure.into()),
    }
}

pub(crate) fn settings_json() -> String {
    wire_settings::json()
}

pub(crate) fn setting(key: &str) -> Option<String> {
    wire_settings::get(key)
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    application::endpoints().into_iter().map(Into::into).collect()
}

pub(crate) fn write_log(level: Level, line: &str) {
    let level = match level {
        Level::Debug => wire_log::Level::Debug,
        Level::Info => wire_log::Level::Info,
        Level::Warn => wire_log::Level::Warn,
        Level::Error => wire_log::Level::Error,
    };
    wire_log::write(level, line);
}

impl From<types::Message> for Message {
    fn from(message: types::Message) -> Self {
        Self {
            id: message.id,
            uid: message.uid,
            application: message.application,
            event_type: message.event_type,
            channels: message.channels,
            accepted_at: message.accepted_at,
            content_type: message.content_type,
            payload: message.payload,
            attributes: message.attributes,
        }
    }
}

impl From<types::Endpoint> for Endpoint {
    fn from(endpoint: types::Endpoint) -> Self {
        Self {
            id: endpoint.id,
            uid: endpoint.uid,
            name: endpoint.name,
            url: endpoint.url,
            event_types: endpoint.event_types,
            channels: endpoint.channels,
            attributes: endpoint.attributes,
        }
    }
}

impl From<Verdict> for types::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Drop(reason) => Self::Drop(reason),
            Verdict::Send(dispatches) => {
                Self::Send(dispatches.into_iter().map(Into::into).collect())
            }
        }
    }
}

impl From<Target> for types::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Subscribed => Self::Subscribed,
            Target::Channels(channels) => Self::Channels(channels),
            Target::Endpoints(endpoints) => Self::Endpoints(endpoints),
        }
    }
}

impl From<Dispatch> for types::Dispatch {
    fn from(dispatch: Dispatch) -> Self {
        Self {
            target: dispatch.target.into(),
            event_type: dispatch.event_type,
            content_type: dispatch.content_type,
            payload: dispatch.payload,
            headers: dispatch.headers,
            ordering_key: dispatch.ordering_key,
            delay: dispatch.delay,
            attributes: dispatch.attributes,
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Reject(reason) => Self::Reject(reason),
            Failure::Retry { reason, after_ms } => Self::Retry((reason, after_ms)),
            Failure::Other(reason) => Self::Other(reason),
        }
    }
}
