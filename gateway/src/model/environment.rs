//! An environment: the unit of isolation. It owns applications, with all that is theirs, and keys.

use super::{id::EnvironmentId, name::EnvironmentName};
use serde::{Deserialize, Serialize};

/// An environment beside `default`, which is there from the start and has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Part of every key in the store.
    pub id: EnvironmentId,
    /// As operators call it.
    pub name: EnvironmentName,
}
