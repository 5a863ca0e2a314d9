//! Endpoints: create, get, list, update, delete.

use super::{BODY, Page, PageQuery, absent};
use crate::{
    api::{Checks, health::Parts},
    clock,
    model::{
        Millis,
        application::Application,
        catalog::{Change, Conflict, Tenant},
        cloud_event::Format,
        credentials::Kind as Login,
        dead_letter,
        draft::{EndpointDraft, Fresh, Wrong},
        endpoint::{Endpoint, Method, Order, RateLimit, Scheme},
        health::{Disabled, Health},
        id::{ApplicationId, EndpointId, EnvironmentId},
        name::{Channel, EventType, PluginName, Uid},
        notice,
        plugin::Kind,
        retry::RetryDraft,
        secret::Secret,
    },
    store::{Catalog, StoreError},
    web::{
        answers::{Absent, BadBody, BadQuery, Denied, Missing, NotDone},
        auth::Owner,
        body,
        error::{ApiError, Detail},
        once::Repeatable,
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};
use url::Url;
use utoipa::ToSchema;

mod early;

/// An endpoint as the contract shows it, and our additions.
#[derive(Serialize, ToSchema)]
#[schema(as = Endpoint)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    #[schema(value_type = EndpointId)]
    id: String,
    #[schema(required)]
    uid: Option<Uid>,
    name: String,
    #[schema(format = "uri")]
    url: String,
    enabled: bool,
    /// Why the gateway disabled it; none: it is enabled, or somebody did.
    #[schema(required)]
    disabled_reason: Option<Disabled>,
    event_types: Vec<EventType>,
    channels: Vec<Channel>,
    headers: BTreeMap<String, String>,
    secrets: Vec<String>,
    signatures: Scheme,
    ascii_payload: bool,
    format: Format,
    /// The application's plugin that signs requests, in place of `signatures`.
    #[schema(required)]
    signer: Option<PluginName>,
    /// The application's plugin that says what answers mean.
    #[schema(required)]
    classifier: Option<PluginName>,
    /// The endpoint of the application, by id or uid, that dead letters go to as well.
    #[schema(required)]
    dead_letter_endpoint: Option<String>,
    #[schema(required)]
    rate_limit: Option<RateLimit>,
    #[schema(value_type = Option<u32>, minimum = 1, required)]
    max_in_flight: Option<NonZeroU32>,
    /// Which deliveries wait for those ahead of them.
    order: Order,
    /// When deliveries are tried again; of what it does not say, the application's counts, and then the configuration's.
    #[schema(required)]
    retry: Option<RetryDraft>,
    method: Method,
    /// In place of the gateway's own.
    #[schema(required)]
    user_agent: Option<String>,
    /// The longest that an attempt may take, in milliseconds.
    #[schema(required)]
    timeout: Option<u64>,
    /// The longest that connecting may take, in milliseconds.
    #[schema(required)]
    connect_timeout: Option<u64>,
    /// What requests log in with, without its secret.
    #[schema(required)]
    credentials: Option<Login>,
    /// The certificate that requests show.
    #[schema(required)]
    client_certificate: Option<Certificate>,
    /// What its attempts tell of the receiver; not beside a delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    health: Option<Health>,
    created: Millis,
    updated: Millis,
}

impl Shown {
    pub(super) fn with_health(endpoint: &Endpoint, parts: &Parts) -> Self {
        Self { health: Some((parts.health_of)(endpoint)), ..Self::from(endpoint) }
    }
}

/// A certificate, without its key.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientCertificate)]
struct Certificate {
    /// In PEM.
    certificate: String,
}

