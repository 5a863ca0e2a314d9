//! The catalog: all environments, applications, endpoints, plugins, keys and event types, and the rules a change must
//! keep ([`rules`]). Both store engines apply changes through [`Snapshot`], so the rules stand once.

use super::{
    application::Application,
    endpoint::Endpoint,
    environment::Environment,
    event_type::Listed,
    grants::Grants,
    id::{ApplicationId, Digest, EndpointId, EnvironmentId, KeyId},
    key::{Key, Scope},
    name::{EventType, PluginName},
    plugin::Plugin,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

mod rules;
mod plugins;

pub use rules::{Bounds, Conflict};

/// One change of the catalog. `Put*` creates or replaces; the revision of what it replaces must be one less.
#[derive(Clone, Debug)]
pub enum Change {
    /// Create or rename an environment.
    PutEnvironment(Environment),
    /// Remove an environment without applications, with its keys and event types.
    DeleteEnvironment(EnvironmentId),
    /// Create or replace an application.
    PutApplication(Application),
    /// Remove an application with its endpoints, plugins and keys.
    DeleteApplication(ApplicationId),
    /// Create or replace an endpoint.
    PutEndpoint(Endpoint),
    /// Remove an endpoint.
    DeleteEndpoint(ApplicationId, EndpointId),
    /// Create or replace a plugin, and keep the component of a version that is new.
    PutPlugin(Plugin, Option<(Digest, Bytes)>),
    /// Put the application's plugin of that name in quarantine if this version is active, or its trial if the version is
    /// tried: why.
    QuarantinePlugin(ApplicationId, PluginName, Digest, String),
    /// Remove an application's plugin with its versions.
    DeletePlugin(ApplicationId, PluginName),
    /// Replace what the application's plugins may use, and its named secrets.
    PutGrants(Grants),
    /// Create or replace an API key.
    PutKey(Key),
    /// Remove an API key.
    DeleteKey(KeyId),
    /// Create or replace an event type.
    PutEventType(Arc<Listed>),
    /// Remove an event type.
    DeleteEventType(EnvironmentId, EventType),
}

/// How many endpoints one application may have, unless the configuration says; a message's fan-out is bounded by it.
pub const MAX_ENDPOINTS: usize = 50;
/// How many plugins one application may have: each may be called for each of its messages.
pub const MAX_PLUGINS: usize = 32;
/// How many keys one environment may have beside tokens: the catalog is in memory.
pub const MAX_KEYS: usize = 10_000;
/// How many tokens one environment may have that have not expired.
pub const MAX_TOKENS: usize = 100_000;
/// How many event types one environment may have: the catalog is in memory, with all their versions.
pub const MAX_EVENT_TYPES: usize = 1_000;

/// An application with what belongs to it, as dispatch reads it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The application.
    pub application: Application,
    /// Its endpoints, oldest first.
    pub endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// Its plugins, by place and name.
    pub plugins: Vec<Arc<Plugin>>,
    /// What its plugins may use; none: nothing was ever granted.
    pub grants: Option<Arc<Grants>>,
}

impl Tenant {
    /// The endpoint with that id or uid.
    #[must_use]
    pub fn endpoint(&self, id_or_uid: &str) -> Option<&Arc<Endpoint>> {
        let by_id = id_or_uid.parse().ok().and_then(|id: EndpointId| self.endpoints.get(&id));
        by_id.or_else(|| self.endpoints.values().find(|e| e.uid.as_deref() == Some(id_or_uid)))
    }
}

