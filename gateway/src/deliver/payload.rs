//! The bytes of a request's body: the payload as it was accepted or made, or the CloudEvent that has it in it. For an
//! endpoint that wants `asciiPayload`, the characters beyond ASCII of JSON are written as `\uXXXX`, since some receivers
//! verify the body read as ASCII.

use crate::model::{
    cloud_event::{Event, Format, STRUCTURED},
    delivery::Delivery,
    endpoint::Endpoint,
    message::is_json,
};
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::{borrow::Cow, fmt::Write};

/// What is sent, and signed.
#[must_use]
pub fn payload(endpoint: &Endpoint, delivery: &Delivery) -> Bytes {
    let payload = match endpoint.format {
        Format::CloudeventsStructured => structured(delivery),
        Format::None | Format::CloudeventsBinary => delivery.payload().clone(),
    };
    if !endpoint.ascii_payload || payload.is_ascii() || !is_json(&content_type(endpoint, delivery))
    {
        return payload;
    }
    // A payload that is not UTF-8 is no JSON.
    match str::from_utf8(&payload) {
        Ok(text) => escape(text).into(),
        Err(_) => payload,
    }
}

/// The content type of those bytes.
#[must_use]
pub fn content_type<'d>(endpoint: &Endpoint, delivery: &'d Delivery) -> Cow<'d, str> {
    match endpoint.format {
        Format::None => delivery.content_type().into(),
        Format::CloudeventsStructured => STRUCTURED.into(),
        Format::CloudeventsBinary => event(delivery).content_type.into(),
    }
}

/// The CloudEvent that a delivery is.
#[must_use]
pub fn event(delivery: &Delivery) -> Event {
    let Delivery { key, message, content, .. } = delivery;
    Event::new(message, content.as_deref(), key.ordinal, delivery.ordering_key())
}

/// The event as one body. What a plugin made may say that it is JSON, and be none.
fn structured(delivery: &Delivery) -> Bytes {
    let (event, data) = (event(delivery), delivery.payload());
    let made = delivery.content.as_ref().is_some_and(|content| content.payload.is_some());
    let reads = || serde_json::from_str::<IgnoredAny>(str::from_utf8(data).ok()?).ok();
    let as_json = is_json(&event.content_type) && (!made || reads().is_some());
    event.structured(data, as_json).into()
}

/// JSON with every character beyond ASCII escaped: they are legal inside of texts alone, where an escape means the same.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // A string takes everything.
            let _written = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        delivery::Content,
        message::{Message, Sequence},
        sample,
    };
    use proptest::prelude::*;
    use serde_json::Value;
    use std::sync::Arc;

    fn sent(ascii_payload: bool, content_type: Option<&str>, payload: &str) -> Bytes {
        let endpoint = Endpoint { ascii_payload, ..sample::endpoint() };
        let payload = Bytes::from(payload.to_owned());
        let message = Message { payload, ..sample::message(endpoint.application) };
        let content_type = content_type.map(str::to_owned);
        let content =
            content_type.is_some().then(|| Content { content_type, ..Content::default() });
        let delivery = sample::delivery(&Arc::new(message), Sequence(1));
        payload_of(&endpoint, &Delivery { content: content.map(Arc::new), ..delivery })
    }

    use super::payload as payload_of;

    #[test]
    fn a_json_payload_is_escaped_where_the_endpoint_wants_it() {
        let text = "{ \"a\": \"é\u{80}\u{ffff}😀\\u00e9 \u{7f}\" }";
        assert_eq!(sent(false, None, text), text);
        let escaped = "{ \"a\": \"\\u00e9\\u0080\\uffff\\ud83d\\ude00\\u00e9 \u{7f}\" }";
        for json in [None, Some("application/json; charset=utf-8"), Some("application/a+JSON")] {
            assert_eq!(sent(true, json, text), escaped, "{json:?}");
        }
        assert_eq!(sent(true, Some("text/plain"), text), text);
    }

    proptest! {
        #[test]
        fn an_escaped_payload_is_ascii_and_says_the_same(texts: Vec<String>) {
            let json = serde_json::to_string(&texts).expect("serialises");
            let escaped = escape(&json);
            prop_assert!(escaped.is_ascii());
            let read: Value = serde_json::from_str(&escaped).expect("JSON");
            prop_assert_eq!(read, Value::from(texts));
        }
    }
}
