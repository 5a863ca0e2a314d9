//! Makes one message of each element of a list in the payload. The settings are in this crate's `README.md`.
//!
//! Every value goes out as its publisher wrote it: `1.50` stays `1.50`, and no digit of a long number is lost.

use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::BTreeMap;

/// What an application configures.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Where the list is: a JSON pointer. Empty: the payload itself.
    at: String,
    /// The elements' event type, if not the message's.
    event_type: Option<String>,
    /// Fields of the payload that each element, which must be an object, is given too.
    with: Vec<String>,
    /// Where an element says what it must keep its order with: a JSON pointer.
    ordering_key: Option<String>,
}

#[allow(clippy::needless_pass_by_value, reason = "a plugin is given its message")]
fn on_message(message: Message) -> Result<Verdict, Failure> {
    let settings: Settings = settings()?;
    let payload: &RawValue = message.json()?;
    let elements = at(payload, &settings.at).and_then(list_of);
    let Some(elements) = elements else {
        return Err(Failure::reject(format!("payload: there is no list at `{}`", settings.at)));
    };
    if elements.is_empty() {
        return Ok(Verdict::drop("the list is empty"));
    }
    let fields = object_of(payload).unwrap_or_default();
    let parts = elements.iter().enumerate();
    let parts = parts.map(|(number, element)| part(&settings, &fields, number, element));
    Ok(Verdict::Send(parts.collect::<Result<_, _>>()?))
}

octohooks_plugin::export!(on_message);

/// An object's fields, each as it was written.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn object_of(value: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(value.get()).ok()
}

fn list_of(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// What is at a JSON pointer (RFC 6901), as it was written.
fn at<'a>(value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    if pointer.is_empty() {
        return Some(value);
    }
    pointer.strip_prefix('/')?.split('/').try_fold(value, |value, part| {
        let part = part.replace("~1", "/").replace("~0", "~");
        match object_of(value) {
            Some(fields) => fields.get(&part).copied(),
            None => list_of(value)?.get(part.parse::<usize>().ok()?).copied(),
        }
    })
}

fn part(
    settings: &Settings,
    fields: &Fields<'_>,
    number: usize,
    element: &RawValue,
) -> Result<Dispatch, Failure> {
    let mut dispatch = Dispatch::to_subscribed();
    if let Some(event_type) = &settings.event_type {
        dispatch = dispatch.event_type(event_type);
    }
    let key = settings.ordering_key.as_ref().and_then(|pointer| at(element, pointer));
    match key.and_then(|key| serde_json::from_str(key.get()).ok()) {
        Some(Value::String(key)) if !key.is_empty() => dispatch = dispatch.ordering_key(key),
        Some(Value::Number(key)) => dispatch = dispatch.ordering_key(key.to_string()),
        _ => {}
    }
    if settings.with.is_empty() {
        return dispatch.payload_json(element);
    }
    let Some(own) = object_of(element) else {
        return Err(Failure::reject(format!("payload: element {number} is no object")));
    };
    let given = settings.with.iter().filter_map(|name| Some((name.clone(), *fields.get(name)?)));
    let mut whole: Fields<'_> = given.collect();
    // What the element says itself wins.
    whole.extend(own);
    dispatch.payload_json(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message};
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value, reason = "the tables read better so")]
    fn parts(settings: Value, payload: Value) -> Result<Verdict, Failure> {
        Host::new().settings(settings).call(on_message, message("a", payload.to_string()))
    }

    #[test]
    fn each_element_is_a_message() {
        let settings =
            json!({ "at": "/items", "eventType": "item", "orderingKey": "/id", "with": ["order"] });
        let payload = json!({ "order": 7, "items": [{ "id": "x" }, { "id": 2, "order": 8 }] });
        let item = |value: Value| {
            Dispatch::to_subscribed().event_type("item").payload_json(&value).expect("JSON")
        };
        let expected = [
            item(json!({ "id": "x", "order": 7 })).ordering_key("x"),
            item(json!({ "id": 2, "order": 8 })).ordering_key("2"),
        ];
        assert_eq!(parts(settings, payload), Ok(Verdict::send(expected)));
    }

    #[test]
    fn a_number_stays_as_it_was_written() {
        let long = r#"[1.50, 123456789012345678901234567890, {"a" : 1.0}]"#;
        let sent = match Host::new().call(on_message, message("a", long)) {
            Ok(Verdict::Send(sent)) => sent,
            other => panic!("{other:?}"),
        };
        let payloads: Vec<_> = sent.into_iter().filter_map(|one| one.payload).collect();
        let expected = ["1.50", "123456789012345678901234567890", r#"{"a" : 1.0}"#];
        assert_eq!(payloads, expected.map(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn a_place_may_be_deep_and_strangely_named() {
        let payload = json!({ "a/b": [{ "~": [7] }] });
        let sent = Dispatch::to_subscribed().payload_json(&7).expect("JSON");
        assert_eq!(parts(json!({ "at": "/a~1b/0/~0" }), payload), Ok(Verdict::send([sent])));
    }

    #[test]
    fn without_settings_the_payload_is_the_list() {
        let expected = [json!(1), json!("two")];
        let expected =
            expected.map(|value| Dispatch::to_subscribed().payload_json(&value).expect("JSON"));
        assert_eq!(parts(json!({}), json!([1, "two"])), Ok(Verdict::send(expected)));
        assert_eq!(parts(json!({}), json!([])), Ok(Verdict::drop("the list is empty")));
    }

    #[test]
    fn what_has_no_such_list_is_rejected() {
        for (settings, payload, said) in [
            (json!({ "at": "/items" }), json!({}), "payload: there is no list at `/items`"),
            (json!({ "with": ["a"] }), json!([1]), "payload: element 0 is no object"),
        ] {
            assert_eq!(parts(settings, payload), Err(Failure::reject(said)));
        }
    }
}
