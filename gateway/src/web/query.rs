//! What stands behind the `?` and in the path of a request, with errors in the same shape as all others.

use super::error::ApiError;
use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

/// The query as that type. Unknown names are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let found = axum::extract::Query::try_from_uri(&parts.uri);
        let bad = |error: axum::extract::rejection::QueryRejection| {
            let text = error.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            ApiError::field("?", text)
        };
        found.map(|axum::extract::Query(query)| Self(query)).map_err(bad)
    }
}
