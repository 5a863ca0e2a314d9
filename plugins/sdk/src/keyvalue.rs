//! The application's key-value store, for a plugin whose application was granted `keyvalue`.
//!
//! ```no_run
//! use octohooks_plugin::{Failure, Message, Verdict, keyvalue};
//!
//! fn on_message(message: Message) -> Result<Verdict, Failure> {
//!     // Seen for the first time, or by a call of this very message before.
//!     let key = format!("seen/{}", message.uid.as_deref().unwrap_or(&message.id));
//!     let day = Some(24 * 3_600_000);
//!     match keyvalue::compare_and_set(&key, None, message.id.as_bytes(), day) {
//!         Ok(_) => Ok(Verdict::Pass),
//!         Err(keyvalue::Error::Conflict(_)) => match keyvalue::get(&key)? {
//!             Some(entry) if entry.value != message.id.as_bytes() => Ok(Verdict::drop("seen")),
//!             _ => Ok(Verdict::Pass),
//!         },
//!         Err(error) => Err(error.into()),
//!     }
//! }
//! ```
//!
//! A call may be made again, and finds what it wrote before: write what tells one message from another.

use crate::Failure;
use std::fmt;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::outside as world;
#[cfg(target_arch = "wasm32")]
use crate::v0_1::capabilities as world;

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Another one means that the key was written in between.
    pub version: u64,
}

/// Why nothing was read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A key must have 1 to 512 bytes.
    Key,
    /// A value may have 65,536 bytes.
    Value,
    /// The application has as much as it was granted.
    Full,
    /// Another version was there: this one, or none.
    Conflict(Option<u64>),
    /// One call may use the store 128 times.
    Calls,
    /// The store could not.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("a key must have 1 to 512 bytes"),
            Self::Value => f.write_str("a value may have 65536 bytes"),
            Self::Full => f.write_str("the application has as much as it was granted"),
            Self::Conflict(Some(version)) => write!(f, "the key has the version {version}"),
            Self::Conflict(None) => f.write_str("the key is not there"),
            Self::Calls => f.write_str("one call may use the store 128 times"),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    /// What the store cannot now it may a second later.
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(why) => Self::retry(format!("the key-value store: {why}"), 1000),
            other => Self::Other(format!("the key-value store: {other}")),
        }
    }
}

/// The value under a key, unless its time is up.
///
/// # Errors
/// See [`Error`].
pub fn get(key: &str) -> Result<Option<Entry>, Error> {
    world::get(key)
}

/// Writes a value, whatever was there, for that many milliseconds or for good; its version.
///
/// # Errors
/// See [`Error`].
pub fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<u64, Error> {
    world::set(key, value, ttl_ms)
}

/// The same if the key has that version, or is not there; its new version.
///
/// # Errors
/// [`Error::Conflict`] where it does not.
pub fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl_ms: Option<u64>,
) -> Result<u64, Error> {
    world::compare_and_set(key, expected, value, ttl_ms)
}

/// Removes a key; whether it was there.
///
/// # Errors
/// See [`Error`].
pub fn delete(key: &str) -> Result<bool, Error> {
    world::delete(key)
}
