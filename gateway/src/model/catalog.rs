//! The catalog: all applications, endpoints, plugins and keys, and the rules a change must keep. Both store
//! engines apply changes through [`Snapshot`], so the rules stand once.

use super::{
    application::Application,
    endpoint::Endpoint,
    environment::Environment,
    id::{ApplicationId, Digest, EndpointId, EnvironmentId, KeyId},
    name::EnvironmentName,
    plugin::Plugin,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// An API key as it is stored: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key's id.
    pub id: KeyId,
    /// The environment it opens.
    pub environment: EnvironmentId,
    /// SHA-256 of the key, which has 256 bits of chance of its own.
    pub hash: Digest,
}

/// One change of the catalog. `Put*` creates or replaces; the revision of what it replaces must be one less.
#[derive(Clone, Debug)]
pub enum Change {
    /// Create an environment.
    PutEnvironment(Environment),
    /// Create or replace an application.
    PutApplication(Application),
    /// Remove an application with its endpoints and plugin.
    DeleteApplication(ApplicationId),
    /// Create or replace an endpoint.
    PutEndpoint(Endpoint),
    /// Remove an endpoint.
    DeleteEndpoint(ApplicationId, EndpointId),
    /// Make a plugin the application's active one; its code is kept already.
    PutPlugin(Plugin),
    /// Leave the application without a plugin.
    DeletePlugin(ApplicationId),
    /// Add an API key.
    PutKey(Key),
}

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
    /// The application is gone.
    #[error("the application does not exist")]
    NoApplication,
    /// The application has as many endpoints as it may.
    #[error("the application has as many endpoints as it may have")]
    TooManyEndpoints,
}

/// How many endpoints one application may have, unless the configuration says; a message's fan-out is bounded by it.
pub const MAX_ENDPOINTS: usize = 50;

/// An application with what belongs to it, as dispatch reads it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The application.
    pub application: Application,
    /// Its endpoints, oldest first.
    pub endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// Its plugin.
    pub plugin: Option<Arc<Plugin>>,
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
    /// But for `default`.
    environments: BTreeMap<EnvironmentName, EnvironmentId>,
    tenants: HashMap<ApplicationId, Arc<Tenant>>,
    uids: HashMap<(EnvironmentId, String), ApplicationId>,
    endpoints: HashMap<EndpointId, ApplicationId>,
    keys: HashMap<Digest, Key>,
    max_endpoints: usize,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(MAX_ENDPOINTS)
    }
}

impl Snapshot {
    /// An empty catalog, in which an application may have that many endpoints.
    #[must_use]
    pub fn new(max_endpoints: usize) -> Self {
        Self {
            environments: BTreeMap::new(),
            tenants: HashMap::new(),
            uids: HashMap::new(),
            endpoints: HashMap::new(),
            keys: HashMap::new(),
            max_endpoints,
        }
    }

    /// The environment with that name.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<EnvironmentId> {
        match name {
            EnvironmentId::DEFAULT_NAME => Some(EnvironmentId::DEFAULT),
            name => self.environments.get(name).copied(),
        }
    }

    /// An id that no environment has.
    #[must_use]
    pub fn free_environment(&self) -> EnvironmentId {
        let last = self.environments.values().max().copied().unwrap_or(EnvironmentId::DEFAULT);
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

    /// The key with that hash.
    #[must_use]
    pub fn key(&self, hash: &Digest) -> Option<&Key> {
        self.keys.get(hash)
    }

    /// Whether any key exists.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether the change keeps the rules.
    pub fn check(&self, change: &Change) -> Result<(), Conflict> {
        match change {
            Change::PutEnvironment(new) => match self.environment(&new.name) {
                Some(_) => Err(Conflict::NameTaken),
                None if new.id == self.free_environment() => Ok(()),
                None => Err(Conflict::Stale),
            },
            Change::PutApplication(new) => {
                let old = self.tenants.get(&new.id).map_or(0, |t| t.application.revision);
                if new.revision != old + 1 {
                    return Err(Conflict::Stale);
                }
                let Some(uid) = &new.uid else { return Ok(()) };
                match self.uids.get(&(new.environment, uid.to_string())) {
                    Some(other) if *other != new.id => Err(Conflict::UidTaken),
                    _ => Ok(()),
                }
            }
            Change::PutEndpoint(new) => {
                let tenant = self.tenants.get(&new.application).ok_or(Conflict::NoApplication)?;
                let old = tenant.endpoints.get(&new.id).map_or(0, |e| e.revision);
                if new.revision != old + 1 {
                    return Err(Conflict::Stale);
                }
                if old == 0 && tenant.endpoints.len() >= self.max_endpoints {
                    return Err(Conflict::TooManyEndpoints);
                }
                let taken = |e: &Arc<Endpoint>| e.id != new.id && e.uid == new.uid;
                match new.uid.is_some() && tenant.endpoints.values().any(taken) {
                    true => Err(Conflict::UidTaken),
                    false => Ok(()),
                }
            }
            Change::PutPlugin(plugin) => match self.tenants.contains_key(&plugin.application) {
                true => Ok(()),
                false => Err(Conflict::NoApplication),
            },
            Change::DeleteApplication(id) | Change::DeletePlugin(id) => {
                self.tenants.get(id).map(|_| ()).ok_or(Conflict::Stale)
            }
            Change::DeleteEndpoint(application, id) => {
                let tenant = self.tenants.get(application).ok_or(Conflict::Stale)?;
                tenant.endpoints.get(id).map(|_| ()).ok_or(Conflict::Stale)
            }
            Change::PutKey(_) => Ok(()),
        }
    }

    /// The catalog after a change that was checked.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutEnvironment(new) => {
                self.environments.insert(new.name, new.id);
            }
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
            Change::PutPlugin(plugin) => self.alter(plugin.application, |tenant| {
                tenant.plugin = Some(Arc::new(plugin));
            }),
            Change::DeletePlugin(application) => {
                self.alter(application, |tenant| tenant.plugin = None);
            }
            Change::PutKey(key) => {
                self.keys.insert(key.hash, key);
            }
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
                let tenant = Tenant { application, endpoints: BTreeMap::new(), plugin: None };
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
    }

    fn alter(&mut self, id: ApplicationId, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.tenants.get_mut(&id) {
            change(Arc::make_mut(tenant));
        }
    }
}
