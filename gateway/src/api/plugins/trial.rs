//! A version that is tried on live traffic: what it came to so far, and its promotion. What plugins wrote while they ran.

use super::{Place, Shown as ShownPlugin, find};
use crate::{
    model::{
        Millis,
        id::Digest,
        plugin::{Kind, Plugin},
        trial::{Mode, Trial},
    },
    plugin::{Host, Registry},
    store::Catalog,
    trials::{
        Trials,
        lines::Excerpt,
        report::{Report as Counts, Totals},
        shown::Comparison,
    },
    web::{
        answers::{BadBody, BadQuery, Denied, Missing, NotDone},
        auth::Caller,
        error::ApiError,
        once::Repeatable,
        query::Query,
    },
};
use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// How many lines are answered, unless it is said.
const LINES: usize = 100;
/// The most lines that are answered.
const MOST_LINES: usize = 1000;

/// What a version that is tried may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PluginTrialMode)]
pub enum ModeName {
    /// It sees each message once the active version has decided, and decides nothing.
    Shadow,
    /// It decides on a share of the messages.
    Canary,
}

/// A version to try.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = PluginTrialDraft)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// One of the plugin's versions that is not active.
    version: Digest,
    /// What it may do.
    mode: ModeName,
    /// On how many messages in a hundred a canary decides.
    #[schema(minimum = 1, maximum = 100)]
    percent: Option<u64>,
}

/// A trial: a version beside the active one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PluginTrial)]
pub struct Shown {
    /// The version that is tried.
    version: Digest,
    mode: ModeName,
    /// On how many messages in a hundred a canary decides.
    #[schema(required)]
    percent: Option<u8>,
    /// When the trial began.
    since: Millis,
    /// Why it is over: the version failed too often in a row. Since then the active version decides on all messages.
    #[schema(required)]
    stopped: Option<String>,
}

impl From<&Trial> for Shown {
    fn from(trial: &Trial) -> Self {
        let (mode, percent) = match trial.mode {
            Mode::Shadow => (ModeName::Shadow, None),
            Mode::Canary { percent } => (ModeName::Canary, Some(percent)),
        };
        let (version, since, stopped) = (trial.digest, trial.since, trial.stopped.clone());
        Self { version, mode, percent, since, stopped }
    }
}

impl Wanted {
    /// Which version.
    pub const fn version(&self) -> Digest {
        self.version
    }

    /// The trial of this plugin that begins then.
    pub fn of(&self, plugin: &Plugin, since: Millis) -> Result<Trial, ApiError> {
        let digest = self.version;
        let field = |name: &str, what: &str| Err(ApiError::field(format!("/trial/{name}"), what));
        if plugin.version(digest).is_none() {
            return field("version", "must be the digest of one of the plugin's versions");
        }
        let mode = match (self.mode, self.percent) {
            (ModeName::Shadow, None) => Mode::Shadow,
            (ModeName::Shadow, Some(_)) => return field("percent", "is for a canary"),
            (ModeName::Canary, None) => return field("percent", "is required for a canary"),
            (ModeName::Canary, Some(percent)) => match u8::try_from(percent) {
                Ok(percent @ 1..=100) => Mode::Canary { percent },
                _ => return field("percent", "must be from 1 to 100"),
            },
        };
        if plugin.active == Some(digest) {
            return field("version", "is active: there is nothing to try");
        }
        if plugin.active.is_none() {
            return Err(ApiError::conflict("no version is active that another could be beside"));
        }
        sees_messages(plugin)?;
        Ok(Trial { digest, mode, since, stopped: None })
    }
}

/// Only what sees messages can be compared by what it makes of them.
pub fn sees_messages(plugin: &Plugin) -> Result<(), ApiError> {
    match plugin.kind {
        Kind::Transform => Ok(()),
        Kind::Sign | Kind::Classify => Err(ApiError::conflict(
            "only versions of a plugin that sees messages can be compared on them: ask others (…/ask)",
        )),
    }
}

