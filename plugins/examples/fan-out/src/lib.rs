//! Makes one message of each element of a list in the payload. The settings are in this crate's `README.md`.
//!
//! Numbers keep what JSON says of them: a double, or an integer of 64 bits.

use octohooks_plugin::{Dispatch, Failure, Message, Verdict, settings};
use serde::Deserialize;
use serde_json::{Map, Value};

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
    let payload: Value = message.json()?;
    let Some(elements) = payload.pointer(&settings.at).and_then(Value::as_array) else {
        return Err(Failure::reject(format!("payload: there is no list at `{}`", settings.at)));
    };
    if elements.is_empty() {
        return Ok(Verdict::drop("the list is empty"));
    }
    let parts =
        elements.iter().enumerate().map(|(at, element)| part(&settings, &payload, at, element));
    Ok(Verdict::Send(parts.collect::<Result<_, _>>()?))
}

octohooks_plugin::export!(on_message);

fn part(
    settings: &Settings,
    payload: &Value,
    at: usize,
    element: &Value,
) -> Result<Dispatch, Failure> {
    let mut dispatch = Dispatch::to_subscribed();
    if let Some(event_type) = &settings.event_type {
        dispatch = dispatch.event_type(event_type);
    }
    let key = settings.ordering_key.as_ref().and_then(|pointer| element.pointer(pointer));
    match key {
        Some(Value::String(key)) if !key.is_empty() => dispatch = dispatch.ordering_key(key),
        Some(Value::Number(key)) => dispatch = dispatch.ordering_key(key.to_string()),
        _ => {}
    }
    if settings.with.is_empty() {
        return dispatch.payload_json(element);
    }
    let Some(element) = element.as_object() else {
        return Err(Failure::reject(format!("payload: element {at} is no object")));
    };
    let mut whole = Map::new();
    for name in &settings.with {
        if let Some(value) = payload.get(name) {
            whole.insert(name.clone(), value.clone());
        }
    }
    // What the element says itself wins.
    whole.extend(element.clone());
    dispatch.payload_json(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::{Host, message};
    use serde_json::json;

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
