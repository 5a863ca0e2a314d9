//! Logs, by `tracing`, to standard error: text for people, JSON for machines.

use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The log's options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per target: `info,octohooks::deliver=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: Format,
}

/// A log's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Libraries that say again what the gateway says, unless `log.level` names them.
const QUIET: &str = "async_nats=error";

impl Default for Options {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text }
    }
}

/// Starts logging. An error is one line for the operator.
pub fn start(options: &Options) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", options.level)).map_err(|error| {
        format!("log.level: {error}; such as info, or warn,octohooks::deliver=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would be said on stderr too, and whoever says that where nobody reads comes to harm.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match options.format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("logging cannot start: {error}"))
}
