//! Bodies: read within a limit of bytes and of time, and checked as JSON with the path of what is wrong.

use super::error::ApiError;
use axum::{body::Body, http::StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use std::time::Duration;

/// The longest a sender may take for a whole body.
const TIME: Duration = Duration::from_secs(30);

/// Reads a body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize, what: &str) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(TIME, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(refused(&error, limit, what)),
        Err(_) => {
            let message = format!("the body did not arrive within {} seconds", TIME.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

fn refused(error: &axum::Error, limit: usize, what: &str) -> ApiError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return ApiError::too_large(what, limit);
        }
        cause = error.source();
    }
    ApiError::new(StatusCode::BAD_REQUEST, "malformed", "the body ended early")
}

/// The body as that type; what is wrong is found by a second reading, which only bad bodies pay for.
pub fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| ApiError::from_json(&error))?;
        let trailing = |error: serde_json::Error| {
            let message = format!("the body is not JSON: {error}");
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
        };
        reader.end().map_err(trailing)?;
        Ok(value)
    })
}
