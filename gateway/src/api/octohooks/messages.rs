//! Messages as they were recorded. Creating one is ingest's.

use super::keyset::{Keyset, List};
use crate::{
    model::{
        Millis,
        application::Application,
        catalog::Tenant,
        failure::Failure,
        id::MessageId,
        message::{Attributes, HELD, Held, Message},
        name::{AttributeName, AttributeValue, Channel, EventType, OrderingKey, Uid},
    },
    store::{Catalog, Forgotten, Log, MessageFilter, MessageRecord, Queue, Retention},
    trials::Trials,
    web::{
        answers::{BadBody, BadQuery, Denied, Missing, NotDone},
        auth::{Caller, Owner, Publisher},
        error::ApiError,
        query::Query,
    },
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// A message as the contract shows it; `attributes`, `state` and `reason` are ours.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Message)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    #[schema(value_type = MessageId)]
    id: String,
    #[schema(required)]
    uid: Option<Uid>,
    #[schema(value_type = EventType)]
    event_type: String,
    channels: Vec<Channel>,
    /// Any JSON. Null, too, once it was removed.
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    #[schema(value_type = BTreeMap<AttributeName, AttributeValue>, required = false)]
    attributes: Attributes,
    /// When it is sent; absent where that was at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deliver_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ordering_key: Option<OrderingKey>,
    /// `accepted`, or `scheduled`, `parked`, `retry`, `crowded`, `dropped`, `dead`, `cancelled`, `expired` with the
    /// reason.
    #[schema(
        pattern = "^(accepted|scheduled|parked|retry|crowded|dropped|dead|cancelled|expired)$"
    )]
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// How a plugin failed on it last, also where it went on without the plugin. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<Failure>,
    created: Millis,
    updated: Millis,
}

impl Shown {
    /// The record as the contract shows it.
    pub fn new(record: &MessageRecord) -> Self {
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
            deliver_at: message.deliver_at,
            expires_at: message.expires_at,
            ordering_key: message.ordering_key.clone(),
            state: held.map_or("accepted", |(held, _)| held.state()),
            reason: held.map(|(held, _)| held.reason().to_owned()),
            failure: None,
            created: message.accepted,
            updated: held.map_or(message.accepted, |(_, noted)| *noted),
        }
    }

    /// The same, with how a plugin failed on it.
    pub fn whole(record: &MessageRecord) -> Self {
        Self { failure: record.failure.clone(), ..Self::new(record) }
    }
}

/// A message that was cancelled. Whoever may send may not read: its content is not shown.
#[derive(Serialize, ToSchema)]
#[schema(as = CancelledMessage)]
#[serde(rename_all = "camelCase")]
pub struct Cancelled {
    id: MessageId,
    #[schema(required)]
    uid: Option<Uid>,
    /// When it would have been sent.
    #[schema(required)]
    deliver_at: Option<Millis>,
    /// `cancelled`.
    #[schema(pattern = "^cancelled$")]
    state: &'static str,
}

/// Which messages to list.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `scheduled`, `parked`, `retry`, `crowded`, `dropped`, `dead`, `cancelled` or `expired`.
    #[param(pattern = "^(scheduled|parked|retry|crowded|dropped|dead|cancelled|expired)$")]
    state: Option<String>,
    /// Only those of this type.
    event_type: Option<EventType>,
    /// Only those that name this channel.
    channel: Option<Channel>,
    /// Only the one with this uid.
    uid: Option<Uid>,
}

