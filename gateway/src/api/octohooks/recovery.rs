//! Sending again: one message to one endpoint at once, and operations that recover an endpoint in the background.

use super::{
    BODY,
    deliveries::{self, states},
    keyset::List,
    messages,
};
use crate::{
    clock,
    model::{
        Millis,
        application::Application,
        delivery::State as DeliveryState,
        id::{ApplicationId, EndpointId, OperationId},
        message::Held,
        name::{Channel, EventType},
        operation::{Mode, Operation, State as OperationState, Wanted},
    },
    store::{Again, Catalog, Log, Recovery},
    web::{
        answers::{BadBody, BadQuery, Denied, Missing, NotDone},
        auth::Owner,
        body,
        error::ApiError,
        once::Repeatable,
        query::Query,
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
use std::{sync::Arc, time::Duration};
use utoipa::{IntoParams, ToSchema};

/// How often, and after which pause, a message is tried to be sent that is dispatched for another endpoint.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);
/// How many operations are listed.
const LISTED: usize = 250;

/// Sends a message to an endpoint again.
///
/// What was sent there is sent again, with its retry schedule from the start; a message that never was is dispatched
/// for that endpoint.
#[utoipa::path(
    post,
    path = "/applications/{app}/messages/{message}/endpoints/{endpoint}/resend",
    tag = "Sending again",
    operation_id = "resendMessage",
    responses(
        (
            status = 202,
            description = "The deliveries there are now.",
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
    Path((app, message, endpoint)): Path<(String, String, String)>,
) -> Result<(StatusCode, Json<List<deliveries::Shown>>), ApiError> {
    let tenant = owner.tenant(&catalog, &app)?;
    let endpoint = tenant.endpoint(&endpoint).ok_or_else(|| ApiError::not_found("endpoint"))?;
    let record = messages::find(&log, &tenant, &message).await?;
    let there = log.deliveries(record.sequence).await?;
    let there: Vec<_> = there.into_iter().filter(|d| d.key.endpoint == endpoint.id).collect();
    if !endpoint.enabled {
        return Err(ApiError::conflict("the endpoint is disabled"));
    }
    messages::check_content(&record)?;
    if record.message.has_expired(clock::now()) {
        return Err(ApiError::conflict("the message has expired: it is not attempted any more"));
    }
    match record.held {
        Some((Held::Scheduled { .. }, _)) => {
            return Err(ApiError::conflict("the message is scheduled, and is sent at its time"));
        }
        Some((Held::Cancelled, _)) => {
            return Err(ApiError::conflict("the message was cancelled"));
        }
        _ => {}
    }
    let again = match there.is_empty() {
        true => vec![Again::Message(record.sequence, endpoint.id)],
        false => there.iter().map(|delivery| Again::Delivery(delivery.key)).collect(),
    };
    // One that is dispatched for another endpoint just now has its turn in a moment.
    let mut tries = if there.is_empty() { TRIES } else { 1 };
    let parked = record.held.is_some_and(|(held, _)| matches!(held, Held::Parked { .. }));
    while recovery.again(again.clone(), None).await? == 0 {
        if parked && there.is_empty() {
            let why = "a plugin failed on the message: it is sent once a new version of the plugin, \
                       or new settings, release it";
            return Err(ApiError::conflict(why));
        }
        tries -= 1;
        if tries == 0 {
            return Err(ApiError::conflict("it is being sent, or waits to be"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let now = log.deliveries(record.sequence).await?;
    let now = now.iter().filter(|delivery| delivery.key.endpoint == endpoint.id);
    let data = now.map(|delivery| deliveries::Shown::of_message(delivery, &record.message));
    Ok((StatusCode::ACCEPTED, Json(List::whole(data.collect()))))
}

/// The end of a time that begins at `since`, if it has one.
pub fn until(since: Millis, until: Option<Millis>) -> Result<Option<Millis>, ApiError> {
    match until.is_some_and(|until| since > until) {
        true => Err(ApiError::field("/until", "must not be before since")),
        false => Ok(until),
    }
}

/// What to send again.
#[derive(Deserialize, ToSchema)]
#[schema(as = Recovery)]
#[serde(rename_all = "camelCase")]
struct Draft {
    /// Messages accepted from then on.
    #[schema(value_type = u64)]
    since: Option<Millis>,
    /// Messages accepted until then; all that there are now if absent.
    until: Option<Millis>,
    /// `failed` if absent.
    mode: Option<DraftMode>,
    /// Of `success`, `failed` and `disabled`; `failed` if absent.
    states: Option<Vec<String>>,
    /// All if absent.
    event_types: Option<Vec<EventType>>,
    /// All if absent.
    channels: Option<Vec<Channel>>,
    /// Only count.
    dry_run: Option<bool>,
}

/// What ended there, or what never came there.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[schema(as = RecoveryMode)]
#[serde(rename_all = "lowercase")]
enum DraftMode {
    Failed,
    Missing,
}

impl Draft {
    fn wanted(self) -> Result<Wanted, ApiError> {
        let since = self.since.ok_or_else(|| ApiError::field("/since", "is required"))?;
        let until = until(since, self.until)?;
        let mode = match (self.mode.unwrap_or(DraftMode::Failed), self.states) {
            (DraftMode::Missing, None) => Mode::Missing,
            (DraftMode::Missing, Some(_)) => {
                return Err(ApiError::field("/states", "what is missing has no state"));
            }
            (DraftMode::Failed, words) => {
                let words = words.unwrap_or_else(|| vec!["failed".into()]).join(",");
                // What has expired is not sent again.
                let may_be = |s: &DeliveryState| s.is_final() && *s != DeliveryState::Expired;
                let ended = states(&words).filter(|states| states.iter().all(may_be));
                let right = "must be of success, failed and disabled";
                Mode::Ended(ended.ok_or_else(|| ApiError::field("/states", right))?)
            }
        };
        let event_types = self.event_types.unwrap_or_default();
        Ok(Wanted { mode, since, until, event_types, channels: self.channels.unwrap_or_default() })
    }
}

/// Sends again what failed at an endpoint, or never came there.
///
/// Of messages accepted since a time, in the background.
#[utoipa::path(
    post,
    path = "/applications/{app}/endpoints/{endpoint}/recover",
    tag = "Sending again",
    operation_id = "recoverEndpoint",
    request_body(
        content = Draft,
        example = json!({ "since": 1767225600000u64, "mode": "failed", "dryRun": true }),
    ),
    responses(
        (status = 202, description = "The operation that does so.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn recover(
    State(catalog): State<Arc<dyn Catalog>>,
    State(recovery): State<Arc<dyn Recovery>>,
    owner: Owner,
    repeatable: Repeatable,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let draft: Draft = body::object(&body::read(body, BODY, "operation").await?)?;
    let tenant = owner.tenant(&catalog, &app)?;
    let endpoint = tenant.endpoint(&endpoint).ok_or_else(|| ApiError::not_found("endpoint"))?;
    let dry_run = draft.dry_run.unwrap_or(false);
    let wanted = draft.wanted()?;
    if !endpoint.enabled && !dry_run {
        return Err(ApiError::conflict("the endpoint is disabled"));
    }
    let (application, endpoint) = (&tenant.application, Some(endpoint.id));
    let operation = operation(&*recovery, application, endpoint, (wanted, dry_run));
    let shown = Shown::from(operation.clone());
    let answer = repeatable.answer(StatusCode::ACCEPTED, &shown);
    recovery.again_once(Vec::new(), Some(operation), answer).await?;
    Ok(repeatable.kept((StatusCode::ACCEPTED, Json(shown))))
}

/// An operation that begins now, on all that there is.
pub fn operation(
    recovery: &dyn Recovery,
    application: &Application,
    endpoint: Option<EndpointId>,
    (wanted, dry_run): (Wanted, bool),
) -> Operation {
    let (id, upto) = (OperationId(clock::id()), recovery.bounds(application.id).0);
    let operation = Operation::new(id, application, endpoint, wanted, clock::now());
    Operation { dry_run, upto, ..operation }
}

/// An operation as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    id: OperationId,
    application: ApplicationId,
    /// Null: messages that died.
    #[schema(required)]
    endpoint: Option<EndpointId>,
    /// `failed`, `missing`, or `dead`: messages that died.
    #[schema(pattern = "^(failed|missing|dead)$")]
    mode: &'static str,
    /// `running`, `done`, `cancelled` or `failed`.
    #[schema(pattern = "^(running|done|cancelled|failed)$")]
    state: &'static str,
    /// Why it failed.
    #[schema(required)]
    reason: Option<String>,
    done: u64,
    /// How many there were to do; none while they are counted.
    #[schema(required)]
    total: Option<u64>,
    dry_run: bool,
    since: Millis,
    /// None: all that there were when it was created.
    #[schema(required)]
    until: Option<Millis>,
    created: Millis,
    updated: Millis,
}

impl From<Operation> for Shown {
    fn from(operation: Operation) -> Self {
        let mut reason = None;
        let state = match operation.state {
            OperationState::Running => "running",
            OperationState::Done => "done",
            OperationState::Cancelled => "cancelled",
            OperationState::Failed(why) => {
                reason = Some(why);
                "failed"
            }
        };
        Self {
            id: operation.id,
            application: operation.application,
            endpoint: operation.endpoint,
            mode: match operation.wanted.mode {
                Mode::Ended(_) => "failed",
                Mode::Missing => "missing",
                Mode::Dead => "dead",
            },
            state,
            reason,
            done: operation.done,
            total: operation.counted.then_some(operation.total.max(operation.done)),
            dry_run: operation.dry_run,
            since: operation.wanted.since,
            until: operation.wanted.until,
            created: operation.created,
            updated: operation.updated,
        }
    }
}

async fn find(recovery: &Arc<dyn Recovery>, owner: Owner, id: &str) -> Result<Operation, ApiError> {
    let missing = || ApiError::not_found("operation");
    let id: OperationId = id.parse().map_err(|_| missing())?;
    let found = recovery.operation(owner.environment, id).await?;
    found.filter(|found| owner.may_see(found.application)).ok_or_else(missing)
}

/// Gets an operation.
#[utoipa::path(
    get,
    path = "/operations/{operation}",
    tag = "Sending again",
    operation_id = "getOperation",
    responses((status = 200, description = "The operation.", body = Shown), Denied, Missing),
)]
pub async fn get(
    State(recovery): State<Arc<dyn Recovery>>,
    owner: Owner,
    Path(id): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    Ok(Json(find(&recovery, owner, &id).await?.into()))
}

/// Whose operations to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Whose {
    /// An application's id or uid; all of the environment if absent.
    application: Option<String>,
}

/// Lists the operations.
#[utoipa::path(
    get,
    path = "/operations",
    tag = "Sending again",
    operation_id = "listOperations",
    params(Whose),
    responses(
        (status = 200, description = "The newest first, at most 250.", body = List<Shown>),
        Denied, Missing, BadQuery,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    State(recovery): State<Arc<dyn Recovery>>,
    owner: Owner,
    Query(Whose { application }): Query<Whose>,
) -> Result<Json<List<Shown>>, ApiError> {
    let of = match application {
        None => owner.application,
        Some(app) => Some(owner.tenant(&catalog, &app)?.application.id),
    };
    let found = recovery.operations(owner.environment, of, LISTED).await?;
    Ok(Json(List::whole(found.into_iter().map(Shown::from).collect())))
}

/// Cancels an operation.
///
/// What it made due is sent; nothing more is.
#[utoipa::path(
    post,
    path = "/operations/{operation}/cancel",
    tag = "Sending again",
    operation_id = "cancelOperation",
    responses(
        (status = 200, description = "The operation as it is now.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn cancel(
    State(recovery): State<Arc<dyn Recovery>>,
    owner: Owner,
    Path(id): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let found = find(&recovery, owner, &id).await?;
    let state = OperationState::Cancelled;
    // One that has ended meanwhile stays as it ended.
    let cancelled = Operation { state, updated: clock::now(), ..found };
    recovery.again(Vec::new(), Some(cancelled)).await?;
    Ok(Json(find(&recovery, owner, &id).await?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_until_takes_all_that_there_are_whatever_the_clock_says() {
        let wanted = |text: &str| serde_json::from_str::<Draft>(text).expect("reads").wanted();
        let all = wanted(r#"{"since":0}"#).expect("is legal");
        let some = wanted(r#"{"since":5,"until":7}"#).expect("is legal");
        let message = crate::model::sample::message(ApplicationId(clock::id()));
        for (accepted, expected) in [(5, true), (7, false), (clock::now() + 3_600_000, false)] {
            let message = crate::model::message::Message { accepted, ..message.clone() };
            let head = (&message).into();
            assert!(all.takes(&head, None), "{accepted}");
            assert_eq!(some.takes(&head, None), expected, "{accepted}");
        }
        assert!(wanted(r#"{"since":5,"until":4}"#).is_err());
    }
}
