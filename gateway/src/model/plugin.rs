//! A plugin: a component that an application runs, in its versions, and what it is configured with. The components' bytes
//! are kept apart, by digest (`Catalog::code`).
//!
//! What is changed of a plugin becomes a new revision of it. Some changes let it run differently, and what it parked
//! before is for it again: [`Plugin::runs_as`] tells them from the others.

use super::{
    Millis,
    id::{ApplicationId, Digest, EnvironmentId, MessageId},
    name::PluginName,
    trial::{Mode, Trial},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How many versions of a plugin are kept: each is a component in the store.
pub const MAX_VERSIONS: usize = 20;

/// What a plugin is for: its component's exports say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PluginKind)]
pub enum Kind {
    /// Decides what becomes of each message of its application.
    Transform,
    /// Signs what is sent to an endpoint.
    Sign,
    /// Says what an endpoint's answer means.
    Classify,
}

/// What becomes of a message on which the plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PluginPolicy)]
pub enum Policy {
    /// It waits for another version, or other settings.
    #[default]
    Park,
    /// It goes on as it was given to the plugin.
    PassThrough,
    /// It ends, until a person has it sent again.
    DeadLetter,
}

/// A component that was uploaded as this plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which component.
    pub digest: Digest,
    /// The component's size in bytes.
    pub size: u64,
    /// When it came.
    pub created: Millis,
    /// The trusted key that has signed it, in base64.
    #[serde(default)]
    pub signed_by: Option<String>,
    /// The native code that it became, in bytes. 0: it has none, or an older gateway did not note it.
    #[serde(default)]
    pub code: u64,
}

impl Version {
    /// Bytes that it takes in memory while it is called, as far as is known.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.code.max(self.size)
    }
}

/// An application's plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The environment of its application.
    pub environment: EnvironmentId,
    /// Whose messages it sees.
    pub application: ApplicationId,
    /// What tells it from the application's others.
    pub name: PluginName,
    /// What it is for.
    pub kind: Kind,
    /// Where it stands among others of its kind: the lowest comes first, of two the first by name.
    pub place: u32,
    /// Its components, oldest first.
    pub versions: Vec<Version>,
    /// Which of them is called. None: it is not called.
    pub active: Option<Digest>,
    /// Which of them was active before.
    pub previous: Option<Digest>,
    /// A JSON object the plugin reads through the `settings` import.
    pub settings: Map<String, Value>,
    /// What becomes of a message on which it fails.
    pub policy: Policy,
    /// Which of its versions is tried beside the active one.
    #[serde(default)]
    pub trial: Option<Trial>,
    /// Why it is in quarantine, and is not called: it failed too often in a row.
    #[serde(default)]
    pub quarantined: Option<String>,
    /// Whether the configuration file declares it: then it goes when it leaves the file.
    #[serde(default)]
    pub declared: bool,
    /// 1 when it is new; one more with each change.
    pub revision: u64,
    /// The revision from which on it runs as it does.
    pub runs_since: u64,
    /// When its first version came.
    pub created: Millis,
    /// When this revision was made.
    pub updated: Millis,
}

impl Plugin {
    /// A plugin that has no version yet.
    #[must_use]
    pub fn new(
        (environment, application): (EnvironmentId, ApplicationId),
        name: PluginName,
        kind: Kind,
        now: Millis,
    ) -> Self {
        Self {
            environment,
            application,
            name,
            kind,
            place: 0,
            versions: Vec::new(),
            active: None,
            previous: None,
            settings: Map::new(),
            policy: Policy::default(),
            trial: None,
            quarantined: None,
            declared: false,
            revision: 1,
            runs_since: 1,
            created: now,
            updated: now,
        }
    }

    /// Its next revision, to be changed.
    #[must_use]
    pub fn next(&self, now: Millis) -> Self {
        Self { revision: self.revision + 1, updated: now, ..self.clone() }
    }

