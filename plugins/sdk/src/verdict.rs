//! What a plugin answers: a verdict with its dispatches, or why there is none. For `on_message`.

use crate::message::Pair;
use serde::Serialize;
use std::fmt;

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it is, to its subscribers. Costs no copy of the payload.
    Pass,
    /// To nobody, for this reason.
    Drop(String),
    /// These, in this order.
    Send(Vec<Dispatch>),
}

impl Verdict {
    /// To nobody. The reason is shown to operators.
    #[must_use]
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }

    /// These, in this order.
    #[must_use]
    pub fn send(dispatches: impl IntoIterator<Item = Dispatch>) -> Self {
        Self::Send(dispatches.into_iter().collect())
    }
}

impl From<Dispatch> for Verdict {
    fn from(dispatch: Dispatch) -> Self {
        Self::Send(vec![dispatch])
    }
}

impl From<Vec<Dispatch>> for Verdict {
    fn from(dispatches: Vec<Dispatch>) -> Self {
        Self::Send(dispatches)
    }
}

/// Which endpoints of the application a dispatch goes to. None is reached twice by one dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every enabled endpoint whose subscription matches.
    Subscribed,
    /// As `Subscribed`, as though the message had these channels and no others.
    Channels(Vec<String>),
    /// Exactly these, by id or uid, whatever they subscribe to. An unknown one fails the call.
    Endpoints(Vec<String>),
}

/// One thing to send. Where a field is `None` the message's own value is used.
///
/// Made by one of the three constructors, then given what differs:
///
/// ```
/// # use octohooks_plugin::Dispatch;
/// let dispatch = Dispatch::to_channels(["alerts"])
///     .event_type("disk.full")
///     .header("x-severity", "high")
///     .ordering_key("host-7")
///     .delay_ms(5_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// To whom.
    pub target: Target,
    /// The event type; it also decides which subscriptions match.
    pub event_type: Option<String>,
    /// The media type of the payload.
    pub content_type: Option<String>,
    /// The body of the request.
    pub payload: Option<Vec<u8>>,
    /// Added to the request; names are lower-case.
    pub headers: Vec<Pair>,
    /// Deliveries of one endpoint with the same key keep their order, where it asks for order.
    pub ordering_key: Option<String>,
    /// Milliseconds to wait before the first attempt.
    pub delay: Option<u64>,
    /// Recorded with the deliveries.
    pub attributes: Vec<Pair>,
}

impl Dispatch {
    /// The message as it is, to a target of your choice.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self {
            target,
            event_type: None,
            content_type: None,
            payload: None,
            headers: Vec::new(),
            ordering_key: None,
            delay: None,
            attributes: Vec::new(),
        }
    }

    /// To every enabled endpoint whose subscription matches.
    #[must_use]
    pub fn to_subscribed() -> Self {
        Self::to(Target::Subscribed)
    }

    /// To those whose subscription would match a message with these channels and no others.
    #[must_use]
    pub fn to_channels<C: Into<String>>(channels: impl IntoIterator<Item = C>) -> Self {
        Self::to_subscribed().channels(channels)
    }

    /// To exactly these, by id or uid.
    #[must_use]
    pub fn to_endpoints<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self::to(Target::Endpoints(endpoints.into_iter().map(Into::into).collect()))
    }

    /// Replaces the target by these channels.
    #[must_use]
    pub fn channels<C: Into<String>>(mut self, channels: impl IntoIterator<Item = C>) -> Self {
        self.target = Target::Channels(channels.into_iter().map(Into::into).collect());
        self
    }

    /// Another event type than the message's, `^[a-zA-Z0-9\-_.]+$`.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Other bytes than the message's, and their media type.
    #[must_use]
    pub fn payload(mut self, content_type: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        self.content_type = Some(content_type.into());
        self.payload = Some(payload.into());
        self
    }

    /// Another payload than the message's, as JSON.
    ///
    /// # Errors
    /// [`Failure::Other`] if `value` cannot be written as JSON.
    pub fn payload_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Failure> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Failure::Other(format!("cannot write the payload: {error}")))?;
        Ok(self.payload("application/json", bytes))
    }

    /// One header more. The gateway's own and the endpoint's cannot be overridden.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into().to_ascii_lowercase(), value.into()));
        self
    }

    /// Keeps the order among deliveries with the same key.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// Waits this many milliseconds before the first attempt.
    #[must_use]
    pub fn delay_ms(mut self, milliseconds: u64) -> Self {
        self.delay = Some(milliseconds);
        self
    }

    /// One attribute more, recorded with the deliveries.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

/// Why there is no verdict. The message is not lost: the application's policy says what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It will never work.
    Reject(String),
    /// It may work later.
    Retry {
        /// Shown to operators.
        reason: String,
        /// Milliseconds to wait at least.
        after_ms: u64,
    },
    /// Anything else.
    Other(String),
}

impl Failure {
    /// It will never work: the message cannot be understood. The reason is shown to operators.
    #[must_use]
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    /// It may work after this many milliseconds.
    #[must_use]
    pub fn retry(reason: impl Into<String>, after_ms: u64) -> Self {
        Self::Retry { reason: reason.into(), after_ms }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reject(reason) | Self::Other(reason) => f.write_str(reason),
            Self::Retry { reason, after_ms } => write!(f, "{reason} (again after {after_ms} ms)"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispatch_says_only_what_differs() {
        let dispatch = Dispatch::to_subscribed().header("X-Kind", "a");
        assert_eq!(dispatch.target, Target::Subscribed);
        assert_eq!(dispatch.payload, None);
        assert_eq!(dispatch.event_type, None);
        assert_eq!(dispatch.headers, [("x-kind".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn a_json_payload_brings_its_media_type() {
        let dispatch = Dispatch::to_endpoints(["crm"]).payload_json(&[1, 2]).expect("plain");
        assert_eq!(dispatch.target, Target::Endpoints(vec!["crm".into()]));
        assert_eq!(dispatch.payload.as_deref(), Some(b"[1,2]".as_slice()));
        assert_eq!(dispatch.content_type.as_deref(), Some("application/json"));
    }
}
