//! The document of the API: OpenAPI 3.1, generated from the annotations of the handlers and of what they read and answer. What
//! holds for many calls is added here: who may call, what stands in paths, the idempotency key of every `POST`.

use super::{
    Api, environments, event_types, grants, keys,
    octohooks::{
        applications, attempts, dead_letters, deliveries, endpoints, messages, recovery, secrets,
    },
    plugins::{self, ask, settings, simulate, trial, upload, versions},
};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

/// Everything but ingest's calls.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Octohooks",
        description = "A webhook gateway. Times are in milliseconds since the epoch. Where a path takes an id, the `uid` \
works too. `null` and absent are the same, and unknown fields are ignored.",
    ),
    servers((url = "/api/v1")),
    tags(
        (name = "Applications", description = "One for each consumer of webhooks."),
        (name = "Endpoints", description = "Where an application's messages go."),
        (name = "Messages", description = "Events, as their publishers sent them."),
        (name = "Deliveries", description = "One message bound for one endpoint, and its attempts."),
        (name = "Dead letters", description = "What failed for good, at endpoints or in plugins."),
        (name = "Sending again", description = "One message, or all that an endpoint has missed."),
        (name = "Plugins", description = "Code of an application's own between its messages and its endpoints."),
        (name = "Event types", description = "The catalog of what may happen, and the schemas of payloads."),
        (name = "Environments", description = "Isolated from each other."),
        (name = "Keys", description = "Who may call, and what they may do."),
        (name = "The API", description = "This document."),
    ),
    paths(
        applications::create, applications::list, applications::get, applications::update, applications::delete,
        endpoints::create, endpoints::list, endpoints::get, endpoints::update, endpoints::delete,
        secrets::list, secrets::rotate,
        messages::list, messages::get, messages::expunge, messages::cancel,
        deliveries::endpoint_messages, deliveries::of_message, deliveries::of_endpoint, attempts::list,
        dead_letters::list, dead_letters::get, dead_letters::resend::resend, dead_letters::resend::resend_all,
        recovery::resend, recovery::recover, recovery::list, recovery::get, recovery::cancel,
        plugins::list, plugins::get, upload::put, settings::patch, plugins::delete,
        versions::activate, versions::rollback, versions::release, versions::delete,
        grants::get, grants::put, grants::list_secrets, grants::put_secret, grants::delete_secret,
        simulate::simulate, ask::ask, trial::report, trial::promote, trial::log,
        event_types::list, event_types::create, event_types::get, event_types::update, event_types::delete,
        environments::list, environments::create, environments::get, environments::update, environments::delete,
        keys::list, keys::create, keys::get, keys::delete, keys::rotate, keys::token,
        get,
    ),
    components(schemas(deliveries::Shown, attempts::Shown, deliveries::EndpointMessage)),
    security(("bearer" = []), ("key" = [])),
)]
struct Calls;

/// What the parts of paths are.
const PARTS: [(&str, &str); 11] = [
    ("app", "An application's id or uid."),
    ("endpoint", "An endpoint's id or uid."),
    ("message", "A message's id or uid."),
    ("delivery", "A delivery's id, or its endpoint's id or uid."),
    ("operation", "An operation's id."),
    ("plugin", "A plugin's name."),
    ("digest", "The SHA-256 of a component."),
    ("name", "An event type's name."),
    ("environment", "An environment's id or name."),
    ("secret", "A named secret's name."),
    ("key", "A key's id (not its text)."),
];

/// The document as it is served.
#[derive(Clone, Debug)]
pub struct Document(Bytes);

impl Document {
    /// Of these calls and those of others.
    pub fn new(others: utoipa::openapi::OpenApi) -> Result<Self, serde_json::Error> {
        let mut document = serde_json::to_value(Calls::openapi().merge_from(others))?;
        document["components"]["securitySchemes"] = json!({
            "bearer": { "type": "http", "scheme": "bearer", "description": "A key, behind `Bearer`." },
            "key": {
                "type": "apiKey", "in": "header", "name": "Authorization", "description": "A key, by itself.",
            },
        });
        for (method, operation) in operations(&mut document) {
            complete(method, operation);
        }
        rename(&mut document);
        fold(&mut document);
        Ok(Self(serde_json::to_vec_pretty(&document)?.into()))
    }
}

