//! Masks personal data before a message leaves: what is at a place of the payload (a JSON pointer, with `*` for every
//! element), and what looks like personal data wherever it is (a pattern). The settings are in this crate's `README.md`.
//!
//! `place` walks to the pointers, `pattern` looks into texts. A payload without personal data passes, byte for byte.

mod pattern;
mod place;

use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};
use pattern::Pattern;
use serde::Deserialize;
use serde_json::Value;

/// What an application configures.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Places whose values are masked, whatever they are.
    pointers: Vec<String>,
    /// What is masked in every text.
    patterns: Vec<Pattern>,
    /// What stands in a masked place.
    mask: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pointers: Vec::new(), patterns: Vec::new(), mask: "[redacted]".to_owned() }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let settings: Settings = settings()?;
    let mut payload: Value = message.json()?;
    let mut masked = 0;
    for pointer in &settings.pointers {
        masked += place::mask(&mut payload, pointer, &settings.mask)?;
    }
    for pattern in &settings.patterns {
        masked += pattern.compile()?.mask(&mut payload);
    }
    match masked {
        0 => Ok(Verdict::Pass),
        _ => Ok(Dispatch::to_subscribed().payload_json(&payload)?.into()),
    }
}

octohooks_plugin::export!(on_message);

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message};
    use serde_json::json;

    fn redacted(settings: Value, payload: &Value) -> Result<Verdict, Failure> {
        Host::new().settings(settings).call(on_message, message("a", payload.to_string()))
    }

    #[allow(clippy::needless_pass_by_value, reason = "the tables read better so")]
    fn masked(settings: Value, payload: Value) -> Value {
        match redacted(settings, &payload) {
            Ok(Verdict::Send(sent)) => {
                serde_json::from_slice(sent[0].payload.as_ref().expect("a payload")).expect("JSON")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_place_is_masked_whatever_is_there() {
        let settings = json!({ "pointers": ["/a", "/items/*/b", "/x~1y"], "mask": "-" });
        let payload =
            json!({ "a": { "deep": 1 }, "items": [{ "b": 1 }, { "c": 2 }], "x/y": null, "k": 1 });
        let expected = json!({ "a": "-", "items": [{ "b": "-" }, { "c": 2 }], "x/y": "-", "k": 1 });
        assert_eq!(masked(settings, payload), expected);
    }

    #[test]
    fn a_pattern_is_masked_wherever_it_is() {
        let settings = json!({ "patterns": ["email", "card", { "pattern": "id-[0-9]+", "replacement": "id-?" }] });
        let payload = json!({ "t": "ada@example.com paid", "l": ["4111 1111 1111 1111", "id-12 id-3"], "n": 7 });
        let expected = json!({ "t": "[email] paid", "l": ["[card]", "id-? id-?"], "n": 7 });
        assert_eq!(masked(settings, payload), expected);
    }

    #[test]
    fn what_has_nothing_to_mask_passes() {
        let settings = json!({ "pointers": ["/a/b"], "patterns": ["email", "card", "phone"] });
        let payload = json!({ "a": 1, "t": "no 1234567890123456 card" });
        assert_eq!(redacted(settings, &payload), Ok(Verdict::Pass));
    }

    #[test]
    fn settings_that_cannot_be_kept_fail_before_anything_leaves() {
        for (settings, said) in [
            (json!({ "pointers": ["a"] }), "the pointer `a` must begin with `/`"),
            (json!({ "patterns": ["e-mail"] }), "settings: "),
            (json!({ "patterns": [{ "pattern": "(", "replacement": "" }] }), "the pattern `(`"),
            (json!({ "pointer": [] }), "unknown field"),
        ] {
            match redacted(settings, &json!({})) {
                Err(Failure::Other(reason)) => assert!(reason.contains(said), "{reason}"),
                other => panic!("{said}: {other:?}"),
            }
        }
    }
}
