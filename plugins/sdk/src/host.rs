//! What a plugin may ask the gateway: its settings and the application's endpoints. For
//! `on_message`.
//!
//! Each question is one call across the component's border, answered from the gateway's memory.
//! On other targets than WebAssembly the answers come from [`testing`](crate::testing).

use crate::{Failure, Pair};
use serde::de::DeserializeOwned;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing as world;
#[cfg(target_arch = "wasm32")]
use crate::v0_1 as world;

/// An endpoint of the message's application: never its secrets or credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The gateway's id.
    pub id: String,
    /// The customer's own identifier, if it gave one.
    pub uid: Option<String>,
    /// What a person called it.
    pub name: String,
    /// Where deliveries go.
    pub url: String,
    /// The event types it subscribes to. Empty: all.
    pub event_types: Vec<String>,
    /// The channels it subscribes to. Empty: all messages, whatever their channels.
    pub channels: Vec<String>,
    /// Its metadata.
    pub attributes: Vec<Pair>,
}

/// What the application configured for this plugin, read as `T`.
///
/// Give `T` a `#[serde(default)]`: nothing configured is `{}`.
///
/// # Errors
/// [`Failure::Other`] with the place and the reason if the settings are not a `T`.
pub fn settings<T: DeserializeOwned>() -> Result<T, Failure> {
    serde_json::from_str(&settings_json())
        .map_err(|error| Failure::Other(format!("settings: {error}")))
}

/// What the application configured for this plugin, as JSON text; `{}` if nothing.
#[must_use]
pub fn settings_json() -> String {
    world::settings_json()
}

/// One top-level setting: a string as it is, anything else as JSON text.
#[must_use]
pub fn setting(key: &str) -> Option<String> {
    world::setting(key)
}

/// The application's enabled endpoints, in no promised order.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    world::endpoints()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, message};
    use crate::{Message, Verdict, log};
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        limit: u32,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self { limit: 10 }
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
    fn on_message(message: Message) -> Result<Verdict, Failure> {
        let settings: Settings = settings()?;
        let body: Vec<u32> = message.json()?;
        log::warn!("{} of {}", body.len(), settings.limit);
        Ok(Verdict::drop(endpoints().iter().map(|one| one.name.as_str()).collect::<String>()))
    }

    #[test]
    fn a_plugin_runs_without_a_gateway() {
        let host = Host::new()
            .settings(json!({ "limit": 2 }))
            .endpoint(Endpoint { name: "crm".into(), ..Endpoint::default() });
        assert_eq!(host.call(on_message, message("a", "[1]")), Ok(Verdict::drop("crm")));
        assert_eq!(Host::lines(), [(log::Level::Warn, "1 of 2".to_owned())]);
    }

    #[test]
    fn nothing_configured_is_an_empty_object() {
        let host = Host::new();
        assert_eq!(host.call(on_message, message("a", "[]")), Ok(Verdict::drop("")));
        assert_eq!(Host::lines(), [(log::Level::Warn, "0 of 10".to_owned())]);
    }

    #[test]
    fn a_failure_says_whose_fault_it_is() {
        let bad = Host::new().call(on_message, message("a", "{"));
        assert!(matches!(bad, Err(Failure::Reject(reason)) if reason.starts_with("payload: ")));
        let host = Host::new().settings(json!({ "limits": 1 }));
        let bad = host.call(on_message, message("a", "[]"));
        assert!(matches!(bad, Err(Failure::Other(reason)) if reason.starts_with("settings: ")));
    }
}
