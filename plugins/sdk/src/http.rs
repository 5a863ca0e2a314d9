//! Requests to hosts that the application was granted, for a plugin whose application was granted `http`.
//!
//! ```no_run
//! use octohooks_plugin::{http::Request, secret};
//!
//! let token = secret("crm").unwrap_or_default();
//! let response = Request::get("https://crm.example.com/customers/7")
//!     .header("authorization", &format!("Bearer {token}"))
//!     .send();
//! ```

use crate::{Failure, Pair};
use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::outside as world;
#[cfg(target_arch = "wasm32")]
use crate::v0_1::capabilities as world;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For example `GET`.
    pub method: String,
    /// `http` or `https`.
    pub url: String,
    /// Those that the protocol sets cannot be given.
    pub headers: Vec<Pair>,
    /// May be empty.
    pub body: Vec<u8>,
    /// How long the answer may take, in milliseconds; none: as long as the budget lets it.
    pub timeout_ms: Option<u64>,
}

/// What came back, whatever the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names are lower-case.
    pub headers: Vec<Pair>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It may not be sent.
    Refused(String),
    /// The call's budget is used up.
    Budget(String),
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Budget(why) | Self::Failed(why) => f.write_str(why),
            Self::Timeout => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    /// What was lost on the way may get through ten seconds later.
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout | Error::Failed(_) => Self::retry(format!("http: {error}"), 10_000),
            Error::Refused(_) | Error::Budget(_) => Self::Other(format!("http: {error}")),
        }
    }
}

impl Request {
    /// A request without headers or body.
    #[must_use]
    pub fn new(method: &str, url: &str) -> Self {
        let (method, url) = (method.to_owned(), url.to_owned());
        Self { method, url, headers: Vec::new(), body: Vec::new(), timeout_ms: None }
    }

    /// A `GET`.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// A `POST` of that type.
    #[must_use]
    pub fn post(url: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let post = Self { body: body.into(), ..Self::new("POST", url) };
        post.header("content-type", content_type)
    }

    /// One header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long the answer may take.
    #[must_use]
    pub const fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// See [`Error`]; a status is none.
    pub fn send(self) -> Result<Response, Error> {
        world::send(self)
    }
}
