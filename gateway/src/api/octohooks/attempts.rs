//! The attempts of a delivery: what was sent and what came back, put together from the record and from what the endpoint
//! was then.

use super::{keyset::List, messages};
use crate::{
    model::{
        Millis,
        attempt::{Attempt, Outcome},
        cloud_event::{Event, Format, PREFIX, STRUCTURED},
        delivery::{DeliveryKey, delivery_id, webhook_id},
        endpoint::{Method, Scheme, Version},
        message::{JSON, Message},
        name::PluginName,
    },
    store::{Catalog, DeliveryRecord, Log},
    web::{
        answers::{Denied, Missing},
        auth::Owner,
        error::ApiError,
    },
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// An attempt with what was sent and what came back.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// From 1.
    number: u32,
    timestamp: Millis,
    /// How it was made; none where an older version recorded it.
    #[schema(required)]
    method: Option<Method>,
    /// Where it went; none where an older version recorded it.
    #[schema(required)]
    url: Option<String>,
    /// The plugin that signed it; null: the gateway did. What headers it made is not recorded.
    #[schema(required, value_type = Option<String>)]
    signer: Option<PluginName>,
    /// The signatures' values are left out, and with a `signer` its headers, which stand over others of the same name.
    request_headers: Vec<(String, String)>,
    /// Null: there was no answer.
    #[schema(required)]
    status_code: Option<u16>,
    response_headers: Vec<(String, String)>,
    /// The first 16 KiB, as text.
    #[schema(required)]
    response_body: Option<String>,
    /// In milliseconds.
    latency: u32,
    /// Why there was no answer, in one word.
    #[schema(required)]
    error_class: Option<&'static str>,
    /// The same, for people.
    #[schema(required)]
    error: Option<String>,
}

/// Lists a delivery's attempts with what was sent and what came back.
///
/// The delivery by its id, or by its endpoint's id or uid where the message has one delivery there.
#[utoipa::path(
    get,
    path = "/applications/{app}/messages/{message}/deliveries/{delivery}/attempts",
    tag = "Deliveries",
    operation_id = "listAttempts",
    responses((status = 200, description = "All there are.", body = List<Shown>), Denied, Missing),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message, delivery)): Path<(String, String, String)>,
) -> Result<Json<List<Shown>>, ApiError> {
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
    Ok(Json(List::whole(all(&log, &found, &message.message).await?)))
}

/// All attempts of a delivery that are recorded.
pub async fn all(
    log: &Arc<dyn Log>,
    found: &DeliveryRecord,
    message: &Message,
) -> Result<Vec<Shown>, ApiError> {
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
        data.push(shown(attempt, found, message, version));
    }
    Ok(data)
}

fn shown(
    attempt: &Attempt,
    delivery: &DeliveryRecord,
    message: &Message,
    version: Option<Version>,
) -> Shown {
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
    Shown {
        number: attempt.number,
        timestamp: attempt.at,
        method: version.as_ref().map(|version| version.method),
        url: version.as_ref().map(|version| version.url.to_string()),
        signer: version.as_ref().and_then(|version| version.signer.clone()),
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
/// What is shown of a header that went with the message's content.
const REMOVED: &str = "(removed)";

/// The headers that were sent at that second since the epoch, in the order in which later ones replace earlier ones: the
/// plugin's, the endpoint's, the gateway's.
fn request_headers(
    version: Version,
    delivery: &DeliveryRecord,
    message: &Message,
    seconds: u64,
) -> Vec<(String, String)> {
    let content = delivery.content.as_deref();
    let own = content.and_then(|content| content.content_type.as_deref()).unwrap_or(JSON);
    let (own, event) = match version.format {
        Format::None => (own.to_owned(), Vec::new()),
        Format::CloudeventsStructured => (STRUCTURED.to_owned(), Vec::new()),
        Format::CloudeventsBinary => event_headers(delivery, message),
    };
    let id = webhook_id(message.id, delivery.key.ordinal);
    let octohooks = ("x-signature", format!("t={seconds},v1={REDACTED}"));
    let standard = ("webhook-signature", format!("v1,{REDACTED}"));
    let signatures = match version.signatures {
        _ if version.signer.is_some() => Vec::new(),
        Scheme::Both => vec![octohooks, standard],
        Scheme::Octohooks => vec![octohooks],
        Scheme::Standard => vec![standard],
    };
    let mut ours =
        vec![("content-type", own), ("webhook-id", id), ("webhook-timestamp", seconds.to_string())];
    ours.extend(signatures);
    ours.extend(version.user_agent.map(|agent| ("user-agent", agent)));
    ours.extend(version.login.as_ref().map(|name| (&**name, REDACTED.to_owned())));
    ours.extend(event.iter().map(|(name, value)| (&**name, value.clone())));
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

/// The type of the data and the other attributes of the CloudEvent that was sent in headers. What it said of itself when it
/// came went with its content.
fn event_headers(delivery: &DeliveryRecord, message: &Message) -> (String, Vec<(String, String)>) {
    let content = delivery.content.as_deref();
    let own = content.and_then(|content| content.ordering_key.as_deref());
    let ordering_key = own.or(message.ordering_key.as_deref());
    let event = Event::new(message, content, delivery.key.ordinal, ordering_key);
    let mut headers: Vec<_> = event.headers().collect();
    if message.payload.is_empty() {
        let carried = ["id", "source", "time", "subject"].map(|name| format!("{PREFIX}{name}"));
        let gone = headers.iter_mut().filter(|(name, _)| carried.contains(name));
        gone.for_each(|(_, value)| REMOVED.clone_into(value));
    }
    (event.content_type, headers)
}
