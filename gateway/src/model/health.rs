//! An endpoint's health: what its attempts tell of its receiver, as it is shown and kept.

use super::{Millis, id::EndpointId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An endpoint's health as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EndpointHealth)]
pub struct Health {
    /// Whether deliveries go out, wait, or are tried one at a time.
    pub breaker: Breaker,
    /// Until when nothing is sent, while the breaker is open.
    #[schema(required)]
    pub until: Option<Millis>,
    /// Since when attempts have only failed; none while they do not.
    #[schema(required)]
    pub failing_since: Option<Millis>,
    /// How many failed since then.
    pub failures: u64,
    /// How many requests may be under way at once now: at most `maxInFlight`, fewer for a receiver that does not keep up.
    pub in_flight_limit: usize,
}

/// How an endpoint's breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = BreakerState)]
pub enum Breaker {
    /// Deliveries go out.
    #[default]
    Closed,
    /// They wait.
    Open,
    /// They are tried one at a time.
    HalfOpen,
}

/// What is kept of an endpoint that is not well, across restarts. The default is that it is well, and nothing is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// The endpoint's `renewed` as of then: after another one it is of the past.
    pub renewed: u64,
    /// How many times in a row the breaker has been opened; 0: it is closed.
    pub openings: u32,
    /// Until when it is open.
    pub until: Option<Millis>,
    /// Since when attempts have only failed.
    pub failing_since: Option<Millis>,
    /// How many failed since then.
    pub failures: u64,
    /// When its operators were told that it will be disabled.
    pub warned: Option<Millis>,
    /// Until when its receiver asked to be left alone.
    pub asked: Option<Millis>,
}

impl Trouble {
    /// Whether there is any.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.openings > 0 || self.failing_since.is_some() || self.asked.is_some()
    }
}

/// An endpoint, and what is kept of its health.
pub type Kept = (EndpointId, Trouble);

/// Why the gateway disabled an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DisabledReason)]
pub enum Disabled {
    /// Its attempts only failed, for as long as `delivery.disable_after_seconds` says.
    Failing,
    /// Its receiver answered 410.
    Gone,
    /// Its classifier said that nothing more is wanted.
    Classifier,
}
