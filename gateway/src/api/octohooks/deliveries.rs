//! Deliveries: a message's as the contract shows them (`endpoint-messages`), a message's and an endpoint's in lists.

use super::{
    endpoints,
    keyset::{Keyset, List},
    messages,
};
use crate::{
    model::{
        Millis,
        attempt::{Attempt, Outcome},
        catalog::Tenant,
        delivery::{State as DeliveryState, delivery_id},
        id::{DeliveryId, EndpointId, MessageId},
        message::{Message, Sequence},
        name::{EventType, Uid},
    },
    store::{Catalog, DeliveryFilter, DeliveryRecord, Log, Summary},
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

/// A delivery's state as the contract calls it, which has no word for what expired.
const fn contract_status(state: Option<DeliveryState>) -> &'static str {
    match state {
        Some(DeliveryState::Expired) => "failed",
        state => status(state),
    }
}

/// A delivery's state as our own calls call it.
const fn status(state: Option<DeliveryState>) -> &'static str {
    match state {
        None => "sending",
        Some(DeliveryState::Waiting | DeliveryState::Aside) => "pending",
        Some(DeliveryState::Success) => "success",
        Some(DeliveryState::Failed) => "failed",
        Some(DeliveryState::Disabled) => "disabled",
        Some(DeliveryState::Expired) => "expired",
    }
}

/// One message's delivery to one endpoint.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMessage {
    #[schema(value_type = DeliveryId)]
    id: String,
    attempts: Vec<Try>,
    attempt_count: usize,
    endpoint: ShownEndpoint,
    message: messages::Shown,
    /// When the next attempt is due.
    #[schema(required)]
    next_attempt_timestamp: Option<Millis>,
    #[schema(pattern = "^(pending|sending|success|failed|disabled)$")]
    status: &'static str,
    /// Of the last attempt.
    #[schema(required)]
    timestamp: Option<Millis>,
    created: Millis,
    updated: Millis,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Try {
    /// Null: there was no answer.
    #[schema(required)]
    status_code: Option<u16>,
    timestamp: Millis,
}

/// The endpoint, or what is left of it.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveredTo)]
#[serde(untagged)]
enum ShownEndpoint {
    Known(Box<endpoints::Shown>),
    Deleted(Deleted),
}

/// Lists what became of a message at each endpoint.
#[utoipa::path(
    get,
    path = "/applications/{app}/messages/{message}/endpoint-messages",
    tag = "Deliveries",
    operation_id = "listEndpointMessages",
    responses(
        (status = 200, description = "One for each endpoint.", body = Vec<EndpointMessage>),
        Denied, Missing,
    ),
)]
pub async fn endpoint_messages(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Vec<EndpointMessage>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let record = messages::find(&log, &tenant, &message).await?;
    let shown = messages::Shown::new(&record);
    let deliveries = log.deliveries(record.sequence).await?;
    let list = deliveries.iter().map(|d| endpoint_message(d, &record.message, &shown, &tenant));
    Ok(Json(list.collect()))
}

fn endpoint_message(
    delivery: &DeliveryRecord,
    message: &Message,
    shown: &messages::Shown,
    tenant: &Tenant,
) -> EndpointMessage {
    let endpoint = match tenant.endpoints.get(&delivery.key.endpoint) {
        Some(endpoint) => ShownEndpoint::Known(Box::new(endpoints::Shown::from(&**endpoint))),
        None => ShownEndpoint::Deleted(Deleted { id: delivery.key.endpoint }),
    };
    let attempts = delivery.attempts.iter();
    let attempts: Vec<_> =
        attempts.map(|a| Try { status_code: a.outcome.status(), timestamp: a.at }).collect();
    EndpointMessage {
        id: delivery_id(message.id, delivery.key).to_string(),
        attempt_count: attempts.len(),
        timestamp: attempts.last().map(|attempt| attempt.timestamp),
        attempts,
        endpoint,
        message: shown.clone(),
        next_attempt_timestamp: delivery.due,
        status: contract_status(delivery.state),
        created: message.accepted,
        updated: delivery.updated,
    }
}

/// What is left of an endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedEndpoint)]
#[serde(deny_unknown_fields)]
struct Deleted {
    id: EndpointId,
}

/// A delivery in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    #[schema(value_type = DeliveryId)]
    id: String,
    message: MessageId,
    #[schema(required)]
    message_uid: Option<Uid>,
    endpoint: EndpointId,
    event_type: EventType,
    #[schema(pattern = "^(pending|sending|success|failed|disabled|expired)$")]
    state: &'static str,
    attempt_count: usize,
    /// When the next attempt is due.
    #[schema(required)]
    next_attempt: Option<Millis>,
    #[schema(required)]
    last_status_code: Option<u16>,
    /// Why the last attempt had no answer.
    #[schema(required)]
    last_error: Option<String>,
    created: Millis,
    updated: Millis,
}

