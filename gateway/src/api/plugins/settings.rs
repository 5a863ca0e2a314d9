//! What a plugin is configured with: its settings, its place, what becomes of messages on which it fails, and which of its
//! versions is tried.

use super::{Place, Shown, find, fit, trial, unload, versions::ready};
use crate::{
    clock,
    model::plugin::Policy,
    plugin::{Host, Registry},
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
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// Settings are at most this long as JSON, in bytes: they are in memory.
pub const SETTINGS: usize = 64 << 10;
/// A change is at most this long, in bytes: settings may have spaces.
const BODY: usize = 2 * SETTINGS;

/// What is changed of a plugin. What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[schema(as = PluginChange)]
#[serde(deny_unknown_fields)]
struct Changed {
    /// All of them, at most 64 KiB as JSON.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
    /// Where it stands among the application's others: the lowest comes first, of two the first by name.
    place: Option<u32>,
    /// What becomes of a message on which it fails.
    policy: Option<Policy>,
    /// Which version is tried beside the active one, from now on; null: none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<trial::Wanted>)]
    trial: Option<Option<trial::Wanted>>,
}

/// `null` ends a trial; only an absent one stays as it is.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whether settings are more than may be.
pub fn is_large(settings: &Map<String, Value>) -> bool {
    serde_json::to_vec(settings).map_or(usize::MAX, |text| text.len()) > SETTINGS
}

/// Changes a plugin's settings, place or policy, or tries one of its versions.
///
/// Settings that do not fit what the active version says of them are refused, with the place of each violation. It runs
/// like this from the next message on, and out of quarantine; messages that were parked are due again, in order. A trial
/// changes nothing of that: `shadow` lets the version see each message once the active one has decided, and `canary` lets it
/// decide on a share of them, chosen by their ids.
#[utoipa::path(
    patch,
    path = "/applications/{app}/plugins/{plugin}",
    tag = "Plugins",
    operation_id = "changePlugin",
    request_body(content = Changed, example = json!({ "settings": { "threshold": 3 }, "policy": "pass-through" })),
    responses(
        (status = 200, description = "The plugin.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn patch(
    State(catalog): State<Arc<dyn Catalog>>,
    State(host): State<Host>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    let tenant = place.tenant()?;
    let bytes = body::read(body, BODY, "change").await?;
    let changed: Changed = body::object(&bytes)?;
    if let Some(settings) = &changed.settings
        && is_large(settings)
    {
        return Err(ApiError::field("/settings", format!("must have at most {SETTINGS} bytes")));
    }
    let active = find(&tenant, &name)?.active.filter(|_| changed.settings.is_some());
    let schema = match active {
        Some(digest) => ready(&catalog, &host, &registry, &tenant, digest).await?,
        None => None,
    };
    if let Some(Some(wanted)) = &changed.trial {
        let plugin = find(&tenant, &name)?;
        wanted.of(plugin, clock::now())?;
        let schema = ready(&catalog, &host, &registry, &tenant, wanted.version()).await?;
        fit(schema.as_deref(), changed.settings.as_ref().unwrap_or(&plugin.settings))?;
    }
    let Changed { settings, place: order, policy, trial } = &changed;
    let says_something = settings.is_some() || order.is_some() || policy.is_some();
    let answer = place
        .alter(Repeatable(None), |plugin| {
            if let Some(settings) = settings {
                if plugin.active != active {
                    return Err(ApiError::conflict("another version was activated meanwhile"));
                }
                fit(schema.as_deref(), settings)?;
                plugin.settings.clone_from(settings);
            }
            plugin.place = order.unwrap_or(plugin.place);
            plugin.policy = policy.unwrap_or(plugin.policy);
            if says_something {
                plugin.renew();
            }
            if let Some(wanted) = trial {
                let trial = wanted.as_ref().map(|wanted| wanted.of(plugin, plugin.updated));
                plugin.try_out(trial.transpose()?);
            }
            Ok(())
        })
        .await?;
    unload(&catalog, &registry);
    Ok(answer)
}
