//! From one version of a plugin to another, out of quarantine, and away with those that nobody calls.

use super::{Place, Shown, find, fit, refused, schema, unload};
use crate::{
    model::{catalog::Tenant, id::Digest, plugin::Plugin},
    plugin::{Host, Registry, Schema},
    store::Catalog,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Caller,
        body,
        error::ApiError,
        once::Repeatable,
    },
};
use axum::{
    body::Body,
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The longest body, in bytes.
const BODY: usize = 4096;

/// Which version to call.
#[derive(Deserialize, ToSchema)]
#[schema(as = PluginActivation)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// One of the plugin's versions.
    digest: Digest,
}

fn unknown() -> ApiError {
    ApiError::field("/digest", "must be the digest of one of the plugin's versions")
}

fn none_before() -> ApiError {
    ApiError::conflict("no version was active before")
}

/// Makes sure that the version can be called before the application switches to it; what its settings must look like.
pub async fn ready(
    catalog: &Arc<dyn Catalog>,
    host: &Host,
    registry: &Registry,
    tenant: &Arc<Tenant>,
    digest: Digest,
) -> Result<Option<Arc<Schema>>, ApiError> {
    let from_store = async {
        let code = catalog.code(digest).await?.ok_or_else(unknown)?;
        host.load_for(tenant, code).await.map_err(refused)
    };
    let loaded = registry.get_or_load(&digest, from_store).await?;
    // Another application may have had it loaded, with grants of its own.
    Host::allows(tenant, &loaded).map_err(refused)?;
    schema(host, &loaded).await
}

impl Place<'_> {
    /// Activates a version once it is ready to be called, if the plugin as it is then allows it and has settings that fit.
    pub(super) async fn switch(
        &self,
        (host, registry): (&Host, &Registry),
        tenant: &Arc<Tenant>,
        repeatable: Repeatable,
        digest: Digest,
        allows: impl Fn(&Plugin) -> Result<(), ApiError>,
    ) -> Result<Response, ApiError> {
        let schema = ready(self.catalog, host, registry, tenant, digest).await?;
        let activated = self.alter(repeatable, |plugin| {
            allows(plugin)?;
            fit(schema.as_deref(), &plugin.settings)?;
            plugin.activate(digest);
            Ok(())
        });
        let answer = activated.await?;
        unload(self.catalog, registry);
        Ok(answer)
    }
}

/// Activates a version of a plugin.
///
/// The next message is run by it, a message that is under way by the one before. Out of quarantine; messages that were
/// parked are due again, in order.
#[utoipa::path(
    post,
    path = "/applications/{app}/plugins/{plugin}/activate",
    tag = "Plugins",
    operation_id = "activatePlugin",
    request_body = Wanted,
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn activate(
    State(catalog): State<Arc<dyn Catalog>>,
    State(host): State<Host>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    repeatable: Repeatable,
    Path((app, name)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    let tenant = place.tenant()?;
    let bytes = body::read(body, BODY, "activation").await?;
    let Wanted { digest } = body::object(&bytes)?;
    find(&tenant, &name)?.version(digest).ok_or_else(unknown)?;
    let allows = |plugin: &Plugin| plugin.version(digest).map(drop).ok_or_else(unknown);
    place.switch((&host, &registry), &tenant, repeatable, digest, allows).await
}

/// Activates the version of a plugin that was active before.
#[utoipa::path(
    post,
    path = "/applications/{app}/plugins/{plugin}/rollback",
    tag = "Plugins",
    operation_id = "rollBackPlugin",
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn rollback(
    State(catalog): State<Arc<dyn Catalog>>,
    State(host): State<Host>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    repeatable: Repeatable,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    let tenant = place.tenant()?;
    let digest = find(&tenant, &name)?.previous.ok_or_else(none_before)?;
    // Whoever asks means this one, and not what somebody else has activated meanwhile.
    let allows = |plugin: &Plugin| match plugin.previous == Some(digest) {
        true => Ok(()),
        false => Err(ApiError::conflict("another version was activated meanwhile")),
    };
    place.switch((&host, &registry), &tenant, repeatable, digest, allows).await
}

/// Takes a plugin out of quarantine as it is.
///
/// Messages that were parked are due again, in order.
#[utoipa::path(
    post,
    path = "/applications/{app}/plugins/{plugin}/release",
    tag = "Plugins",
    operation_id = "releasePlugin",
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn release(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    repeatable: Repeatable,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    let release = |plugin: &mut Plugin| {
        plugin.renew();
        Ok(())
    };
    place.alter(repeatable, release).await
}

/// Removes a version of a plugin that is not the active one.
#[utoipa::path(
    delete,
    path = "/applications/{app}/plugins/{plugin}/versions/{digest}",
    tag = "Plugins",
    operation_id = "deletePluginVersion",
    responses(
        (status = 200, description = "The plugin without it.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path((app, name, digest)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    place
        .alter(Repeatable(None), |plugin| {
            let known = digest.parse().ok().filter(|digest| plugin.version(*digest).is_some());
            let known = known.ok_or_else(|| ApiError::not_found("version"))?;
            if plugin.active == Some(known) {
                return Err(ApiError::conflict("the version is active: activate another first"));
            }
            plugin.remove(known);
            Ok(())
        })
        .await
}
