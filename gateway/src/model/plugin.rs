//! A plugin: a component that an application runs, in its versions, and what it is configured with. The components' bytes
//! are kept apart, by digest (`Catalog::code`).
//!
//! What is changed of a plugin becomes a new revision of it. Some changes let it run differently, and what it parked
//! before is for it again: [`Plugin::runs_as`] tells them from the others.

use super::{
    Millis,
    id::{ApplicationId, Digest, EnvironmentId},
    name::PluginName,
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

    /// Adds a version; where there are too many, the oldest goes that nobody calls and that none is rolled back to.
    pub fn add(&mut self, version: Version) {
        if let Some(known) = self.versions.iter_mut().find(|v| v.digest == version.digest) {
            known.signed_by = version.signed_by.or_else(|| known.signed_by.take());
            return;
        }
        self.versions.push(version);
        if self.versions.len() > MAX_VERSIONS {
            let needed = [self.active, self.previous, self.versions.last().map(|v| v.digest)];
            let spare = self.versions.iter().position(|v| !needed.contains(&Some(v.digest)));
            spare.map(|index| self.versions.remove(index));
        }
    }

    /// Removes a version that is not the active one.
    pub fn remove(&mut self, digest: Digest) {
        self.versions.retain(|version| version.digest != digest);
        self.previous = self.previous.filter(|previous| *previous != digest);
    }

    /// Calls that version from now on.
    pub fn activate(&mut self, digest: Digest) {
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

    /// The plugin in quarantine.
    #[must_use]
    pub fn in_quarantine(&self, reason: String) -> Self {
        Self { quarantined: Some(reason), revision: self.revision + 1, ..self.clone() }
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
        Version { digest, size: 1, created: 1, signed_by: None }
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
        assert!(new.runs_as(&old) && old.in_quarantine("why".into()).runs_as(&old));
        new.renew();
        assert!(!new.runs_as(&old));
    }
}
