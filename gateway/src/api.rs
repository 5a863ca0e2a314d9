//! The API: the router as a table. The wire contract is in [`octohooks`]; what is ours beside it (plugins,
//! environments, keys, event types, health, metrics) has files of its own.

use crate::{
    model::application::Application,
    plugin::{Host, Registry},
    store::{Catalog, Log, Queue, Recovery, Retention},
    trials::{Trials, simulate::Simulator},
    web::auth::Keys,
};
use axum::{
    Router,
    extract::FromRef,
    routing::{delete, get, post, put},
};
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use octohooks::{
    applications, attempts, dead_letters, deliveries, endpoints, messages, recovery, secrets,
};
use plugins::{ask, settings, simulate, trial, upload, versions};
use std::sync::Arc;
use url::Url;

pub mod octohooks;
pub mod plugins;
pub mod grants;
pub mod environments;
pub mod keys;
pub mod event_types;
pub mod health;
pub mod openapi;

/// Whether a URL may be an endpoint's of that application, as the guard sees it.
pub type CheckUrl = Arc<dyn Fn(&Url, &Application) -> Result<(), String> + Send + Sync>;

/// Whether what a URL's name means just now may be called, as an attempt would see it.
pub type CheckName = Arc<dyn Fn(&Url) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What is asked of URLs that are written down.
#[derive(Clone)]
pub struct Checks {
    /// The guard.
    pub url: CheckUrl,
    /// The guard, and what resolves.
    pub name: CheckName,
}

/// What the API's handlers need.
#[derive(Clone, FromRef)]
pub struct Api {
    /// Applications, endpoints, plugins, keys.
    pub catalog: Arc<dyn Catalog>,
    /// What was recorded.
    pub log: Arc<dyn Log>,
    /// What is sent again.
    pub recovery: Arc<dyn Recovery>,
    /// What is forgotten.
    pub retention: Arc<dyn Retention>,
    /// For the depths in `/health`.
    pub queue: Arc<dyn Queue>,
    /// Who may call.
    pub keys: Keys,
    /// Checks and compiles uploads.
    pub host: Host,
    /// Where compiled plugins are found.
    pub registry: Arc<Registry>,
    /// What plugins wrote, and what those came to that are tried.
    pub trials: Arc<Trials>,
    /// Runs versions of plugins beside others.
    pub simulator: Arc<Simulator>,
    /// What is asked of endpoints' URLs.
    pub checks: Checks,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// The state of the parts that the API does not hold.
    pub parts: health::Parts,
    /// What `/openapi.json` answers.
    pub document: openapi::Document,
}

/// The routes below `/api/v1`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/applications", get(applications::list).post(applications::create))
        .route(
            "/applications/{app}",
            get(applications::get).put(applications::update).delete(applications::delete),
        )
        .route("/applications/{app}/endpoints", get(endpoints::list).post(endpoints::create))
        .route(
            "/applications/{app}/endpoints/{endpoint}",
            get(endpoints::get).put(endpoints::update).delete(endpoints::delete),
        )
        .route("/applications/{app}/endpoints/{endpoint}/secrets", get(secrets::list))
        .route("/applications/{app}/endpoints/{endpoint}/secrets/rotate", post(secrets::rotate))
        .route("/applications/{app}/messages", get(messages::list))
        .route("/applications/{app}/messages/{message}", get(messages::get))
        .route(
            "/applications/{app}/messages/{message}/endpoint-messages",
            get(deliveries::endpoint_messages),
        )
        .route("/applications/{app}/messages/{message}/payload", delete(messages::expunge))
        .route("/applications/{app}/messages/{message}/cancel", post(messages::cancel))
        .route("/applications/{app}/messages/{message}/deliveries", get(deliveries::of_message))
        .route(
            "/applications/{app}/messages/{message}/deliveries/{delivery}/attempts",
            get(attempts::list),
        )
        .route("/applications/{app}/endpoints/{endpoint}/deliveries", get(deliveries::of_endpoint))
        .route(
            "/applications/{app}/messages/{message}/endpoints/{endpoint}/resend",
            post(recovery::resend),
        )
        .route("/applications/{app}/endpoints/{endpoint}/recover", post(recovery::recover))
        .route("/applications/{app}/dead-letters", get(dead_letters::list))
        .route("/applications/{app}/dead-letters/resend", post(dead_letters::resend::resend_all))
        .route("/applications/{app}/dead-letters/{message}", get(dead_letters::get))
        .route(
            "/applications/{app}/dead-letters/{message}/resend",
            post(dead_letters::resend::resend),
        )
        .route("/operations", get(recovery::list))
        .route("/operations/{operation}", get(recovery::get))
        .route("/operations/{operation}/cancel", post(recovery::cancel))
        .route("/applications/{app}/plugins", get(plugins::list))
        .route(
            "/applications/{app}/plugins/{plugin}",
            get(plugins::get).put(upload::put).patch(settings::patch).delete(plugins::delete),
        )
        .route("/applications/{app}/plugins/{plugin}/activate", post(versions::activate))
        .route("/applications/{app}/plugins/{plugin}/rollback", post(versions::rollback))
        .route("/applications/{app}/plugins/{plugin}/release", post(versions::release))
        .route("/applications/{app}/plugins/{plugin}/versions/{digest}", delete(versions::delete))
        .route("/applications/{app}/grants", get(grants::get).put(grants::put))
        .route("/applications/{app}/secrets", get(grants::list_secrets))
        .route(
            "/applications/{app}/secrets/{secret}",
            put(grants::put_secret).delete(grants::delete_secret),
        )
        .route("/applications/{app}/plugins/{plugin}/simulate", post(simulate::simulate))
        .route("/applications/{app}/plugins/{plugin}/ask", post(ask::ask))
        .route("/applications/{app}/plugins/{plugin}/trial", get(trial::report))
        .route("/applications/{app}/plugins/{plugin}/promote", post(trial::promote))
        .route("/applications/{app}/plugins/{plugin}/log", get(trial::log))
        .route("/applications/{app}/tokens", post(keys::token))
        .route("/event-types", get(event_types::list).post(event_types::create))
        .route(
            "/event-types/{name}",
            get(event_types::get).put(event_types::update).delete(event_types::delete),
        )
        .route("/environments", get(environments::list).post(environments::create))
        .route(
            "/environments/{environment}",
            get(environments::get).put(environments::update).delete(environments::delete),
        )
        .route("/environments/{environment}/keys", get(keys::list).post(keys::create))
        .route("/environments/{environment}/keys/{key}", get(keys::get).delete(keys::delete))
        .route("/environments/{environment}/keys/{key}/rotate", post(keys::rotate))
        .route("/openapi.json", get(openapi::get))
        .with_state(api)
}

/// The routes outside `/api/v1`: for machines that watch.
pub fn watch_router(api: Api) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .with_state(api)
}
