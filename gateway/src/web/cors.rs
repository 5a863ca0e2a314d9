//! What pages of other origins may do: everything that a key lets them. Every answer says so, errors too, also those of
//! paths that are not there. The headers are named, since a wildcard does not stand for `Authorization`.

use axum::{
    Router,
    http::{HeaderName, Method, header},
};
use std::time::Duration;
use tower_http::cors::{Any, CorsLayer};

/// How long a browser may keep the answer to a preflight; none keeps it longer.
const AGE: Duration = Duration::from_secs(2 * 60 * 60);
const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
const HEADERS: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("octohooks-signature"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// These routes, open to all origins.
pub fn open(routes: Router) -> Router {
    let layer = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(METHODS)
        .allow_headers(HEADERS)
        .expose_headers([header::RETRY_AFTER])
        .max_age(AGE);
    routes.layer(layer)
}
