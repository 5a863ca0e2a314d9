//! The wire contract: objects and calls as the existing clients know them.

use crate::web::error::ApiError;
use axum::{
    extract::{FromRequestParts, Query},
    http::{StatusCode, request::Parts},
};
use serde::Deserialize;
use utoipa::IntoParams;

pub mod keyset;
pub mod applications;
pub mod endpoints;
pub mod messages;
pub mod secrets;
pub mod dead_letters;
pub mod deliveries;
pub mod attempts;
pub mod recovery;

/// A body of the API is at most this long, in bytes.
pub(super) const BODY: usize = crate::web::body::USUAL;

/// The answer to a GET of what does not exist: the body is empty, since clients take any body for the object.
fn absent() -> axum::response::Response {
    axum::response::IntoResponse::into_response(StatusCode::NOT_FOUND)
}

/// `?page=1&size=10`, pages from 1.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    page: usize,
    size: usize,
}

impl Page {
    /// The page of these.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let skip = (self.page - 1).saturating_mul(self.size);
        all.into_iter().skip(skip).take(self.size).collect()
    }
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// From 1, which is the default.
    #[param(minimum = 1, default = 1)]
    page: Option<usize>,
    /// How many a page shows.
    #[param(minimum = 1, maximum = 250, default = 10)]
    size: Option<usize>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(PageQuery { page, size }) = Query::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::field("?page&size", error.to_string()))?;
        let (page, size) = (page.unwrap_or(1), size.unwrap_or(10));
        if page < 1 {
            return Err(ApiError::field("?page", "must be at least 1"));
        }
        match (1..=250).contains(&size) {
            true => Ok(Self { page, size }),
            false => Err(ApiError::field("?size", "must be from 1 to 250")),
        }
    }
}
