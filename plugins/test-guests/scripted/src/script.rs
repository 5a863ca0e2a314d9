//! The words of a script. For `on_message`.

use octohooks_plugin::{Dispatch, Failure, Target, log};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What to do. The names are those of the `do` field, in kebab-case.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Action {
    Pass,
    Drop {
        #[serde(default = "as_told")]
        reason: String,
    },
    Send {
        dispatches: Vec<Told>,
    },
    Reject {
        #[serde(default = "as_told")]
        reason: String,
    },
    Retry {
        #[serde(default = "as_told")]
        reason: String,
        after_ms: u64,
    },
    Other {
        #[serde(default = "as_told")]
        reason: String,
    },
    Log {
        #[serde(default)]
        level: Level,
        lines: Vec<String>,
    },
    LogFlood {
        #[serde(default = "a_million")]
        count: usize,
        #[serde(default = "a_line")]
        bytes: usize,
    },
    EchoSettings,
    EchoEndpoints,
    EchoMessage,
    BigOutput {
        bytes: usize,
    },
    SendMany {
        #[serde(default = "ten_million")]
        count: usize,
    },
    Panic {
        #[serde(default = "as_told")]
        reason: String,
    },
    Spin,
    FillMemory,
    Recurse,
}

fn as_told() -> String {
    "as told".into()
}

const fn a_line() -> usize {
    100
}

const fn a_million() -> usize {
    1_000_000
}

const fn ten_million() -> usize {
    10_000_000
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

/// Only to tell a script from any other payload.
#[derive(Deserialize)]
struct Script<'a> {
    #[serde(borrow, rename = "do")]
    _do: &'a RawValue,
}

impl Action {
    /// Reads a script; what is none is a `pass`.
    pub fn read(bytes: &[u8]) -> Result<Self, Failure> {
        if serde_json::from_slice::<Script<'_>>(bytes).is_err() {
            return Ok(Self::Pass);
        }
        serde_json::from_slice(bytes).map_err(|error| Failure::reject(format!("script: {error}")))
    }
}

/// A dispatch as JSON. Absent fields are absent in the dispatch.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Told {
    target: ToldTarget,
    event_type: Option<String>,
    content_type: Option<String>,
    /// Sent as JSON text.
    payload: Option<serde_json::Value>,
    /// Sent as it is, where there is no `payload`.
    text: Option<String>,
    headers: Vec<(String, String)>,
    ordering_key: Option<String>,
    delay_ms: Option<u64>,
    attributes: Vec<(String, String)>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum ToldTarget {
    #[default]
    Subscribed,
    Channels(Vec<String>),
    Endpoints(Vec<String>),
}

impl From<Told> for Dispatch {
    fn from(told: Told) -> Self {
        let json = told.payload.map(|value| value.to_string());
        Self {
            target: match told.target {
                ToldTarget::Subscribed => Target::Subscribed,
                ToldTarget::Channels(channels) => Target::Channels(channels),
                ToldTarget::Endpoints(endpoints) => Target::Endpoints(endpoints),
            },
            event_type: told.event_type,
            content_type: told.content_type,
            payload: json.or(told.text).map(String::into_bytes),
            headers: told.headers,
            ordering_key: told.ordering_key,
            delay: told.delay_ms,
            attributes: told.attributes,
        }
    }
}
