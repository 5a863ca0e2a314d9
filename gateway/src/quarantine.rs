//! Which plugins fail again and again: after a run of failures one is put in quarantine, so that it takes no CPU from
//! others and its log says the same thing no longer. A restart begins to count anew. Each stage that calls plugins has one of
//! these for the kinds that it calls.

use crate::{
    model::{
        catalog::Change,
        id::{ApplicationId, Digest},
        name::PluginName,
        plugin::Plugin,
    },
    plugin::CallFailure,
    store::Catalog,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Puts plugins in quarantine that do nothing but fail.
pub struct Quarantine {
    catalog: Arc<dyn Catalog>,
    most: u32,
    failures: Failures,
}

impl Quarantine {
    /// After so many failures in a row; 0: never.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, most: u32) -> Self {
        Self { catalog, most, failures: Failures::default() }
    }

    /// Counts a call of that version of the plugin, and how it failed if it did.
    pub async fn count(&self, plugin: &Plugin, digest: Digest, failure: Option<&CallFailure>) {
        let (application, name, most) = (plugin.application, &plugin.name, self.most);
        let Some(failure) = failure else {
            return self.failures.succeeded(application, name, digest);
        };
        if !failure.is_fault() || !self.failures.failed(application, name, digest, most) {
            return;
        }
        let reason = format!("{most} failures in a row; the last: {failure}");
        tracing::warn!(%application, plugin = %name, %digest, reason, "a plugin is in quarantine");
        let change = Change::QuarantinePlugin(application, name.clone(), digest, reason);
        if let Err(error) = self.catalog.change(change).await {
            tracing::debug!(%error, "it was replaced meanwhile, or is called on");
        }
    }
}

/// How often the plugins that fail have failed in a row.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<(ApplicationId, PluginName), Runs>>);

/// A plugin's runs of failures, of each version that is called: the active one, and one that is tried.
type Runs = Vec<(Digest, u32)>;

/// How many versions of a plugin are called.
const CALLED: usize = 2;

impl Failures {
    /// The version of the application's plugin did what it should.
    fn succeeded(&self, application: ApplicationId, plugin: &PluginName, version: Digest) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.is_empty() {
            return;
        }
        let key = (application, plugin.clone());
        if let Some(runs) = failures.get_mut(&key) {
            runs.retain(|(of, _)| *of != version);
            if runs.is_empty() {
                failures.remove(&key);
            }
        }
    }

    /// The version of the application's plugin failed; whether that was the last of so many in a row. 0: never.
    fn failed(
        &self,
        application: ApplicationId,
        plugin: &PluginName,
        version: Digest,
        most: u32,
    ) -> bool {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (application, plugin.clone());
        let runs = failures.entry(key.clone()).or_default();
        let (_, so_far) = match runs.iter().position(|(of, _)| *of == version) {
            Some(index) => runs.remove(index),
            None => (version, 0),
        };
        let count = so_far.saturating_add(1);
        let is_last = most > 0 && count >= most;
        if !is_last {
            runs.push((version, count));
            let over = runs.len().saturating_sub(CALLED);
            runs.drain(..over);
        } else if runs.is_empty() {
            failures.remove(&key);
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn only_a_run_of_failures_of_one_version_of_one_plugin_counts() {
        let failures = Failures::default();
        let (one, two) = (sample::application().id, sample::application().id);
        let [main, next] = ["main", "next"].map(|name| PluginName::new(name).expect("legal"));
        let (old, new) = (Digest([1; 32]), Digest([2; 32]));
        assert!(!failures.failed(one, &main, old, 2));
        failures.succeeded(one, &main, old);
        assert!(!failures.failed(one, &main, old, 2), "one went well between");
        assert!(!failures.failed(two, &main, old, 2), "another's");
        assert!(!failures.failed(one, &next, old, 2), "another plugin");
        failures.succeeded(one, &next, old);
        assert!(!failures.failed(one, &main, new, 2), "another version");
        assert!(failures.failed(one, &main, new, 2));
        assert!(!failures.failed(one, &main, new, 2), "it is told once");
        failures.succeeded(one, &main, Digest([3; 32]));
        assert!(failures.failed(one, &main, old, 2), "that another does well changes nothing");
        for version in [4, 5, 6] {
            assert!(!failures.failed(one, &main, Digest([version; 32]), 2));
        }
        assert!(!failures.failed(one, &main, Digest([4; 32]), 2), "so many versions are counted");
        assert!((0..1000).all(|_| !failures.failed(two, &main, old, 0)));
    }
}