/// What a version that is tried came to so far.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginTrialReport)]
pub struct Report {
    /// The trial; null once it has ended.
    #[schema(required)]
    trial: Option<Shown>,
    /// The version that is tried, or was.
    version: Digest,
    /// The version beside it.
    #[schema(required)]
    active: Option<Digest>,
    /// When the report began: with the first message since the trial, the gateway or another version beside it was started;
    /// null: none has come.
    #[schema(required)]
    since: Option<Millis>,
    /// Messages that a shadow did not see, since messages that are to be decided on come first.
    skipped: u64,
    totals: Totals,
    /// The last messages of which both versions made different things, or on which a canary failed; the newest first, at
    /// most 100.
    differences: Vec<Comparison>,
}

/// Gets what a version came to that is tried on live traffic.
///
/// It is kept after the trial has ended, until the next one begins or the gateway is started anew.
#[utoipa::path(
    get,
    path = "/applications/{app}/plugins/{plugin}/trial",
    tag = "Plugins",
    operation_id = "getPluginTrial",
    responses(
        (status = 200, description = "What it came to so far.", body = Report), Denied, Missing,
    ),
)]
pub async fn report(
    State(catalog): State<Arc<dyn Catalog>>,
    State(trials): State<Arc<Trials>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
) -> Result<Json<Report>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let plugin = find(&tenant, &name)?;
    let trial = plugin.trial.as_ref().map(Shown::from);
    Ok(Json(match (trials.reports.of(plugin), trial) {
        (Some(seen), trial) => Report {
            trial,
            version: seen.candidate,
            active: seen.active,
            since: Some(seen.since),
            skipped: seen.skipped,
            totals: seen.totals,
            differences: seen.recent,
        },
        (None, Some(trial)) => Report {
            version: trial.version,
            trial: Some(trial),
            active: plugin.active,
            since: None,
            skipped: 0,
            totals: Counts::default().totals(),
            differences: Vec::new(),
        },
        (None, None) => return Err(ApiError::not_found("trial")),
    }))
}

/// Activates the version of a plugin that is tried, and ends its trial.
///
/// The next message is run by it, a message that is under way by the one before.
#[utoipa::path(
    post,
    path = "/applications/{app}/plugins/{plugin}/promote",
    tag = "Plugins",
    operation_id = "promotePlugin",
    responses(
        (status = 200, description = "The plugin.", body = ShownPlugin),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn promote(
    State(catalog): State<Arc<dyn Catalog>>,
    State(host): State<Host>,
    State(registry): State<Arc<Registry>>,
    caller: Caller,
    repeatable: Repeatable,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let place = Place { catalog: &catalog, caller, app: &app, name: &name };
    let tried = |plugin: &Plugin| match &plugin.trial {
        None => Err(ApiError::conflict("no version is tried")),
        Some(Trial { stopped: Some(_), .. }) => {
            Err(ApiError::conflict("the trial was stopped: activate the version if you mean it"))
        }
        Some(trial) => Ok(trial.digest),
    };
    let tenant = place.tenant()?;
    let digest = tried(find(&tenant, &name)?)?;
    // Whoever asks means this one, and not what somebody else tries meanwhile.
    let allows = |plugin: &Plugin| match tried(plugin)? == digest {
        true => Ok(()),
        false => Err(ApiError::conflict("another version is tried meanwhile")),
    };
    place.switch((&host, &registry), &tenant, repeatable, digest, allows).await
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// Only those after this one: the `after` of the answer before. Without it the last ones are answered.
    after: Option<u64>,
    /// How many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Gets the last lines that a plugin wrote, and how it failed.
///
/// They are in memory, at most 64 KiB of them, and go when the gateway stops. To follow on, ask for those `after` the last.
#[utoipa::path(
    get,
    path = "/applications/{app}/plugins/{plugin}/log",
    tag = "Plugins",
    operation_id = "getPluginLog",
    params(Lines),
    responses(
        (status = 200, description = "Lines, oldest first.", body = Excerpt),
        Denied, Missing, BadQuery,
    ),
)]
pub async fn log(
    State(catalog): State<Arc<dyn Catalog>>,
    State(trials): State<Arc<Trials>>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    Query(lines): Query<Lines>,
) -> Result<Json<Excerpt>, ApiError> {
    let tenant = caller.tenant(&catalog, &app)?;
    let plugin = find(&tenant, &name)?;
    let limit = lines.limit.unwrap_or(LINES);
    if !(1..=MOST_LINES).contains(&limit) {
        return Err(ApiError::field("?limit", format!("must be from 1 to {MOST_LINES}")));
    }
    Ok(Json(trials.lines.of(plugin, lines.after, limit)))
}
