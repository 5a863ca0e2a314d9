//! The last lines that plugins wrote, for whoever follows one: `octohooks plugin logs --follow` asks for what came after the
//! last line it has.
//!
//! A line's number is larger than those of all lines before it, also of those before a restart, since it begins with the time
//! of the start: who follows on goes on. The lines are in memory, of each plugin so many bytes, and of all so many.

use crate::{
    clock,
    model::{
        Millis,
        catalog::Snapshot,
        failure::{Level, LogLine},
        id::{ApplicationId, Digest, MessageId},
        name::PluginName,
        plugin::Plugin,
    },
    plugin::CallFailure,
};
use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use utoipa::ToSchema;

/// Bytes of one plugin's lines.
const PLUGIN: usize = 64 << 10;
/// Bytes of all plugins' lines.
const ALL: usize = 32 << 20;
/// What a line takes beside its text, in bytes.
const LINE: usize = 128;
/// Bytes kept of a text.
const TEXT: usize = 1024;

/// All plugins' lines.
#[derive(Debug)]
pub struct Lines {
    all: Mutex<All>,
}

#[derive(Debug)]
struct All {
    plugins: HashMap<(ApplicationId, PluginName), Ring>,
    bytes: usize,
    next: u64,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The last line that had to go.
    lost: u64,
}

/// A line that a plugin wrote, or how it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PluginLogLine)]
pub struct Line {
    /// Larger than those of the lines before.
    pub sequence: u64,
    /// When the call ended.
    pub at: Millis,
    /// On which message.
    pub message: MessageId,
    /// Which version.
    pub digest: Digest,
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
    /// How the plugin failed, in one word: then the text is the reason. It is no line of the plugin's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<&'static str>,
}

/// Some of a plugin's lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PluginLog)]
pub struct Excerpt {
    /// Oldest first.
    pub data: Vec<Line>,
    /// What to ask for to follow on.
    pub after: u64,
    /// Whether lines are gone between what was asked for and the first of these.
    pub gap: bool,
}

/// What a call left to read.
#[derive(Clone, Copy, Debug)]
pub struct Written<'c> {
    /// On which message.
    pub message: MessageId,
    /// Which version was called.
    pub digest: Digest,
    /// What it wrote.
    pub lines: &'c [LogLine],
    /// How it failed.
    pub failure: Option<&'c CallFailure>,
}

impl Default for Lines {
    fn default() -> Self {
        Self::from(clock::now())
    }
}

impl From<Millis> for Lines {
    /// Of a process that starts then: a thousand lines in each millisecond are more than it can write.
    fn from(start: Millis) -> Self {
        let next = start.saturating_mul(1000);
        Self { all: Mutex::new(All { plugins: HashMap::new(), bytes: 0, next }) }
    }
}

impl Lines {
    /// Adds what a call has written.
    pub fn write(&self, catalog: &Snapshot, plugin: &Plugin, written: Written<'_>) {
        let Written { message, digest, lines, failure } = written;
        if lines.is_empty() && failure.is_none() {
            return;
        }
        let at = clock::now();
        let own = lines.iter().map(|line| (line.level, line.text.as_str(), None));
        let failure = failure.map(|failure| (failure.kind(), failure.to_string()));
        let failure = failure.iter();
        let failure = failure.map(|(kind, reason)| (Level::Error, reason.as_str(), Some(*kind)));
        let mut all = self.all();
        let key = (plugin.application, plugin.name.clone());
        if !all.plugins.contains_key(&key) {
            all.forget(catalog);
        }
        for (level, text, failure) in own.chain(failure) {
            let text = text[..text.floor_char_boundary(TEXT)].to_owned();
            all.next += 1;
            let sequence = all.next;
            all.push(&key, Line { sequence, at, message, digest, level, text, failure });
        }
    }

    /// The plugin's lines after that one, or else the last ones; at most so many.
    #[must_use]
    pub fn of(&self, plugin: &Plugin, after: Option<u64>, limit: usize) -> Excerpt {
        let all = self.all();
        let key = (plugin.application, plugin.name.clone());
        let Some(ring) = all.plugins.get(&key) else {
            return Excerpt { data: Vec::new(), after: after.unwrap_or(all.next), gap: false };
        };
        // Of a plugin of the same name before it there is nothing to see.
        let fresh = ring.lines.iter().filter(|line| line.at >= plugin.created);
        let mut data: Vec<Line> = match after {
            Some(after) => {
                fresh.filter(|line| line.sequence > after).take(limit).cloned().collect()
            }
            None => fresh.rev().take(limit).cloned().collect(),
        };
        if after.is_none() {
            data.reverse();
        }
        let last = data.last().map(|line| line.sequence);
        let gap = after.is_some_and(|after| ring.lost > after);
        Excerpt { data, after: last.or(after).unwrap_or(all.next), gap }
    }

    /// Away with what was written on a message whose content goes.
    pub fn forget(&self, application: ApplicationId, message: MessageId) {
        let mut all = self.all();
        for ((of, _), ring) in &mut all.plugins {
            if *of == application {
                ring.lines.retain(|line| line.message != message);
                ring.bytes = ring.lines.iter().map(size).sum();
            }
        }
        all.count();
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn push(&mut self, key: &(ApplicationId, PluginName), line: Line) {
        let ring = self.plugins.entry(key.clone()).or_default();
        let before = ring.bytes;
        ring.bytes += size(&line);
        ring.lines.push_back(line);
        ring.shrink(PLUGIN);
        self.bytes = self.bytes + ring.bytes - before;
        if self.bytes > ALL {
            // Rarely: half of what each may have then is left to write.
            let most = ALL / self.plugins.len() / 2;
            self.plugins.values_mut().for_each(|ring| ring.shrink(most));
            self.count();
        }
    }

    /// Away with the lines of plugins that are gone.
    fn forget(&mut self, catalog: &Snapshot) {
        self.plugins.retain(|(application, name), _| catalog.plugin(*application, name).is_some());
        self.count();
    }

    fn count(&mut self) {
        self.bytes = self.plugins.values().map(|ring| ring.bytes).sum();
    }
}

impl Ring {
    fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some(line) = self.lines.pop_front() else { return };
            self.bytes -= size(&line);
            self.lost = line.sequence;
        }
    }
}