/// The whole catalog at one moment. Cheap to share, never changed in place by a reader.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// But for `default`; those that were deleted too.
    environments: BTreeMap<EnvironmentId, Arc<Environment>>,
    tenants: HashMap<ApplicationId, Arc<Tenant>>,
    uids: HashMap<(EnvironmentId, String), ApplicationId>,
    endpoints: HashMap<EndpointId, ApplicationId>,
    keys: HashMap<KeyId, Arc<Key>>,
    hashes: HashMap<Digest, KeyId>,
    event_types: HashMap<EnvironmentId, BTreeMap<EventType, Arc<Listed>>>,
    bounds: Bounds,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Snapshot {
    /// An empty catalog.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            environments: BTreeMap::new(),
            tenants: HashMap::new(),
            uids: HashMap::new(),
            endpoints: HashMap::new(),
            keys: HashMap::new(),
            hashes: HashMap::new(),
            event_types: HashMap::new(),
            bounds,
        }
    }

    /// The environment with that name.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<EnvironmentId> {
        match name {
            EnvironmentId::DEFAULT_NAME => Some(EnvironmentId::DEFAULT),
            name => self.environments().find(|e| &*e.name == name).map(|e| e.id),
        }
    }

    /// The environments beside `default`, oldest first.
    pub fn environments(&self) -> impl Iterator<Item = &Arc<Environment>> {
        self.environments.values().filter(|environment| !environment.deleted)
    }

    /// The same, and those that were deleted and whose messages may still be there.
    pub fn every_environment(&self) -> impl Iterator<Item = &Arc<Environment>> {
        self.environments.values()
    }

    /// The environment whose endpoints a change concerns, before it is applied.
    #[must_use]
    pub fn environment_of(&self, change: &Change) -> Option<EnvironmentId> {
        match change {
            Change::PutEndpoint(endpoint) => Some(endpoint.environment),
            Change::DeleteEndpoint(id, _)
            | Change::DeleteApplication(id)
            | Change::QuarantinePlugin(id, ..) => {
                self.tenant(*id).map(|tenant| tenant.application.environment)
            }
            _ => None,
        }
    }

    /// The record of an environment beside `default`.
    #[must_use]
    pub fn environment_record(&self, id: EnvironmentId) -> Option<&Arc<Environment>> {
        self.environments.get(&id).filter(|environment| !environment.deleted)
    }

    fn has_environment(&self, id: EnvironmentId) -> bool {
        id == EnvironmentId::DEFAULT || self.environment_record(id).is_some()
    }

    /// An id that no environment has, or ever had: what is left of a deleted one is nobody else's.
    #[must_use]
    pub fn free_environment(&self) -> EnvironmentId {
        let last = self.environments.keys().max().copied().unwrap_or(EnvironmentId::DEFAULT);
        EnvironmentId(last.0 + 1)
    }

    /// The application with that id.
    #[must_use]
    pub fn tenant(&self, id: ApplicationId) -> Option<&Arc<Tenant>> {
        self.tenants.get(&id)
    }

    /// The environment's application with that id or uid.
    #[must_use]
    pub fn find(&self, environment: EnvironmentId, id_or_uid: &str) -> Option<&Arc<Tenant>> {
        let by_id = id_or_uid.parse().ok().and_then(|id: ApplicationId| self.tenants.get(&id));
        let found = by_id.filter(|t| t.application.environment == environment);
        found.or_else(|| self.tenants.get(self.uids.get(&(environment, id_or_uid.to_owned()))?))
    }

    /// The endpoint with that id, whoever's it is.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.tenants.get(self.endpoints.get(&id)?)?.endpoints.get(&id)
    }

    /// The environment's applications, oldest first.
    #[must_use]
    pub fn applications(&self, environment: EnvironmentId) -> Vec<&Arc<Tenant>> {
        let mut found: Vec<_> =
            self.tenants.values().filter(|t| t.application.environment == environment).collect();
        found.sort_by_key(|t| t.application.id);
        found
    }

    /// Every application of every environment.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// The key with that hash, now or before its rotation.
    #[must_use]
    pub fn key(&self, hash: &Digest) -> Option<&Arc<Key>> {
        self.keys.get(self.hashes.get(hash)?)
    }

    /// The key with that id.
    #[must_use]
    pub fn key_by_id(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.keys.get(&id)
    }

    /// The keys of all environments.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// The keys that go when this application does.
    pub fn keys_of(&self, application: ApplicationId) -> impl Iterator<Item = &Arc<Key>> {
        self.keys().filter(move |key| key.scope == Scope::Application(application))
    }

    /// Whether any key exists.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The environment's event type of that name.
    #[must_use]
    pub fn event_type(&self, environment: EnvironmentId, name: &str) -> Option<&Arc<Listed>> {
        self.event_types.get(&environment)?.get(name)
    }

    /// The environment's event types, by name.
    pub fn event_types(&self, environment: EnvironmentId) -> impl Iterator<Item = &Arc<Listed>> {
        self.event_types.get(&environment).into_iter().flat_map(BTreeMap::values)
    }

    /// The catalog after a change that was checked.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutEnvironment(new) => {
                self.environments.insert(new.id, Arc::new(new));
            }
            Change::DeleteEnvironment(id) => self.delete_environment(id),
            Change::PutApplication(application) => self.put_application(application),
            Change::DeleteApplication(id) => self.delete_application(id),
            Change::PutEndpoint(endpoint) => {
                self.endpoints.insert(endpoint.id, endpoint.application);
                self.alter(endpoint.application, |tenant| {
                    tenant.endpoints.insert(endpoint.id, Arc::new(endpoint));
                });
            }
            Change::DeleteEndpoint(application, id) => {
                self.endpoints.remove(&id);
                self.alter(application, |tenant| {
                    tenant.endpoints.remove(&id);
                });
            }
            Change::QuarantinePlugin(application, name, digest, reason) => {
                let plugin = self.plugin(application, &name);
                let plugin = plugin.map(|plugin| plugin.in_quarantine(digest, reason));
                if let Some(plugin) = plugin {
                    self.alter(application, |tenant| tenant.put_plugin(plugin));
                }
            }
            Change::PutPlugin(plugin, _) => {
                self.alter(plugin.application, |tenant| tenant.put_plugin(plugin));
            }
            Change::DeletePlugin(application, name) => self.alter(application, |tenant| {
                tenant.plugins.retain(|plugin| plugin.name != name);
            }),
            Change::PutGrants(grants) => self.alter(grants.application, |tenant| {
                tenant.grants = Some(Arc::new(grants));
            }),
            Change::PutKey(key) => {
                self.remove_key(key.id);
                self.hashes.extend(key.hashes().map(|hash| (hash, key.id)));
                self.keys.insert(key.id, Arc::new(key));
            }
            Change::DeleteKey(id) => self.remove_key(id),
            Change::PutEventType(new) => {
                let types = self.event_types.entry(new.entry.environment).or_default();
                types.insert(new.entry.name.clone(), new);
            }
            Change::DeleteEventType(environment, name) => {
                if let Some(types) = self.event_types.get_mut(&environment) {
                    types.remove(&name);
                }
            }
        }
    }

    fn delete_environment(&mut self, id: EnvironmentId) {
        self.event_types.remove(&id);
        let keys: Vec<_> =
            self.keys().filter(|key| key.environment == id).map(|key| key.id).collect();
        keys.into_iter().for_each(|key| self.remove_key(key));
        if let Some(environment) = self.environments.get_mut(&id) {
            Arc::make_mut(environment).deleted = true;
        }
    }

    fn remove_key(&mut self, id: KeyId) {
        let hashes =
            self.keys.remove(&id).into_iter().flat_map(|key| key.hashes().collect::<Vec<_>>());
        for hash in hashes {
            self.hashes.remove(&hash);
        }
    }

    fn put_application(&mut self, application: Application) {
        let id = application.id;
        if let Some(old) = self.tenants.get(&id).and_then(|t| t.application.uid.as_deref()) {
            self.uids.remove(&(application.environment, old.to_owned()));
        }
        if let Some(uid) = &application.uid {
            self.uids.insert((application.environment, uid.to_string()), id);
        }
        match self.tenants.get_mut(&id) {
            Some(tenant) => Arc::make_mut(tenant).application = application,
            None => {
                let (endpoints, plugins) = (BTreeMap::new(), Vec::new());
                let tenant = Tenant { application, endpoints, plugins, grants: None };
                self.tenants.insert(id, Arc::new(tenant));
            }
        }
    }

    fn delete_application(&mut self, id: ApplicationId) {
        let Some(tenant) = self.tenants.remove(&id) else { return };
        if let Some(uid) = &tenant.application.uid {
            self.uids.remove(&(tenant.application.environment, uid.to_string()));
        }
        for endpoint in tenant.endpoints.keys() {
            self.endpoints.remove(endpoint);
        }
        let keys: Vec<_> = self.keys_of(id).map(|key| key.id).collect();
        keys.into_iter().for_each(|key| self.remove_key(key));
    }

    fn alter(&mut self, id: ApplicationId, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.tenants.get_mut(&id) {
            change(Arc::make_mut(tenant));
        }
    }
}
