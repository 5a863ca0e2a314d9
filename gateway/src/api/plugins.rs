//! An application's plugins, by name: looked at and removed here, uploaded ([`upload`]), configured ([`settings`]), and
//! changed from one version to another ([`versions`]). A version is tried on live traffic ([`trial`]) or on what was
//! recorded ([`simulate`]), a signer's or classifier's by a question ([`ask`]).
//!
//! Each change is made of the plugin as it is, and of what it is by then if somebody else was quicker.

use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Conflict, Tenant},
        event_type::Violation,
        id::Digest,
        name::PluginName,
        plugin::{Kind, Plugin, Policy, Version},
    },
    plugin::{Host, Loaded, Registry, Rejected, Schema},
    store::{Catalog, StoreError},
    web::{
        answers::{Denied, Missing, NotDone},
        auth::Caller,
        error::{ApiError, Detail},
        once::Repeatable,
    },
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

pub mod upload;
pub mod settings;
pub mod versions;
pub mod trial;
pub mod simulate;
pub mod ask;

/// How often a change is tried while others change the same plugin.
const TRIES: usize = 10;

/// A plugin as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugin)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    name: PluginName,
    kind: Kind,
    /// Where it stands among the application's others: the lowest comes first, of two the first by name.
    place: u32,
    /// The version that is called; null: none is.
    #[schema(required)]
    active: Option<Digest>,
    /// The version that was active before.
    #[schema(required)]
    previous: Option<Digest>,
    /// Oldest first, at most 20.
    versions: Vec<ShownVersion>,
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    policy: Policy,
    /// Which version is tried beside the active one.
    #[schema(required)]
    trial: Option<trial::Shown>,
    /// Why it is not called: it failed too often in a row. Another version, other settings or `release` end that.
    #[schema(required)]
    quarantined: Option<String>,
    created: Millis,
    updated: Millis,
}

/// A version of a plugin: a component.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginVersion)]
#[serde(rename_all = "camelCase")]
struct ShownVersion {
    digest: Digest,
    /// In bytes.
    size: u64,
    /// The native code that it became, in bytes; 0 of a transform without code, and where an older gateway compiled it.
    code_size: u64,
    /// The trusted key that has signed it.
    #[schema(required)]
    signed_by: Option<String>,
    created: Millis,
}

impl From<&Version> for ShownVersion {
    fn from(v: &Version) -> Self {
        let signed_by = v.signed_by.clone();
        let (digest, size, code_size) = (v.digest, v.size, v.code);
        Self { digest, size, code_size, signed_by, created: v.created }
    }
}

impl From<&Plugin> for Shown {
    fn from(p: &Plugin) -> Self {
        Self {
            name: p.name.clone(),
            kind: p.kind,
            place: p.place,
            active: p.active,
            previous: p.previous,
            versions: p.versions.iter().map(ShownVersion::from).collect(),
            settings: p.settings.clone(),
            policy: p.policy,
            trial: p.trial.as_ref().map(trial::Shown::from),
            quarantined: p.quarantined.clone(),
            created: p.created,
            updated: p.updated,
        }
    }
}

/// All of an application's plugins.
#[derive(Serialize, ToSchema)]
#[schema(as = PluginList)]
pub struct List {
    data: Vec<Shown>,
}

fn find<'t>(tenant: &'t Tenant, name: &str) -> Result<&'t Arc<Plugin>, ApiError> {
    tenant.plugin(name).ok_or_else(|| ApiError::not_found("plugin"))
}

/// Whose plugin is changed.
struct Place<'a> {
    catalog: &'a Arc<dyn Catalog>,
    caller: Caller,
    app: &'a str,
    name: &'a str,
}

