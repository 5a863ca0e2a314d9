//! What a plugin asks for: a verdict on one message, in the gateway's own nouns.

use super::name::{Channel, EventType};
use bytes::Bytes;

/// A plugin's answer to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it is, to its subscribers.
    Pass,
    /// To nobody, for this reason.
    Drop(String),
    /// These, in this order.
    Send(Vec<Dispatch>),
}

/// One thing to send. Where a field is absent the message's own value is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dispatch {
    /// Where to.
    pub target: Target,
    /// Instead of the message's event type.
    pub event_type: Option<EventType>,
    /// Instead of `application/json`; a legal header value.
    pub content_type: Option<String>,
    /// Instead of the message's payload.
    pub payload: Option<Bytes>,
    /// Lower-case names and legal values; none that the gateway sets itself.
    pub headers: Vec<(String, String)>,
    /// Deliveries of one endpoint with the same key keep their order, where the endpoint asks for it.
    pub ordering_key: Option<String>,
    /// Milliseconds to wait before the first attempt.
    pub delay: u64,
}

impl Dispatch {
    /// What a message becomes that is left as it is.
    pub const PASS: Self = Self {
        target: Target::Subscribed,
        event_type: None,
        content_type: None,
        payload: None,
        headers: Vec::new(),
        ordering_key: None,
        delay: 0,
    };

    /// Everything in it that has a length a plugin chooses, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let target: usize = match &self.target {
            Target::Subscribed => 0,
            Target::Channels(names) => names.iter().map(|name| name.len()).sum(),
            Target::Endpoints(names) => names.iter().map(String::len).sum(),
        };
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        target
            + headers
            + self.payload.as_ref().map_or(0, |bytes| bytes.len())
            + self.event_type.as_ref().map_or(0, |name| name.len())
            + self.content_type.as_ref().map_or(0, String::len)
            + self.ordering_key.as_ref().map_or(0, String::len)
    }
}

/// Which endpoints a dispatch goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Every enabled endpoint whose subscription matches.
    Subscribed,
    /// As though the message had these channels.
    Channels(Vec<Channel>),
    /// Exactly these, by id or uid.
    Endpoints(Vec<String>),
}
