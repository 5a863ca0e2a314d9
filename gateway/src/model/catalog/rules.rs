//! The rules that a change of the catalog must keep, for whoever applies one: both store engines ask before they write.

use super::{Change, Conflict, MAX_EVENT_TYPES, MAX_KEYS, MAX_PLUGINS, MAX_TOKENS, Snapshot};
use crate::model::{
    application::Application,
    endpoint::Endpoint,
    environment::Environment,
    event_type::Listed,
    id::EnvironmentId,
    key::{Key, Scope},
    plugin::Plugin,
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
            Change::PutPlugin(new, _) => self.check_plugin(new),
            Change::QuarantinePlugin(id, name, digest, _) => {
                let good = |p: &Arc<Plugin>| p.active == Some(*digest) && p.quarantined.is_none();
                must(self.plugin(*id, name).is_some_and(good), Conflict::Stale)
            }
            Change::DeletePlugin(id, name) => {
                must(self.plugin(*id, name).is_some(), Conflict::Stale)
            }
            Change::DeleteApplication(id) => must(self.tenants.contains_key(id), Conflict::Stale),
            Change::DeleteEndpoint(application, id) => {
                let tenant = self.tenants.get(application).ok_or(Conflict::Stale)?;
                must(tenant.endpoints.contains_key(id), Conflict::Stale)
            }
            Change::PutGrants(new) => {
                let tenant = self.tenants.get(&new.application).ok_or(Conflict::NoApplication)?;
                let old = tenant.grants.as_ref().map_or(0, |grants| grants.revision);
                must(new.revision == old + 1, Conflict::Stale)
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
            // Paths take its id as well.
            None if new.name.bytes().all(|byte| byte.is_ascii_digit()) => Err(Conflict::NameTaken),
            None => must(new.id == self.free_environment(), Conflict::Stale),
        }
    }

    fn check_application(&self, new: &Application) -> Result<(), Conflict> {
        must(self.has_environment(new.environment), Conflict::NoEnvironment)?;
        let old = self.tenants.get(&new.id).map_or(0, |t| t.application.revision);
        must(new.revision == old + 1, Conflict::Stale)?;
        let Some(uid) = &new.uid else { return Ok(()) };
        let known = self.uids.get(&(new.environment, uid.to_string()));
        must(known.is_none_or(|known| *known == new.id), Conflict::UidTaken)?;
        // Paths take either: the other would be shadowed, or shadow it.
        let as_id = uid.parse().ok().filter(|id| *id != new.id);
        must(as_id.is_none_or(|id| !self.tenants.contains_key(&id)), Conflict::UidTaken)
    }

    fn check_endpoint(&self, new: &Endpoint) -> Result<(), Conflict> {
        let tenant = self.tenants.get(&new.application).ok_or(Conflict::NoApplication)?;
        let old = tenant.endpoints.get(&new.id).map_or(0, |e| e.revision);
        must(new.revision == old + 1, Conflict::Stale)?;
        let room = old > 0 || tenant.endpoints.len() < self.max_endpoints;
        must(room, Conflict::TooManyEndpoints)?;
        let as_id = new.uid.as_ref().and_then(|uid| uid.parse().ok());
        let taken = |e: &Arc<Endpoint>| e.id != new.id && (e.uid == new.uid || as_id == Some(e.id));
        let taken = new.uid.is_some() && tenant.endpoints.values().any(taken);
        must(!taken, Conflict::UidTaken)
    }

    fn check_plugin(&self, new: &Plugin) -> Result<(), Conflict> {
        let tenant = self.tenants.get(&new.application).ok_or(Conflict::NoApplication)?;
        let old = tenant.plugin(&new.name);
        must(new.revision == old.map_or(0, |plugin| plugin.revision) + 1, Conflict::Stale)?;
        must(old.is_none_or(|old| old.kind == new.kind), Conflict::OtherKind)?;
        must(old.is_some() || tenant.plugins.len() < MAX_PLUGINS, Conflict::TooManyPlugins)
    }

    fn check_key(&self, new: &Key) -> Result<(), Conflict> {
        must(self.has_environment(new.environment), Conflict::NoEnvironment)?;
        if let Scope::Application(id) = new.scope {
            let tenant = self.tenants.get(&id).map(|tenant| tenant.application.environment);
            must(tenant == Some(new.environment), Conflict::NoApplication)?;
        }
        let old = self.keys.get(&new.id);
        must(new.revision == old.map_or(0, |key| key.revision) + 1, Conflict::Stale)?;
        let counted = old.is_some_and(|old| old.is_token() == new.is_token());
        must(counted || self.has_room_for(new), Conflict::TooManyKeys)
    }

    /// Tokens are counted apart, as of when the new one was made: many come, and what has expired stays only until somebody
    /// removes it.
    fn has_room_for(&self, new: &Key) -> bool {
        let most = if new.is_token() { MAX_TOKENS } else { MAX_KEYS };
        let alike = |key: &&Arc<Key>| {
            let gone = key.is_token() && key.expires.is_some_and(|end| end <= new.updated);
            key.environment == new.environment && key.is_token() == new.is_token() && !gone
        };
        // Where all of them are few, they need not be looked at.
        self.keys.len() < most || self.keys().filter(alike).count() < most
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn tokens_that_have_not_expired_have_a_limit_of_their_own() {
        let mut catalog = Snapshot::default();
        let application = sample::application();
        let (environment, scope) = (application.environment, Scope::Application(application.id));
        catalog.apply(Change::PutApplication(application));
        let key = || sample::key(environment);
        let token = |updated| Key { scope, expires: Some(10), updated, ..key() };
        for _ in 0..MAX_KEYS {
            catalog.apply(Change::PutKey(key()));
        }
        let check = |catalog: &Snapshot, key| catalog.check(&Change::PutKey(key));
        assert_eq!(check(&catalog, key()), Err(Conflict::TooManyKeys));
        let endless = Key { scope, ..key() };
        assert_eq!(check(&catalog, endless), Err(Conflict::TooManyKeys), "it is no token");
        let first = token(1);
        assert_eq!(check(&catalog, first.clone()), Ok(()));
        catalog.apply(Change::PutKey(first.clone()));
        for _ in 1..MAX_TOKENS {
            catalog.apply(Change::PutKey(token(1)));
        }
        assert_eq!(check(&catalog, token(9)), Err(Conflict::TooManyKeys));
        assert_eq!(check(&catalog, token(10)), Ok(()), "the others have expired");
        let again = Key { revision: 2, updated: 9, ..first };
        assert_eq!(check(&catalog, again.clone()), Ok(()), "it is counted");
        let endless = Key { expires: None, ..again };
        assert_eq!(check(&catalog, endless), Err(Conflict::TooManyKeys), "among other keys");
    }
}