impl From<&Endpoint> for Shown {
    fn from(e: &Endpoint) -> Self {
        Self {
            id: e.id.to_string(),
            uid: e.uid.clone(),
            name: e.name.clone(),
            url: e.url.to_string(),
            enabled: e.enabled,
            disabled_reason: e.disabled,
            event_types: e.event_types.clone(),
            channels: e.channels.clone(),
            headers: e.headers.iter().cloned().collect(),
            secrets: e.signing(clock::now()).map(|secret| secret.text.clone()).collect(),
            signatures: e.signatures,
            ascii_payload: e.ascii_payload,
            format: e.format,
            signer: e.signer.clone(),
            classifier: e.classifier.clone(),
            dead_letter_endpoint: e.dead_letter_endpoint.clone(),
            rate_limit: e.rate_limit,
            max_in_flight: e.max_in_flight,
            order: e.order,
            retry: e.retry.clone().map(RetryDraft::from),
            method: e.method,
            user_agent: e.user_agent.clone(),
            timeout: e.timeout,
            connect_timeout: e.connect_timeout,
            credentials: e.credentials.as_ref().map(|login| login.kind.clone()),
            client_certificate: e
                .client_certificate
                .as_ref()
                .map(|one| Certificate { certificate: one.certificate.clone() }),
            health: None,
            created: e.created,
            updated: e.updated,
        }
    }
}

pub(super) fn invalid(wrong: Vec<Wrong>) -> ApiError {
    let details = wrong.into_iter().map(|(path, message)| Detail { path, message });
    ApiError::fields(details.collect())
}

/// Whether what the endpoint names can do what it is named for.
fn check_named(tenant: &Tenant, endpoint: &Endpoint) -> Result<(), ApiError> {
    for (path, name, kind, does) in [
        ("/signer", &endpoint.signer, Kind::Sign, "signs"),
        ("/classifier", &endpoint.classifier, Kind::Classify, "classifies answers"),
    ] {
        let found = name.as_deref().map(|name| tenant.plugin(name).map(|plugin| plugin.kind));
        if found.is_some_and(|found| found != Some(kind)) {
            let message =
                format!("must be the name of one of the application's plugins that {does}");
            return Err(ApiError::field(path, message));
        }
    }
    dead_letter::check(tenant, endpoint).map_err(|wrong| invalid(vec![wrong]))
}

async fn draft(body: Body) -> Result<EndpointDraft, ApiError> {
    body::object(&body::read(body, BODY, "endpoint").await?)
}

