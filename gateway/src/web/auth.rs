//! Who is asking: the key in `Authorization` (with or without `Bearer`), and the environment it opens.

use super::error::ApiError;
use crate::{
    model::id::{Digest, EnvironmentId},
    store::Catalog,
};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, header, request::Parts},
};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc};

/// Keys are looked up by their hash, so that a comparison's time tells nothing of a key.
#[derive(Clone)]
pub struct Keys {
    catalog: Arc<dyn Catalog>,
    /// The keys that the configuration fixes.
    fixed: Arc<HashMap<Digest, EnvironmentId>>,
}

impl Keys {
    /// The catalog's keys, and the fixed ones.
    pub fn new(catalog: Arc<dyn Catalog>, fixed: HashMap<Digest, EnvironmentId>) -> Self {
        Self { catalog, fixed: fixed.into() }
    }

    fn open(&self, key: &str) -> Option<EnvironmentId> {
        let hash = hash(key);
        let fixed = self.fixed.get(&hash).copied();
        fixed.or_else(|| self.catalog.snapshot().key(&hash).map(|key| key.environment))
    }
}

/// A key as it is stored.
#[must_use]
pub fn hash(key: &str) -> Digest {
    Digest(Sha256::digest(key.as_bytes()).into())
}

/// A caller with a key that opens this environment.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The environment.
    pub environment: EnvironmentId,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Keys: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |message| ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        let value = parts.headers.get(header::AUTHORIZATION);
        let value = value.ok_or_else(|| refuse("the Authorization header is missing"))?;
        let text = value.to_str().unwrap_or_default().trim();
        let key = match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => text,
        };
        let environment = Keys::from_ref(state).open(key);
        environment
            .map(|environment| Self { environment })
            .ok_or_else(|| refuse("the key is not valid"))
    }
}
