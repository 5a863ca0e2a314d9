//! Declared plugins: components on this machine, which its operator trusts.

use super::{DeclaredApplication, Reconciler};
use crate::{
    clock,
    model::{
        catalog::{Change, Tenant},
        id::Digest,
        name::PluginName,
        plugin::{Plugin, Policy, Version},
    },
    plugin::{Host, Loaded, Rejected},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{path::PathBuf, sync::Arc};

/// A plugin: a component on this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredPlugin {
    /// What tells it from the application's others.
    pub name: PluginName,
    /// The component's file, from where the gateway is started.
    pub path: PathBuf,
    /// What the plugin reads as its settings.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Where it stands among the application's others.
    #[serde(default)]
    pub place: u32,
    /// What becomes of a message on which it fails.
    #[serde(default)]
    pub policy: Policy,
}

impl DeclaredPlugin {
    fn is_like(&self, plugin: &Plugin, digest: Digest) -> bool {
        plugin.active == Some(digest)
            && (&plugin.settings, plugin.place, plugin.policy, plugin.declared)
                == (&self.settings, self.place, self.policy, true)
    }
}

impl Reconciler {
    /// Makes the application's plugins agree with what is declared; how many changes that took.
    pub(super) async fn plugins(
        &self,
        tenant: &Tenant,
        DeclaredApplication { plugins: declared, grants, .. }: &DeclaredApplication,
    ) -> Result<usize, String> {
        let mut changes = 0;
        for (index, plugin) in declared.iter().enumerate() {
            let in_file = |text: String| format!("plugin `{}`: {text}", plugin.name);
            if declared[..index].iter().any(|before| before.name == plugin.name) {
                return Err(in_file("is there twice".to_owned()));
            }
            changes += self.plugin(tenant, plugin, grants.is_some()).await.map_err(in_file)?;
        }
        for plugin in &tenant.plugins {
            if plugin.declared && declared.iter().all(|kept| kept.name != plugin.name) {
                let gone = Change::DeletePlugin(plugin.application, plugin.name.clone());
                self.change(gone).await?;
                changes += 1;
            }
        }
        Ok(changes)
    }

    /// What is not granted is an error where the file is changed or says what is granted; where that was taken away over the
    /// API, it must not keep a gateway from starting.
    async fn plugin(
        &self,
        tenant: &Tenant,
        declared: &DeclaredPlugin,
        grants_are_declared: bool,
    ) -> Result<usize, String> {
        let path = declared.path.display();
        let bytes = std::fs::read(&declared.path).map_err(|error| format!("{path}: {error}"))?;
        let digest = Digest(Sha256::digest(&bytes).into());
        let old = tenant.plugin(&declared.name);
        let refused = |rejected: Rejected| format!("{path}: {rejected}");
        if old.is_some_and(|old| declared.is_like(old, digest)) {
            return match Host::may_import(tenant, &bytes).map_err(refused) {
                Err(why) if grants_are_declared => Err(why),
                Err(why) => {
                    let (application, plugin) = (tenant.application.id, &declared.name);
                    tracing::warn!(%application, %plugin, why, "a declared plugin will fail");
                    Ok(0)
                }
                Ok(()) => Ok(0),
            };
        }
        let bytes = Bytes::from(bytes);
        let loaded = self.host.admit(Arc::new(tenant.clone()), bytes.clone()).await;
        let loaded = loaded.map_err(refused)?;
        let (host, checked) = (self.host.clone(), loaded.clone());
        let settings = declared.settings.clone();
        let check = move || host.check_settings(&checked, &settings);
        let wrong = tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| error.to_string())?
            .map_err(refused)?;
        if let Some(v) = wrong.into_iter().next() {
            let wrong = Rejected::Settings(format!("/settings{} {}", v.path, v.message));
            return Err(format!("{path}: {wrong}"));
        }
        self.registry.insert(&loaded);
        let plugin = next(tenant, declared, old, &loaded);
        let change = Change::PutPlugin(plugin, Some((digest, bytes)));
        self.change(change).await?;
        self.host.keep(&loaded).await;
        Ok(1)
    }
}

/// The plugin as it is declared.
fn next(
    tenant: &Tenant,
    declared: &DeclaredPlugin,
    old: Option<&Arc<Plugin>>,
    loaded: &Loaded,
) -> Plugin {
    let now = clock::now();
    let of = (tenant.application.environment, tenant.application.id);
    let new = || Plugin::new(of, declared.name.clone(), loaded.kind, now);
    let mut plugin = Plugin {
        kind: loaded.kind,
        settings: declared.settings.clone(),
        place: declared.place,
        policy: declared.policy,
        declared: true,
        ..old.map_or_else(new, |old| old.next(now))
    };
    let (digest, size, code) = (loaded.digest, loaded.size, loaded.code);
    plugin.add(Version { digest, size, created: now, signed_by: None, code });
    plugin.activate(digest);
    plugin
}