/// Creates an endpoint: a URL that the application's messages go to.
///
/// A secret is made unless some are given.
#[utoipa::path(
    post,
    path = "/applications/{app}/endpoints",
    tag = "Endpoints",
    operation_id = "createEndpoint",
    request_body(
        content = EndpointDraft,
        example = json!({
            "url": "https://hooks.acme.example/octohooks",
            "uid": "main",
            "eventTypes": ["sms.status"],
            "channels": [],
            "headers": { "x-team": "billing" },
            "rateLimit": { "limit": 50, "per": "second" },
        }),
    ),
    responses(
        (status = 200, description = "The endpoint, with its secrets.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn create(
    State(catalog): State<Arc<dyn Catalog>>,
    State(checks): State<Checks>,
    State(parts): State<Parts>,
    owner: Owner,
    repeatable: Repeatable,
    Path(app): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    if app == notice::APPLICATION && owner.application.is_none() {
        reserve(&*catalog, owner.environment).await?;
    }
    let tenant = owner.tenant(&catalog, &app)?;
    let application = &tenant.application;
    let fresh = Fresh {
        environment: owner.environment,
        application: application.id,
        id: EndpointId(clock::id()),
        secret: Secret::generated(&clock::random_bytes()),
        now: clock::now(),
    };
    let check = |url: &Url| (checks.url)(url, application);
    let endpoint = draft(body).await?.create(fresh, check).map_err(invalid)?;
    check_named(&tenant, &endpoint)?;
    early::check_names(&checks.name, &endpoint, None).await?;
    let shown = Shown::with_health(&endpoint, &parts);
    repeatable.change(&*catalog, Change::PutEndpoint(endpoint), &shown).await
}

/// Makes the environment's reserved application, with the first endpoint that listens there.
async fn reserve(catalog: &dyn Catalog, environment: EnvironmentId) -> Result<(), ApiError> {
    if catalog.snapshot().find(environment, notice::APPLICATION).is_some() {
        return Ok(());
    }
    let now = clock::now();
    let application = Application {
        environment,
        id: ApplicationId(clock::id()),
        uid: Uid::new(notice::APPLICATION).ok(),
        name: "Operational webhooks".into(),
        retry: None,
        rate_limit: None,
        declared: false,
        revision: 1,
        created: now,
        updated: now,
    };
    match catalog.change(Change::PutApplication(application)).await {
        // Of two at once, one makes it.
        Ok(()) | Err(StoreError::Conflict(Conflict::UidTaken)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A page of endpoints.
#[derive(Serialize, ToSchema)]
#[schema(as = EndpointList)]
pub struct List {
    data: Vec<Shown>,
    meta: Meta,
}

#[derive(Serialize, ToSchema)]
#[schema(as = EndpointListMeta)]
struct Meta {
    /// Of all pages.
    count: usize,
}

/// Lists an application's endpoints.
#[utoipa::path(
    get,
    path = "/applications/{app}/endpoints",
    tag = "Endpoints",
    operation_id = "listEndpoints",
    params(PageQuery),
    responses(
        (status = 200, description = "A page, oldest first.", body = List),
        Denied, Missing, BadQuery,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    State(parts): State<Parts>,
    owner: Owner,
    Path(app): Path<String>,
    page: Page,
) -> Result<Json<List>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let endpoints = page.of(tenant.endpoints.values().collect());
    let endpoints = endpoints.into_iter();
    let data = endpoints.map(|endpoint| Shown::with_health(endpoint, &parts)).collect();
    Ok(Json(List { data, meta: Meta { count: tenant.endpoints.len() } }))
}

pub(super) fn find(
    catalog: &Arc<dyn Catalog>,
    owner: Owner,
    app: &str,
    id_or_uid: &str,
) -> Result<Arc<Endpoint>, ApiError> {
    let tenant = owner.tenant(catalog, app)?;
    tenant.endpoint(id_or_uid).cloned().ok_or_else(|| ApiError::not_found("endpoint"))
}

/// Gets an endpoint.
#[utoipa::path(
    get,
    path = "/applications/{app}/endpoints/{endpoint}",
    tag = "Endpoints",
    operation_id = "getEndpoint",
    responses((status = 200, description = "The endpoint.", body = Shown), Denied, Absent),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    State(parts): State<Parts>,
    owner: Owner,
    Path((app, endpoint)): Path<(String, String)>,
) -> Response {
    match find(&catalog, owner, &app, &endpoint) {
        Ok(endpoint) => Json(Shown::with_health(&endpoint, &parts)).into_response(),
        Err(_) => absent(),
    }
}

/// Replaces an endpoint.
#[utoipa::path(
    put,
    path = "/applications/{app}/endpoints/{endpoint}",
    tag = "Endpoints",
    operation_id = "updateEndpoint",
    request_body(
        content = EndpointDraft,
        example = json!({ "url": "https://hooks.acme.example/v2", "enabled": true }),
    ),
    responses(
        (status = 200, description = "The endpoint as it is now.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn update(
    State(catalog): State<Arc<dyn Catalog>>,
    State(checks): State<Checks>,
    State(parts): State<Parts>,
    owner: Owner,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let draft = draft(body).await?;
    let tenant = owner.tenant(&catalog, &app)?;
    let old = tenant.endpoint(&endpoint).ok_or_else(|| ApiError::not_found("endpoint"))?;
    let check = |url: &Url| (checks.url)(url, &tenant.application);
    let new = draft.replace(old, clock::now(), check).map_err(invalid)?;
    check_named(&tenant, &new)?;
    early::check_names(&checks.name, &new, Some(old)).await?;
    let shown = Shown::with_health(&new, &parts);
    catalog.change(Change::PutEndpoint(new)).await?;
    Ok(Json(shown))
}

/// Deletes an endpoint.
///
/// What waits for it stops.
#[utoipa::path(
    delete,
    path = "/applications/{app}/endpoints/{endpoint}",
    tag = "Endpoints",
    operation_id = "deleteEndpoint",
    responses(
        (status = 200, description = "The endpoint as it was.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    State(parts): State<Parts>,
    owner: Owner,
    Path((app, endpoint)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let endpoint = find(&catalog, owner, &app, &endpoint)?;
    catalog.change(Change::DeleteEndpoint(endpoint.application, endpoint.id)).await?;
    Ok(Json(Shown::with_health(&endpoint, &parts)))
}
