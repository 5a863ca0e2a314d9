//! Who is asking: the key in `Authorization` (with or without `Bearer`), the environment it opens, and what it lets its
//! holder do there. A handler names in its signature whom it answers; each extractor accepts only what it names, so that
//! a scope that nobody thought of opens nothing.
//!
//! | extractor | root | admin | environment | publish | application |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Root`] | yes | | | | |
//! | [`Admin`] | any environment | its own | | | |
//! | [`Caller`] | | yes | yes | | |
//! | [`Publisher`] | | yes | yes | yes | |
//! | [`Owner`] | | yes | yes | | its own |
//!
//! A wrong key is 401, a key of another scope 403, another environment's or application's object 404.

use super::error::ApiError;
use crate::{
    clock,
    model::{
        Millis,
        catalog::Tenant,
        environment::Environment,
        id::{ApplicationId, Digest, EnvironmentId},
        key::Scope,
    },
    store::Catalog,
};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, header, request::Parts},
};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc};

/// The keys that the configuration fixes, as hashes.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    /// The root key.
    pub root: Option<Digest>,
    /// Keys of the scope `environment`.
    pub environments: HashMap<Digest, EnvironmentId>,
}

/// Who holds which key. Keys, the root key too, are only ever compared as hashes: how long that takes depends on the hash
/// of what was sent, which tells nothing of a key, so no comparison need be slower than it must.
#[derive(Clone)]
pub struct Keys {
    catalog: Arc<dyn Catalog>,
    fixed: Arc<Fixed>,
}

/// What sets a key's requests apart from those of other keys of its environment.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// The application whose owner it is for; empty: none.
    pub owner: Vec<u8>,
    /// Its scope, as text.
    pub scope: String,
}

/// What a key lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Make environments, and keys in any.
    Root,
    /// Something within one environment.
    In(EnvironmentId, Scope),
}

impl Keys {
    /// The catalog's keys, and the fixed ones.
    pub fn new(catalog: Arc<dyn Catalog>, fixed: Fixed) -> Self {
        Self { catalog, fixed: fixed.into() }
    }

    /// Whether the configuration fixes a key of this environment.
    #[must_use]
    pub fn fixes(&self, environment: EnvironmentId) -> bool {
        self.fixed.environments.values().any(|fixed| *fixed == environment)
    }

    /// Which environment a request is for, and what its key may do there. The root key is for none in particular, which has
    /// the number 0.
    #[must_use]
    pub fn rights(&self, parts: &Parts) -> Option<(EnvironmentId, Rights)> {
        let (environment, scope) = match self.access(parts).ok()? {
            Access::Root => return Some((EnvironmentId(0), Rights::default())),
            Access::In(environment, scope) => (environment, scope),
        };
        let owner = match scope {
            Scope::Application(application) => application.0.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        Some((environment, Rights { owner, scope: format!("{scope:?}") }))
    }

    /// What this key opens at `now`; the error is the caller's line.
    fn open(&self, key: &str, now: Millis) -> Result<Access, &'static str> {
        let hash = hash(key);
        if self.fixed.root == Some(hash) {
            return Ok(Access::Root);
        }
        if let Some(environment) = self.fixed.environments.get(&hash) {
            return Ok(Access::In(*environment, Scope::Environment));
        }
        let catalog = self.catalog.snapshot();
        let key = catalog.key(&hash).ok_or("the key is not valid")?;
        match key.ends(&hash).flatten() {
            Some(end) if end <= now => Err("the key has expired"),
            _ => Ok(Access::In(key.environment, key.scope)),
        }
    }

    fn access(&self, parts: &Parts) -> Result<Access, ApiError> {
        let refuse = |message| ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        let value = parts.headers.get(header::AUTHORIZATION);
        let value = value.ok_or_else(|| refuse("the Authorization header is missing"))?;
        let text = value.to_str().unwrap_or_default().trim();
        let key = match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => text,
        };
        self.open(key, clock::now()).map_err(refuse)
    }
}

/// A key as it is stored.
#[must_use]
pub fn hash(key: &str) -> Digest {
    Digest(Sha256::digest(key.as_bytes()).into())
}

fn forbidden(access: Access) -> ApiError {
    let message = match access {
        Access::Root => "the root key is for environments and keys only",
        Access::In(_, Scope::Publish) => "the key may only create messages",
        Access::In(_, Scope::Application(_)) => "the key is for one application's owner",
        Access::In(..) => "the key may not do this",
    };
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
}

