//! CloudEvents 1.0: what the event of a delivery says of itself, and how that is written into a body or into headers. Pure.
//! The deliver stage sends it, the API shows what was sent, and ingest reads headers by the same rules.
//!
//! A message that came as a CloudEvent keeps what it said of itself (attributes under `ce-`); of any other the event is made.

use super::{
    Millis,
    delivery::{Content, webhook_id},
    message::{JSON, Message},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// The version of the specification.
pub const VERSION: &str = "1.0";
/// The content type of an event that has its attributes in the body.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The content type of many of them.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// Before an event's attribute among a message's, and in the name of a header.
pub const PREFIX: &str = "ce-";
/// What must be encoded in a header: all but printable ASCII, and of that space, quote and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// As what an endpoint gets its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = EndpointFormat)]
pub enum Format {
    /// The payload alone.
    #[default]
    None,
    /// A CloudEvent with its attributes and the payload in the body.
    CloudeventsStructured,
    /// A CloudEvent with its attributes in headers and the payload as the body.
    CloudeventsBinary,
}

/// An event's attributes, but for its version and the type of its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Names and values, those of the specification first. No value is empty.
    pub attributes: Vec<(String, String)>,
    /// Of the data.
    pub content_type: String,
}

/// The attributes that have places of their own here: whatever else a message has under `ce-` is an extension.
const KNOWN: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "datacontenttype",
    "partitionkey",
    "data",
    "data_base64",
];

