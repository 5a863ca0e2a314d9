//! An application's plugin: upload, look at, configure, remove. An upload is checked, compiled and kept before the
//! application switches to it; messages that an older version parked are due again then.

use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Tenant},
        id::Digest,
        plugin::Plugin,
    },
    plugin::{Host, Registry},
    store::Catalog,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Caller,
        body,
        error::ApiError,
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::HashSet, sync::Arc};
use utoipa::ToSchema;

/// Settings are at most this long as JSON, in bytes.
const SETTINGS: usize = 64 << 10;

/// A plugin as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugin)]
pub struct Shown {
    digest: Digest,
    /// In bytes.
    size: u64,
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// Why it is not called: it failed too often in a row. A new version, or new settings, release it.
    quarantined: Option<String>,
    created: Millis,
    updated: Millis,
}

/// The bytes of a WebAssembly component.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "only its schema is used")]
struct Component(Bytes);

impl From<&Plugin> for Shown {
    fn from(p: &Plugin) -> Self {
        let (digest, settings) = (p.digest, p.settings.clone());
        let (size, quarantined) = (p.size, p.quarantined.clone());
        Self { digest, size, settings, quarantined, created: p.created, updated: p.updated }
    }
}

fn active(tenant: &Tenant) -> Result<&Arc<Plugin>, ApiError> {
    tenant.plugin.as_ref().ok_or_else(|| ApiError::not_found("plugin"))
}

/// Uploads a plugin: a WebAssembly component.
///
/// It is checked, compiled and kept before the application switches to it. Messages that an older version parked are
/// due again then.
#[utoipa::path(
    put,
    path = "/applications/{app}/plugin",
    tag = "Plugins",
    operation_id = "putPlugin",
    request_body(content = Component, content_type = "application/wasm"),
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn put(
    State(catalog): State<Arc<dyn Catalog>>,
    State(host): State<Host>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    Path(app): Path<String>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let bytes = body::read(body, host.options().component_bytes, "component").await?;
    let code = bytes.clone();
    let loaded = tokio::task::spawn_blocking(move || host.load(&code)).await;
    let loaded = loaded
        .map_err(|error| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
        })?
        .map_err(|rejected| {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            ApiError::new(status, "invalid_component", rejected.to_string())
        })?;
    catalog.put_code(loaded.digest, bytes).await?;
    registry.insert(&loaded);
    let now = clock::now();
    let old = tenant.plugin.as_deref();
    let plugin = Plugin {
        environment: caller.environment,
        application: tenant.application.id,
        digest: loaded.digest,
        size: loaded.size,
        settings: old.map(|plugin| plugin.settings.clone()).unwrap_or_default(),
        declared: false,
        quarantined: None,
        created: old.map_or(now, |plugin| plugin.created),
        updated: now,
    };
    let shown = Shown::from(&plugin);
    catalog.change(Change::PutPlugin(plugin)).await?;
    unload(&catalog, &registry);
    Ok(Json(shown))
}

/// What no application uses any more need not be in memory.
fn unload(catalog: &Arc<dyn Catalog>, registry: &Registry) {
    let catalog = catalog.snapshot();
    let active: HashSet<_> =
        catalog.tenants().filter_map(|t| Some(t.plugin.as_ref()?.digest)).collect();
    registry.retain(|digest| active.contains(digest));
}

/// Gets an application's plugin.
#[utoipa::path(
    get,
    path = "/applications/{app}/plugin",
    tag = "Plugins",
    operation_id = "getPlugin",
    responses((status = 200, description = "The plugin.", body = Shown), Denied, Missing),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    Ok(Json(Shown::from(&**active(&tenant)?)))
}

/// Replaces a plugin's settings.
#[utoipa::path(
    put,
    path = "/applications/{app}/plugin/settings",
    tag = "Plugins",
    operation_id = "putPluginSettings",
    request_body(content = Object, example = json!({ "threshold": 3 })),
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn put_settings(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let bytes = body::read(body, SETTINGS, "settings").await?;
    let settings: Map<String, Value> = body::object(&bytes)?;
    let tenant = caller.tenant(&catalog, &app)?;
    let old = Plugin::clone(active(&tenant)?);
    let plugin = Plugin { settings, quarantined: None, updated: clock::now(), ..old };
    let shown = Shown::from(&plugin);
    catalog.change(Change::PutPlugin(plugin)).await?;
    Ok(Json(shown))
}

/// Removes an application's plugin.
///
/// Messages go to their subscribers as they are; what is parked stays parked.
#[utoipa::path(
    delete,
    path = "/applications/{app}/plugin",
    tag = "Plugins",
    operation_id = "deletePlugin",
    responses(
        (status = 200, description = "The plugin as it was.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let shown = Shown::from(&**active(&tenant)?);
    catalog.change(Change::DeletePlugin(tenant.application.id)).await?;
    unload(&catalog, &registry);
    Ok(Json(shown))
}
