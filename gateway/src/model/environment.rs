//! An environment: the unit of isolation. It owns applications, with all that is theirs, keys and event types.

use super::{Millis, id::EnvironmentId, name::EnvironmentName};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

/// An environment beside `default`, which is there from the start and has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Part of every key in the store.
    pub id: EnvironmentId,
    /// As operators call it.
    pub name: EnvironmentName,
    /// Counts the changes, from 1.
    #[serde(default = "first")]
    pub revision: u64,
    /// When it was created.
    #[serde(default)]
    pub created: Millis,
    /// When it last changed.
    #[serde(default)]
    pub updated: Millis,
    /// How long what is recorded is kept, if not as long as usual.
    #[serde(default)]
    pub kept: Option<Kept>,
    /// Whether it was deleted: its record stays, since messages may still have its id, which no other may get.
    #[serde(default)]
    pub deleted: bool,
}

fn first() -> u64 {
    1
}

impl Environment {
    /// A new one.
    #[must_use]
    pub fn new(id: EnvironmentId, name: EnvironmentName, now: Millis) -> Self {
        Self { id, name, revision: 1, created: now, updated: now, kept: None, deleted: false }
    }
}

/// How long what is recorded is kept, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// Payloads.
    pub payload_days: NonZeroU16,
    /// Deliveries with their attempts.
    pub attempt_days: NonZeroU16,
}

impl Default for Kept {
    fn default() -> Self {
        // What the provider's documentation promises.
        let days = NonZeroU16::new(90).unwrap_or(NonZeroU16::MIN);
        Self { payload_days: days, attempt_days: days }
    }
}
