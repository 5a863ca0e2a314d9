//! The rules that a change of the catalog must keep, for whoever applies one: both store engines ask before they write.

use super::{Change, MAX_ENDPOINTS, MAX_EVENT_TYPES, MAX_KEYS, MAX_PLUGINS, MAX_TOKENS, Snapshot};
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

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another object of the same kind has this uid.
    #[error("the uid is taken")]
    UidTaken,
    /// It was changed or removed since it was read.
    #[error("it was changed since it was read")]
    Stale,
    /// Another environment has this name.
    #[error("the name is taken")]
    NameTaken,
    /// The environment is gone.
    #[error("the environment does not exist")]
    NoEnvironment,
    /// The environment still has applications.
    #[error("the environment has applications; delete them first")]
    NotEmpty,
    /// The application is gone.
    #[error("the application does not exist")]
    NoApplication,
    /// The application has as many endpoints as it may.
    #[error("the application has as many endpoints as it may have")]
    TooManyEndpoints,
    /// The application has as many plugins as it may.
    #[error("the application has as many plugins as it may have")]
    TooManyPlugins,
    /// What the application's plugins call would be more code than it may have.
    #[error(
        "the application's active plugins would have more than {0} bytes of native code together: remove one that is not \
         needed, or raise `plugins.code_bytes_per_application`"
    )]
    TooMuchCode(u64),
    /// What all plugins call would be more code than there is room for.
    #[error(
        "the active plugins of all applications would have more than {0} bytes of native code together \
         (`plugins.code_bytes_total`)"
    )]
    TooMuchCodeInAll(u64),
    /// A version of another kind than the plugin's.
    #[error("a plugin stays of its kind: give what is of another kind another name")]
    OtherKind,
    /// The environment has as many keys as it may.
    #[error("the environment has as many keys as it may have")]
    TooManyKeys,
    /// The environment has as many event types as it may.
    #[error("the environment has as many event types as it may have")]
    TooManyEventTypes,
}

/// How much a catalog may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many endpoints one application may have.
    pub endpoints: usize,
    /// Native code of what one application's plugins call, in bytes.
    pub code_of_one: u64,
    /// The same of all applications together.
    pub code: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { endpoints: MAX_ENDPOINTS, code_of_one: u64::MAX, code: u64::MAX }
    }
}

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
                let good = |plugin: &Arc<Plugin>| plugin.runs(*digest);
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
        let room = old > 0 || tenant.endpoints.len() < self.bounds.endpoints;
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
        must(old.is_some() || tenant.plugins.len() < MAX_PLUGINS, Conflict::TooManyPlugins)?;
        self.check_code(tenant, new)
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
    use crate::model::{id::Digest, plugin::Version, sample};

    #[test]
    fn what_plugins_call_has_bounds_and_what_is_called_already_goes_on() {
        let mut catalog =
            Snapshot::new(Bounds { code_of_one: 100, code: 150, ..Bounds::default() });
        let [one, two] = [sample::application(), sample::application()];
        for application in [&one, &two] {
            catalog.apply(Change::PutApplication(application.clone()));
        }
        let plugin = |application: &Application, name: &str, component: u8, code: u64| {
            let mut plugin = sample::plugin(application.id, name);
            let digest = Digest([component; 32]);
            plugin.versions = vec![Version { digest, size: 1, created: 1, signed_by: None, code }];
            plugin.active = Some(digest);
            plugin
        };
        let put = |plugin: &Plugin| Change::PutPlugin(plugin.clone(), None);
        let first = plugin(&one, "a", 1, 60);
        assert_eq!(catalog.check(&put(&first)), Ok(()));
        catalog.apply(put(&first));
        let mut second = plugin(&one, "b", 2, 50);
        assert_eq!(catalog.check(&put(&second)), Err(Conflict::TooMuchCode(100)));
        let same = plugin(&one, "b", 1, 60);
        assert_eq!(catalog.check(&put(&same)), Ok(()), "one component is there once");
        second.active = None;
        assert_eq!(catalog.check(&put(&second)), Ok(()), "nobody calls it");
        catalog.apply(put(&second));
        let mut called = second.next(2);
        called.activate(Digest([2; 32]));
        assert_eq!(catalog.check(&put(&called)), Err(Conflict::TooMuchCode(100)));
        let others = plugin(&two, "a", 3, 95);
        assert_eq!(catalog.check(&put(&others)), Err(Conflict::TooMuchCodeInAll(150)));
        let others = plugin(&two, "a", 3, 90);
        assert_eq!(catalog.check(&put(&others)), Ok(()));
        catalog.apply(put(&others));
        // As after a start with less.
        catalog.bounds = Bounds { code_of_one: 10, code: 10, ..Bounds::default() };
        assert_eq!(catalog.check(&put(&first.next(2))), Ok(()));
        let mut none = first.next(2);
        none.active = None;
        assert_eq!(catalog.check(&put(&none)), Ok(()));
    }

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
