//! An endpoint's secrets: which ones sign and until when, and their rotation.

use super::{
    BODY,
    endpoints::{Shown, find, invalid},
};
use crate::{
    clock,
    model::{Millis, catalog::Change, draft, secret::Secret},
    store::Catalog,
    web::{auth::Owner, body, error::ApiError, once::Repeatable},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long old secrets go on to sign unless the call says, in milliseconds: a day.
const GRACE: Millis = 24 * 3_600_000;

/// The secrets that sign, and what receivers verify the ed25519 keys among them with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    data: Vec<Signing>,
    public_keys: Vec<String>,
}

#[derive(Serialize)]
struct Signing {
    secret: String,
    expires: Option<Millis>,
}

/// `GET /applications/{app}/endpoints/{endpoint}/secrets`
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
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rotation {
    /// Made if absent.
    secret: Option<String>,
    /// How long the old ones go on to sign, in milliseconds.
    grace_period: Option<Millis>,
}

/// `POST /applications/{app}/endpoints/{endpoint}/secrets/rotate`: the new secret signs from now on, and the old ones
/// beside it until the grace period is over.
pub async fn rotate(
    State(catalog): State<Arc<dyn Catalog>>,
    owner: Owner,
    repeatable: Repeatable,
    Path((app, endpoint)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Shown>, ApiError> {
    let bytes = body::read(body, BODY, "rotation").await?;
    let Rotation { secret, grace_period } = match bytes.is_empty() {
        true => Rotation::default(),
        false => body::json(&bytes)?,
    };
    let old = find(&catalog, owner, &app, &endpoint)?;
    let made = || Secret::generated(&clock::random_bytes());
    let new = secret.map_or_else(made, Secret::new);
    let grace = grace_period.unwrap_or(GRACE);
    let endpoint = draft::rotate(&old, new, grace, clock::now()).map_err(invalid)?;
    let shown = Shown::from(&endpoint);
    let answer = repeatable.answer(StatusCode::OK, &shown);
    catalog.change_once(Change::PutEndpoint(endpoint), answer).await?;
    Ok(Json(shown))
}
