//! Drops a message if one with the same key went out before, by what it keeps in the application's key-value store. The
//! settings are in this crate's `README.md`.
//!
//! What is kept under a key is the id of the message that was first, so that a call that is made again knows its own.

use octohooks_plugin::{Failure, Message, Verdict, keyvalue, settings};
use serde::Deserialize;
use serde_json::Value;

/// A key of the store may have 512 bytes; some are the prefix.
const LONGEST: usize = 500;

/// What an application configures.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Where the payload says what makes two messages the same: a JSON pointer. Without one it is the publisher's uid.
    key: Option<String>,
    /// How long it is remembered.
    for_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { key: None, for_seconds: 24 * 3600 }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let settings: Settings = settings()?;
    let Some(key) = key(&message, settings.key.as_deref())? else { return Ok(Verdict::Pass) };
    if key.len() > LONGEST {
        return Err(Failure::reject(format!("the key has more than {LONGEST} bytes")));
    }
    let (key, own) = (format!("seen/{key}"), message.id.as_bytes());
    let ttl = Some(settings.for_seconds.saturating_mul(1000));
    match keyvalue::compare_and_set(&key, None, own, ttl) {
        Ok(_) => Ok(Verdict::Pass),
        Err(keyvalue::Error::Conflict(_)) => Ok(match keyvalue::get(&key)? {
            Some(first) if first.value != own => {
                let first = String::from_utf8_lossy(&first.value).into_owned();
                Verdict::drop(format!("a duplicate of the message {first}"))
            }
            _ => Verdict::Pass,
        }),
        Err(error) => Err(error.into()),
    }
}

octohooks_plugin::export!(on_message);

/// What makes two messages the same, if this one says so.
fn key(message: &Message, pointer: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(pointer) = pointer else { return Ok(message.uid.clone()) };
    let payload: Value = message.json()?;
    Ok(match payload.pointer(pointer) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message, outside::Outside};
    use serde_json::json;

    fn sent(id: &str, payload: &str) -> Result<Verdict, Failure> {
        let mut message = message("order", payload);
        message.id = id.to_owned();
        Host::new().settings(json!({ "key": "/order" })).call(on_message, message)
    }

    #[test]
    fn the_first_passes_and_what_comes_after_is_dropped() {
        Outside::new().place();
        assert_eq!(sent("1", r#"{"order":7}"#), Ok(Verdict::Pass));
        assert_eq!(sent("2", r#"{"order":7}"#), Ok(Verdict::drop("a duplicate of the message 1")));
        assert_eq!(sent("3", r#"{"order":8}"#), Ok(Verdict::Pass));
    }

    #[test]
    fn a_message_that_comes_again_is_not_its_own_duplicate() {
        Outside::new().place();
        assert_eq!(sent("1", r#"{"order":7}"#), Ok(Verdict::Pass));
        assert_eq!(sent("1", r#"{"order":7}"#), Ok(Verdict::Pass));
    }

    #[test]
    fn what_has_no_key_passes() {
        Outside::new().place();
        for payload in ["{}", r#"{"order":null}"#, "{}"] {
            assert_eq!(sent("1", payload), Ok(Verdict::Pass));
            assert_eq!(sent("2", payload), Ok(Verdict::Pass));
        }
        let long = format!(r#"{{"order":"{}"}}"#, "x".repeat(501));
        assert_eq!(sent("1", &long), Err(Failure::reject("the key has more than 500 bytes")));
    }
}
