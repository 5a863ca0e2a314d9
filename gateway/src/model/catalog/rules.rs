//! The rules that a change of the catalog must keep, for whoever applies one: both store engines ask before they write.

use super::{Change, Conflict, MAX_EVENT_TYPES, MAX_KEYS, Snapshot};
use crate::model::{
    application::Application,
    endpoint::Endpoint,
    environment::Environment,
    event_type::Listed,
    id::EnvironmentId,
    key::{Key, Scope},
};
use std::sync::Arc;

/// `Ok` where it holds.
fn must(holds: bool, conflict: Conflict) -> Result<(), Conflict> {
    if holds { Ok(()) } else { Err(conflict) }
}

impl Snapshot {
    /// Whether the change keeps the rules.
    pub fn check(&self, change: &Change) -> Result<(), Conflict> {
        match change {
            Change::PutEnvironment(new) => self.check_environment(new),
            Change::DeleteEnvironment(id) => {
                must(self.environment_record(*id).is_some(), Conflict::Stale)?;
                must(self.applications(*id).is_empty(), Conflict::NotEmpty)
            }
            Change::PutApplication(new) => self.check_application(new),
            Change::PutEndpoint(new) => self.check_endpoint(new),
            Change::PutPlugin(plugin) => {
                must(self.tenants.contains_key(&plugin.application), Conflict::NoApplication)
            }
            Change::DeleteApplication(id) | Change::DeletePlugin(id) => {
                must(self.tenants.contains_key(id), Conflict::Stale)
            }
            Change::DeleteEndpoint(application, id) => {
                let tenant = self.tenants.get(application).ok_or(Conflict::Stale)?;
                must(tenant.endpoints.contains_key(id), Conflict::Stale)
            }
            Change::PutKey(new) => self.check_key(new),
            Change::DeleteKey(id) => must(self.keys.contains_key(id), Conflict::Stale),
            Change::PutEventType(new) => self.check_event_type(new),
            Change::DeleteEventType(environment, name) => {
                must(self.event_type(*environment, name).is_some(), Conflict::Stale)
            }
        }
    }

    fn check_environment(&self, new: &Environment) -> Result<(), Conflict> {
        if self.environment(&new.name).is_some_and(|id| id != new.id)
            || new.id == EnvironmentId::DEFAULT
        {
            return Err(Conflict::NameTaken);
        }
        match self.environments.get(&new.id) {
            Some(old) => must(!old.deleted && new.revision == old.revision + 1, Conflict::Stale),
            None => must(new.id == self.free_environment(), Conflict::Stale),
        }
    }

    fn check_application(&self, new: &Application) -> Result<(), Conflict> {
        must(self.has_environment(new.environment), Conflict::NoEnvironment)?;
        let old = self.tenants.get(&new.id).map_or(0, |t| t.application.revision);
        must(new.revision == old + 1, Conflict::Stale)?;
        let Some(uid) = &new.uid else { return Ok(()) };
        let known = self.uids.get(&(new.environment, uid.to_string()));
        must(known.is_none_or(|known| *known == new.id), Conflict::UidTaken)
    }

    fn check_endpoint(&self, new: &Endpoint) -> Result<(), Conflict> {
        let tenant = self.tenants.get(&new.application).ok_or(Conflict::NoApplication)?;
        let old = tenant.endpoints.get(&new.id).map_or(0, |e| e.revision);
        must(new.revision == old + 1, Conflict::Stale)?;
        let room = old > 0 || tenant.endpoints.len() < self.max_endpoints;
        must(room, Conflict::TooManyEndpoints)?;
        let taken = |e: &Arc<Endpoint>| e.id != new.id && e.uid == new.uid;
        let taken = new.uid.is_some() && tenant.endpoints.values().any(taken);
        must(!taken, Conflict::UidTaken)
    }

    fn check_key(&self, new: &Key) -> Result<(), Conflict> {
        must(self.has_environment(new.environment), Conflict::NoEnvironment)?;
        if let Scope::Application(id) = new.scope {
            let tenant = self.tenants.get(&id).map(|tenant| tenant.application.environment);
            must(tenant == Some(new.environment), Conflict::NoApplication)?;
        }
        let old = self.keys.get(&new.id).map_or(0, |key| key.revision);
        must(new.revision == old + 1, Conflict::Stale)?;
        let known = |key: &&Arc<Key>| key.environment == new.environment;
        must(old > 0 || self.keys().filter(known).count() < MAX_KEYS, Conflict::TooManyKeys)
    }

    fn check_event_type(&self, new: &Listed) -> Result<(), Conflict> {
        let new = &new.entry;
        must(self.has_environment(new.environment), Conflict::NoEnvironment)?;
        let known = self.event_types(new.environment).count();
        match self.event_type(new.environment, &new.name) {
            Some(old) if old.entry.id != new.id => Err(Conflict::NameTaken),
            Some(old) => must(new.revision == old.entry.revision + 1, Conflict::Stale),
            None => {
                must(new.revision == 1, Conflict::Stale)?;
                must(known < MAX_EVENT_TYPES, Conflict::TooManyEventTypes)
            }
        }
    }
}
