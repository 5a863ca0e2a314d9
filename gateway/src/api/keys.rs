//! An environment's keys, for its administrator: create, list, get, rotate, delete. And tokens: short-lived keys of one
//! application, for a page that its owner looks at. A key's text is in the answer that makes it, and nowhere after.

use super::octohooks::BODY;
use crate::{
    clock,
    model::{
        Millis,
        catalog::Change,
        draft::GRACE,
        id::{ApplicationId, EnvironmentId, KeyId},
        key::{self, Key, Scope},
    },
    store::Catalog,
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::{Admin, Caller},
        body,
        error::ApiError,
        new_key::{NewKey, rotated},
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
use std::sync::Arc;
use utoipa::ToSchema;

/// How long a token is good unless the caller says, and how long at most, in seconds.
const TOKEN: (u64, u64) = (60 * 60, 7 * 24 * 60 * 60);

/// A key as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub struct Shown {
    #[schema(value_type = KeyId)]
    id: String,
    name: String,
    #[schema(value_type = ScopeName)]
    scope: &'static str,
    /// The only one, for the scope `application`.
    #[schema(value_type = Option<ApplicationId>, required)]
    application: Option<String>,
    /// Its first characters.
    prefix: String,
    /// Null: never.
    #[schema(required)]
    expires: Option<Millis>,
    created: Millis,
    updated: Millis,
    /// Its text, in the answer that makes it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
}

impl Shown {
    fn new(key: &Key, text: Option<String>) -> Self {
        let (scope, application) = match key.scope {
            Scope::Admin => ("admin", None),
            Scope::Environment => ("environment", None),
            Scope::Publish => ("publish", None),
            Scope::Application(id) => ("application", Some(id.to_string())),
        };
        let prefix = match key.prefix.as_str() {
            "" => key::prefix(key::PREFIX),
            known => known.to_owned(),
        };
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            scope,
            application,
            prefix,
            expires: key.expires,
            created: key.created,
            updated: key.updated,
            key: text,
        }
    }
}

/// What a key lets its holder do.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[schema(as = Scope)]
#[serde(rename_all = "lowercase")]
enum ScopeName {
    /// Everything, and keys.
    Admin,
    /// Everything but keys.
    Environment,
    /// Create messages.
    Publish,
    /// What belongs to one application, as its owner sees it.
    Application,
}

/// A key as it is written.
#[derive(Deserialize, ToSchema)]
#[schema(as = KeyDraft)]
struct Draft {
    /// For people.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    name: Option<String>,
    #[schema(value_type = ScopeName)]
    scope: Option<ScopeName>,
    /// For the scope `application`: its id or uid.
    application: Option<String>,
    /// In the future; never if absent.
    expires: Option<Millis>,
}

impl Draft {
    fn scope(&self, catalog: &Arc<dyn Catalog>, of: EnvironmentId) -> Result<Scope, ApiError> {
        let place = "/application";
        let wanted = self.scope.ok_or_else(|| ApiError::field("/scope", "is required"))?;
        match (wanted, &self.application) {
            (ScopeName::Application, Some(app)) => {
                let found = catalog.snapshot().find(of, app).map(|t| t.application.id);
                let found = found.ok_or_else(|| ApiError::field(place, "is not there"))?;
                Ok(Scope::Application(found))
            }
            (ScopeName::Application, None) => {
                Err(ApiError::field(place, "is required for the scope `application`"))
            }
            (_, Some(_)) => Err(ApiError::field(place, "is for the scope `application` only")),
            (ScopeName::Admin, None) => Ok(Scope::Admin),
            (ScopeName::Environment, None) => Ok(Scope::Environment),
            (ScopeName::Publish, None) => Ok(Scope::Publish),
        }
    }
}

