//! Environments, for whoever runs the gateway: create, list, get, rename, delete. What the configuration file has keys of
//! is the file's to change.

use super::octohooks::BODY;
use crate::{
    clock,
    model::{
        Millis, catalog::Change, environment::Environment, id::EnvironmentId, name::EnvironmentName,
    },
    store::Catalog,
    web::{
        auth::{Admin, Keys, Place, Root},
        body,
        error::ApiError,
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An environment as the API shows it.
#[derive(Serialize)]
pub struct Shown {
    id: String,
    name: String,
    created: Millis,
    updated: Millis,
}

impl From<&Environment> for Shown {
    fn from(e: &Environment) -> Self {
        let (id, name) = (e.id.0.to_string(), e.name.to_string());
        Self { id, name, created: e.created, updated: e.updated }
    }
}

impl From<&Place> for Shown {
    fn from(place: &Place) -> Self {
        place.record.as_deref().map_or_else(Self::default_environment, Self::from)
    }
}

impl Shown {
    /// The one that is there from the start.
    fn default_environment() -> Self {
        let id = EnvironmentId::DEFAULT.0.to_string();
        Self { id, name: EnvironmentId::default_name(), created: 0, updated: 0 }
    }
}

#[derive(Deserialize)]
struct Draft {
    name: Option<EnvironmentName>,
}

async fn name(body: Body) -> Result<EnvironmentName, ApiError> {
    let draft: Draft = body::json(&body::read(body, BODY, "environment").await?)?;
    draft.name.ok_or_else(|| ApiError::field("/name", "is required"))
}

/// `POST /environments`
pub async fn create(
    State(catalog): State<Arc<dyn Catalog>>,
    _: Root,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let name = name(body).await?;
    let id = catalog.snapshot().free_environment();
    let environment = Environment::new(id, name, clock::now());
    let shown = Shown::from(&environment);
    catalog.change(Change::PutEnvironment(environment)).await?;
    Ok(Json(shown))
}

/// All environments.
#[derive(Serialize)]
pub struct List {
    data: Vec<Shown>,
}

/// `GET /environments`
pub async fn list(State(catalog): State<Arc<dyn Catalog>>, _: Root) -> Json<List> {
    let catalog = catalog.snapshot();
    let others = catalog.environments().map(|environment| Shown::from(&**environment));
    Json(List { data: std::iter::once(Shown::default_environment()).chain(others).collect() })
}

/// `GET /environments/{environment}`
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    admin: Admin,
    Path(environment): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(Shown::from(&admin.place(&catalog, &environment)?)))
}

/// The record of an environment that may be changed over the API.
fn changeable(
    catalog: &Arc<dyn Catalog>,
    keys: &Keys,
    name_or_id: &str,
) -> Result<Arc<Environment>, ApiError> {
    let Place { id, record } = Place::find(catalog, name_or_id)?;
    let record = record.ok_or_else(|| ApiError::conflict("`default` is always there"))?;
    match keys.fixes(id) {
        true => Err(ApiError::conflict("the configuration has a key of this environment")),
        false => Ok(record),
    }
}

/// `PUT /environments/{environment}`: another name.
pub async fn update(
    State(catalog): State<Arc<dyn Catalog>>,
    State(keys): State<Keys>,
    _: Root,
    Path(environment): Path<String>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let name = name(body).await?;
    let old = changeable(&catalog, &keys, &environment)?;
    let (revision, updated) = (old.revision + 1, clock::now());
    let new = Environment { name, revision, updated, ..(*old).clone() };
    let shown = Shown::from(&new);
    catalog.change(Change::PutEnvironment(new)).await?;
    Ok(Json(shown))
}

/// `DELETE /environments/{environment}`: with its keys and event types, once it has no applications.
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    State(keys): State<Keys>,
    _: Root,
    Path(environment): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let old = changeable(&catalog, &keys, &environment)?;
    catalog.change(Change::DeleteEnvironment(old.id)).await?;
    Ok(Json(Shown::from(&*old)))
}