/// The status of the last attempt, or why it had none.
fn last_of(last: Option<&Attempt>) -> (Option<u16>, Option<String>) {
    match last.map(|attempt| &attempt.outcome) {
        None => (None, None),
        Some(Outcome::Answered(answer)) => (Some(answer.status), None),
        Some(Outcome::Failed { class, detail }) => {
            (None, Some(format!("{}: {detail}", class.name())))
        }
    }
}

impl Shown {
    /// A message's recorded delivery.
    pub fn of_message(record: &DeliveryRecord, message: &Message) -> Self {
        let (last_status_code, last_error) = last_of(record.attempts.last());
        let own = record.content.as_ref().and_then(|content| content.event_type.clone());
        Self {
            id: delivery_id(message.id, record.key).to_string(),
            message: message.id,
            message_uid: message.uid.clone(),
            endpoint: record.key.endpoint,
            event_type: own.unwrap_or_else(|| message.event_type.clone()),
            state: status(record.state),
            attempt_count: record.attempts.len(),
            next_attempt: record.due,
            last_status_code,
            last_error,
            created: message.accepted,
            updated: record.updated,
        }
    }

    fn of_endpoint(summary: Summary) -> Self {
        let (last_status_code, last_error) = last_of(summary.last.as_ref());
        let message = summary.message;
        Self {
            id: delivery_id(message.id, summary.key).to_string(),
            message: message.id,
            message_uid: message.uid,
            endpoint: summary.key.endpoint,
            event_type: summary.event_type,
            state: status(Some(summary.state)),
            attempt_count: usize::try_from(summary.attempts).unwrap_or(usize::MAX),
            next_attempt: summary.due,
            last_status_code,
            last_error,
            created: message.accepted,
            updated: summary.updated,
        }
    }
}

/// Lists a message's deliveries.
#[utoipa::path(
    get,
    path = "/applications/{app}/messages/{message}/deliveries",
    tag = "Deliveries",
    operation_id = "listMessageDeliveries",
    responses((status = 200, description = "All there are.", body = List<Shown>), Denied, Missing),
)]
pub async fn of_message(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<List<Shown>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let states = wanted.states()?;
    let record = messages::find(&log, &tenant, &message).await?;
    let deliveries = log.deliveries(record.sequence).await?;
    let fits = |d: &&DeliveryRecord| {
        states.is_empty() || d.state.is_some_and(|state| states.contains(&state))
    };
    let data =
        deliveries.iter().filter(fits).map(|delivery| Shown::of_message(delivery, &record.message));
    Ok(Json(List::whole(data.collect())))
}

/// Which deliveries to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `pending`, `success`, `failed`, `disabled` or `expired`; several with commas between.
    #[param(
        pattern = "^(pending|success|failed|disabled|expired)(,(pending|success|failed|disabled|expired))*$"
    )]
    state: Option<String>,
}

impl Wanted {
    /// Empty: all.
    fn states(&self) -> Result<Vec<DeliveryState>, ApiError> {
        let Some(words) = self.state.as_deref() else { return Ok(Vec::new()) };
        let right =
            "must be of pending, success, failed, disabled and expired, with commas between";
        states(words).ok_or_else(|| ApiError::field("?state", right))
    }
}

/// The states that these words mean.
pub fn states(words: &str) -> Option<Vec<DeliveryState>> {
    let states = words.split(',').map(|word| match word.trim() {
        "pending" => Some(vec![DeliveryState::Waiting, DeliveryState::Aside]),
        "success" => Some(vec![DeliveryState::Success]),
        "failed" => Some(vec![DeliveryState::Failed]),
        "disabled" => Some(vec![DeliveryState::Disabled]),
        "expired" => Some(vec![DeliveryState::Expired]),
        _ => None,
    });
    let states: Vec<_> = states.collect::<Option<Vec<_>>>()?.concat();
    Some(states)
}

/// Lists an endpoint's deliveries, those of the newest message first.
///
/// What was not yet attempted or set aside has no record, and is not among them.
#[utoipa::path(
    get,
    path = "/applications/{app}/endpoints/{endpoint}/deliveries",
    tag = "Deliveries",
    operation_id = "listEndpointDeliveries",
    params(Wanted, Keyset),
    responses(
        (
            status = 200,
            description = "A page, those of the newest message first.",
            body = List<Shown>,
        ),
        Denied, Missing, BadQuery,
    ),
)]
pub async fn of_endpoint(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, endpoint)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    Query(page): Query<Keyset>,
) -> Result<Json<List<Shown>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let endpoint = tenant.endpoint(&endpoint).ok_or_else(|| ApiError::not_found("endpoint"))?;
    let states = wanted.states()?;
    let place = page.place::<2>()?;
    let before = place
        .map(|[message, ordinal]| (Sequence(message), u32::try_from(ordinal).unwrap_or(u32::MAX)));
    let filter = DeliveryFilter { states, after: page.after, until: page.before, before };
    let found = log.deliveries_to(endpoint.id, filter, page.limit()?).await?;
    let next = found.next.map(|(message, ordinal)| [message.0, u64::from(ordinal)]);
    let data = found.records.into_iter().map(Shown::of_endpoint).collect();
    Ok(Json(List::new(data, next)))
}