/// Creates a key.
///
/// Its text is in this answer, and nowhere after.
#[utoipa::path(
    post,
    path = "/environments/{environment}/keys",
    tag = "Keys",
    operation_id = "createKey",
    request_body(content = Draft, example = json!({ "name": "publisher", "scope": "publish" })),
    responses(
        (status = 200, description = "The key, with its text.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn create(
    State(catalog): State<Arc<dyn Catalog>>,
    admin: Admin,
    repeatable: Repeatable,
    Path(environment): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let environment = admin.place(&catalog, &environment)?.id;
    let draft: Draft = body::object(&body::read(body, BODY, "key").await?)?;
    let scope = draft.scope(&catalog, environment)?;
    let name = draft.name.ok_or_else(|| ApiError::field("/name", "is required"))?;
    if !(1..=256).contains(&name.chars().count()) {
        return Err(ApiError::field("/name", "must have 1 to 256 characters"));
    }
    let expires = draft.expires;
    if expires.is_some_and(|expires| expires <= clock::now()) {
        return Err(ApiError::field("/expires", "must be in the future, in milliseconds"));
    }
    let (key, text) = NewKey { environment, name, scope, expires }.make();
    let shown = Shown::new(&key, Some(text));
    repeatable.change(&*catalog, Change::PutKey(key), &shown).await
}

/// The environment's keys.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyList)]
pub struct List {
    data: Vec<Shown>,
}

/// Lists an environment's keys.
#[utoipa::path(
    get,
    path = "/environments/{environment}/keys",
    tag = "Keys",
    operation_id = "listKeys",
    responses(
        (status = 200, description = "The keys, oldest first.", body = List),
        Denied, Missing,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    admin: Admin,
    Path(environment): Path<String>,
) -> Result<Json<List>, ApiError> {
    let environment = admin.place(&catalog, &environment)?.id;
    let catalog = catalog.snapshot();
    let mut keys: Vec<_> = catalog.keys().filter(|key| key.environment == environment).collect();
    keys.sort_by_key(|key| key.id);
    Ok(Json(List { data: keys.into_iter().map(|key| Shown::new(key, None)).collect() }))
}

fn find(
    catalog: &Arc<dyn Catalog>,
    admin: Admin,
    environment: &str,
    id: &str,
) -> Result<Arc<Key>, ApiError> {
    let environment = admin.place(catalog, environment)?.id;
    let id: Option<KeyId> = id.parse().ok();
    let found = id.and_then(|id| catalog.snapshot().key_by_id(id).cloned());
    found.filter(|key| key.environment == environment).ok_or_else(|| ApiError::not_found("key"))
}

/// Gets a key.
#[utoipa::path(
    get,
    path = "/environments/{environment}/keys/{key}",
    tag = "Keys",
    operation_id = "getKey",
    responses(
        (status = 200, description = "The key, without its text.", body = Shown),
        Denied, Missing,
    ),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    admin: Admin,
    Path((environment, key)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(Shown::new(&*find(&catalog, admin, &environment, &key)?, None)))
}

/// Deletes a key.
///
/// It opens nothing any more.
#[utoipa::path(
    delete,
    path = "/environments/{environment}/keys/{key}",
    tag = "Keys",
    operation_id = "deleteKey",
    responses(
        (status = 200, description = "The key as it was.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    admin: Admin,
    Path((environment, key)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let key = find(&catalog, admin, &environment, &key)?;
    catalog.change(Change::DeleteKey(key.id)).await?;
    Ok(Json(Shown::new(&key, None)))
}

/// What a rotation may say. It may say nothing.
#[derive(Deserialize, ToSchema)]
#[schema(as = KeyRotation)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    /// How long the text before is good, in milliseconds; not at all if absent, at most 30 days.
    #[schema(value_type = Option<u64>, maximum = 2_592_000_000u64, default = 0)]
    grace_period: Option<Millis>,
}

/// Gives a key another text.
///
/// The one before is good for the grace period, if there is one.
#[utoipa::path(
    post,
    path = "/environments/{environment}/keys/{key}/rotate",
    tag = "Keys",
    operation_id = "rotateKey",
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The key, with its new text.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn rotate(
    State(catalog): State<Arc<dyn Catalog>>,
    admin: Admin,
    repeatable: Repeatable,
    Path((environment, key)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let old = find(&catalog, admin, &environment, &key)?;
    let wanted: Rotation = body::optional(body, BODY, "rotation").await?;
    let grace = wanted.grace_period.unwrap_or(0);
    if grace > GRACE {
        return Err(ApiError::field("/gracePeriod", format!("must be at most {GRACE}")));
    }
    if old.expires.is_some_and(|expires| expires <= clock::now()) {
        return Err(ApiError::conflict("the key has expired; make another"));
    }
    let (new, text) = rotated(&old, grace);
    let shown = Shown::new(&new, Some(text));
    repeatable.change(&*catalog, Change::PutKey(new), &shown).await
}

/// What a token is to be. It may say nothing.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenDraft {
    /// In seconds; an hour if absent, at most a week.
    #[schema(minimum = 1, maximum = 604_800, default = 3600)]
    expires_in: Option<u64>,
}

/// A token, shown once.
#[derive(Serialize, ToSchema)]
pub struct Token {
    key: String,
    expires: Millis,
}

/// Creates a token: a key of an application that ends soon.
#[utoipa::path(
    post,
    path = "/applications/{app}/tokens",
    tag = "Keys",
    operation_id = "createToken",
    request_body = Option<TokenDraft>,
    responses(
        (status = 200, description = "The token, shown once.", body = Token),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn token(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    repeatable: Repeatable,
    Path(app): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let application = caller.tenant(&catalog, &app)?.application.id;
    let wanted: TokenDraft = body::optional(body, BODY, "token").await?;
    let (usual, most) = TOKEN;
    let seconds = wanted.expires_in.unwrap_or(usual);
    if !(1..=most).contains(&seconds) {
        let right = format!("must be from 1 to {most}, in seconds");
        return Err(ApiError::field("/expiresIn", right));
    }
    let expires = clock::now() + seconds * 1000;
    let (environment, name) = (caller.environment, "token".to_owned());
    let scope = Scope::Application(application);
    let (key, text) = NewKey { environment, name, scope, expires: Some(expires) }.make();
    let shown = Token { key: text, expires };
    repeatable.change(&*catalog, Change::PutKey(key), &shown).await
}