/// Each call with its method.
fn operations(document: &mut Value) -> impl Iterator<Item = (&str, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let calls = paths.filter_map(|(_, path)| path.as_object_mut()).flatten();
    calls.map(|(method, operation)| (method.as_str(), operation))
}

/// Adds what annotations need not repeat.
fn complete(method: &str, operation: &mut Value) {
    let given = operation.get_mut("parameters").and_then(Value::as_array_mut);
    let mut parameters: Vec<Value> = given.map(std::mem::take).unwrap_or_default();
    for parameter in &mut parameters {
        let known = PARTS.iter().find(|(name, _)| parameter["name"] == *name);
        match known.filter(|_| parameter["in"] == "path") {
            Some((_, description)) => parameter["description"] = json!(description),
            // What stands behind a `?` is there or not, and never null.
            None => not_null(&mut parameter["schema"]),
        }
    }
    if method == "post" {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "The first successful answer is kept for twelve hours, and given again to every repetition, \
                with the header `Idempotent-Replayed`.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 256 },
        }));
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    // A body may be absent, which null is not.
    if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema") {
        not_null(schema);
    }
}

fn not_null(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array() {
        let mut types = types.iter().filter(|name| *name != "null").cloned();
        schema["type"] = types.next().unwrap_or_default();
    }
    let others = schema["oneOf"].as_array().map(|any| any.iter().find(|one| one["type"] != "null"));
    if let Some(Some(other)) = others {
        *schema = other.clone();
    }
}

/// Where schemas are, as references name them.
const SCHEMAS: &str = "#/components/schemas/";

/// Better names than utoipa's, which sees through the alias [`Millis`](crate::model::Millis) and writes generics with
/// underscores.
fn renamed(name: &str) -> String {
    match name.strip_prefix("List_") {
        Some(of) => format!("{of}List"),
        None if name == "u64" => "Time".to_owned(),
        None => name.to_owned(),
    }
}

fn rename(document: &mut Value) {
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        let all = std::mem::take(schemas).into_iter();
        *schemas = all.map(|(name, schema)| (renamed(&name), schema)).collect();
        if let Some(time) = schemas.get_mut("Time") {
            time["description"] = json!("A time, in milliseconds since the epoch.");
            time["example"] = json!(1_767_225_600_000_u64);
        }
    }
    each(document, &mut |value| {
        let name =
            value.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(SCHEMAS));
        if let Some(new) = name.map(renamed) {
            value["$ref"] = json!(format!("{SCHEMAS}{new}"));
        }
    });
}

/// Puts references where utoipa has copied what has a name: into lists, which are generic.
fn fold(document: &mut Value) {
    let named: Map<String, Value> =
        document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let mut put = |value: &mut Value| {
        let is_object = value["type"] == "object" && value["properties"].is_object();
        let found = named.iter().find(|(_, schema)| is_object && *schema == value);
        if let Some((name, _)) = found {
            *value = json!({ "$ref": format!("{SCHEMAS}{name}") });
        }
    };
    let schemas = document["components"]["schemas"].as_object_mut();
    for (_, schema) in schemas.into_iter().flatten() {
        inside(schema, &mut put);
    }
    each(&mut document["paths"], &mut put);
}

/// Does that to an object and to each in it.
fn each(value: &mut Value, to: &mut impl FnMut(&mut Value)) {
    if value.is_object() {
        to(value);
    }
    inside(value, to);
}

fn inside(value: &mut Value, to: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(_, field)| each(field, to)),
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, to)),
        _ => {}
    }
}

/// Gets this document.
///
/// It needs no key.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "The API",
    operation_id = "getDocument",
    security(()),
    responses(
        (
            status = 200,
            description = "OpenAPI 3.1.",
            content_type = "application/json",
            body = Object,
        ),
    ),
)]
pub async fn get(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document.0).into_response()
}
