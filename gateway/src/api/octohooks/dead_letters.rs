//! Dead letters of an application: what failed for good at its endpoints, and what died in its plugins. Listed, inspected, and
//! sent again, one or all.

use super::{
    attempts, deliveries,
    keyset::{Keyset, List},
    messages,
};
use crate::{
    model::{
        Millis,
        application::Application,
        catalog::Tenant,
        dead_letter::reason,
        delivery::{State as DeliveryState, delivery_id},
        id::{DeliveryId, EndpointId, MessageId},
        message::{Head, Held},
        name::{EventType, Uid},
    },
    store::{Catalog, DeadLetter, DeadLetterFilter, DeliveryRecord, Log, MessageRecord, Summary},
    web::{
        answers::{BadQuery, Denied, Missing},
        auth::Owner,
        error::ApiError,
        query::Query,
    },
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

pub mod resend;

/// A dead letter in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// A `delivery` that failed for good, or a `message` that a plugin failed on and whose policy ended it.
    #[schema(pattern = "^(delivery|message)$")]
    kind: &'static str,
    /// Of a delivery.
    #[schema(value_type = Option<DeliveryId>, required)]
    id: Option<String>,
    message: MessageId,
    #[schema(required)]
    message_uid: Option<Uid>,
    /// Of a delivery.
    #[schema(required)]
    endpoint: Option<EndpointId>,
    event_type: EventType,
    /// What the last attempt came to, or how the plugin failed.
    reason: String,
    attempt_count: u32,
    /// When the message was accepted.
    created: Millis,
    /// When it became a dead letter.
    updated: Millis,
}

impl From<DeadLetter> for Shown {
    fn from(letter: DeadLetter) -> Self {
        match letter {
            DeadLetter::Delivery(summary) => Self::delivery(summary),
            DeadLetter::Message(head, held, noted) => Self::message(head, &held, noted),
        }
    }
}

impl Shown {
    fn delivery(summary: Summary) -> Self {
        let Summary { key, message, event_type, updated, attempts, last, .. } = summary;
        Self {
            kind: "delivery",
            id: Some(delivery_id(message.id, key).to_string()),
            message: message.id,
            message_uid: message.uid,
            endpoint: Some(key.endpoint),
            event_type,
            reason: last.as_ref().map(reason).unwrap_or_default(),
            attempt_count: attempts,
            created: message.accepted,
            updated,
        }
    }

    fn message(head: Head, held: &Held, noted: Millis) -> Self {
        Self {
            kind: "message",
            id: None,
            message: head.id,
            message_uid: head.uid,
            endpoint: None,
            event_type: head.event_type,
            reason: held.reason().to_owned(),
            attempt_count: 0,
            created: head.accepted,
            updated: noted,
        }
    }
}

/// Which dead letters to list.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// Only those of this endpoint: its id or uid.
    endpoint: Option<String>,
    /// `delivery` or `message`: only those.
    #[param(pattern = "^(delivery|message)$")]
    kind: Option<String>,
    /// Only those of messages of this type.
    event_type: Option<EventType>,
}

impl Asked {
    fn filter(self, tenant: &Tenant, page: &Keyset) -> Result<DeadLetterFilter, ApiError> {
        let (deliveries, messages) = match self.kind.as_deref() {
            None => (true, self.endpoint.is_none()),
            Some("delivery") => (true, false),
            Some("message") => (false, self.endpoint.is_none()),
            Some(_) => {
                return Err(ApiError::field("?kind", "must be delivery or message"));
            }
        };
        let endpoints = match &self.endpoint {
            None => tenant.endpoints.keys().copied().collect(),
            Some(name) => {
                let found = tenant.endpoint(name);
                vec![found.ok_or_else(|| ApiError::not_found("endpoint"))?.id]
            }
        };
        Ok(DeadLetterFilter {
            endpoints: if deliveries { endpoints } else { Vec::new() },
            messages,
            event_type: self.event_type,
            after: page.after,
            until: page.before,
            before: page.sequence()?,
        })
    }
}

/// Lists an application's dead letters, those of the newest message first.
///
/// Deliveries that failed for good, and messages that a plugin failed on and whose policy ended them. Those of one message are
/// never parted: a page may have some more than its limit. What failed at an endpoint that was deleted is shown with its message.
#[utoipa::path(
    get,
    path = "/applications/{app}/dead-letters",
    tag = "Dead letters",
    operation_id = "listDeadLetters",
    params(Asked, Keyset),
    responses(
        (status = 200, description = "A page, newest message first.", body = List<Shown>),
        Denied, Missing, BadQuery,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path(app): Path<String>,
    Query(asked): Query<Asked>,
    Query(page): Query<Keyset>,
) -> Result<Json<List<Shown>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let Application { environment, id, .. } = tenant.application;
    let (filter, limit) = (asked.filter(&tenant, &page)?, page.limit()?);
    let found = log.dead_letters(environment, id, filter, limit).await?;
    let data = found.records.into_iter().map(Shown::from).collect();
    Ok(Json(List::new(data, found.next.map(|place| [place.0]))))
}

/// All dead letters of a message, with the message and all attempts.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub struct Inspected {
    message: messages::Shown,
    deliveries: Vec<Tried>,
}

/// A delivery that failed, with its attempts.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadDelivery)]
pub struct Tried {
    delivery: deliveries::Shown,
    attempts: Vec<attempts::Shown>,
}

/// The message and its deliveries that failed for good; 404 if nothing of it is dead.
async fn find(
    log: &Arc<dyn Log>,
    tenant: &Tenant,
    message: &str,
) -> Result<(MessageRecord, Vec<DeliveryRecord>), ApiError> {
    let record = messages::find(log, tenant, message).await?;
    let mut dead = log.deliveries(record.sequence).await?;
    dead.retain(|delivery| delivery.state == Some(DeliveryState::Failed));
    match dead.is_empty() && !is_dead(&record) {
        true => Err(ApiError::not_found("dead letter")),
        false => Ok((record, dead)),
    }
}

fn is_dead(record: &MessageRecord) -> bool {
    matches!(record.held, Some((Held::Dead { .. }, _)))
}

/// Shows a message's dead letters: the message, how a plugin failed on it, and each delivery that failed with its attempts.
#[utoipa::path(
    get,
    path = "/applications/{app}/dead-letters/{message}",
    tag = "Dead letters",
    operation_id = "getDeadLetters",
    responses((status = 200, description = "All of the message.", body = Inspected), Denied, Missing),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Inspected>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let (record, dead) = find(&log, &tenant, &message).await?;
    let mut deliveries = Vec::with_capacity(dead.len());
    for delivery in &dead {
        let attempts = attempts::all(&log, delivery, &record.message).await?;
        let delivery = deliveries::Shown::of_message(delivery, &record.message);
        deliveries.push(Tried { delivery, attempts });
    }
    Ok(Json(Inspected { message: messages::Shown::whole(&record), deliveries }))
}
