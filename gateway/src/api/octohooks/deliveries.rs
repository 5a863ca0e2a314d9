//! Deliveries and their attempts: a message's as the contract shows them (`endpoint-messages`), a message's and an
//! endpoint's in lists, and every attempt with what was sent and what came back.

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
        delivery::{DeliveryKey, State as DeliveryState, delivery_id, webhook_id},
        endpoint::{Scheme, Version},
        id::{EndpointId, MessageId},
        message::{JSON, Message, Sequence},
        name::{EventType, Uid},
    },
    store::{Catalog, DeliveryFilter, DeliveryRecord, Log, Summary},
    web::{auth::Owner, error::ApiError, query::Query},
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A delivery's state as the contract calls it.
const fn status(state: Option<DeliveryState>) -> &'static str {
    match state {
        None => "sending",
        Some(DeliveryState::Waiting | DeliveryState::Aside) => "pending",
        Some(DeliveryState::Success) => "success",
        Some(DeliveryState::Failed) => "failed",
        Some(DeliveryState::Disabled) => "disabled",
    }
}

/// One message's delivery to one endpoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMessage {
    id: String,
    attempts: Vec<Try>,
    attempt_count: usize,
    endpoint: ShownEndpoint,
    message: messages::Shown,
    next_attempt_timestamp: Option<Millis>,
    status: &'static str,
    timestamp: Option<Millis>,
    created: Millis,
    updated: Millis,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Try {
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
        None => ShownEndpoint::Deleted { id: delivery.key.endpoint.to_string() },
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
        status: status(delivery.state),
        created: message.accepted,
        updated: delivery.updated,
    }
}

/// A delivery in a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    id: String,
    message: MessageId,
    message_uid: Option<Uid>,
    endpoint: EndpointId,
    event_type: EventType,
    state: &'static str,
    attempt_count: usize,
    next_attempt: Option<Millis>,
    last_status_code: Option<u16>,
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
            event_type: message.event_type,
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

/// `GET /applications/{app}/messages/{message}/deliveries`
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
#[derive(Deserialize)]
pub struct Wanted {
    /// `pending`, `success`, `failed` or `disabled`; with commas between.
    state: Option<String>,
}

impl Wanted {
    /// Empty: all.
    fn states(&self) -> Result<Vec<DeliveryState>, ApiError> {
        let Some(words) = self.state.as_deref() else { return Ok(Vec::new()) };
        let right = "must be of pending, success, failed and disabled, with commas between";
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
        _ => None,
    });
    let states: Vec<_> = states.collect::<Option<Vec<_>>>()?.concat();
    Some(states)
}

/// `GET /applications/{app}/endpoints/{endpoint}/deliveries`: of the newest message first. What was not yet attempted or
/// set aside has no record, and is not among them.
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

/// An attempt with what was sent and what came back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownAttempt {
    number: u32,
    timestamp: Millis,
    /// Where it went; none where an older version recorded it.
    url: Option<String>,
    /// The signatures' values are left out.
    request_headers: Vec<(String, String)>,
    status_code: Option<u16>,
    response_headers: Vec<(String, String)>,
    /// The first 16 KiB, as text.
    response_body: Option<String>,
    /// In milliseconds.
    latency: u32,
    /// Why there was no answer, in one word.
    error_class: Option<&'static str>,
    error: Option<String>,
}

/// `GET /applications/{app}/messages/{message}/deliveries/{delivery}/attempts`: by the delivery's id, or by its endpoint's
/// id or uid where the message has one delivery there.
pub async fn attempts(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message, delivery)): Path<(String, String, String)>,
) -> Result<Json<List<ShownAttempt>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let message = messages::find(&log, &tenant, &message).await?;
    let deliveries = log.deliveries(message.sequence).await?;
    let id = message.message.id;
    let endpoint = tenant.endpoint(&delivery).map(|endpoint| endpoint.id);
    let wanted = |key: DeliveryKey| {
        delivery_id(id, key).to_string() == delivery
            || endpoint == Some(key.endpoint)
            || key.endpoint.to_string() == delivery
    };
    let found = deliveries.into_iter().find(|record| wanted(record.key));
    let found = found.ok_or_else(|| ApiError::not_found("delivery"))?;
    let mut versions: BTreeMap<u64, Option<Version>> = BTreeMap::new();
    let mut data = Vec::with_capacity(found.attempts.len());
    for attempt in &found.attempts {
        let version = match attempt.revision {
            None => None,
            Some(revision) => match versions.get(&revision) {
                Some(known) => known.clone(),
                None => {
                    let read = log.version(found.key.endpoint, revision).await?;
                    versions.insert(revision, read.clone());
                    read
                }
            },
        };
        data.push(shown_attempt(attempt, &found, id, version));
    }
    Ok(Json(List::whole(data)))
}

fn shown_attempt(
    attempt: &Attempt,
    delivery: &DeliveryRecord,
    message: MessageId,
    version: Option<Version>,
) -> ShownAttempt {
    let (mut status_code, mut response_headers, mut response_body) = (None, Vec::new(), None);
    let (mut error_class, mut error) = (None, None);
    match &attempt.outcome {
        Outcome::Answered(answer) => {
            status_code = Some(answer.status);
            let pairs = answer.headers.lines().filter_map(|line| line.split_once(": "));
            response_headers = pairs.map(|(name, value)| (name.into(), value.into())).collect();
            response_body = Some(String::from_utf8_lossy(&answer.body).into_owned());
        }
        Outcome::Failed { class, detail } => {
            (error_class, error) = (Some(class.name()), Some(detail.clone()));
        }
    }
    ShownAttempt {
        number: attempt.number,
        timestamp: attempt.at,
        url: version.as_ref().map(|version| version.url.to_string()),
        request_headers: version
            .map(|version| request_headers(version, delivery, message, attempt.at / 1000))
            .unwrap_or_default(),
        status_code,
        response_headers,
        response_body,
        latency: attempt.latency,
        error_class,
        error,
    }
}

/// What a signature's value is shown as.
const REDACTED: &str = "(not shown)";

/// The headers that were sent at that second since the epoch, in the order in which later ones replace earlier ones: the
/// plugin's, the endpoint's, the gateway's.
fn request_headers(
    version: Version,
    delivery: &DeliveryRecord,
    message: MessageId,
    seconds: u64,
) -> Vec<(String, String)> {
    let content = delivery.content.as_deref();
    let own = content.and_then(|content| content.content_type.as_deref()).unwrap_or(JSON);
    let id = webhook_id(message, delivery.key.ordinal);
    let octohooks = ("x-signature", format!("t={seconds},v1={REDACTED}"));
    let standard = ("webhook-signature", format!("v1,{REDACTED}"));
    let signatures = match version.signatures {
        Scheme::Both => vec![octohooks, standard],
        Scheme::Octohooks => vec![octohooks],
        Scheme::Standard => vec![standard],
    };
    let mut ours = vec![
        ("content-type", own.to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", seconds.to_string()),
    ];
    ours.extend(signatures);
    let plugins = content.map(|content| content.headers.clone()).unwrap_or_default();
    let set: Vec<(String, String)> = version
        .headers
        .into_iter()
        .filter(|(name, _)| ours.iter().all(|(ours, _)| ours != name))
        .chain(ours.iter().map(|(name, value)| ((*name).to_owned(), value.clone())))
        .collect();
    let kept = plugins
        .into_iter()
        .filter(|(name, _)| set.iter().all(|(set, _)| !set.eq_ignore_ascii_case(name)));
    let mut headers: Vec<_> = kept.collect();
    headers.extend(set);
    headers
}