impl Place<'_> {
    fn tenant(&self) -> Result<Arc<Tenant>, ApiError> {
        self.caller.tenant(self.catalog, self.app)
    }

    /// Makes the plugin's next revision; a component that is new is kept with it.
    async fn put(
        &self,
        repeatable: Repeatable,
        code: Option<(Digest, Bytes)>,
        next: impl Fn(&Tenant) -> Result<Plugin, ApiError>,
    ) -> Result<Response, ApiError> {
        for _ in 0..TRIES {
            let plugin = next(&*self.tenant()?)?;
            let shown = Shown::from(&plugin);
            let answer = repeatable.answer(StatusCode::OK, &shown);
            let change = Change::PutPlugin(plugin, code.clone());
            match self.catalog.change_once(change, answer).await {
                Err(StoreError::Conflict(Conflict::Stale)) => {}
                changed => {
                    return changed.map(|()| repeatable.kept(Json(shown))).map_err(Into::into);
                }
            }
        }
        Err(StoreError::Conflict(Conflict::Stale).into())
    }

    /// The same, of a plugin that is there.
    async fn alter(
        &self,
        repeatable: Repeatable,
        change: impl Fn(&mut Plugin) -> Result<(), ApiError>,
    ) -> Result<Response, ApiError> {
        let next = |tenant: &Tenant| {
            let mut plugin = find(tenant, self.name)?.next(clock::now());
            change(&mut plugin)?;
            Ok(plugin)
        };
        self.put(repeatable, None, next).await
    }
}

/// How a component that was refused is answered for.
fn refused(rejected: Rejected) -> ApiError {
    if let Rejected::Definition(wrong) = rejected {
        let detail = |(path, message)| Detail { path, message };
        return ApiError::fields(wrong.into_iter().map(detail).collect());
    }
    let (status, code) = match rejected.is_fault() {
        true => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_component"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    ApiError::new(status, code, rejected.to_string())
}

/// What a component says its settings must look like, if it does.
async fn schema(host: &Host, loaded: &Arc<Loaded>) -> Result<Option<Arc<Schema>>, ApiError> {
    let (host, loaded) = (host.clone(), loaded.clone());
    let asked = tokio::task::spawn_blocking(move || host.settings_schema(&loaded)).await;
    let ended = |error: tokio::task::JoinError| refused(Rejected::Unavailable(error.to_string()));
    asked.map_err(ended)?.map_err(refused)
}

/// Refuses settings that do not look so.
fn fit(schema: Option<&Schema>, settings: &Map<String, Value>) -> Result<(), ApiError> {
    let wrong = schema.map(|schema| schema.violations(settings)).unwrap_or_default();
    let detail = |v: Violation| {
        let path = format!("/settings{}", v.path);
        Detail { path, message: v.message }
    };
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(ApiError::fields(wrong.into_iter().map(detail).collect())),
    }
}

/// What no application uses any more need not be in memory.
fn unload(catalog: &Arc<dyn Catalog>, registry: &Registry) {
    let called = catalog.snapshot().called();
    registry.retain(|digest| called.contains(digest));
}

/// Lists an application's plugins, in the order in which they are called.
#[utoipa::path(
    get,
    path = "/applications/{app}/plugins",
    tag = "Plugins",
    operation_id = "listPlugins",
    responses((status = 200, description = "All of them.", body = List), Denied, Missing),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<List>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    Ok(Json(List { data: tenant.plugins.iter().map(|plugin| Shown::from(&**plugin)).collect() }))
}

/// Gets a plugin.
#[utoipa::path(
    get,
    path = "/applications/{app}/plugins/{plugin}",
    tag = "Plugins",
    operation_id = "getPlugin",
    responses((status = 200, description = "The plugin.", body = Shown), Denied, Missing),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    Ok(Json(Shown::from(&**find(&tenant, &name)?)))
}

/// Removes a plugin with all its versions.
///
/// Messages go on without it; what it parked stays parked.
#[utoipa::path(
    delete,
    path = "/applications/{app}/plugins/{plugin}",
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
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let plugin = find(&tenant, &name)?;
    let change = Change::DeletePlugin(plugin.application, plugin.name.clone());
    catalog.change(change).await?;
    unload(&catalog, &registry);
    Ok(Json(Shown::from(&**plugin)))
}
