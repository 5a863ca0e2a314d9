//! The one place where a failure becomes an HTTP answer:
//! `{"code": "...", "message": "...", "details": [{"path": "/url", "message": "..."}]}`.

use crate::{
    model::{catalog::Conflict, event_type::Violation},
    store::StoreError,
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// An error as a caller reads it.
#[derive(Debug, Serialize, thiserror::Error, ToSchema)]
#[schema(as = Error, example = json!({
    "code": "invalid",
    "message": "/url is required",
    "details": [{ "path": "/url", "message": "is required" }],
}))]
#[error("{message}")]
pub struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    /// For programs: one word.
    code: &'static str,
    /// For people.
    message: String,
    /// What is wrong where, if it is more than the message says.
    details: Vec<Detail>,
    /// The object that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
}

/// What is wrong, and where in the body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErrorDetail)]
pub struct Detail {
    /// A JSON pointer into the body; the name of a header; `?` and the name of a parameter.
    pub path: String,
    /// What would be right.
    pub message: String,
}

impl ApiError {
    /// An error with that status, code and text.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), id: None }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// 422: one field is not as it must be.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![Detail { path: path.into(), message: message.into() }])
    }

    /// 422: these fields are not as they must be.
    pub fn fields(details: Vec<Detail>) -> Self {
        let text =
            details.iter().map(|d| format!("{} {}", d.path, d.message).trim_start().to_owned());
        let message = text.collect::<Vec<_>>().join("; ");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { status, code: "invalid", message, details, id: None }
    }

    /// 422: the payload violates its event type's schema here. The text names the first place only: it travels in
    /// headers too.
    pub fn schema(violations: Vec<Violation>) -> Self {
        let detail =
            |v: Violation| Detail { path: format!("/payload{}", v.path), message: v.message };
        let details: Vec<_> = violations.into_iter().map(detail).collect();
        let first = details.first().map(|d| format!(": {} {}", d.path, d.message));
        let (status, first) = (StatusCode::UNPROCESSABLE_ENTITY, first.unwrap_or_default());
        let message = format!("the payload does not fit the schema of its event type{first}");
        Self { status, code: "schema", message, details, id: None }
    }

    /// 404, for objects whose absence has a body.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    /// 409, with the existing object's id.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 409: the uid is that of this object.
    pub fn taken(id: &impl ToString, message: impl Into<String>) -> Self {
        Self { id: Some(id.to_string()), ..Self::conflict(message) }
    }

    /// 413: the limit in bytes.
    pub fn too_large(what: &str, limit: usize) -> Self {
        let message = format!("the {what} is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Where a body does not fit its type: 400 if it is not JSON at all, else 422 with the path.
    pub fn from_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let inner = error.inner();
        if !inner.is_data() {
            let message = format!("the body is not JSON: {inner}");
            return Self::new(StatusCode::BAD_REQUEST, "malformed", message);
        }
        Self::field(pointer(error.path()), inner.to_string())
    }
}

/// A path of serde's as a JSON pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "store_full", message),
            StoreError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message),
            StoreError::Closed => {
                let message = "the gateway is stopping";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message)
            }
            StoreError::Conflict(
                Conflict::TooManyEndpoints
                | Conflict::TooManyPlugins
                | Conflict::TooManyKeys
                | Conflict::TooManyEventTypes,
            ) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many", message),
            StoreError::Conflict(Conflict::TooMuchCode(_)) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_much_code", message)
            }
            // Whoever asks has no part in it.
            StoreError::Conflict(Conflict::TooMuchCodeInAll(_)) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "too_much_code", message)
            }
            StoreError::Conflict(Conflict::OtherKind) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_component", message)
            }
            StoreError::Conflict(Conflict::NoEnvironment) => Self::not_found("environment"),
            StoreError::Conflict(Conflict::NoApplication) => Self::not_found("application"),
            StoreError::Conflict(Conflict::UidTaken) => {
                let mut error = Self::conflict(message.clone());
                error.details.push(Detail { path: "/uid".into(), message });
                error
            }
            StoreError::Conflict(Conflict::NameTaken) => {
                let mut error = Self::conflict(message.clone());
                error.details.push(Detail { path: "/name".into(), message });
                error
            }
            StoreError::Conflict(Conflict::Stale | Conflict::NotEmpty) => Self::conflict(message),
            StoreError::UnderWay(id) => Self::taken(&id, message),
            StoreError::TooManyOperations => Self::conflict(message),
            StoreError::Failed(_) => {
                tracing::error!(error = message, "the store failed a request");
                let message = "the store failed; nothing was accepted";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
