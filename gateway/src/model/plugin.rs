//! A plugin: the component an application runs on each of its messages, and what it is configured with.
//! The component's bytes are kept apart, by digest (`Catalog::code`).

use super::{
    Millis,
    id::{ApplicationId, Digest, EnvironmentId},
};
use serde::{Deserialize, Serialize};

/// An application's active plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The environment of its application.
    pub environment: EnvironmentId,
    /// Whose messages it sees.
    pub application: ApplicationId,
    /// Which component.
    pub digest: Digest,
    /// The component's size in bytes.
    pub size: u64,
    /// A JSON object the plugin reads through the `settings` import.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Whether the configuration file declares it: then it goes when it leaves the file.
    #[serde(default)]
    pub declared: bool,
    /// Why it is in quarantine, and is not called: it failed too often in a row. A new version or new settings release it.
    #[serde(default)]
    pub quarantined: Option<String>,
    /// When the application got its first plugin.
    pub created: Millis,
    /// When this version or these settings became active.
    pub updated: Millis,
}
