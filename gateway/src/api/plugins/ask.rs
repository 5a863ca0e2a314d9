//! A question to a version of a signer or a classifier beside the active one: what it would say.

use super::{
    find,
    settings::{SETTINGS, is_large},
    simulate::version,
};
use crate::{
    clock,
    model::{
        attempt::{Answer, Meaning},
        catalog::Tenant,
        endpoint::Endpoint,
        id::{Digest, MessageId},
        message::JSON,
        name::EventType,
        plugin::{Kind, Plugin},
    },
    plugin::{LogLine, ToClassify, ToSign, placeholder},
    store::Catalog,
    trials::{
        ask::{About, Question, Says, Told},
        shown::{Cost, Failed},
        simulate::Simulator,
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
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use std::sync::Arc;
use utoipa::ToSchema;

/// The longest body, in bytes: a request and settings.
const BODY: usize = 1 << 20;
/// The longest body of an answer that classifiers see, and the longest headers.
const ANSWER: usize = 16 << 10;

/// What to ask.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PluginQuestion)]
struct Wanted {
    /// One of the plugin's versions; by default the newest that is not active, or else the active one.
    version: Option<Digest>,
    /// Settings for this version, instead of the plugin's.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
    /// Whose request or answer: an endpoint's id or uid. A signer signs with its secrets.
    endpoint: String,
    /// What a signer is to sign.
    request: Option<GivenRequest>,
    /// What a classifier is to judge.
    answer: Option<GivenAnswer>,
}

/// A request that is not sent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PluginQuestionRequest)]
struct GivenRequest {
    /// Any JSON, signed byte for byte.
    #[schema(value_type = Value)]
    body: Box<RawValue>,
    /// `application/json` unless said.
    content_type: Option<String>,
    /// The `webhook-id`; a new one unless said.
    webhook_id: Option<String>,
    /// The `webhook-timestamp`, in seconds since the epoch; now unless said.
    timestamp: Option<u64>,
}

/// An answer that nobody gave.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PluginQuestionAnswer)]
struct GivenAnswer {
    #[schema(minimum = 100, maximum = 999)]
    status: u16,
    /// Names and values.
    #[serde(default)]
    #[schema(max_items = 100)]
    headers: Vec<(String, String)>,
    /// As text, at most 16 KiB.
    #[serde(default)]
    body: String,
    /// The `webhook-id` of the request; a new one unless said.
    webhook_id: Option<String>,
    /// Which attempt of the schedule; 1 unless said.
    #[schema(minimum = 1)]
    attempt: Option<u32>,
}

/// What versions said.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginReply)]
struct Report {
    /// The version that was asked.
    version: Digest,
    /// The version beside it; null: none is active.
    #[schema(required)]
    active: Option<Digest>,
    /// Whether both said the same.
    same: bool,
    /// What the version said.
    said: Shown,
    /// What the active one said.
    #[schema(required)]
    active_said: Option<Shown>,
}

/// What one version said: headers, a meaning or a failure.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginSaid)]
struct Shown {
    /// Of a signer: names and values.
    #[schema(required)]
    headers: Option<Vec<(String, String)>>,
    /// Of a classifier.
    #[schema(required)]
    meaning: Option<Word>,
    /// With the meaning `retry`: in how many milliseconds at the earliest, if it said so.
    #[schema(required)]
    retry_after_ms: Option<u64>,
    /// Why it said neither.
    #[schema(required)]
    failure: Option<Failed>,
    cost: Cost,
    /// What it wrote.
    log: Vec<LogLine>,
}

/// What an answer means.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PluginMeaning)]
enum Word {
    /// The receiver took the delivery.
    Success,
    /// It is tried again.
    Retry,
    /// It has failed.
    Fail,
    /// It has failed, and the endpoint is disabled.
    Disable,
}

impl From<Told> for Shown {
    fn from(Told { says, cost, log }: Told) -> Self {
        let (headers, meaning, failure) = match says {
            Ok(Says::Headers(headers)) => (Some(headers), None, None),
            Ok(Says::Meaning(meaning)) => (None, Some(meaning), None),
            Err(failure) => (None, None, Some(failure)),
        };
        let (meaning, retry_after_ms) = match meaning {
            None => (None, None),
            Some(Meaning::Success) => (Some(Word::Success), None),
            Some(Meaning::RetryAfter(wait)) => (Some(Word::Retry), wait),
            Some(Meaning::Fail) => (Some(Word::Fail), None),
            Some(Meaning::Disable) => (Some(Word::Disable), None),
        };
        Self { headers, meaning, retry_after_ms, failure, cost, log }
    }
}

impl GivenRequest {
    fn about(self, endpoint: Arc<Endpoint>, id: MessageId) -> About {
        let now = clock::now();
        About::Request(ToSign {
            webhook_id: self.webhook_id.unwrap_or_else(|| id.to_string()),
            timestamp: self.timestamp.unwrap_or(now / 1000),
            content_type: self.content_type.unwrap_or_else(|| JSON.to_owned()),
            body: self.body.get().to_owned().into(),
            keys: endpoint.signing(now).cloned().collect(),
            endpoint,
        })
    }
}

impl GivenAnswer {
    fn about(self, endpoint: Arc<Endpoint>, id: MessageId) -> Result<About, ApiError> {
        let field = |name: &str, what: &str| ApiError::field(format!("/answer/{name}"), what);
        if !(100..=999).contains(&self.status) {
            return Err(field("status", "must be from 100 to 999"));
        }
        if self.attempt == Some(0) {
            return Err(field("attempt", "must be at least 1"));
        }
        let line = |(name, value): &(String, String)| format!("{}: {value}\n", name.to_lowercase());
        let headers: String = self.headers.iter().map(line).collect();
        if headers.len() > ANSWER {
            return Err(field("headers", "must have at most 16384 bytes together"));
        }
        if headers.lines().count() > self.headers.len() {
            return Err(field("headers", "must be without line breaks"));
        }
        if self.body.len() > ANSWER {
            return Err(field("body", "must have at most 16384 bytes"));
        }
        let body = self.body.into_bytes();
        Ok(About::Answer(ToClassify {
            endpoint,
            webhook_id: self.webhook_id.unwrap_or_else(|| id.to_string()),
            attempt: self.attempt.unwrap_or(1),
            answer: Answer { status: self.status, retry_after: None, headers, body },
        }))
    }
}

impl Wanted {
    fn question(self, tenant: &Arc<Tenant>, plugin: &Arc<Plugin>) -> Result<Question, ApiError> {
        let candidate = version(plugin, self.version)?;
        if self.settings.as_ref().is_some_and(is_large) {
            return Err(ApiError::field(
                "/settings",
                format!("must have at most {SETTINGS} bytes"),
            ));
        }
        let unknown = || ApiError::field("/endpoint", "must be the id or uid of an endpoint");
        let endpoint = tenant.endpoint(&self.endpoint).ok_or_else(unknown)?.clone();
        // For whose delivery it is called.
        let event_type = EventType::new("octohooks.question");
        let event_type = event_type.map_err(|bad| ApiError::conflict(bad.to_string()))?;
        let message = placeholder(tenant, event_type);
        let about = match (plugin.kind, self.request, self.answer) {
            (Kind::Sign, Some(request), None) => request.about(endpoint, message.id),
            (Kind::Classify, None, Some(answer)) => answer.about(endpoint, message.id)?,
            (Kind::Sign, ..) => {
                return Err(ApiError::field("/request", "is what a signer is asked about, alone"));
            }
            (Kind::Classify, ..) => {
                return Err(ApiError::field(
                    "/answer",
                    "is what a classifier is asked about, alone",
                ));
            }
            (Kind::Transform, ..) => {
                let what = "a plugin that sees messages is run on them (…/simulate)";
                return Err(ApiError::conflict(what));
            }
        };
        let (tenant, plugin, settings) = (tenant.clone(), plugin.clone(), self.settings);
        Ok(Question { tenant, plugin, candidate, settings, message: Arc::new(message), about })
    }
}

/// Asks a version of a signer or a classifier, and the active one beside it.
///
/// A signer is given a request that is not sent, and signs with the endpoint's secrets; a classifier an answer that nobody
/// gave. Nothing comes of what they say.
#[utoipa::path(
    post,
    path = "/applications/{app}/plugins/{plugin}/ask",
    tag = "Plugins",
    operation_id = "askPlugin",
    request_body(content = Wanted, example = json!({ "endpoint": "crm", "answer": { "status": 200, "body": "busy" } })),
    responses(
        (status = 200, description = "What they said.", body = Report),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn ask(
    State(catalog): State<Arc<dyn Catalog>>,
    State(simulator): State<Arc<Simulator>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let plugin = find(&tenant, &name)?.clone();
    let bytes = body::read(body, BODY, "question").await?;
    let wanted: Wanted = body::object(&bytes)?;
    let question = wanted.question(&tenant, &plugin)?;
    let version = question.candidate;
    let (active, told) = simulator.ask(question).await?;
    let failure = |told: &Told| told.says.as_ref().err().map(|failed| failed.kind.clone());
    let same = active.as_ref().is_some_and(|active| match (&active.says, &told.says) {
        (Ok(active), Ok(said)) => active == said,
        _ => failure(active) == failure(&told),
    });
    let (said, active_said) = (told.into(), active.map(Shown::from));
    let report = Report { version, active: plugin.active, same, said, active_said };
    // As after a simulation, there is nothing to be kept.
    Ok((Extension(IsKept), Json(report)).into_response())
}
