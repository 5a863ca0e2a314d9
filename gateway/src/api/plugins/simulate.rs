//! A version of a plugin on a message, or on those that the application has had, beside the active one: what would change.

use super::{
    find,
    settings::{SETTINGS, is_large},
    trial::sees_messages,
};
use crate::{
    clock,
    model::{
        Millis,
        catalog::Tenant,
        id::{Digest, MessageId},
        message::{Attributes, Message, Sequence},
        name::{AttributeName, AttributeValue, Channel, EventType, Uid},
        plugin::Plugin,
    },
    store::{Catalog, MessageFilter},
    trials::{
        report::Totals,
        shown::Comparison,
        simulate::{NotSimulated, Outcome, Recorded, Simulation, Simulator, Source},
    },
    web::{
        answers::{BadBody, Denied, Missing, NotDone},
        auth::Caller,
        body,
        error::ApiError,
        once::IsKept,
    },
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use std::sync::Arc;
use utoipa::ToSchema;

/// The longest body, in bytes: a message and settings.
const BODY: usize = 1 << 20;
/// How many messages are looked at, unless it is said.
const LIMIT: usize = 100;
/// The most messages that are looked at.
const MOST: usize = 1000;
/// How many event types or channels are named, and attributes of a message.
const NAMES: usize = 100;

/// What to simulate. All of it may be absent: then the newest version that is not active runs on the last hundred messages.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PluginSimulation)]
struct Wanted {
    /// One of the plugin's versions; by default the newest that is not active, or else the active one.
    version: Option<Digest>,
    /// Settings for this version, instead of the plugin's.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
    /// On this message, and not on those that the application has had.
    message: Option<Given>,
    /// On messages accepted at that time or later.
    since: Option<Millis>,
    /// On messages accepted before that time.
    until: Option<Millis>,
    /// On how many messages.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// On messages of one of these types.
    event_types: Option<Vec<EventType>>,
    /// On messages that name one of these channels.
    channels: Option<Vec<Channel>>,
    /// From where the simulation before said to go on.
    iterator: Option<String>,
}

/// A message, as it would be sent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginSimulationMessage)]
struct Given {
    event_type: EventType,
    #[schema(max_items = 100)]
    channels: Option<Vec<Channel>>,
    uid: Option<Uid>,
    #[schema(value_type = Option<BTreeMap<AttributeName, AttributeValue>>)]
    attributes: Option<Attributes>,
    /// Any JSON.
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
}

/// What a version would change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginSimulationReport)]
struct Report {
    /// The version that was run.
    version: Digest,
    /// The version beside it; null: none is active, and messages are left as they are.
    #[schema(required)]
    active: Option<Digest>,
    totals: Totals,
    /// How each message fared, the newest first.
    messages: Vec<Comparison>,
    /// Whether the later ones of `messages` were left out, since all together have more than 1 MiB. They are counted.
    truncated: bool,
    /// Messages that were left out, since their content is gone.
    without_content: u64,
    /// Whether the time of 20 seconds was up before all were run.
    timed_out: bool,
    /// Where to go on; null: there is nothing more.
    #[schema(required)]
    iterator: Option<String>,
}

impl Wanted {
    fn source(self, tenant: &Tenant) -> Result<Source, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=MOST).contains(&limit) {
            return Err(ApiError::field("/limit", format!("must be from 1 to {MOST}")));
        }
        let selects = [
            self.since.is_some(),
            self.until.is_some(),
            self.limit.is_some(),
            self.event_types.is_some(),
            self.channels.is_some(),
            self.iterator.is_some(),
        ];
        if let Some(given) = self.message {
            if selects.contains(&true) {
                let what =
                    "cannot be given with what selects messages that the application has had";
                return Err(ApiError::field("/message", what));
            }
            return given.message(tenant).map(|message| Source::Given(Arc::new(message)));
        }
        let event_types = few("/eventTypes", self.event_types)?;
        let channels = few("/channels", self.channels)?;
        let not_ours = |_| ApiError::field("/iterator", "is not one of ours");
        let before = self.iterator.map(|text| text.parse().map(Sequence).map_err(not_ours));
        let only = |names: &[EventType]| <[_; 1]>::try_from(names.to_vec()).ok().map(|[one]| one);
        let filter = MessageFilter {
            held: None,
            event_type: only(&event_types),
            channel: <[_; 1]>::try_from(channels.clone()).ok().map(|[one]| one),
            after: self.since,
            until: self.until,
            before: before.transpose()?,
        };
        Ok(Source::Recorded(Recorded { filter, event_types, channels, limit }))
    }
}

