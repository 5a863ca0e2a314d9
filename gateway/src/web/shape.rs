//! Every error in the contract's shape, those too that axum makes before a handler is asked: a path or a query that cannot
//! be read, a path that is none of ours, a method that a path does not have.

use super::error::ApiError;
use axum::{
    body::to_bytes,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

/// axum's own texts are short, in bytes.
const TEXT: usize = 4096;

/// The answer, or what axum answered in plain text, in the contract's shape.
pub async fn shaped(answer: Response) -> Response {
    let status = answer.status();
    let is_text = answer.headers().get(header::CONTENT_TYPE).is_some_and(|content_type| {
        content_type.to_str().is_ok_and(|text| text.starts_with("text/plain"))
    });
    if !is_text || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let code = match status {
        StatusCode::BAD_REQUEST => "malformed",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid",
        status if status.is_server_error() => "internal",
        _ => "refused",
    };
    let text = to_bytes(answer.into_body(), TEXT).await.unwrap_or_default();
    ApiError::new(status, code, String::from_utf8_lossy(&text)).into_response()
}

/// The answer to a path that is none of ours.
pub async fn no_route(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

/// The answer to a method that a path does not have; `Allow` says which it has.
pub async fn no_method(method: Method) -> ApiError {
    let message = format!("{method} is not possible here");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
