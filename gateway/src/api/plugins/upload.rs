//! Uploads: a component becomes a version of a plugin once it is checked, compiled and kept.

use super::{Place, Shown, find, fit, refused, schema, unload};
use crate::{
    clock,
    model::{
        catalog::Tenant,
        id::Digest,
        name::PluginName,
        plugin::{Plugin, Version},
    },
    plugin::{Host, Registry, signature::signer},
    store::Catalog,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Caller,
        body,
        error::ApiError,
        once::Repeatable,
        query::Query,
    },
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::Response,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The header with the signature of a component's digest.
const SIGNATURE: &str = "octohooks-signature";

/// The bytes of a WebAssembly component.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "only its schema is used")]
struct Component(Bytes);

/// A transform without code. The filter and the headers see the payload as it came.
#[derive(ToSchema)]
#[schema(as = PluginDefinition, example = json!({
    "filter": "@.status == 'delivered'",
    "rename": { "/customer/msisdn": "phone" },
    "remove": ["/internal"],
    "headers": { "x-tenant": "{/customer/tenant}", "x-event": "{eventType}" },
}))]
#[allow(dead_code, reason = "only its schema is used")]
struct Definition {
    /// An expression of JSONPath (RFC 9535) as in `[?…]`, in which `@` is the payload; without `$`, `match` and `search`, and
    /// with `..` at most once. What it does not match is dropped.
    filter: Option<String>,
    /// The new names of fields, by their JSON pointers.
    #[schema(value_type = Option<Object>)]
    rename: Option<Map<String, Value>>,
    /// JSON pointers of fields that go.
    remove: Option<Vec<String>>,
    /// Headers' names and templates: text with `{/json/pointer}`, `{id}`, `{uid}`, `{eventType}`, `{channel}` or
    /// `{attribute.NAME}` in it. One for which the message has nothing is left out, and so is one that becomes no legal value
    /// (line breaks, characters beyond ASCII) or for which there is no room: all together have at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    headers: Option<Map<String, Value>>,
}

/// What an upload may say.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Whether the version is called from now on; if not, it is one that can be activated.
    #[serde(default = "yes")]
    #[param(default = true)]
    activate: bool,
}

const fn yes() -> bool {
    true
}

/// Uploads a version of a plugin: a WebAssembly component, or the definition of a transform without code.
///
/// It is checked, compiled and kept before the application switches to it; one that imports what the application is not
/// granted, or that the plugin's settings do not fit, is refused, as is one with which the active plugins' native code would be more than there is room for. Messages that an older version parked are due again then, in order. At most 20 versions are kept: the oldest goes that is not needed.
#[utoipa::path(
    put,
    path = "/applications/{app}/plugins/{plugin}",
    tag = "Plugins",
    operation_id = "putPlugin",
    params(
        Wanted,
        (
            "Octohooks-Signature" = Option<String>, Header,
            description = "An ed25519 signature of the component's SHA-256, in base64. Required where the gateway has \
                trusted keys, and not looked at where it has none.",
        ),
    ),
    request_body(content((Component = "application/wasm"), (Definition = "application/json"))),
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
#[allow(clippy::too_many_arguments, reason = "one for each part of a request")]
pub async fn put(
    State(catalog): State<Arc<dyn Catalog>>,
    State(host): State<Host>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    query: Result<Query<Wanted>, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    let tenant = place.tenant()?;
    let bytes = body::read(body, host.options().component_bytes, "component").await?;
    // With the body read, so that whoever sends it is there to be told.
    let Query(wanted) = query?;
    let known = PluginName::new(&name);
    let known = known.map_err(|bad| ApiError::field("name", bad.to_string()))?;
    let digest = Digest(Sha256::digest(&bytes).into());
    let signature = headers.get(SIGNATURE).map(HeaderValue::as_bytes);
    let signed_by = signer(&host.options().trusted_keys, &digest, signature);
    let signed_by = signed_by.map_err(|untrusted| {
        ApiError::new(StatusCode::FORBIDDEN, "untrusted", untrusted.to_string())
    })?;
    let signed_by = signed_by.map(ToString::to_string);
    let loaded = host.admit(tenant, bytes.clone()).await.map_err(refused)?;
    let schema = schema(&host, &loaded).await?;
    if wanted.activate {
        registry.insert(&loaded);
    }
    let next = |tenant: &Tenant| {
        let now = clock::now();
        let mut plugin = match find(tenant, &name) {
            Ok(old) => Plugin { kind: loaded.kind, declared: false, ..old.next(now) },
            Err(_) => {
                let of = (tenant.application.environment, tenant.application.id);
                Plugin::new(of, known.clone(), loaded.kind, now)
            }
        };
        let (size, code, signed_by) = (loaded.size, loaded.code, signed_by.clone());
        plugin.add(Version { digest, size, created: now, signed_by, code });
        if wanted.activate {
            fit(schema.as_deref(), &plugin.settings)?;
            plugin.activate(digest);
        }
        Ok(plugin)
    };
    let answer = place.put(Repeatable(None), Some((digest, bytes)), next).await;
    if answer.is_ok() {
        host.keep(&loaded).await;
    }
    unload(&catalog, &registry);
    answer
}
