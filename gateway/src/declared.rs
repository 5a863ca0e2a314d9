//! Applications, endpoints and plugins declared in the configuration file, and how the catalog is made to agree with it,
//! at start and on SIGHUP. What the file declares is created or changed; what it once declared and no longer does is
//! removed; what was made over the API is left alone.

use crate::{
    api::CheckUrl,
    clock,
    model::{
        Millis,
        application::Application,
        catalog::{Change, Tenant},
        dead_letter,
        draft::{EndpointDraft, Fresh},
        endpoint::{Endpoint, RateLimit},
        environment::{Environment, Kept},
        grants::Capabilities,
        id::{ApplicationId, EndpointId, EnvironmentId},
        name::{EnvironmentName, Uid},
        retry::Retry,
        secret::Secret,
    },
    plugin::{Host, Registry},
    store::Catalog,
};
use plugins::DeclaredPlugin;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

mod grants;
mod plugins;

/// An environment beside `default`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredEnvironment {
    /// What tells it from others.
    pub name: EnvironmentName,
    /// Its fixed key.
    pub api_key: String,
    /// How long what is recorded there is kept, if not as long as usual.
    pub retention: Option<Kept>,
}

/// Makes the environments that are not there yet. They stay when they leave the file: what they own does. An error is a
/// line for the operator.
pub async fn environments(
    catalog: &dyn Catalog,
    declared: &[DeclaredEnvironment],
) -> Result<(), String> {
    for DeclaredEnvironment { name, .. } in declared {
        let (known, id) = {
            let snapshot = catalog.snapshot();
            (snapshot.environment(name).is_some(), snapshot.free_environment())
        };
        if !known {
            let new = Environment::new(id, name.clone(), clock::now());
            let made = catalog.change(Change::PutEnvironment(new)).await;
            made.map_err(|error| format!("environments: `{name}`: {error}"))?;
        }
    }
    Ok(())
}

/// An application.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredApplication {
    /// The name of its environment.
    #[serde(default = "EnvironmentId::default_name")]
    pub environment: String,
    /// What tells it from others of its environment.
    pub uid: Uid,
    /// For people; the uid if absent.
    pub name: Option<String>,
    /// When deliveries of its messages are tried again, where their endpoints do not say.
    pub retry: Option<Retry>,
    /// How many requests may start in a time, to all its endpoints together; no limit if absent.
    pub rate_limit: Option<RateLimit>,
    /// What its plugins may use; as the API says if absent.
    pub grants: Option<Capabilities>,
    /// Its plugins.
    #[serde(default)]
    pub plugins: Vec<DeclaredPlugin>,
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<DeclaredEndpoint>,
}

/// An endpoint, with the keys of the API in the file's spelling.
#[derive(Clone, Debug)]
pub struct DeclaredEndpoint {
    uid: Uid,
    draft: EndpointDraft,
}

/// The keys of a declared endpoint.
const KEYS: [&str; 24] = [
    "ascii_payload",
    "channels",
    "classifier",
    "client_certificate",
    "connect_timeout",
    "credentials",
    "dead_letter_endpoint",
    "enabled",
    "event_types",
    "format",
    "headers",
    "max_in_flight",
    "method",
    "name",
    "order",
    "rate_limit",
    "retry",
    "secrets",
    "signatures",
    "signer",
    "timeout",
    "uid",
    "url",
    "user_agent",
];

impl<'de> Deserialize<'de> for DeclaredEndpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Value>::deserialize(deserializer)?;
        if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(D::Error::unknown_field(key, &KEYS));
        }
        let object = Value::Object(map.into_iter().collect());
        let mut draft: EndpointDraft = serde_json::from_value(object).map_err(D::Error::custom)?;
        // What leaves the file is no longer used.
        draft.signer.get_or_insert_default();
        draft.classifier.get_or_insert_default();
        draft.retry.get_or_insert_default();
        draft.default_request();
        draft.order.get_or_insert_default();
        draft.format.get_or_insert_default();
        draft.dead_letter_endpoint.get_or_insert_default();
        let uid = draft.uid.clone().ok_or_else(|| D::Error::missing_field("uid"))?;
        Ok(Self { uid, draft })
    }
}

/// What makes the catalog agree with the file.
pub struct Reconciler {
    /// What is changed.
    pub catalog: Arc<dyn Catalog>,
    /// Checks and compiles components.
    pub host: Host,
    /// Where compiled components are found.
    pub registry: Arc<Registry>,
    /// The guard.
    pub check_url: CheckUrl,
}

impl Reconciler {
    /// Makes the catalog agree with what is declared; how many changes that took. An error is a line for the operator.
    pub async fn reconcile(&self, declared: &[DeclaredApplication]) -> Result<usize, String> {
        let mut changes = 0;
        let mut named = Vec::new();
        for application in declared {
            let in_file = |text: String| format!("applications: `{}`: {text}", application.uid);
            let environment = self.catalog.snapshot().environment(&application.environment);
            let unknown = || in_file(format!("no environment `{}`", application.environment));
            let environment = environment.ok_or_else(unknown)?;
            changes += self.application(environment, application).await.map_err(in_file)?;
            named.push((environment, application.uid.clone()));
        }
        let snapshot = self.catalog.snapshot().clone();
        let left = snapshot.tenants().map(|tenant| &tenant.application).filter(|a| {
            let named =
                |uid: &Uid| named.iter().any(|(e, known)| (*e, known) == (a.environment, uid));
            a.declared && !a.uid.as_ref().is_some_and(named)
        });
        for application in left {
            self.change(Change::DeleteApplication(application.id)).await?;
            changes += 1;
        }
        Ok(changes)
    }

