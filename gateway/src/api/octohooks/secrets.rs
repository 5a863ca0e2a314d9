//! An endpoint's secrets: which ones sign and until when, and their rotation.

use super::{
    BODY,
    endpoints::{Shown, find, invalid},
};
use crate::{
    api::health::Parts,
    clock,
    model::{Millis, catalog::Change, draft, secret::Secret},
    store::Catalog,
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
    response::Response,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// How long old secrets go on to sign unless the call says, in milliseconds: a day.
const GRACE: Millis = 24 * 3_600_000;

/// The secrets that sign, and what receivers verify the ed25519 keys among them with.
#[derive(Serialize, ToSchema)]
#[schema(as = SecretList)]
#[serde(rename_all = "camelCase")]
pub struct List {
    data: Vec<Signing>,
    public_keys: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Secret)]
struct Signing {
    secret: String,
    /// When it signs no more; null: never.
    #[schema(required)]
    expires: Option<Millis>,
}

/// Lists the secrets that sign what is sent to an endpoint.
#[utoipa::path(
    get,
    path = "/applications/{app}/endpoints/{endpoint}/secrets",
    tag = "Endpoints",
    operation_id = "listSecrets",
    responses(
        (status = 200, description = "The secrets, newest first.", body = List),
        Denied, Missing,
    ),
)]
pub async fn list(
    State(catalog): State<Arc<dyn Catalog>>,
    owner: Owner,
    Path((app, endpoint)): Path<(String, String)>,
) -> Result<Json<List>, ApiError> {
    let endpoint = find(&catalog, owner, &app, &endpoint)?;
    let now = clock::now();
    let shown = |s: &Secret| Signing { secret: s.text.clone(), expires: s.expires };
    Ok(Json(List {
        data: endpoint.signing(now).map(shown).collect(),
        public_keys: endpoint.signing(now).filter_map(Secret::public_key).collect(),
    }))
}

/// What a rotation may say. It may say nothing.
#[derive(Deserialize, ToSchema)]
#[schema(as = SecretRotation)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    /// Made if absent.
    #[schema(min_length = 1, max_length = 1024)]
    secret: Option<String>,
    /// How long the old ones go on to sign, in milliseconds; a day if absent, at most 30 days.
    #[schema(value_type = Option<u64>, maximum = 2_592_000_000u64, default = 86_400_000u64)]
    grace_period: Option<Millis>,
}

/// Gives an endpoint a new secret.
///
/// It signs from now on, and the old ones beside it until the grace period is over.
#[utoipa::path(
    post,
    path = "/applications/{app}/endpoints/{endpoint}/secrets/rotate",
    tag = "Endpoints",
    operation_id = "rotateSecret",
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The endpoint as it is now.", body = Shown),
        Denied, Missing, BadBody, NotDone,
    ),
)]
pub async fn rotate(
    State(catalog): State<Arc<dyn Catalog>>,
    State(parts): State<Parts>,
    owner: Owner,
    repeatable: Repeatable,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let Rotation { secret, grace_period } = body::optional(body, BODY, "rotation").await?;
    let old = find(&catalog, owner, &app, &endpoint)?;
    let made = || Secret::generated(&clock::random_bytes());
    let new = secret.map_or_else(made, Secret::new);
    let grace = grace_period.unwrap_or(GRACE);
    let endpoint = draft::rotate(&old, new, grace, clock::now()).map_err(invalid)?;
    let shown = Shown::with_health(&endpoint, &parts);
    repeatable.change(&*catalog, Change::PutEndpoint(endpoint), &shown).await
}