/// Makes extractors: each from the accesses that it names.
macro_rules! extractors {
    ($($name:ident: $($access:pat => $value:expr),+;)*) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $name
        where
            Keys: FromRef<S>,
        {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                match Keys::from_ref(state).access(parts)? {
                    $($access => Ok($value),)+
                    other => Err(forbidden(other)),
                }
            }
        }
    )*};
}

extractors! {
    Root: Access::Root => Self;
    Admin:
        Access::Root => Self { environment: None },
        Access::In(environment, Scope::Admin) => Self { environment: Some(environment) };
    Caller:
        Access::In(environment, Scope::Admin | Scope::Environment) => Self { environment };
    Publisher:
        Access::In(environment, Scope::Admin | Scope::Environment | Scope::Publish) =>
            Self { environment };
    Owner:
        Access::In(environment, Scope::Admin | Scope::Environment) =>
            Self { environment, application: None },
        Access::In(environment, Scope::Application(application)) =>
            Self { environment, application: Some(application) };
}

/// Whoever runs the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Root;

/// Whoever manages an environment's keys.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    /// The only one. None: any.
    environment: Option<EnvironmentId>,
}

/// An environment as callers name it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its id.
    pub id: EnvironmentId,
    /// Its record; `default` has none.
    pub record: Option<Arc<Environment>>,
}

impl Place {
    /// The environment with that name or id.
    pub fn find(catalog: &Arc<dyn Catalog>, name_or_id: &str) -> Result<Self, ApiError> {
        let catalog = catalog.snapshot();
        let by_id = || name_or_id.parse().ok().map(EnvironmentId);
        let id = catalog.environment(name_or_id).or_else(by_id);
        let record = id.and_then(|id| catalog.environment_record(id).cloned());
        match (id, record) {
            (Some(EnvironmentId::DEFAULT), _) => {
                Ok(Self { id: EnvironmentId::DEFAULT, record: None })
            }
            (Some(id), Some(record)) => Ok(Self { id, record: Some(record) }),
            _ => Err(ApiError::not_found("environment")),
        }
    }
}

impl Admin {
    /// The environment with that name or id, if it is one of theirs.
    pub fn place(self, catalog: &Arc<dyn Catalog>, name_or_id: &str) -> Result<Place, ApiError> {
        let place = Place::find(catalog, name_or_id)?;
        match self.environment.is_none_or(|own| own == place.id) {
            true => Ok(place),
            false => Err(ApiError::not_found("environment")),
        }
    }
}

/// Whoever may do everything in an environment.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The environment.
    pub environment: EnvironmentId,
}

impl Caller {
    /// The environment's application with that id or uid.
    pub fn tenant(self, catalog: &Arc<dyn Catalog>, app: &str) -> Result<Arc<Tenant>, ApiError> {
        Owner { environment: self.environment, application: None }.tenant(catalog, app)
    }
}

/// Whoever may send messages in an environment.
#[derive(Clone, Copy, Debug)]
pub struct Publisher {
    /// The environment.
    pub environment: EnvironmentId,
}

impl Publisher {
    /// The environment's application with that id or uid.
    pub fn tenant(self, catalog: &Arc<dyn Catalog>, app: &str) -> Result<Arc<Tenant>, ApiError> {
        Owner { environment: self.environment, application: None }.tenant(catalog, app)
    }
}

/// Whoever may do what an application's owner may: for one application, or each of the environment.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The environment.
    pub environment: EnvironmentId,
    /// The only one. None: any.
    pub application: Option<ApplicationId>,
}

impl Owner {
    /// The environment's application with that id or uid, if it is one of theirs.
    pub fn tenant(self, catalog: &Arc<dyn Catalog>, app: &str) -> Result<Arc<Tenant>, ApiError> {
        let found = catalog.snapshot().find(self.environment, app).cloned();
        found
            .filter(|tenant| self.may_see(tenant.application.id))
            .ok_or_else(|| ApiError::not_found("application"))
    }

    /// Whether this application is one of theirs, if it is the environment's.
    #[must_use]
    pub fn may_see(self, application: ApplicationId) -> bool {
        self.application.is_none_or(|own| own == application)
    }
}
