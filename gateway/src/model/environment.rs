//! An environment: the unit of isolation. It owns applications, with all that is theirs, keys and event types.

use super::{Millis, id::EnvironmentId, name::EnvironmentName};
use serde::{Deserialize, Serialize};

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
        Self { id, name, revision: 1, created: now, updated: now, deleted: false }
    }
}
