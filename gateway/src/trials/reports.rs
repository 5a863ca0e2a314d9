//! The reports of what is tried on live traffic, one for each plugin: of its trial, or of the last one until there is
//! another.
//!
//! A report is of one version beside one other. Messages that are under way while a plugin is changed may come in late:
//! whoever reports says of which revision of the plugin it is, and the report is of the newest.

use super::{
    compare::Ran,
    report::{Report, Totals},
    shown::Comparison,
};
use crate::{
    clock,
    model::{
        Millis,
        catalog::Snapshot,
        id::{ApplicationId, Digest, MessageId},
        name::PluginName,
        plugin::Plugin,
    },
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// All plugins' reports.
#[derive(Debug, Default)]
pub struct Reports(Mutex<HashMap<(ApplicationId, PluginName), Kept>>);

/// What is tried beside what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    /// When the plugin was made: another of the same name is another.
    plugin: Millis,
    candidate: Digest,
    /// When the trial began.
    trial: Millis,
    active: Option<Digest>,
}

#[derive(Debug)]
struct Kept {
    pair: Pair,
    revision: u64,
    since: Millis,
    skipped: u64,
    report: Report,
}

/// A report as it is now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The version that is tried, or was.
    pub candidate: Digest,
    /// The version beside it.
    pub active: Option<Digest>,
    /// When the report began.
    pub since: Millis,
    /// Messages that were not compared, since there was no room for it.
    pub skipped: u64,
    /// The counts.
    pub totals: Totals,
    /// The last differences, the newest first.
    pub recent: Vec<Comparison>,
}

impl Pair {
    fn of(plugin: &Plugin) -> Option<Self> {
        let trial = plugin.trial.as_ref()?;
        let (candidate, since) = (trial.digest, trial.since);
        Some(Self { plugin: plugin.created, candidate, trial: since, active: plugin.active })
    }
}

impl Reports {
    /// Adds a comparison.
    pub fn compared(&self, catalog: &Snapshot, plugin: &Plugin, found: &Comparison) {
        self.with(catalog, plugin, |kept| kept.report.compared(found));
    }

    /// Adds a call of one version, that decided.
    pub fn decided(
        &self,
        catalog: &Snapshot,
        plugin: &Plugin,
        (message, by_candidate): (MessageId, bool),
        ran: &Ran,
    ) {
        self.with(catalog, plugin, |kept| kept.report.decided(message, by_candidate, ran));
    }

    /// Counts a message for which there was no room.
    pub fn skipped(&self, catalog: &Snapshot, plugin: &Plugin) {
        self.with(catalog, plugin, |kept| kept.skipped += 1);
    }

    /// The plugin's report, of its trial or the last one. None: nothing was tried, or no message has come since.
    #[must_use]
    pub fn of(&self, plugin: &Plugin) -> Option<Seen> {
        let reports = self.all();
        let kept = reports.get(&(plugin.application, plugin.name.clone()))?;
        let pair = kept.pair;
        // Once there is a trial the last one's is over.
        let is_this = Pair::of(plugin).is_none_or(|now| now == pair);
        (pair.plugin == plugin.created && is_this).then(|| Seen {
            candidate: pair.candidate,
            active: pair.active,
            since: kept.since,
            skipped: kept.skipped,
            totals: kept.report.totals(),
            recent: kept.report.recent(),
        })
    }

    /// Away with what was different of a message whose content goes: it stays counted.
    pub fn forget(&self, application: ApplicationId, message: MessageId) {
        let mut reports = self.all();
        let own = reports.iter_mut().filter(|((of, _), _)| *of == application);
        own.for_each(|(_, kept)| kept.report.forget(message));
    }

    fn with(&self, catalog: &Snapshot, plugin: &Plugin, add: impl FnOnce(&mut Kept)) {
        let Some(pair) = Pair::of(plugin) else { return };
        let mut reports = self.all();
        let key = (plugin.application, plugin.name.clone());
        let new = || {
            let (since, report) = (clock::now(), Report::default());
            Kept { pair, revision: plugin.revision, since, skipped: 0, report }
        };
        if !reports.contains_key(&key) {
            reports.retain(|(application, name), _| catalog.plugin(*application, name).is_some());
        }
        let kept = reports.entry(key).or_insert_with(new);
        if kept.pair != pair {
            let known = (kept.pair.plugin, kept.revision);
            if known >= (pair.plugin, plugin.revision) {
                return;
            }
            *kept = new();
        }
        kept.revision = kept.revision.max(plugin.revision);
        add(kept);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(ApplicationId, PluginName), Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        catalog::Change,
        plugin::Version,
        sample,
        trial::{Mode, Trial},
    };

    fn tried(plugin: &Plugin, digest: Digest, now: Millis) -> Plugin {
        let mut plugin = plugin.next(now);
        plugin.add(Version { digest, size: 1, created: now, signed_by: None, code: 0 });
        let trial = Trial { digest, mode: Mode::Shadow, since: now, stopped: None };
        plugin.try_out(Some(trial));
        plugin
    }

    fn messages(reports: &Reports, plugin: &Plugin) -> Option<u64> {
        reports.of(plugin).map(|seen| seen.totals.messages)
    }

    #[test]
    fn a_report_is_of_one_version_beside_one_other_until_the_next_trial() {
        let application = sample::application();
        let mut catalog = Snapshot::default();
        let first = sample::plugin(application.id, "main");
        catalog.apply(Change::PutApplication(application));
        catalog.apply(Change::PutPlugin(first.clone(), None));
        let reports = Reports::default();
        let found = Comparison::of(sample::message(first.application).id);
        let add = |plugin: &Plugin| reports.compared(&catalog, plugin, &found);
        add(&first);
        assert_eq!(messages(&reports, &first), None, "nothing is tried");
        let one = tried(&first, Digest([1; 32]), 2);
        add(&one);
        let settings = one.next(3);
        add(&settings);
        reports.skipped(&catalog, &settings);
        assert_eq!(messages(&reports, &one), Some(2), "other settings are no other trial");
        assert_eq!(reports.of(&one).expect("is there").skipped, 1);
        let mut promoted = settings.next(4);
        promoted.activate(Digest([1; 32]));
        add(&settings);
        assert_eq!(messages(&reports, &promoted), Some(3), "it is kept, and one came late");
        let two = tried(&promoted, Digest([2; 32]), 5);
        assert_eq!(messages(&reports, &two), None);
        add(&two);
        add(&settings);
        assert_eq!(messages(&reports, &two), Some(1), "what comes late is not of this one");
        let another = Plugin { created: 9, revision: 1, ..two };
        assert_eq!(messages(&reports, &another), None);
        add(&another);
        assert_eq!(messages(&reports, &another), Some(1));
    }

    #[test]
    fn a_plugin_that_is_gone_leaves_no_report() {
        let application = sample::application();
        let mut catalog = Snapshot::default();
        let plugin = sample::plugin(application.id, "main");
        let gone = Plugin { name: PluginName::new("gone").expect("legal"), ..plugin.clone() };
        catalog.apply(Change::PutApplication(application));
        catalog.apply(Change::PutPlugin(plugin.clone(), None));
        let reports = Reports::default();
        for plugin in [&gone, &plugin] {
            reports.skipped(&catalog, &tried(plugin, Digest([1; 32]), 2));
        }
        assert_eq!(reports.all().len(), 1);
    }
}