    async fn change(&self, change: Change) -> Result<(), String> {
        self.catalog.change(change).await.map_err(|error| error.to_string())
    }

    fn tenant(&self, environment: EnvironmentId, uid: &Uid) -> Option<Arc<Tenant>> {
        self.catalog.snapshot().find(environment, uid).cloned()
    }

    async fn application(
        &self,
        environment: EnvironmentId,
        declared: &DeclaredApplication,
    ) -> Result<usize, String> {
        let mut changes = 0;
        let name = declared.name.clone().unwrap_or_else(|| declared.uid.to_string());
        let old = self.tenant(environment, &declared.uid);
        let old = old.map(|tenant| tenant.application.clone());
        let new = match &old {
            Some(old) => old.clone(),
            None => new_application(environment, declared.uid.clone()),
        };
        let (retry, rate_limit) = (declared.retry.clone(), declared.rate_limit);
        let new = Application { name, retry, rate_limit, declared: true, ..new };
        if old.as_ref() != Some(&new) {
            let revision = old.map_or(1, |old| old.revision + 1);
            let new = Application { revision, updated: clock::now(), ..new };
            self.change(Change::PutApplication(new)).await?;
            changes += 1;
        }
        let tenant = self.tenant(environment, &declared.uid).ok_or("it was removed meanwhile")?;
        for endpoint in &declared.endpoints {
            let in_file = |text: String| format!("endpoint `{}`: {text}", endpoint.uid);
            check_dead_letters(&tenant, declared, endpoint).map_err(in_file)?;
            changes += self.endpoint(&tenant, endpoint).await.map_err(in_file)?;
        }
        for endpoint in tenant.endpoints.values() {
            let gone = |uid: &Uid| declared.endpoints.iter().all(|e| e.uid != *uid);
            if endpoint.declared && endpoint.uid.as_ref().is_none_or(gone) {
                self.change(Change::DeleteEndpoint(endpoint.application, endpoint.id)).await?;
                changes += 1;
            }
        }
        changes += self.grants(&tenant, declared.grants.as_ref()).await?;
        let tenant = self.tenant(environment, &declared.uid).ok_or("it was removed meanwhile")?;
        Ok(changes + self.plugins(&tenant, declared).await?)
    }

    async fn endpoint(
        &self,
        tenant: &Tenant,
        declared: &DeclaredEndpoint,
    ) -> Result<usize, String> {
        let now = clock::now();
        let old = tenant.endpoint(&declared.uid);
        let check = |url: &url::Url| (self.check_url)(url, &tenant.application);
        let made = match old {
            Some(old) => declared.draft.clone().replace(old, now, check),
            None => declared.draft.clone().create(fresh(tenant, now), check),
        };
        let new = made.map_err(|wrong| {
            let lines = wrong.into_iter().map(|(path, text)| format!("{path} {text}"));
            lines.collect::<Vec<_>>().join("; ")
        })?;
        // Where the file says that it is disabled, that is its owner's word, and no longer the gateway's.
        let disabled = new.disabled.filter(|_| declared.draft.enabled != Some(false));
        let new = Endpoint { declared: true, disabled, ..new };
        if old.is_some_and(|old| says_nothing_new(old, &new, now)) {
            return Ok(0);
        }
        self.change(Change::PutEndpoint(new)).await.map(|()| 1)
    }
}

/// Whether what the file makes of the endpoint is what it is. One that the gateway disabled stays so while the file says
/// nothing else of it than when it did: its receiver is no better for a restart.
fn says_nothing_new(old: &Endpoint, new: &Endpoint, now: Millis) -> bool {
    let mut new = Endpoint { revision: old.revision, updated: old.updated, ..new.clone() };
    if old.disabled.is_none() || !new.enabled {
        return *old == new;
    }
    (new.enabled, new.disabled, new.renewed) = (old.enabled, old.disabled, old.renewed);
    // Secrets may have expired meanwhile.
    *old == Endpoint { secrets: old.secrets.clone(), ..new.clone() }
        && old.signing(now).eq(&new.secrets)
}

/// Whether the endpoint for the dead letters of this one is another: in the file, or made over the API.
fn check_dead_letters(
    tenant: &Tenant,
    declared: &DeclaredApplication,
    endpoint: &DeclaredEndpoint,
) -> Result<(), String> {
    let name = endpoint.draft.dead_letter_endpoint.as_deref().filter(|name| !name.is_empty());
    let Some(name) = name else { return Ok(()) };
    let known = tenant.endpoint(name).is_some_and(|found| !found.declared)
        || declared.endpoints.iter().any(|other| &*other.uid == name);
    match known && &*endpoint.uid != name {
        true => Ok(()),
        false => Err(format!("dead_letter_endpoint {}", dead_letter::wrong().1)),
    }
}

fn new_application(environment: EnvironmentId, uid: Uid) -> Application {
    let now = clock::now();
    Application {
        environment,
        id: ApplicationId(clock::id()),
        name: uid.to_string(),
        uid: Some(uid),
        retry: None,
        rate_limit: None,
        declared: true,
        revision: 1,
        created: now,
        updated: now,
    }
}

fn fresh(tenant: &Tenant, now: u64) -> Fresh {
    Fresh {
        environment: tenant.application.environment,
        application: tenant.application.id,
        id: EndpointId(clock::id()),
        secret: Secret::generated(&clock::random_bytes()),
        now,
    }
}