impl Event {
    /// The event of a message's dispatch with that ordinal and content. What came as an event keeps its id, but for further
    /// dispatches of it, which are events of their own.
    #[must_use]
    pub fn new(
        message: &Message,
        content: Option<&Content>,
        ordinal: u32,
        ordering_key: Option<&str>,
    ) -> Self {
        let own = |name: &str| {
            let found = message.attributes.get(&*format!("{PREFIX}{name}"));
            found.filter(|value| !value.is_empty()).map(ToString::to_string)
        };
        let source = own("source");
        let id = own("id").filter(|_| ordinal == 0 && source.is_some());
        let event_type = content.and_then(|content| content.event_type.as_ref());
        let event_type = event_type.unwrap_or(&message.event_type);
        let subject = own("subject").or_else(|| message.uid.as_deref().map(str::to_owned));
        let of_data = content.and_then(|content| content.content_type.clone());
        let made_source = || format!("/applications/{}", message.application);
        let fixed = [
            ("id", Some(id.unwrap_or_else(|| webhook_id(message.id, ordinal)))),
            ("source", Some(source.unwrap_or_else(made_source))),
            ("type", Some(event_type.to_string())),
            ("time", own("time").or_else(|| time(message.accepted))),
            ("subject", subject),
            ("partitionkey", ordering_key.map(str::to_owned).or_else(|| own("partitionkey"))),
        ];
        let fixed = fixed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let others = message.attributes.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?;
            let extends = is_name(name) && !KNOWN.contains(&name) && !value.is_empty();
            extends.then(|| (name.to_owned(), value.to_string()))
        });
        Self {
            attributes: fixed.chain(others).collect(),
            content_type: of_data
                .or_else(|| own("datacontenttype"))
                .unwrap_or_else(|| JSON.to_owned()),
        }
    }

    /// The body that has it all. Data that is JSON stands in it byte for byte, whatever else there is in base64.
    #[must_use]
    pub fn structured(&self, data: &[u8], is_json: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(512 + data.len() * 4 / 3);
        body.extend_from_slice(br#"{"specversion":"1.0""#);
        let of_data = ("datacontenttype", &*self.content_type);
        let attributes = self.attributes.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in attributes.chain([of_data]) {
            body.push(b',');
            text(&mut body, name);
            body.push(b':');
            text(&mut body, value);
        }
        if is_json {
            body.extend_from_slice(br#","data":"#);
            body.extend_from_slice(data);
        } else {
            body.extend_from_slice(br#","data_base64":"#);
            text(&mut body, &STANDARD.encode(data));
        }
        body.push(b'}');
        body
    }

    /// The headers that say it beside a body of data, as names in small letters and encoded values.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let version = (format!("{PREFIX}specversion"), VERSION.to_owned());
        let encoded = |value: &str| utf8_percent_encode(value, ENCODED).to_string();
        let own = self.attributes.iter();
        let own = own.map(move |(name, value)| (format!("{PREFIX}{name}"), encoded(value)));
        std::iter::once(version).chain(own)
    }
}

/// A JSON text. Memory takes it.
fn text(body: &mut Vec<u8>, value: &str) {
    let _written = serde_json::to_writer(body, value);
}

/// The time as RFC 3339; none beyond the year 9999.
fn time(millis: Millis) -> Option<String> {
    let time = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
    Some(format!("{time:.3}"))
}

/// Whether that is a time as RFC 3339 has it.
#[must_use]
pub fn is_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

/// Whether an attribute of an event may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// What a header's value says; none if that is not UTF-8.
#[must_use]
pub fn decode(value: &str) -> Option<String> {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let bare = match quoted {
        None => Cow::Borrowed(value),
        Some(inner) => {
            let mut characters = inner.chars();
            let mut bare = String::with_capacity(inner.len());
            while let Some(character) = characters.next() {
                let is_escape = character == '\\';
                bare.extend(if is_escape { characters.next() } else { Some(character) });
            }
            Cow::Owned(bare)
        }
    };
    percent_decode(bare.as_bytes()).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        name::{AttributeName, AttributeValue, EventType, Uid},
        sample,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn message(attributes: &[(&str, &str)]) -> Message {
        let attributes = attributes.iter().map(|(name, value)| {
            (AttributeName::new(name).expect("legal"), AttributeValue::new(value).expect("legal"))
        });
        let attributes = attributes.collect();
        Message { attributes, ..sample::message(sample::application().id) }
    }

    fn read(event: &Event, data: &str, is_json: bool) -> Value {
        serde_json::from_slice(&event.structured(data.as_bytes(), is_json)).expect("JSON")
    }

    #[test]
    fn an_event_is_made_of_a_message_that_was_none() {
        let message = Message {
            uid: Uid::new("sms-1").ok(),
            accepted: 1_767_225_600_007,
            ..message(&[("tier", "gold")])
        };
        let event = Event::new(&message, None, 2, Some("a"));
        let expected = json!({
            "specversion": "1.0",
            "id": format!("{}-2", message.id),
            "source": format!("/applications/{}", message.application),
            "type": "sample.created",
            "time": "2026-01-01T00:00:00.007Z",
            "subject": "sms-1",
            "partitionkey": "a",
            "datacontenttype": "application/json",
            "data": { "n": 1 },
        });
        assert_eq!(read(&event, r#"{"n": 1}"#, true), expected);
        let text = String::from_utf8(event.structured(br#"{"n":  1}"#, true)).expect("text");
        assert!(text.ends_with(r#","data":{"n":  1}}"#), "byte for byte: {text}");
    }

    #[test]
    fn what_came_as_an_event_says_of_itself_what_it_said() {
        let message = message(&[
            ("ce-id", "7"),
            ("ce-source", "/sms"),
            ("ce-time", "2026-01-01T00:00:00+01:00"),
            ("ce-datacontenttype", "application/vnd.sms+json"),
            ("ce-tenant", "a \"b\""),
            ("ce-no-name", "x"),
            ("ce-empty", ""),
            ("ce-data", "x"),
        ]);
        let of = |content: Option<&Content>, ordinal| {
            let mut event = read(&Event::new(&message, content, ordinal, None), "1", true);
            event.as_object_mut().expect("an object").remove("specversion");
            event
        };
        let same = json!({
            "id": "7", "source": "/sms", "type": "sample.created", "time": "2026-01-01T00:00:00+01:00",
            "datacontenttype": "application/vnd.sms+json", "tenant": "a \"b\"", "data": 1,
        });
        assert_eq!(of(None, 0), same);
        let content = Content {
            event_type: EventType::new("other").ok(),
            content_type: Some("text/plain".into()),
            ..Content::default()
        };
        let other = of(Some(&content), 1);
        assert_eq!(other["id"], format!("{}-1", message.id), "an event of its own");
        assert_eq!((&other["type"], &other["source"]), (&json!("other"), &json!("/sms")));
        assert_eq!(other["datacontenttype"], "text/plain");
    }

    #[test]
    fn what_is_not_json_is_in_base64() {
        let content = Content { content_type: Some("text/csv".into()), ..Content::default() };
        let event = Event::new(&message(&[]), Some(&content), 0, None);
        let shown = read(&event, "a,\"b\"\n", false);
        assert_eq!((&shown["data_base64"], &shown["data"]), (&json!("YSwiYiIK"), &Value::Null));
        assert_eq!(shown["datacontenttype"], "text/csv");
    }

    #[test]
    fn headers_are_read_as_the_binding_says() {
        for (value, expected) in [
            ("Euro%20%E2%82%AC", Some("Euro €")),
            ("plain", Some("plain")),
            (r#""quoted \"a\" %41""#, Some("quoted \"a\" A")),
            ("100%", Some("100%")),
            ("%FF", None),
            ("\"", Some("\"")),
        ] {
            assert_eq!(decode(value).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_value_says_a_header_says_it(value in "[^\\x00-\\x1f\\x7f-\\x9f]{1,40}") {
            let event = Event {
                attributes: vec![("subject".into(), value.clone())],
                content_type: JSON.into(),
            };
            let headers: Vec<_> = event.headers().collect();
            prop_assert_eq!(&headers[0], &("ce-specversion".to_owned(), "1.0".to_owned()));
            let (name, encoded) = &headers[1];
            prop_assert_eq!(name, "ce-subject");
            prop_assert!(encoded.bytes().all(|b| (0x21..0x7f).contains(&b)));
            let decoded = decode(encoded);
            prop_assert_eq!(decoded.as_deref(), Some(&*value));
        }
    }
}
