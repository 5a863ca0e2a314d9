//! Which plugins fail again and again: after a run of failures one is put in quarantine, so that it takes no CPU from
//! others and its log says the same thing no longer. A restart begins to count anew.

use crate::model::{
    id::{ApplicationId, Digest},
    name::PluginName,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// How often the plugins that fail have failed in a row.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<(ApplicationId, PluginName), (Digest, u32)>>);

impl Failures {
    /// The application's plugin did what it should.
    pub fn succeeded(&self, application: ApplicationId, plugin: &PluginName) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !failures.is_empty() {
            failures.remove(&(application, plugin.clone()));
        }
    }

    /// The application's plugin failed; whether that was the last of so many in a row. 0: never.
    pub fn failed(
        &self,
        application: ApplicationId,
        plugin: &PluginName,
        version: Digest,
        most: u32,
    ) -> bool {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (application, plugin.clone());
        let run = failures.entry(key.clone()).or_insert((version, 0));
        if run.0 != version {
            *run = (version, 0);
        }
        run.1 = run.1.saturating_add(1);
        let is_last = most > 0 && run.1 >= most;
        if is_last {
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
        failures.succeeded(one, &main);
        assert!(!failures.failed(one, &main, old, 2), "one went well between");
        assert!(!failures.failed(two, &main, old, 2), "another's");
        assert!(!failures.failed(one, &next, old, 2), "another plugin");
        failures.succeeded(one, &next);
        assert!(!failures.failed(one, &main, new, 2), "another version");
        assert!(failures.failed(one, &main, new, 2));
        assert!(!failures.failed(one, &main, new, 2), "it is told once");
        assert!((0..1000).all(|_| !failures.failed(two, &main, old, 0)));
    }
}
