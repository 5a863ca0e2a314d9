//! What a plugin is given: one accepted message. For `on_message`.

use crate::Failure;
use serde::Deserialize;

/// A name and a value: a header (lower-case name) or an attribute.
pub type Pair = (String, String);

/// One accepted message. It never changes: what is to be different is asked for in a
/// [`Dispatch`](crate::Dispatch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The gateway's id, the same at every retry and after every restart.
    pub id: String,
    /// The publisher's own identifier, if it gave one.
    pub uid: Option<String>,
    /// The application's uid, or its id if it has none.
    pub application: String,
    /// What happened, `^[a-zA-Z0-9\-_.]+$`.
    pub event_type: String,
    /// The channels the publisher tagged the message with.
    pub channels: Vec<String>,
    /// When the gateway made the message durable, in milliseconds since the Unix epoch.
    pub accepted_at: u64,
    /// The media type of the payload.
    pub content_type: String,
    /// The bytes as the publisher sent them.
    pub payload: Vec<u8>,
    /// What the publisher attached. Ignore the names you do not know.
    pub attributes: Vec<Pair>,
}

impl Message {
    /// Reads the payload as JSON, borrowing from it where `T` borrows.
    ///
    /// # Errors
    /// [`Failure::Reject`] with the place and the reason: such a payload will never be read.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| Failure::reject(format!("payload: {error}")))
    }

    /// The first attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
