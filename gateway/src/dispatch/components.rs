//! What a call needs beside its message: the component, loaded once, and the plugin's settings, made ready once.

use super::Dispatcher;
use crate::{
    model::{
        id::{ApplicationId, Digest},
        plugin::Plugin,
    },
    plugin::{Loaded, Rejected, Settings},
    store::StoreError,
};
use std::sync::{Arc, PoisonError};

/// A plugin, and its settings as calls take them.
pub type Prepared = (Arc<Plugin>, Arc<Settings>);

/// Why a component that was checked when it came is not there.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// Not the component's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nor is this.
    #[error("{0}")]
    Busy(String),
    /// It was there once, and may be again: the machine decides, or whoever set its limits.
    #[error("{0}")]
    Shaky(String),
    /// It will not be there next time either.
    #[error("{0}")]
    Bad(String),
}

impl From<Rejected> for NotLoaded {
    fn from(rejected: Rejected) -> Self {
        let text = rejected.to_string();
        match rejected {
            rejected if rejected.is_of_the_moment() => Self::Shaky(text),
            rejected if rejected.is_fault() => Self::Bad(text),
            _ => Self::Busy(text),
        }
    }
}

impl Dispatcher {
    /// The component, compiled when it was uploaded or declared, or now after a start.
    pub(super) async fn loaded(
        &self,
        application: ApplicationId,
        digest: Digest,
    ) -> Result<Arc<Loaded>, NotLoaded> {
        let load = async {
            if let Some(rejected) = self.registry.rejected_before(&digest) {
                return Err(rejected.into());
            }
            let code = self.catalog.code(digest).await?;
            let missing = || NotLoaded::Bad(format!("the component {digest} is not in the store"));
            let code = code.ok_or_else(missing)?;
            self.host.load_in_turn(application, code).await.map_err(|rejected| {
                self.registry.reject(digest, rejected.clone());
                rejected.into()
            })
        };
        self.registry.get_or_load(&digest, load).await
    }

    pub(super) fn settings_of(&self, plugin: &Arc<Plugin>) -> Arc<Settings> {
        let known = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let own = known.get(&plugin.application).into_iter().flatten();
        if let Some((_, settings)) = own.clone().find(|(of, _)| Arc::ptr_eq(of, plugin)) {
            return settings.clone();
        }
        drop(known);
        let settings = Arc::new(Settings::from(plugin.settings.clone()));
        let mut known = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        let own = known.entry(plugin.application).or_default();
        own.retain(|(of, _)| {
            of.name != plugin.name && {
                let tenant = self.catalog.snapshot();
                tenant.plugin(of.application, &of.name).is_some()
            }
        });
        own.push((plugin.clone(), settings.clone()));
        settings
    }
}
