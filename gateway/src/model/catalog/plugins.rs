//! Plugins in the catalog: in which order they stand, and which components they need.

use super::{Change, Conflict, Snapshot, Tenant};
use crate::model::{
    endpoint::Order,
    id::{ApplicationId, Digest},
    name::PluginName,
    plugin::{Kind, Plugin, Version},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Tenant {
    /// Whether one of its endpoints asks for an order.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        self.endpoints.values().any(|endpoint| endpoint.order != Order::None)
    }

    /// The plugin of that name.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.iter().find(|plugin| &*plugin.name == name)
    }

    /// The plugins that see its messages, first to last, each with the version that is called.
    pub fn transforms(&self) -> impl Iterator<Item = (&Arc<Plugin>, Digest)> {
        let transforms = self.plugins.iter().filter(|plugin| plugin.kind == Kind::Transform);
        transforms.filter_map(|plugin| Some((plugin, plugin.active?)))
    }

    /// Whether a message may fare otherwise with its plugins than it did with those of `before`: one is new or runs
    /// differently, or what they may use has changed. Of one that is gone, what it parked stays parked.
    #[must_use]
    pub fn runs_otherwise(&self, before: &Self) -> bool {
        let known = |plugin: &Plugin| before.transforms().any(|(old, _)| plugin.runs_as(old));
        let revision = |tenant: &Self| tenant.grants.as_ref().map(|grants| grants.revision);
        revision(self) != revision(before) || self.transforms().any(|(plugin, _)| !known(plugin))
    }

    pub(super) fn put_plugin(&mut self, plugin: Plugin) {
        self.plugins.retain(|known| known.name != plugin.name);
        let order = |plugin: &Plugin| (plugin.place, plugin.name.clone());
        let at = self.plugins.partition_point(|known| order(known) < order(&plugin));
        self.plugins.insert(at, Arc::new(plugin));
    }
}

impl Snapshot {
    /// The application's plugin of that name.
    #[must_use]
    pub fn plugin(&self, application: ApplicationId, name: &str) -> Option<&Arc<Plugin>> {
        self.tenant(application)?.plugin(name)
    }

    /// Whether putting this plugin in its place lets messages fare otherwise: then what is parked is due again.
    #[must_use]
    pub fn releases(&self, new: &Plugin) -> bool {
        let old = self.plugin(new.application, &new.name);
        let runs = new.kind == Kind::Transform && new.active.is_some();
        runs && old.is_none_or(|old| !old.runs_as(new))
    }

    /// The components that a change, before it is applied, lets go. Other versions may have some of them.
    #[must_use]
    pub fn lets_go(&self, change: &Change) -> Vec<Digest> {
        let all = |plugin: &Plugin| plugin.versions.iter().map(|v| v.digest).collect::<Vec<_>>();
        let of = |application: &ApplicationId, name: &PluginName| {
            self.plugin(*application, name).map(|plugin| all(plugin)).unwrap_or_default()
        };
        match change {
            Change::PutPlugin(new, _) => {
                let mut gone = of(&new.application, &new.name);
                gone.retain(|digest| new.version(*digest).is_none());
                gone
            }
            Change::DeletePlugin(application, name) => of(application, name),
            Change::DeleteApplication(application) => {
                let plugins = self.tenant(*application).into_iter().flat_map(|t| &t.plugins);
                plugins.flat_map(|plugin| all(plugin)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The components that plugins' versions are made of.
    #[must_use]
    pub fn components(&self) -> BTreeSet<Digest> {
        let plugins = self.tenants().flat_map(|tenant| &tenant.plugins);
        plugins.flat_map(|plugin| &plugin.versions).map(|version| version.digest).collect()
    }

    /// The components that are called: those of active versions, and of versions that are tried.
    #[must_use]
    pub fn called(&self) -> BTreeSet<Digest> {
        let plugins = self.tenants().flat_map(|tenant| &tenant.plugins);
        plugins.flat_map(|plugin| plugin.called()).map(|version| version.digest).collect()
    }

    /// Whether what the plugins call as they will be with this one is within the catalog's bounds. What is called already
    /// may go on, whatever the bounds are by now.
    pub(super) fn check_code(&self, tenant: &Tenant, new: &Plugin) -> Result<(), Conflict> {
        let old = tenant.plugin(&new.name);
        let is_old = |version: &Version| {
            old.is_some_and(|old| old.called().any(|known| known.digest == version.digest))
        };
        if new.called().all(is_old) {
            return Ok(());
        }
        let other = |plugin: &&Arc<Plugin>| {
            (plugin.application, &plugin.name) != (new.application, &new.name)
        };
        let own = tenant.plugins.iter().filter(other);
        let most = self.bounds.code_of_one;
        if weight(own.flat_map(|plugin| plugin.called()).chain(new.called())) > most {
            return Err(Conflict::TooMuchCode(most));
        }
        let all = self.tenants().flat_map(|tenant| &tenant.plugins).filter(other);
        let most = self.bounds.code;
        if weight(all.flat_map(|plugin| plugin.called()).chain(new.called())) > most {
            return Err(Conflict::TooMuchCodeInAll(most));
        }
        Ok(())
    }

    /// Those of these components that no version of any plugin is made of.
    #[must_use]
    pub fn without_use(&self, components: Vec<Digest>) -> BTreeSet<Digest> {
        if components.is_empty() {
            return BTreeSet::new();
        }
        let used = self.components();
        components.into_iter().filter(|digest| !used.contains(digest)).collect()
    }
}

/// Bytes of these components together, each counted once.
fn weight<'v>(versions: impl Iterator<Item = &'v Version>) -> u64 {
    let mut weights = BTreeMap::new();
    for version in versions {
        let weight: &mut u64 = weights.entry(version.digest).or_default();
        *weight = version.weight().max(*weight);
    }
    weights.values().fold(0, |all, weight| all.saturating_add(*weight))
}