/// The names, if they are not too many.
fn few<T>(path: &str, names: Option<Vec<T>>) -> Result<Vec<T>, ApiError> {
    let names = names.unwrap_or_default();
    match names.len() {
        0..=NAMES => Ok(names),
        _ => Err(ApiError::field(path, format!("must be at most {NAMES}"))),
    }
}

impl Given {
    fn message(self, tenant: &Tenant) -> Result<Message, ApiError> {
        let attributes = self.attributes.unwrap_or_default();
        if attributes.len() > NAMES {
            let what = format!("must be at most {NAMES}");
            return Err(ApiError::field("/message/attributes", what));
        }
        Ok(Message {
            environment: tenant.application.environment,
            application: tenant.application.id,
            id: MessageId(clock::id()),
            uid: self.uid,
            event_type: self.event_type,
            channels: few("/message/channels", self.channels)?,
            payload: self.payload.get().to_owned().into(),
            attributes,
            accepted: clock::now(),
            content_until: None,
            deliver_at: None,
            expires_at: None,
            ordering_key: None,
        })
    }
}

pub(super) fn version(plugin: &Plugin, wanted: Option<Digest>) -> Result<Digest, ApiError> {
    let Some(wanted) = wanted else {
        let others = plugin.versions.iter().rev().map(|version| version.digest);
        let newest = others.clone().find(|digest| Some(*digest) != plugin.active);
        let found = newest.or(plugin.active);
        return found.ok_or_else(|| ApiError::conflict("the plugin has no version"));
    };
    let known = plugin.version(wanted).map(|version| version.digest);
    let what = "must be the digest of one of the plugin's versions";
    known.ok_or_else(|| ApiError::field("/version", what))
}

impl From<NotSimulated> for ApiError {
    fn from(none: NotSimulated) -> Self {
        let message = none.to_string();
        match none {
            NotSimulated::Busy | NotSimulated::Late => Self::conflict(message),
            NotSimulated::Full => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message),
            NotSimulated::Version(..) => Self::conflict(message),
            NotSimulated::Store(error) => error.into(),
            NotSimulated::Failed => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
        }
    }
}

/// Runs a version of a plugin beside the active one, and tells what it would change.
///
/// On a message that is given, or on those that the application has had, the newest first. Each is compared as it came:
/// what this plugin's versions make of it, without the application's other plugins. Nothing is sent, nothing is stored. A
/// payload that is JSON is compared as JSON: spaces and the order of keys do not count.
#[utoipa::path(
    post,
    path = "/applications/{app}/plugins/{plugin}/simulate",
    tag = "Plugins",
    operation_id = "simulatePlugin",
    request_body(content = Wanted, example = json!({ "limit": 100, "eventTypes": ["sms.status"] })),
    responses(
        (status = 200, description = "What would change.", body = Report),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn simulate(
    State(catalog): State<Arc<dyn Catalog>>,
    State(simulator): State<Arc<Simulator>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let plugin = find(&tenant, &name)?.clone();
    let wanted: Wanted = body::optional(body, BODY, "simulation").await?;
    sees_messages(&plugin)?;
    let candidate = version(&plugin, wanted.version)?;
    if wanted.settings.as_ref().is_some_and(is_large) {
        return Err(ApiError::field("/settings", format!("must have at most {SETTINGS} bytes")));
    }
    let (settings, active) = (wanted.settings.clone(), plugin.active);
    let source = wanted.source(&tenant)?;
    let simulation = Simulation { tenant, plugin, candidate, settings, source };
    let outcome = simulator.run(simulation).await?;
    let Outcome { totals, comparisons, truncated, without_content, next, timed_out } = outcome;
    let report = Report {
        version: candidate,
        active,
        totals,
        messages: comparisons,
        truncated,
        without_content,
        timed_out,
        iterator: next.map(|sequence| sequence.0.to_string()),
    };
    // Nothing of it is to be kept; a repetition runs it again, since nothing came of it that could be done twice.
    Ok((Extension(IsKept), Json(report)).into_response())
}
