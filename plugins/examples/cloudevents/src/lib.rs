//! Gives receivers CloudEvents 1.0, structured (an envelope around the payload) or binary (headers beside it). The settings
//! are in this crate's `README.md`.
//!
//! What a publisher sent as a CloudEvent has its attributes on the message, as `ce-…`; they are kept.

use jiff::Timestamp;
use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// What an application configures.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Where events come from, if the publisher does not say: a URI reference.
    source: Option<String>,
    /// What types begin with, as `com.example.`.
    type_prefix: String,
    mode: Mode,
}

impl Default for Settings {
    fn default() -> Self {
        Self { source: None, type_prefix: String::new(), mode: Mode::Structured }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Structured,
    Binary,
}

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let settings: Settings = settings()?;
    let context = context(&message, &settings)?;
    let dispatch = match settings.mode {
        Mode::Structured => {
            let data: &RawValue = message.json()?;
            let mut event = String::from("{");
            for (name, value) in &context {
                event.push_str(&format!(
                    "{}:{},",
                    Value::from(name.as_str()),
                    Value::from(value.as_str())
                ));
            }
            event.push_str(r#""datacontenttype":"application/json","data":"#);
            event.push_str(data.get());
            event.push('}');
            Dispatch::to_subscribed().payload("application/cloudevents+json", event)
        }
        Mode::Binary => {
            context.iter().fold(Dispatch::to_subscribed(), |dispatch, (name, value)| {
                dispatch.header(format!("ce-{name}"), percent_encoded(value))
            })
        }
    };
    Ok(dispatch.into())
}

octohooks_plugin::export!(on_message);

/// The event's attributes: the required ones, and those that its publisher gave.
fn context(message: &Message, settings: &Settings) -> Result<Vec<(String, String)>, Failure> {
    let mut given: Map<String, Value> = Map::new();
    for (name, value) in &message.attributes {
        if let Some(name) = name.strip_prefix("ce-") {
            given.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    let mut take = |name: &str| match given.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let application = || format!("/applications/{}", message.application);
    let time = || accepted(message.accepted_at);
    let all = [
        ("specversion", Some("1.0".to_owned())),
        ("id", Some(take("id").unwrap_or_else(|| message.id.clone()))),
        (
            "source",
            take("source").or_else(|| settings.source.clone()).or_else(|| Some(application())),
        ),
        (
            "type",
            Some(
                take("type")
                    .unwrap_or_else(|| format!("{}{}", settings.type_prefix, message.event_type)),
            ),
        ),
        ("time", Some(take("time").map_or_else(time, Ok)?)),
        ("specversion", take("specversion").and(None)),
        ("datacontenttype", take("datacontenttype").and(None)),
    ];
    let known = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut context: Vec<(String, String)> = known.collect();
    context.extend(given.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((name, text)),
        _ => None,
    }));
    Ok(context)
}

/// As RFC 3339 writes it, in UTC.
fn accepted(milliseconds: u64) -> Result<String, Failure> {
    let time = i64::try_from(milliseconds).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    time.map(|time| time.to_string()).ok_or_else(|| Failure::Other("no such time".to_owned()))
}

/// As the HTTP binding writes an attribute into a header: what is not a visible ASCII character, and `"` and `%`.
fn percent_encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | 0..=0x20 | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message};
    use serde_json::json;

    fn sent(settings: Value, attributes: &[(&str, &str)]) -> Dispatch {
        let mut message = message("order.paid", r#"{"cents": 1.50}"#);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        message.attributes = attributes.iter().map(owned).collect();
        match Host::new().settings(settings).call(on_message, message) {
            Ok(Verdict::Send(mut sent)) => sent.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_envelope_has_what_the_specification_requires_and_the_payload_as_it_came() {
        let dispatch = sent(json!({ "source": "/shop", "typePrefix": "com.example." }), &[]);
        assert_eq!(dispatch.content_type.as_deref(), Some("application/cloudevents+json"));
        let text = String::from_utf8(dispatch.payload.expect("a payload")).expect("text");
        assert!(text.ends_with(r#""data":{"cents": 1.50}}"#), "{text}");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(
            (&event["source"], &event["type"]),
            (&json!("/shop"), &json!("com.example.order.paid"))
        );
        assert_eq!(event["time"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn what_the_publisher_said_stays() {
        let said = [
            ("ce-id", "7"),
            ("ce-type", "t"),
            ("ce-source", "/s"),
            ("ce-subject", "a\"b"),
            ("other", "x"),
        ];
        let dispatch = sent(json!({}), &said);
        let event: Value =
            serde_json::from_slice(&dispatch.payload.expect("a payload")).expect("JSON");
        let fields = ["id", "type", "source", "subject"].map(|name| event[name].clone());
        assert_eq!(fields, ["7", "t", "/s", "a\"b"].map(Value::from));
        assert_eq!(event.get("other"), None);
    }

    #[test]
    fn headers_carry_what_they_can() {
        let dispatch = sent(json!({ "mode": "binary" }), &[("ce-subject", "å \"50 %\"")]);
        assert_eq!(dispatch.payload, None);
        let header = |name: &str| {
            let found = dispatch.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("ce-specversion"), Some("1.0"));
        assert_eq!(header("ce-source"), Some("/applications/test"));
        assert_eq!(header("ce-subject"), Some("%C3%A5%20%2250%20%25%22"));
    }
}
