//! A header's value: text with places in braces, `{{` and `}}` for the braces themselves. A place names a value of the
//! payload by its JSON pointer (`{/customer/id}`), or `{id}`, `{uid}`, `{eventType}`, `{channel}` (the first one) or
//! `{attribute.NAME}`. A header whose value has a place that the message leaves empty is not sent, nor one that
//! what fills them makes no legal value: a message says what it wants, and is no reason to send it to nobody.

use crate::{model::message::Message, plugin::check};
use serde_json::Value;

/// Bytes of a template.
const LONGEST: usize = 1024;

/// A template that was read.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Payload(String),
    Id,
    Uid,
    EventType,
    Channel,
    Attribute(String),
}

impl Template {
    /// The error is for people.
    pub(super) fn new(template: &str) -> Result<Self, String> {
        if template.len() > LONGEST {
            return Err(format!("must have at most {LONGEST} bytes"));
        }
        if template.chars().any(|c| !matches!(c, ' '..='~')) {
            return Err("must be of printable ASCII".into());
        }
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), template);
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            let (place, after) = match brace {
                "{" => rest.split_once('}').ok_or("has a `{` without its `}`")?,
                _ => return Err("has a `}` without its `{`: write `}}` for the brace".into()),
            };
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(part(place)?);
            rest = after;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    pub(super) fn reads_payload(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Payload(_)))
    }

    /// None if the message has nothing for one of the places, or something that no header can carry.
    pub(super) fn fill(&self, message: &Message, payload: &Value) -> Option<String> {
        let parts = self.0.iter().map(|part| part.value(message, payload));
        parts.collect::<Option<String>>().filter(|value| check::is_value(value))
    }
}

fn part(place: &str) -> Result<Part, String> {
    Ok(match place {
        "id" => Part::Id,
        "uid" => Part::Uid,
        "eventType" => Part::EventType,
        "channel" => Part::Channel,
        _ if place.starts_with('/') => Part::Payload(place.to_owned()),
        _ => match place.strip_prefix("attribute.") {
            Some(name) => Part::Attribute(name.to_owned()),
            None => {
                return Err(format!(
                    "has the place `{{{place}}}`, which is not one of a JSON pointer, id, uid, eventType, channel and \
                     attribute.NAME"
                ));
            }
        },
    })
}

impl Part {
    fn value(&self, message: &Message, payload: &Value) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Payload(pointer) => match payload.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
                other => Some(other.to_string()),
            },
            Self::Id => Some(message.id.to_string()),
            Self::Uid => message.uid.as_deref().map(str::to_owned),
            Self::EventType => Some(message.event_type.to_string()),
            Self::Channel => message.channels.first().map(ToString::to_string),
            Self::Attribute(name) => {
                let mut all = message.attributes.iter();
                all.find(|(known, _)| ***known == **name).map(|(_, value)| value.to_string())
            }
        }
    }
}