/// Lists an application's messages, newest first.
#[utoipa::path(
    get,
    path = "/applications/{app}/messages",
    tag = "Messages",
    operation_id = "listMessages",
    params(Wanted, Keyset),
    responses(
        (status = 200, description = "A page, newest first.", body = List<Shown>),
        Denied, Missing, BadQuery,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path(app): Path<String>,
    Query(wanted): Query<Wanted>,
    Query(page): Query<Keyset>,
) -> Result<Json<List<Shown>>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let Application { environment, id, .. } = tenant.application;
    let limit = page.limit()?;
    if wanted.state.as_deref().is_some_and(|state| !HELD.contains(&state)) {
        return Err(ApiError::field("?state", format!("must be one of {}", HELD.join(", "))));
    }
    let filter = MessageFilter {
        held: wanted.state,
        event_type: wanted.event_type,
        channel: wanted.channel,
        after: page.after,
        until: page.before,
        before: page.sequence()?,
    };
    if let Some(uid) = &wanted.uid {
        let found = log.message(environment, id, uid).await?;
        // A message's id is not asked for.
        let found = found.filter(|record| record.message.uid.as_ref() == Some(uid));
        let found = found.filter(|record| filter.takes(record));
        return Ok(Json(List::whole(found.iter().map(Shown::new).collect())));
    }
    let found = log.messages(environment, id, filter, limit).await?;
    let data = found.records.iter().map(Shown::new).collect();
    Ok(Json(List::new(data, found.next.map(|place| [place.0]))))
}

/// The application's message with that id or uid.
pub async fn find(
    log: &Arc<dyn Log>,
    tenant: &Tenant,
    id_or_uid: &str,
) -> Result<MessageRecord, ApiError> {
    let application = &tenant.application;
    let found = log.message(application.environment, application.id, id_or_uid).await?;
    found.ok_or_else(|| ApiError::not_found("message"))
}

/// Refuses to send again what is not there any more.
pub fn check_content(record: &MessageRecord) -> Result<(), ApiError> {
    match record.message.payload.is_empty() {
        true => Err(ApiError::conflict("the message's content is gone")),
        false => Ok(()),
    }
}

/// Gets a message.
#[utoipa::path(
    get,
    path = "/applications/{app}/messages/{message}",
    tag = "Messages",
    operation_id = "getMessage",
    responses((status = 200, description = "The message.", body = Shown), Denied, Missing),
)]
pub async fn get(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    Ok(Json(Shown::whole(&find(&log, &tenant, &message).await?)))
}

/// Cancels a scheduled message: it is sent to nobody.
///
/// Until it is dispatched at its time. One that is cancelled already stays so.
#[utoipa::path(
    post,
    path = "/applications/{app}/messages/{message}/cancel",
    tag = "Messages",
    operation_id = "cancelMessage",
    responses(
        (status = 200, description = "Which one is cancelled.", body = Cancelled),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn cancel(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    State(queue): State<Arc<dyn Queue>>,
    publisher: Publisher,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Cancelled>, ApiError> {
    let tenant = publisher.tenant(&catalog, &app)?;
    let record = find(&log, &tenant, &message).await?;
    // It may have been cancelled before, or meanwhile by somebody else.
    if !queue.cancel(record.sequence).await? {
        let now = find(&log, &tenant, &message).await?;
        if !matches!(now.held, Some((Held::Cancelled, _))) {
            return Err(ApiError::conflict(match now.message.deliver_at {
                None => "it is too late: the message was not scheduled, and is dispatched at once",
                Some(_) => "it is too late: the message's time has come, and it is dispatched",
            }));
        }
    }
    let Message { id, uid, deliver_at, .. } = record.message;
    Ok(Json(Cancelled { id, uid, deliver_at, state: Held::Cancelled.state() }))
}

/// Removes a message's payload; the rest of it stays.
///
/// Not while a delivery waits or is being sent, which would send it after it is gone.
#[utoipa::path(
    delete,
    path = "/applications/{app}/messages/{message}/payload",
    tag = "Messages",
    operation_id = "deletePayload",
    responses(
        (status = 200, description = "The message without its payload.", body = Shown),
        Denied, Missing, NotDone,
    ),
)]
pub async fn expunge(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    State(retention): State<Arc<dyn Retention>>,
    State(trials): State<Arc<Trials>>,
    caller: Caller,
    Path((app, message)): Path<(String, String)>,
) -> Result<Json<Shown>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let record = find(&log, &tenant, &message).await?;
    if retention.forget(Forgotten::Content, vec![record.sequence], None).await? == 0 {
        let why = "its deliveries have not ended, a plugin is to see it again, or it is scheduled";
        return Err(ApiError::conflict(why));
    }
    trials.forget(tenant.application.id, record.message.id);
    Ok(Json(Shown::new(&find(&log, &tenant, &message).await?)))
}
