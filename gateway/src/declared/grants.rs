//! Declared grants: what an application's plugins may use, for as long as the file says so.

use super::Reconciler;
use crate::{
    clock,
    model::{
        catalog::{Change, Tenant},
        grants::{Capabilities, Grants},
    },
};

impl Reconciler {
    /// Makes the application's grants what is declared; how many changes that took. Where the file says nothing of them, what
    /// was granted over the API stays.
    pub(super) async fn grants(
        &self,
        tenant: &Tenant,
        declared: Option<&Capabilities>,
    ) -> Result<usize, String> {
        let of = &tenant.application;
        let none = || Grants::none(of.environment, of.id);
        let old = tenant.grants.as_deref().cloned().unwrap_or_else(none);
        let capabilities = match declared {
            Some(declared) => declared.clone(),
            None if old.declared => Capabilities::default(),
            None => return Ok(0),
        };
        if let Some((path, text)) = capabilities.wrong().into_iter().next() {
            return Err(format!("grants: {path} {text}"));
        }
        let declared = declared.is_some();
        if (&old.capabilities, old.declared) == (&capabilities, declared) {
            return Ok(0);
        }
        let (revision, updated) = (old.revision + 1, clock::now());
        let new = Grants { capabilities, declared, revision, updated, ..old };
        self.change(Change::PutGrants(new)).await.map(|()| 1)
    }
}
