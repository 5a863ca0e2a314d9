//! Applications: create, get, list, update, delete.

use super::{BODY, Page, PageQuery, absent, endpoints::invalid};
use crate::{
    clock,
    model::{
        Millis,
        application::Application,
        catalog::Change,
        endpoint::RateLimit,
        id::ApplicationId,
        name::Uid,
        retry::{Retry, RetryDraft},
    },
    store::Catalog,
    web::{
        answers::{Absent, BadBody, BadQuery, Denied, Missing, NotDone},
        auth::{Caller, Owner},
        body,
        error::ApiError,
        once::Repeatable,
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// An application as the contract shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Application)]
pub struct Shown {
    #[schema(value_type = ApplicationId)]
    id: String,
    #[schema(required)]
    uid: Option<Uid>,
    name: String,
    /// When deliveries of its messages are tried again, where their endpoints do not say.
    #[schema(required)]
    retry: Option<RetryDraft>,
    /// How many requests may start in a time, to all its endpoints together.
    #[schema(required)]
    rate_limit: Option<RateLimit>,
    created: Millis,
    updated: Millis,
}

impl From<&Application> for Shown {
    fn from(a: &Application) -> Self {
        let (id, uid) = (a.id.to_string(), a.uid.clone());
        Self {
            id,
            uid,
            name: a.name.clone(),
            retry: a.retry.clone().map(RetryDraft::from),
            rate_limit: a.rate_limit,
            created: a.created,
            updated: a.updated,
        }
    }
}

/// An application as it is written.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApplicationDraft)]
struct Draft {
    /// For people. A new application without one is called as its `uid`.
    #[schema(max_length = 256)]
    name: Option<String>,
    uid: Option<Uid>,
    /// When deliveries of its messages are tried again, where their endpoints do not say. An empty object removes it.
    retry: Option<RetryDraft>,
    /// How many requests may start in a time, to all its endpoints together, beside what each of them says for itself.
    /// Kept if absent; `null` removes it.
    #[serde(default, alias = "rate_limit", deserialize_with = "given")]
    #[schema(value_type = Option<RateLimit>)]
    rate_limit: Option<Option<RateLimit>>,
}

impl Draft {
    /// What it says of retries, if it says anything.
    fn retry(&mut self) -> Result<Option<Option<Retry>>, ApiError> {
        self.retry.take().map(RetryDraft::check).transpose().map_err(invalid)
    }
}

/// What is there, be it `null`.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<RateLimit>>, D::Error> {
    Option::deserialize(value).map(Some)
}

async fn draft(body: Body) -> Result<Draft, ApiError> {
    let bytes = body::read(body, BODY, "application").await?;
    let draft: Draft = body::object(&bytes)?;
    match draft.name.as_ref().is_some_and(|name| name.chars().count() > 256) {
        true => Err(ApiError::field("/name", "must have at most 256 characters")),
        false => Ok(draft),
    }
}

/// Creates an application: one consumer of webhooks.
#[utoipa::path(
    post,
    path = "/applications",
    tag = "Applications",
    operation_id = "createApplication",
    request_body(content = Draft, example = json!({ "name": "Acme", "uid": "acme" })),
    responses(
        (
            status = 200,
            description = "The application.",
            body = Shown,
            example = json!({
                "id": "0198f2a4-7c1e-7b3a-9d21-3f0c5a7be001",
                "uid": "acme",
                "name": "Acme",
                "retry": null,
                "rateLimit": null,
                "created": 1767225600000u64,
                "updated": 1767225600000u64,
            }),
        ),
        Denied, BadBody, NotDone,
    ),
)]
pub async fn create(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    repeatable: Repeatable,
    body: Body,
) -> Result<Response, ApiError> {
    let mut draft = draft(body).await?;
    let retry = draft.retry()?.flatten();
    let name = draft.name.or_else(|| draft.uid.as_deref().map(str::to_owned));
    let name = name.ok_or_else(|| ApiError::field("/name", "is required"))?;
    let now = clock::now();
    let application = Application {
        environment: caller.environment,
        id: ApplicationId(clock::id()),
        uid: draft.uid,
        name,
        retry,
        rate_limit: draft.rate_limit.flatten(),
        declared: false,
        revision: 1,
        created: now,
        updated: now,
    };
    let shown = Shown::from(&application);
    repeatable.change(&*catalog, Change::PutApplication(application), &shown).await
}

/// Lists the applications.
#[utoipa::path(
    get,
    path = "/applications",
    tag = "Applications",
    operation_id = "listApplications",
    params(PageQuery),
    responses(
        (status = 200, description = "A page, oldest first.", body = Vec<Shown>),
        Denied, BadQuery,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    page: Page,
) -> Json<Vec<Shown>> {
    let snapshot = catalog.snapshot();
    let tenants = page.of(snapshot.applications(caller.environment));
    Json(tenants.into_iter().map(|tenant| Shown::from(&tenant.application)).collect())
}

/// Gets an application.
#[utoipa::path(
    get,
    path = "/applications/{app}",
    tag = "Applications",
    operation_id = "getApplication",
    responses((status = 200, description = "The application.", body = Shown), Denied, Absent),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    owner: Owner,
    Path(app): Path<String>,
) -> Response {
    match owner.tenant(&catalog, &app) {
        Ok(tenant) => Json(Shown::from(&tenant.application)).into_response(),
        Err(_) => absent(),
    }
}

/// Changes an application.
///
/// What is absent stays as it is.
#[utoipa::path(
    put,
    path = "/applications/{app}",
    tag = "Applications",
    operation_id = "updateApplication",
    request_body(content = Draft, example = json!({ "name": "Acme Ltd" })),
    responses(
        (status = 200, description = "The application as it is now.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn update(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let mut draft = draft(body).await?;
    let retry = draft.retry()?;
    let old = &caller.tenant(&catalog, &app)?.application;
    let application = Application {
        name: draft.name.unwrap_or_else(|| old.name.clone()),
        uid: draft.uid.or_else(|| old.uid.clone()),
        retry: retry.unwrap_or_else(|| old.retry.clone()),
        rate_limit: draft.rate_limit.unwrap_or(old.rate_limit),
        revision: old.revision + 1,
        updated: clock::now(),
        ..old.clone()
    };
    let shown = Shown::from(&application);
    catalog.change(Change::PutApplication(application)).await?;
    Ok(Json(shown))
}

/// Deletes an application with its endpoints.
///
/// What waits for them stops.
#[utoipa::path(
    delete,
    path = "/applications/{app}",
    tag = "Applications",
    operation_id = "deleteApplication",
    responses(
        (status = 200, description = "The application as it was.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    catalog.change(Change::DeleteApplication(tenant.application.id)).await?;
    Ok(Json(Shown::from(&tenant.application)))
}
