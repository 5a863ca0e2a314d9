//! Messages as they were recorded, and a message's deliveries (`endpoint-messages`). Creating one is ingest's.

use super::endpoints;
use crate::{
    model::{
        Millis,
        catalog::Tenant,
        delivery::{State as DeliveryState, delivery_id},
        message::{Attributes, Message, Sequence},
        name::{Channel, Uid},
    },
    store::{Catalog, DeliveryRecord, Log, MessageFilter, MessageRecord},
    web::{auth::Owner, error::ApiError},
};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// A message as the contract shows it; `attributes`, `state` and `reason` are ours.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    id: String,
    uid: Option<Uid>,
    event_type: String,
    channels: Vec<Channel>,
    payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes,
    /// `accepted`, or `parked`, `retry`, `dropped` with the reason.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created: Millis,
    updated: Millis,
}

impl Shown {
    fn new(record: &MessageRecord) -> Self {
        let message = &record.message;
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        let held = record.held.as_ref();
        Self {
            id: message.id.to_string(),
            uid: message.uid.clone(),
            event_type: message.event_type.to_string(),
            channels: message.channels.clone(),
            // It was JSON when it came in.
            payload: RawValue::from_string(payload).unwrap_or_default(),
            attributes: message.attributes.clone(),
            state: held.map_or("accepted", |(held, _)| held.state()),
            reason: held.map(|(held, _)| held.reason().to_owned()),
            created: message.accepted,
            updated: held.map_or(message.accepted, |(_, noted)| *noted),
        }
    }
}

/// Which messages to list.
#[derive(Deserialize)]
pub struct Wanted {
    /// `parked`, `retry` or `dropped`.
    state: Option<String>,
    /// From 1 to 250; 50 if absent.
    limit: Option<usize>,
    /// The `iterator` of the page before.
    iterator: Option<String>,
}

/// A page of messages, newest first.
#[derive(Serialize)]
pub struct List {
    data: Vec<Shown>,
    /// For the next page; none when this was the last.
    iterator: Option<String>,
}

/// `GET /applications/{app}/messages`
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path(app): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<List>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=250).contains(&limit) {
        return Err(ApiError::field("?limit", "must be from 1 to 250"));
    }
    let states = ["parked", "retry", "crowded", "dropped"];
    if wanted.state.as_deref().is_some_and(|state| !states.contains(&state)) {
        return Err(ApiError::field("?state", "must be parked, retry, crowded or dropped"));
    }
    let before = match wanted.iterator.map(|text| u64::from_str_radix(&text, 36)) {
        None => None,
        Some(Ok(number)) => Some(Sequence(number)),
        Some(Err(_)) => return Err(ApiError::field("?iterator", "is not one of ours")),
    };
    let filter = MessageFilter { held: wanted.state, before };
    let records = log.messages(tenant.application.id, filter, limit).await?;
    let full = records.len() == limit;
    let iterator = records.last().filter(|_| full).map(|record| base36(record.sequence.0));
    Ok(Json(List { data: records.iter().map(Shown::new).collect(), iterator }))
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
    }
    digits.iter().rev().collect()
}

async fn find(
    log: &Arc<dyn Log>,
    tenant: &Tenant,
    id_or_uid: &str,
) -> Result<MessageRecord, ApiError> {
    let application = &tenant.application;
    let found = log.message(application.environment, application.id, id_or_uid).await?;
    found.ok_or_else(|| ApiError::not_found("message"))
}

/// `GET /applications/{app}/messages/{message}`
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    Ok(Json(Shown::new(&find(&log, &tenant, &message).await?)))
}

/// One message's delivery to one endpoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMessage {
    id: String,
    attempts: Vec<ShownAttempt>,
    attempt_count: usize,
    endpoint: ShownEndpoint,
    message: Shown,
    next_attempt_timestamp: Option<Millis>,
    status: &'static str,
    timestamp: Option<Millis>,
    created: Millis,
    updated: Millis,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAttempt {
    status_code: Option<u16>,
    timestamp: Millis,
}

/// The endpoint, or what is left of it.
#[derive(Serialize)]
#[serde(untagged)]
enum ShownEndpoint {
    Known(Box<endpoints::Shown>),
    Deleted { id: String },
}

/// `GET /applications/{app}/messages/{message}/endpoint-messages`
pub async fn endpoint_messages(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Vec<EndpointMessage>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let record = find(&log, &tenant, &message).await?;
    let shown = Shown::new(&record);
    let deliveries = log.deliveries(record.sequence).await?;
    let list = deliveries.iter().map(|d| endpoint_message(d, &record.message, &shown, &tenant));
    Ok(Json(list.collect()))
}

fn endpoint_message(
    delivery: &DeliveryRecord,
    message: &Message,
    shown: &Shown,
    tenant: &Tenant,
) -> EndpointMessage {
    let endpoint = match tenant.endpoints.get(&delivery.key.endpoint) {
        Some(endpoint) => ShownEndpoint::Known(Box::new(endpoints::Shown::from(&**endpoint))),
        None => ShownEndpoint::Deleted { id: delivery.key.endpoint.to_string() },
    };
    let attempts = delivery.attempts.iter();
    let attempts: Vec<_> = attempts
        .map(|a| ShownAttempt { status_code: a.outcome.status(), timestamp: a.at })
        .collect();
    EndpointMessage {
        id: delivery_id(message, delivery.key).to_string(),
        attempt_count: attempts.len(),
        timestamp: attempts.last().map(|attempt| attempt.timestamp),
        attempts,
        endpoint,
        message: shown.clone(),
        next_attempt_timestamp: delivery.due,
        status: match delivery.state {
            None => "sending",
            Some(DeliveryState::Waiting | DeliveryState::Aside) => "pending",
            Some(DeliveryState::Success) => "success",
            Some(DeliveryState::Failed) => "failed",
            Some(DeliveryState::Disabled) => "disabled",
        },
        created: message.accepted,
        updated: delivery.updated,
    }
}