    /// The version with that digest.
    #[must_use]
    pub fn version(&self, digest: Digest) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// The versions that are called: the active one, and one that is tried.
    pub fn called(&self) -> impl Iterator<Item = &Version> {
        let tried = self.trial.as_ref().map(|trial| trial.digest);
        [self.active, tried].into_iter().flatten().filter_map(|digest| self.version(digest))
    }

    /// Adds a version; where there are too many, the oldest goes that nobody calls or tries and that none is rolled back
    /// to.
    pub fn add(&mut self, version: Version) {
        if let Some(known) = self.versions.iter_mut().find(|v| v.digest == version.digest) {
            known.signed_by = version.signed_by.or_else(|| known.signed_by.take());
            known.code = version.code;
            return;
        }
        self.versions.push(version);
        if self.versions.len() > MAX_VERSIONS {
            let tried = self.trial.as_ref().map(|trial| trial.digest);
            let last = self.versions.last().map(|v| v.digest);
            let needed = [self.active, self.previous, tried, last];
            let spare = self.versions.iter().position(|v| !needed.contains(&Some(v.digest)));
            spare.map(|index| self.versions.remove(index));
        }
    }

    /// Removes a version that is not the active one, and ends its trial.
    pub fn remove(&mut self, digest: Digest) {
        self.end_trial_of(digest);
        self.versions.retain(|version| version.digest != digest);
        self.previous = self.previous.filter(|previous| *previous != digest);
    }

    /// Calls that version from now on, and ends its trial.
    pub fn activate(&mut self, digest: Digest) {
        self.end_trial_of(digest);
        if self.active != Some(digest) {
            self.previous = self.active.replace(digest);
        }
        self.renew();
    }

    /// It runs differently from now on, out of quarantine: what it parked is for it again.
    pub fn renew(&mut self) {
        self.quarantined = None;
        self.runs_since = self.revision;
    }

    /// Tries that version, or none, from now on.
    pub fn try_out(&mut self, trial: Option<Trial>) {
        self.let_go();
        self.trial = trial;
    }

    fn end_trial_of(&mut self, digest: Digest) {
        if self.trial.as_ref().is_some_and(|trial| trial.digest == digest) {
            self.try_out(None);
        }
    }

    /// What a canary has parked is for the active version now.
    fn let_go(&mut self) {
        let decides = |trial: &Trial| trial.stopped.is_none() && trial.mode != Mode::Shadow;
        if self.trial.as_ref().is_some_and(decides) {
            self.runs_since = self.revision;
        }
    }

    /// Which version decides on that message, while this one is active.
    #[must_use]
    pub fn decides(&self, active: Digest, message: MessageId) -> Digest {
        let tried = self.trial.as_ref().filter(|trial| trial.decides(message));
        tried.map_or(active, |trial| trial.digest)
    }

    /// Whether a version may be put in quarantine: it is called, or tried.
    #[must_use]
    pub fn runs(&self, digest: Digest) -> bool {
        let tried = |trial: &Trial| trial.digest == digest && trial.stopped.is_none();
        let active = self.active == Some(digest) && self.quarantined.is_none();
        active || self.trial.as_ref().is_some_and(tried)
    }

    /// The plugin with that version in quarantine: if it is one that is tried, its trial is, and the plugin goes on.
    #[must_use]
    pub fn in_quarantine(&self, digest: Digest, reason: String) -> Self {
        let mut next = Self { revision: self.revision + 1, ..self.clone() };
        match &self.trial {
            Some(trial) if trial.digest == digest => {
                next.let_go();
                next.trial = Some(Trial { stopped: Some(reason), ..trial.clone() });
            }
            _ => next.quarantined = Some(reason),
        }
        next
    }

