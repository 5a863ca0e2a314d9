//! The answers that many calls share, for the document of the API: whatever goes wrong, in the shape of [`ApiError`]. Each
//! handler names the groups that it can come to.

use super::error::ApiError;
use utoipa::IntoResponses;

/// What every call that needs a key can come to.
#[derive(IntoResponses)]
pub enum Denied {
    /// The request cannot be read: its path is no UTF-8, or its body is not JSON.
    #[response(status = 400)]
    Malformed(ApiError),
    /// There is no key, or one that is not valid.
    #[response(status = 401)]
    Unauthorized(ApiError),
    /// The key is one of another scope.
    #[response(status = 403)]
    Forbidden(ApiError),
    /// The gateway has failed, and says why in its log.
    #[response(status = 500)]
    Internal(ApiError),
}

/// What calls with a path to something can come to.
#[derive(IntoResponses)]
pub enum Missing {
    /// Something that the path names is not there, or not the key's to see.
    #[response(status = 404)]
    Missing(ApiError),
}

/// As [`Missing`], where callers take any body for the object.
#[derive(IntoResponses)]
pub enum Absent {
    /// It is not there, or not the key's to see. The body is empty.
    #[response(status = 404)]
    Absent,
}

/// What calls with a query can come to.
#[derive(IntoResponses)]
pub enum BadQuery {
    /// A parameter is not as it must be.
    #[response(status = 422)]
    Invalid(ApiError),
}

/// What calls with a body can come to.
#[derive(IntoResponses)]
pub enum BadBody {
    /// The body did not arrive in time.
    #[response(status = 408)]
    Timeout(ApiError),
    /// The body is too long.
    #[response(status = 413)]
    TooLarge(ApiError),
    /// A field is not as it must be.
    #[response(status = 422)]
    Invalid(ApiError),
}

/// What calls that write can come to. Nothing is half done.
#[derive(IntoResponses)]
pub enum NotDone {
    /// It cannot be as things are: a name is taken by the object with that `id`, something else changed it meanwhile, or the
    /// idempotency key was used for another request.
    #[response(status = 409)]
    Conflict(ApiError),
    /// The gateway is stopping, or has more to write than it may; `Retry-After` says when to try again.
    #[response(status = 503, headers(("Retry-After" = u32, description = "In seconds.")))]
    Unavailable(ApiError),
    /// The store is full; `Retry-After` says when to try again.
    #[response(status = 507, headers(("Retry-After" = u32, description = "In seconds.")))]
    Full(ApiError),
}
