//! Dead letters sent again: those of one message at once, and those of an application in the background.

use super::{
    super::{BODY, deliveries, keyset::List, messages, recovery},
    find, is_dead,
};
use crate::{
    model::{
        Millis,
        application::Application,
        catalog::Tenant,
        delivery::State as DeliveryState,
        endpoint::Endpoint,
        id::{EndpointId, OperationId},
        name::{Channel, EventType},
        operation::{Mode, Operation, Wanted},
    },
    store::{Again, Began, Catalog, DeadLetterFilter, Log, Recovery, StoreError},
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Owner,
        body,
        error::ApiError,
        once::Repeatable,
    },
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Which of a message's dead letters to send again.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = DeadLetterResend)]
struct Which {
    /// Only that of this endpoint, by its id or uid; all if absent.
    endpoint: Option<String>,
}

/// Sends a message's dead letters again, with their retry schedules from the start.
///
/// A message that died is given to its plugins anew.
#[utoipa::path(
    post,
    path = "/applications/{app}/dead-letters/{message}/resend",
    tag = "Dead letters",
    operation_id = "resendDeadLetters",
    request_body(content = Which, description = "May be absent."),
    responses(
        (
            status = 202,
            description = "The message's deliveries as they are now.",
            body = List<deliveries::Shown>,
        ),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn resend(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    State(recovery): State<Arc<dyn Recovery>>,
    owner: Owner,
    Path((app, message)): Path<(String, String)>,
    body: Body,
) -> Result<(StatusCode, Json<List<deliveries::Shown>>), ApiError> {
    let which: Which = body::optional(body, BODY, "request").await?;
    let tenant = owner.tenant(&catalog, &app)?;
    let (record, dead) = find(&log, &tenant, &message).await?;
    let only = named(&tenant, which.endpoint.as_deref())?.map(|endpoint| endpoint.id);
    messages::check_content(&record)?;
    let mut again: Vec<_> = dead
        .iter()
        .filter(|delivery| only.is_none_or(|only| only == delivery.key.endpoint))
        .map(|delivery| Again::Delivery(delivery.key))
        .collect();
    if is_dead(&record) && only.is_none() {
        again.push(Again::Dead(record.sequence));
    }
    if again.is_empty() {
        return Err(ApiError::conflict("nothing of the message is dead there"));
    }
    if recovery.again(again, None).await? == 0 {
        let why = "its endpoint is disabled or gone, or it is being sent already";
        return Err(ApiError::conflict(why));
    }
    let now = log.deliveries(record.sequence).await?;
    let data = now.iter().map(|delivery| deliveries::Shown::of_message(delivery, &record.message));
    Ok((StatusCode::ACCEPTED, Json(List::whole(data.collect()))))
}

fn named(tenant: &Tenant, name: Option<&str>) -> Result<Option<Arc<Endpoint>>, ApiError> {
    let Some(name) = name else { return Ok(None) };
    let right = "must be the id or uid of one of the application's endpoints";
    let found = tenant.endpoint(name).cloned();
    found.map(Some).ok_or_else(|| ApiError::field("/endpoint", right))
}

/// Which dead letters of an application to send again.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = DeadLettersResend)]
#[serde(rename_all = "camelCase")]
struct Draft {
    /// Only those of this endpoint, by its id or uid; those of all, and dead messages, if absent.
    endpoint: Option<String>,
    /// Of messages accepted from then on; all if absent.
    #[schema(value_type = Option<u64>)]
    since: Option<Millis>,
    /// Of messages accepted until then; all that there are now if absent.
    #[schema(value_type = Option<u64>)]
    until: Option<Millis>,
    /// All if absent.
    event_types: Option<Vec<EventType>>,
    /// All if absent.
    channels: Option<Vec<Channel>>,
    /// Only count.
    dry_run: Option<bool>,
}

impl Draft {
    fn wanted(&self, mode: Mode) -> Result<Wanted, ApiError> {
        let since = self.since.unwrap_or(0);
        let until = recovery::until(since, self.until)?;
        let event_types = self.event_types.clone().unwrap_or_default();
        let channels = self.channels.clone().unwrap_or_default();
        Ok(Wanted { mode, since, until, event_types, channels })
    }
}

/// What was begun, and what was not.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLettersResent)]
pub struct Begun {
    /// An operation for each endpoint that has dead letters, and one for dead messages.
    data: Vec<recovery::Shown>,
    skipped: Vec<Skipped>,
}

/// Dead letters that are left where they are.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = SkippedDeadLetters)]
pub struct Skipped {
    /// Of this endpoint; null: dead messages.
    #[schema(required)]
    endpoint: Option<EndpointId>,
    reason: String,
    /// The operation that goes on there already.
    #[schema(required)]
    operation: Option<OperationId>,
}

/// Sends all dead letters of an application again, in the background.
///
/// An operation for each endpoint that has some, at its own pace, and one for messages that died, which are given to their
/// plugins anew. See `/operations`.
#[utoipa::path(
    post,
    path = "/applications/{app}/dead-letters/resend",
    tag = "Dead letters",
    operation_id = "resendAllDeadLetters",
    request_body(content = Draft, description = "May be absent."),
    responses(
        (status = 202, description = "The operations that do so.", body = Begun),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn resend_all(
    State(catalog): State<Arc<dyn Catalog>>,
    State(log): State<Arc<dyn Log>>,
    State(recovery): State<Arc<dyn Recovery>>,
    owner: Owner,
    repeatable: Repeatable,
    Path(app): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let draft: Draft = body::optional(body, BODY, "operation").await?;
    let tenant = owner.tenant(&catalog, &app)?;
    let of: Vec<Option<Arc<Endpoint>>> = match named(&tenant, draft.endpoint.as_deref())? {
        Some(endpoint) => vec![Some(endpoint)],
        None => tenant.endpoints.values().cloned().map(Some).chain([None]).collect(),
    };
    let dry_run = draft.dry_run.unwrap_or(false);
    let (mut operations, mut disabled) = (Vec::new(), Vec::new());
    for endpoint in of {
        let id = endpoint.as_ref().map(|endpoint| endpoint.id);
        let mode = match id {
            Some(_) => Mode::Ended(vec![DeliveryState::Failed]),
            None => Mode::Dead,
        };
        let wanted = draft.wanted(mode)?;
        if !has_some(&log, &tenant.application, id, &wanted).await? {
            continue;
        }
        if endpoint.is_some_and(|endpoint| !endpoint.enabled) && !dry_run {
            let reason = "the endpoint is disabled".to_owned();
            disabled.push(Skipped { endpoint: id, reason, operation: None });
            continue;
        }
        let of = (wanted, dry_run);
        operations.push(recovery::operation(&*recovery, &tenant.application, id, of));
    }
    let answer = {
        let (operations, disabled) = (operations.clone(), disabled.clone());
        let body = move |each: &[Began]| begun(&operations, &disabled, each);
        repeatable.answer_by(StatusCode::ACCEPTED, body)
    };
    let each = recovery.begin(operations.clone(), answer).await?;
    let begun = begun(&operations, &disabled, &each);
    Ok(repeatable.kept((StatusCode::ACCEPTED, Json(begun))))
}

/// What came of these operations, and which endpoints were left alone before.
fn begun(operations: &[Operation], disabled: &[Skipped], each: &[Began]) -> Begun {
    let mut begun = Begun { data: Vec::new(), skipped: disabled.to_vec() };
    for (operation, began) in operations.iter().zip(each) {
        let Err(refusal) = began else {
            begun.data.push(operation.clone().into());
            continue;
        };
        let other = match refusal {
            StoreError::UnderWay(other) => Some(*other),
            _ => None,
        };
        let (endpoint, reason) = (operation.endpoint, refusal.to_string());
        begun.skipped.push(Skipped { endpoint, reason, operation: other });
    }
    begun
}

/// Whether the endpoint has dead letters, or the application messages that died.
async fn has_some(
    log: &Arc<dyn Log>,
    application: &Application,
    endpoint: Option<EndpointId>,
    wanted: &Wanted,
) -> Result<bool, ApiError> {
    let filter = DeadLetterFilter {
        endpoints: endpoint.into_iter().collect(),
        messages: endpoint.is_none(),
        after: Some(wanted.since),
        until: wanted.until,
        ..DeadLetterFilter::default()
    };
    let page = log.dead_letters(application.environment, application.id, filter, 1).await?;
    Ok(!page.records.is_empty() || page.next.is_some())
}
