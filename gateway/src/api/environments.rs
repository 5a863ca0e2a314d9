//! Environments, for whoever runs the gateway: create, list, get, rename, delete. What the configuration file has keys of
//! is the file's to change.

use super::octohooks::BODY;
use crate::{
    clock,
    model::{
        Millis,
        catalog::Change,
        environment::{Environment, Kept},
        id::EnvironmentId,
        name::EnvironmentName,
    },
    store::Catalog,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::{Admin, Keys, Place, Root},
        body,
        error::ApiError,
        once::Repeatable,
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU16, sync::Arc};
use utoipa::ToSchema;

/// An environment as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Environment)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// A number, as text.
    #[schema(pattern = "^[0-9]+$")]
    id: String,
    #[schema(value_type = EnvironmentName)]
    name: String,
    /// How long payloads are kept, in days; none: as long as the configuration says.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535, required)]
    payload_days: Option<NonZeroU16>,
    /// How long deliveries are kept with their attempts, in days.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535, required)]
    attempt_days: Option<NonZeroU16>,
    created: Millis,
    updated: Millis,
}

impl From<&Environment> for Shown {
    fn from(e: &Environment) -> Self {
        let (id, name) = (e.id.0.to_string(), e.name.to_string());
        let payload_days = e.kept.map(|kept| kept.payload_days);
        let attempt_days = e.kept.map(|kept| kept.attempt_days);
        Self { id, name, payload_days, attempt_days, created: e.created, updated: e.updated }
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
        let name = EnvironmentId::default_name();
        Self { id, name, payload_days: None, attempt_days: None, created: 0, updated: 0 }
    }
}

/// An environment as it is written.
#[derive(Deserialize, ToSchema)]
#[schema(as = EnvironmentDraft)]
#[serde(rename_all = "camelCase")]
struct Draft {
    /// Required for a new one.
    name: Option<EnvironmentName>,
    /// How long payloads are kept, in days.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535)]
    payload_days: Option<NonZeroU16>,
    /// How long deliveries are kept with their attempts, in days.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65535)]
    attempt_days: Option<NonZeroU16>,
}

async fn draft(body: Body) -> Result<Draft, ApiError> {
    body::object(&body::read(body, BODY, "environment").await?)
}

impl Draft {
    /// How long what is recorded is kept, if it says; what it leaves out stays as it was.
    fn kept(&self, old: Option<Kept>) -> Option<Kept> {
        if self.payload_days.is_none() && self.attempt_days.is_none() {
            return old;
        }
        let old = old.unwrap_or_default();
        Some(Kept {
            payload_days: self.payload_days.unwrap_or(old.payload_days),
            attempt_days: self.attempt_days.unwrap_or(old.attempt_days),
        })
    }
}

/// Creates an environment.
#[utoipa::path(
    post,
    path = "/environments",
    tag = "Environments",
    operation_id = "createEnvironment",
    request_body(content = Draft, example = json!({ "name": "staging" })),
    responses(
        (status = 200, description = "The environment.", body = Shown),
        Denied, BadBody, NotDone,
    ),
)]
pub async fn create(
    State(catalog): State<Arc<dyn Catalog>>,
    _: Root,
    repeatable: Repeatable,
    body: Body,
) -> Result<Response, ApiError> {
    let draft = draft(body).await?;
    let kept = draft.kept(None);
    let name = draft.name.ok_or_else(|| ApiError::field("/name", "is required"))?;
    let id = catalog.snapshot().free_environment();
    let environment = Environment { kept, ..Environment::new(id, name, clock::now()) };
    let shown = Shown::from(&environment);
    repeatable.change(&*catalog, Change::PutEnvironment(environment), &shown).await
}

/// All environments.
#[derive(Serialize, ToSchema)]
#[schema(as = EnvironmentList)]
pub struct List {
    data: Vec<Shown>,
}

/// Lists the environments.
#[utoipa::path(
    get,
    path = "/environments",
    tag = "Environments",
    operation_id = "listEnvironments",
    responses((status = 200, description = "All there are.", body = List), Denied),
)]
pub async fn list(State(catalog): State<Arc<dyn Catalog>>, _: Root) -> Json<List> {
    let catalog = catalog.snapshot();
    let others = catalog.environments().map(|environment| Shown::from(&**environment));
    Json(List { data: std::iter::once(Shown::default_environment()).chain(others).collect() })
}

/// Gets an environment.
#[utoipa::path(
    get,
    path = "/environments/{environment}",
    tag = "Environments",
    operation_id = "getEnvironment",
    responses((status = 200, description = "The environment.", body = Shown), Denied, Missing),
)]
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

/// Changes an environment.
///
/// Another name, or how long what is recorded is kept. What is absent stays as it is.
#[utoipa::path(
    put,
    path = "/environments/{environment}",
    tag = "Environments",
    operation_id = "updateEnvironment",
    request_body(content = Draft, example = json!({ "name": "testing" })),
    responses(
        (status = 200, description = "The environment as it is now.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn update(
    State(catalog): State<Arc<dyn Catalog>>,
    State(keys): State<Keys>,
    _: Root,
    Path(environment): Path<String>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let draft = draft(body).await?;
    let old = changeable(&catalog, &keys, &environment)?;
    let (revision, updated) = (old.revision + 1, clock::now());
    let kept = draft.kept(old.kept);
    let name = draft.name.unwrap_or_else(|| old.name.clone());
    let new = Environment { name, kept, revision, updated, ..(*old).clone() };
    let shown = Shown::from(&new);
    catalog.change(Change::PutEnvironment(new)).await?;
    Ok(Json(shown))
}

/// Deletes an environment with its keys and event types.
///
/// Once it has no applications.
#[utoipa::path(
    delete,
    path = "/environments/{environment}",
    tag = "Environments",
    operation_id = "deleteEnvironment",
    responses(
        (status = 200, description = "The environment as it was.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
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
