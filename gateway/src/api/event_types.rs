//! An environment's event types: what may happen, for people, and the JSON Schema that payloads are held to where that
//! is enforced. An event type that is not listed is as good as one that is.

use super::octohooks::BODY;
use crate::{
    clock,
    model::{
        Millis,
        catalog::Change,
        event_type::{Entry, Listed, Version},
        id::EventTypeId,
        name::EventType,
    },
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
    Json,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// The longest description, in characters.
const DESCRIPTION: usize = 4096;
/// The longest schema and the longest example as JSON, in bytes: their versions are in memory.
const DOCUMENT: usize = 64 << 10;

/// An event type as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = EventType)]
pub struct Shown {
    #[schema(value_type = EventTypeId)]
    id: String,
    name: EventType,
    description: String,
    /// Whether payloads are held to the schema.
    enforce: bool,
    /// The newest; null: there is no schema.
    #[schema(required)]
    version: Option<u32>,
    /// The newest: JSON Schema, draft 2020-12.
    #[schema(required)]
    schema: Option<Value>,
    #[schema(required)]
    example: Option<Value>,
    versions: Vec<Version>,
    created: Millis,
    updated: Millis,
}

impl From<&Entry> for Shown {
    fn from(e: &Entry) -> Self {
        Self {
            id: e.id.to_string(),
            name: e.name.clone(),
            description: e.description.clone(),
            enforce: e.enforce,
            version: e.newest().map(|newest| newest.version),
            schema: e.newest().map(|newest| newest.schema.clone()),
            example: e.example.clone(),
            versions: e.versions.clone(),
            created: e.created,
            updated: e.updated,
        }
    }
}

/// An event type as it is written.
#[derive(Deserialize, ToSchema)]
#[schema(as = EventTypeDraft)]
struct Draft {
    /// Required for a new one.
    name: Option<EventType>,
    /// For people.
    #[schema(max_length = 4096)]
    description: Option<String>,
    /// Whether payloads are held to the schema.
    enforce: Option<bool>,
    /// JSON Schema, draft 2020-12; at most 64 KiB.
    schema: Option<Value>,
    /// A payload, for people; at most 64 KiB.
    example: Option<Value>,
}

async fn draft(body: Body) -> Result<Draft, ApiError> {
    let draft: Draft = body::object(&body::read(body, BODY, "event type").await?)?;
    if draft.description.as_ref().is_some_and(|text| text.chars().count() > DESCRIPTION) {
        let right = format!("must have at most {DESCRIPTION} characters");
        return Err(ApiError::field("/description", right));
    }
    for (path, document) in [("/schema", &draft.schema), ("/example", &draft.example)] {
        if document.as_ref().is_some_and(|document| document.to_string().len() > DOCUMENT) {
            return Err(ApiError::field(path, format!("must have at most {DOCUMENT} bytes")));
        }
    }
    Ok(draft)
}

impl Draft {
    /// What is absent stays as it is.
    fn over(self, mut entry: Entry, now: Millis) -> Entry {
        entry.description = self.description.unwrap_or(entry.description);
        entry.enforce = self.enforce.unwrap_or(entry.enforce);
        entry.example = self.example.or(entry.example);
        entry.updated = now;
        if let Some(schema) = self.schema {
            entry.renew(schema, now);
        }
        entry
    }
}

/// Checks the schema and keeps the event type.
async fn put(
    catalog: &Arc<dyn Catalog>,
    repeatable: Repeatable,
    entry: Entry,
) -> Result<Response, ApiError> {
    if entry.enforce && entry.newest().is_none() {
        return Err(ApiError::field("/enforce", "needs a schema"));
    }
    // A large schema takes its time, which the runtime's threads have not.
    let listed = tokio::task::spawn_blocking(move || Listed::new(entry)).await;
    let listed = listed
        .map_err(|_| ApiError::field("/schema", "could not be compiled"))?
        .map_err(|wrong| ApiError::field(format!("/schema{}", wrong.path), wrong.message))?;
    let shown = Shown::from(&listed.entry);
    repeatable.change(&**catalog, Change::PutEventType(Arc::new(listed)), &shown).await
}

/// Lists an event type in the catalog.
#[utoipa::path(
    post,
    path = "/event-types",
    tag = "Event types",
    operation_id = "createEventType",
    request_body(
        content = Draft,
        example = json!({
            "name": "sms.status",
            "enforce": true,
            "schema": { "type": "object", "required": ["to"] },
        }),
    ),
    responses(
        (status = 200, description = "The event type.", body = Shown),
        Denied, BadBody, NotDone,
    ),
)]
pub async fn create(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    repeatable: Repeatable,
    body: Body,
) -> Result<Response, ApiError> {
    let draft = draft(body).await?;
    let name = draft.name.clone().ok_or_else(|| ApiError::field("/name", "is required"))?;
    let now = clock::now();
    let entry = Entry {
        environment: caller.environment,
        id: EventTypeId(clock::id()),
        name,
        description: String::new(),
        enforce: false,
        example: None,
        versions: Vec::new(),
        revision: 1,
        created: now,
        updated: now,
    };
    put(&catalog, repeatable, draft.over(entry, now)).await
}

