//! An attempt: one HTTP try of a delivery, and what came of it.

use super::Millis;
use serde::{Deserialize, Serialize};

/// One try, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1, without gaps.
    pub number: u32,
    /// When it was sent.
    pub at: Millis,
    /// From sending to the end of the answer (or the failure), in milliseconds.
    pub latency: u32,
    /// The endpoint's revision as of then: with it, what was sent can be shown. None for what older versions recorded.
    pub revision: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered(Answer),
    /// No answer that counts.
    Failed {
        /// Whose fault, in one word.
        class: Failure,
        /// For people.
        detail: String,
    },
}

/// A receiver's answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// How long the receiver asks us to wait, in milliseconds (`Retry-After`).
    pub retry_after: Option<u64>,
    /// The headers as lines `name: value`, at most 4 KiB of them.
    pub headers: String,
    /// The start of the body, at most 16 KiB.
    pub body: Vec<u8>,
}

/// What an answer means, as an endpoint's classifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The receiver took the delivery.
    Success,
    /// It is tried again; not before this many milliseconds, if any.
    RetryAfter(Option<Millis>),
    /// It has failed, and is not tried again.
    Fail,
    /// The same, and its receiver wants nothing more.
    Disable,
}

/// Why there was no answer. The names are the ones that the API and the metrics use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The guard refused the address.
    Guard,
    /// The name did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// TLS failed.
    Tls,
    /// The time was up.
    Timeout,
    /// The connection broke.
    Reset,
    /// The answer was not HTTP.
    Protocol,
    /// The endpoint's signer gave no headers: nothing was sent.
    Signer,
    /// There was no OAuth 2 token to log in with: nothing was sent.
    Token,
    /// The gateway itself failed.
    Internal,
}

impl Failure {
    /// The name in the API, the metrics and the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Signer => "signer",
            Self::Token => "token",
            Self::Internal => "internal",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        use Failure::*;
        let all = [Guard, Dns, Connect, Tls, Timeout, Reset, Protocol, Signer, Token, Internal];
        all.into_iter().find(|failure| failure.name() == name)
    }
}

impl Outcome {
    /// Whether the receiver took the delivery: any 2xx.
    #[must_use]
    pub const fn delivered(&self) -> bool {
        matches!(self, Self::Answered(answer) if answer.status / 100 == 2)
    }

    /// The status, if there was an answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(answer) => Some(answer.status),
            Self::Failed { .. } => None,
        }
    }
}
