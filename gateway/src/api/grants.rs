//! What an application's plugins may use, and the named secrets that one capability lets them read.

use crate::{
    clock,
    model::{
        catalog::{Change, Tenant},
        grants::{Capabilities, Grants, SECRET, SECRETS},
        name::SecretName,
        secret::Secret,
    },
    store::Catalog,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Caller,
        body,
        error::{ApiError, Detail},
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A body is at most this long, in bytes.
const BODY: usize = 64 << 10;

/// The application's grants as they are, and as the next revision.
fn of(tenant: &Tenant) -> Grants {
    let none = || Grants::none(tenant.application.environment, tenant.application.id);
    tenant.grants.as_deref().cloned().unwrap_or_else(none)
}

fn next(tenant: &Tenant) -> Grants {
    let old = of(tenant);
    Grants { revision: old.revision + 1, updated: clock::now(), ..old }
}

/// Gets what an application's plugins may use beside what all plugins have.
#[utoipa::path(
    get,
    path = "/applications/{app}/grants",
    tag = "Plugins",
    operation_id = "getGrants",
    responses((status = 200, description = "The grants.", body = Capabilities), Denied, Missing),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Capabilities>, ApiError> {
    Ok(Json(of(&*caller.tenant(&catalog, &app)?).capabilities))
}

/// Replaces what an application's plugins may use.
///
/// What is absent is not granted. A plugin that uses what is taken away fails from then on; messages that were parked are due
/// again.
#[utoipa::path(
    put,
    path = "/applications/{app}/grants",
    tag = "Plugins",
    operation_id = "putGrants",
    request_body = Capabilities,
    responses(
        (status = 200, description = "The grants.", body = Capabilities),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn put(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
    body: Body,
) -> Result<Json<Capabilities>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let bytes = body::read(body, BODY, "grants").await?;
    let capabilities: Capabilities = body::object(&bytes)?;
    let wrong = capabilities.wrong().into_iter();
    let wrong: Vec<_> = wrong.map(|(path, message)| Detail { path, message }).collect();
    if !wrong.is_empty() {
        return Err(ApiError::fields(wrong));
    }
    let granted = capabilities.clone();
    let grants = Grants { capabilities: granted, declared: false, ..next(&tenant) };
    catalog.change(Change::PutGrants(grants)).await?;
    Ok(Json(capabilities))
}

/// The names of an application's secrets.
#[derive(Serialize, ToSchema)]
#[schema(as = NamedSecretList)]
pub struct List {
    data: Vec<Named>,
}

/// A named secret. Its text is never shown.
#[derive(Serialize, ToSchema)]
#[schema(as = NamedSecret)]
pub struct Named {
    name: SecretName,
}

/// Lists the names of an application's secrets.
#[utoipa::path(
    get,
    path = "/applications/{app}/secrets",
    tag = "Plugins",
    operation_id = "listNamedSecrets",
    responses((status = 200, description = "The names.", body = List), Denied, Missing),
)]
pub async fn list_secrets(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<List>, ApiError> {
    let grants = of(&*caller.tenant(&catalog, &app)?);
    Ok(Json(List { data: grants.named.into_keys().map(|name| Named { name }).collect() }))
}

/// A named secret as it is written.
#[derive(Deserialize, ToSchema)]
#[schema(as = NamedSecretValue)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The text.
    #[schema(min_length = 1, max_length = 16384)]
    value: String,
}

/// Keeps a secret that the application's plugins may read by its name, if they are granted `secrets`.
#[utoipa::path(
    put,
    path = "/applications/{app}/secrets/{secret}",
    tag = "Plugins",
    operation_id = "putNamedSecret",
    request_body = Written,
    responses(
        (status = 200, description = "The secret is kept, sealed.", body = Named),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn put_secret(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Named>, ApiError> {
    let mut grants = next(&*caller.tenant(&catalog, &app)?);
    let bytes = body::read(body, BODY, "secret").await?;
    let Written { value } = body::object(&bytes)?;
    let name = SecretName::new(&name).map_err(|wrong| ApiError::field("/name", wrong.0))?;
    if value.is_empty() || value.len() > SECRET {
        return Err(ApiError::field("/value", format!("must have 1 to {SECRET} bytes")));
    }
    grants.named.insert(name.clone(), Secret::new(value));
    if grants.named.len() > SECRETS {
        return Err(ApiError::field("/name", format!("would be one more secret than {SECRETS}")));
    }
    catalog.change(Change::PutGrants(grants)).await?;
    Ok(Json(Named { name }))
}

/// Removes a named secret.
#[utoipa::path(
    delete,
    path = "/applications/{app}/secrets/{secret}",
    tag = "Plugins",
    operation_id = "deleteNamedSecret",
    responses(
        (status = 200, description = "The secret is gone.", body = Named),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete_secret(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<Named>, ApiError> {
    let mut grants = next(&*caller.tenant(&catalog, &app)?);
    let (name, _) =
        grants.named.remove_entry(&*name).ok_or_else(|| ApiError::not_found("secret"))?;
    catalog.change(Change::PutGrants(grants)).await?;
    Ok(Json(Named { name }))
}