const fn size(line: &Line) -> usize {
    line.text.len() + LINE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{catalog::Change, sample};

    fn write(lines: &Lines, plugin: &Plugin, texts: &[&str], failure: Option<&CallFailure>) {
        let catalog = {
            let mut catalog = Snapshot::default();
            let application = sample::application();
            let id = plugin.application;
            catalog.apply(Change::PutApplication(crate::model::application::Application {
                id,
                ..application
            }));
            catalog.apply(Change::PutPlugin(plugin.clone(), None));
            catalog
        };
        let own = texts.iter().map(|text| LogLine { level: Level::Info, text: (*text).into() });
        let own: Vec<_> = own.collect();
        let message = sample::message(plugin.application).id;
        let written = Written { message, digest: Digest([1; 32]), lines: &own, failure };
        lines.write(&catalog, plugin, written);
    }

    fn texts(excerpt: &Excerpt) -> Vec<&str> {
        excerpt.data.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn who_follows_sees_each_line_once_and_failures_among_them() {
        let (lines, plugin) = (Lines::default(), sample::plugin(sample::application().id, "main"));
        let empty = lines.of(&plugin, None, 10);
        assert!(empty.data.is_empty());
        write(&lines, &plugin, &["a", "b"], None);
        write(&lines, &plugin, &["c"], Some(&CallFailure::Reject("why".into())));
        assert_eq!(
            texts(&lines.of(&plugin, None, 2)),
            ["c", "the plugin rejected the message: why"],
            "the last ones"
        );
        let first = lines.of(&plugin, Some(empty.after), 3);
        assert_eq!((texts(&first), first.gap), (vec!["a", "b", "c"], false));
        let rest = lines.of(&plugin, Some(first.after), 3);
        assert_eq!(rest.data.len(), 1);
        assert_eq!((rest.data[0].failure, rest.data[0].level), (Some("reject"), Level::Error));
        let none = lines.of(&plugin, Some(rest.after), 3);
        assert_eq!((none.data.len(), none.after), (0, rest.after));
    }

    #[test]
    fn lines_after_a_start_come_after_those_before_it() {
        let plugin = sample::plugin(sample::application().id, "main");
        let (before, after) = (Lines::from(5_000), Lines::from(5_001));
        (0..900).for_each(|_| write(&before, &plugin, &["a"], None));
        write(&after, &plugin, &["b"], None);
        let last = before.of(&plugin, None, 1).after;
        assert_eq!(texts(&after.of(&plugin, Some(last), 10)), ["b"]);
    }

    #[test]
    fn a_plugin_has_so_many_bytes_and_who_missed_lines_is_told() {
        let (lines, plugin) = (Lines::default(), sample::plugin(sample::application().id, "main"));
        write(&lines, &plugin, &["first"], None);
        let after = lines.of(&plugin, None, 1).after;
        let long = "é".repeat(5000);
        (0..100).for_each(|_| write(&lines, &plugin, &[&long], None));
        let excerpt = lines.of(&plugin, Some(after), 1000);
        let bytes: usize = excerpt.data.iter().map(size).sum();
        assert!(excerpt.gap && bytes <= PLUGIN && excerpt.data.len() > 10, "{bytes}");
        assert!(excerpt.data.iter().all(|line| line.text.len() == TEXT));
        assert!(!lines.of(&plugin, Some(excerpt.data[0].sequence), 1).gap);
    }

    #[test]
    fn all_plugins_together_have_so_many_bytes_and_each_keeps_its_last() {
        let lines = Lines::default();
        let key = |n: u128| {
            let id = ApplicationId(uuid::Uuid::from_u128(n));
            (id, PluginName::new("main").expect("legal"))
        };
        let line = |sequence| Line {
            sequence,
            at: 1,
            message: MessageId(uuid::Uuid::nil()),
            digest: Digest([1; 32]),
            level: Level::Info,
            text: "t".repeat(TEXT),
            failure: None,
        };
        let mut all = lines.all();
        for n in 0..1000 {
            (0..60).for_each(|sequence| all.push(&key(n), line(sequence)));
            assert!(all.bytes <= ALL);
        }
        let counted: usize = all.plugins.values().flat_map(|ring| &ring.lines).map(size).sum();
        assert_eq!(counted, all.bytes);
        assert!(
            all.plugins.values().all(|ring| ring.lines.back().is_some_and(|l| l.sequence == 59))
        );
    }

    #[test]
    fn a_plugin_that_is_gone_leaves_no_lines_and_its_successor_shows_none() {
        let (lines, plugin) = (Lines::default(), sample::plugin(sample::application().id, "main"));
        write(&lines, &plugin, &["a"], None);
        let successor = Plugin { created: clock::now() + 60_000, ..plugin };
        assert!(lines.of(&successor, None, 10).data.is_empty());
        write(&lines, &sample::plugin(sample::application().id, "other"), &["b"], None);
        assert_eq!(lines.all().plugins.len(), 1);
    }
}
