//! An application: a tenant, one per consumer of webhooks.

use super::{
    Millis,
    endpoint::RateLimit,
    id::{ApplicationId, EnvironmentId},
    name::Uid,
    retry::Retry,
};
use serde::{Deserialize, Serialize};

/// A tenant of an environment. Owns endpoints, messages and at most one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// The environment it lives in.
    pub environment: EnvironmentId,
    /// The gateway's id.
    pub id: ApplicationId,
    /// The caller's own identifier, unique in the environment.
    pub uid: Option<Uid>,
    /// For people.
    pub name: String,
    /// When deliveries of its messages are tried again; of what it does not say, the configuration's counts.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How many requests may start in a time, to all its endpoints together; none: no limit.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// Whether the configuration file declares it: then it goes when it leaves the file.
    #[serde(default)]
    pub declared: bool,
    /// Counts the changes, from 1.
    pub revision: u64,
    /// When it was created.
    pub created: Millis,
    /// When it last changed.
    pub updated: Millis,
}