/// The environment's event types, by name.
#[derive(Serialize, ToSchema)]
#[schema(as = EventTypeList)]
pub struct List {
    data: Vec<Shown>,
    /// There is never another page: there are at most 1000.
    #[schema(required)]
    iterator: Option<String>,
}

/// Lists the event types.
#[utoipa::path(
    get,
    path = "/event-types",
    tag = "Event types",
    operation_id = "listEventTypes",
    responses((status = 200, description = "All there are, by name.", body = List), Denied),
)]
pub async fn list(State(catalog): State<Arc<dyn Catalog>>, caller: Caller) -> Json<List> {
    let catalog = catalog.snapshot();
    let data = catalog.event_types(caller.environment).map(|listed| Shown::from(&listed.entry));
    Json(List { data: data.collect(), iterator: None })
}

fn find(catalog: &Arc<dyn Catalog>, caller: Caller, name: &str) -> Result<Arc<Listed>, ApiError> {
    let found = catalog.snapshot().event_type(caller.environment, name).cloned();
    found.ok_or_else(|| ApiError::not_found("event type"))
}

/// Gets an event type.
#[utoipa::path(
    get,
    path = "/event-types/{name}",
    tag = "Event types",
    operation_id = "getEventType",
    responses((status = 200, description = "The event type.", body = Shown), Denied, Missing),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(Shown::from(&find(&catalog, caller, &name)?.entry)))
}

/// Changes an event type.
///
/// What is absent stays as it is; a changed schema is the next version. The name stays: messages have it.
#[utoipa::path(
    put,
    path = "/event-types/{name}",
    tag = "Event types",
    operation_id = "updateEventType",
    request_body(content = Draft, example = json!({ "description": "A text was sent." })),
    responses(
        (status = 200, description = "The event type as it is now.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn update(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let draft = draft(body).await?;
    let old = &find(&catalog, caller, &name)?.entry;
    if draft.name.as_ref().is_some_and(|new| *new != old.name) {
        return Err(ApiError::field("/name", "cannot be changed"));
    }
    let revision = old.revision + 1;
    put(&catalog, Repeatable(None), draft.over(Entry { revision, ..old.clone() }, clock::now()))
        .await
}

/// Deletes an event type from the catalog.
///
/// Messages of this type are taken as they come.
#[utoipa::path(
    delete,
    path = "/event-types/{name}",
    tag = "Event types",
    operation_id = "deleteEventType",
    responses(
        (status = 200, description = "The event type as it was.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn delete(
    State(catalog): State<Arc<dyn Catalog>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let listed = find(&catalog, caller, &name)?;
    let Entry { environment, name, .. } = &listed.entry;
    catalog.change(Change::DeleteEventType(*environment, name.clone())).await?;
    Ok(Json(Shown::from(&listed.entry)))
}