    /// Whether a message fares with this as with the other.
    #[must_use]
    pub fn runs_as(&self, other: &Self) -> bool {
        let of = |p: &Self| (p.created, p.runs_since, p.active);
        self.name == other.name && of(self) == of(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    fn version(number: usize) -> Version {
        let digest = Digest([u8::try_from(number).expect("small"); 32]);
        Version { digest, size: 1, created: 1, signed_by: None, code: 0 }
    }

    #[test]
    fn the_oldest_version_goes_that_is_not_needed() {
        let mut plugin = sample::plugin(sample::application().id, "main");
        plugin.versions.clear();
        (plugin.active, plugin.previous) = (None, None);
        for number in 0..MAX_VERSIONS {
            plugin.add(version(number));
        }
        plugin.activate(version(0).digest);
        plugin.activate(version(2).digest);
        plugin.add(version(MAX_VERSIONS));
        plugin.add(version(MAX_VERSIONS + 1));
        let left: Vec<_> = plugin.versions.iter().map(|version| version.digest.0[0]).collect();
        let expected: Vec<u8> = [0, 2].into_iter().chain(4..22).collect();
        assert_eq!(left, expected);
        plugin.add(version(4));
        assert_eq!(plugin.versions.len(), MAX_VERSIONS, "one that is there already");
    }

    #[test]
    fn a_version_that_is_active_again_remembers_the_one_between() {
        let mut plugin = sample::plugin(sample::application().id, "main");
        let [one, two] = [version(1), version(2)];
        plugin.add(one.clone());
        plugin.add(two.clone());
        plugin.activate(one.digest);
        plugin.activate(two.digest);
        plugin.activate(two.digest);
        assert_eq!((plugin.active, plugin.previous), (Some(two.digest), Some(one.digest)));
        plugin.remove(one.digest);
        assert_eq!((plugin.versions.len(), plugin.previous), (2, None));
    }

    #[test]
    fn what_does_not_change_how_it_runs_releases_nothing() {
        let old = sample::plugin(sample::application().id, "main");
        let mut new = old.next(5);
        new.add(version(9));
        let active = old.active.expect("one");
        assert!(new.runs_as(&old) && old.in_quarantine(active, "why".into()).runs_as(&old));
        new.renew();
        assert!(!new.runs_as(&old));
    }

    fn tried(mode: Mode) -> Plugin {
        let mut plugin = sample::plugin(sample::application().id, "main").next(2);
        plugin.add(version(2));
        let trial = Trial { digest: version(2).digest, mode, since: 2, stopped: None };
        plugin.try_out(Some(trial));
        plugin
    }

    #[test]
    fn a_trial_ends_with_its_version_or_when_that_is_activated() {
        let plugin = tried(Mode::Shadow);
        let digest = version(2).digest;
        let mut others = plugin.next(3);
        others.add(version(3));
        others.activate(version(3).digest);
        assert_eq!(others.trial, plugin.trial, "another version is activated");
        let (mut activated, mut removed) = (plugin.next(3), plugin.next(3));
        activated.activate(digest);
        removed.remove(digest);
        assert_eq!((activated.trial, removed.trial), (None, None));
        let mut full = plugin.next(3);
        for number in 3..=MAX_VERSIONS + 3 {
            full.add(version(number));
        }
        assert!(full.version(digest).is_some(), "the version that is tried is kept");
    }

    #[test]
    fn what_a_canary_parked_is_released_when_that_ends_and_what_a_shadow_saw_is_not() {
        let canary = tried(Mode::Canary { percent: 5 });
        let shadow = tried(Mode::Shadow);
        let digest = version(2).digest;
        for (plugin, releases) in [(&canary, true), (&shadow, false)] {
            let mut ended = plugin.next(3);
            ended.try_out(None);
            assert_eq!(!ended.runs_as(plugin), releases);
            let stopped = plugin.in_quarantine(digest, "why".into());
            assert_eq!(!stopped.runs_as(plugin), releases);
            assert_eq!(stopped.quarantined, None);
            assert_eq!(stopped.trial.as_ref().and_then(|t| t.stopped.as_deref()), Some("why"));
            assert!(plugin.runs(digest) && !stopped.runs(digest));
            let mut over = stopped.next(4);
            over.try_out(None);
            assert!(over.runs_as(&stopped), "it was over before");
        }
    }
}
