//! What is kept of a plugin's failure, for whoever mends the plugin: with the message it failed on, and as long as that
//! has its content.

use super::{id::Digest, name::PluginName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long all texts of a failure may be together, in bytes: it is stored with a message.
pub const MAX_BYTES: usize = 16 << 10;

/// A line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The text, cut at the limit.
    pub text: String,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LogLevel)]
pub enum Level {
    /// For whoever writes the plugin.
    Debug,
    /// Worth knowing.
    Info,
    /// Unexpected, and handled.
    Warn,
    /// Somebody should look.
    Error,
}

/// How a plugin failed on a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PluginFailure)]
pub struct Failure {
    /// Which plugin.
    #[schema(value_type = String)]
    pub plugin: PluginName,
    /// Which of its versions.
    pub digest: Digest,
    /// In one word, e.g. `trap`.
    pub kind: String,
    /// What went wrong, for people.
    pub reason: String,
    /// Where, innermost first; empty if not known.
    pub backtrace: String,
    /// The last lines that the call wrote.
    pub log: Vec<LogLine>,
}

impl Failure {
    /// The failure within [`MAX_BYTES`]: the last lines before it say most.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.reason, MAX_BYTES / 4);
        cut(&mut self.backtrace, MAX_BYTES / 4);
        let mut room =
            MAX_BYTES.saturating_sub(self.kind.len() + self.reason.len() + self.backtrace.len());
        let mut kept = 0;
        for line in self.log.iter().rev() {
            let Some(rest) = room.checked_sub(line.text.len()) else { break };
            room = rest;
            kept += 1;
        }
        self.log.drain(..self.log.len() - kept);
        self
    }
}

/// Cuts a text at the last whole character before the limit.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_last_lines_and_never_more_than_it_may() {
        let line = |text: String| LogLine { level: Level::Info, text };
        let failure = Failure {
            plugin: PluginName::new("main").expect("legal"),
            digest: Digest([1; 32]),
            kind: "trap".into(),
            reason: "é".repeat(MAX_BYTES),
            backtrace: "b".repeat(MAX_BYTES),
            log: (0..100).map(|n| line(format!("{n:0>1000}"))).collect(),
        };
        let bounded = failure.bounded();
        let texts: usize = bounded.log.iter().map(|line| line.text.len()).sum();
        let all = texts + bounded.reason.len() + bounded.backtrace.len() + bounded.kind.len();
        assert!((MAX_BYTES - 1001..=MAX_BYTES).contains(&all), "{all}");
        assert!(bounded.log.last().is_some_and(|line| line.text.ends_with("99")));
        assert_eq!(bounded.clone().bounded(), bounded);
    }
}
