//! Where a source finds something of a message: text with placeholders, for instance `sms-{subject.2}`.
//!
//! `{subject.N}` is the Nth token of the subject, from 1; `{header.NAME}` a header; `{payload.POINTER}` what a JSON
//! pointer finds in the body, as `{payload./data/type}`. Anything else is constant.

use crate::ingest::headers::Headers;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Text with placeholders, checked when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Constant(String),
    /// From 0.
    Subject(usize),
    Header(String),
    Payload(String),
}

/// What a template is filled from.
pub struct Source<'a> {
    /// Where the message was published.
    pub subject: &'a str,
    /// Its headers.
    pub headers: &'a Headers,
    /// Its body, if it is JSON.
    pub body: Option<&'a Value>,
}

impl Template {
    /// The template in that text; an error says what would be right.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once('{') {
            let (inside, after) =
                from.split_once('}').ok_or_else(|| format!("`{text}`: a `{{` is not closed"))?;
            if !before.is_empty() {
                parts.push(Part::Constant(before.to_owned()));
            }
            parts.push(part(inside).map_err(|right| format!("`{text}`: {right}"))?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Constant(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Its text, if that is the same for every message.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        let constant = self.parts.iter().all(|part| matches!(part, Part::Constant(_)));
        constant.then_some(&*self.text)
    }

    /// How many tokens a subject needs.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let of = |part: &Part| if let Part::Subject(index) = part { index + 1 } else { 0 };
        self.parts.iter().map(of).max().unwrap_or(0)
    }

    /// Whether it needs the body as JSON.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Payload(_)))
    }

    /// The text with what the message has; an error names the placeholder that found nothing.
    pub fn fill(&self, source: &Source<'_>) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Constant(text) => filled.push_str(text),
                Part::Subject(index) => {
                    let token = source.subject.split('.').nth(*index);
                    let missing = || format!("the subject has no token {}", index + 1);
                    filled.push_str(token.ok_or_else(missing)?);
                }
                Part::Header(name) => {
                    let value = source.headers.get(name);
                    filled.push_str(&value.ok_or_else(|| format!("there is no header {name}"))?);
                }
                Part::Payload(pointer) => {
                    match source.body.and_then(|body| body.pointer(pointer)) {
                        Some(Value::String(text)) => filled.push_str(text),
                        Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                            filled.push_str(&value.to_string());
                        }
                        _ => return Err(format!("the body has no text at {pointer}")),
                    }
                }
            }
        }
        Ok(filled)
    }
}

fn part(inside: &str) -> Result<Part, String> {
    let right = "a placeholder is {subject.2}, {header.NAME} or {payload./a/b}";
    match inside.split_once('.') {
        Some(("subject", number)) => match number.parse::<usize>() {
            Ok(number) if number > 0 => Ok(Part::Subject(number - 1)),
            _ => Err(format!("`{number}` is not a token's number, from 1")),
        },
        Some(("header", name)) if !name.is_empty() => Ok(Part::Header(name.to_owned())),
        Some(("payload", pointer)) if pointer.starts_with('/') => {
            Ok(Part::Payload(pointer.to_owned()))
        }
        _ => Err(right.to_owned()),
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(text: &str) -> Result<String, String> {
        let headers = Headers(vec![("x-kind".into(), "sms".into())]);
        let body = json!({ "data": { "type": "sent", "n": 7, "list": [] } });
        let source = Source { subject: "a.b.c", headers: &headers, body: Some(&body) };
        Template::new(text)?.fill(&source)
    }

    #[test]
    fn placeholders_find_what_the_message_has() {
        for (text, expected) in [
            ("constant", "constant"),
            ("", ""),
            ("{subject.2}", "b"),
            ("x-{subject.1}.{header.X-Kind}!", "x-a.sms!"),
            ("{payload./data/type}-{payload./data/n}", "sent-7"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_work_or_finds_nothing_is_told() {
        for (text, part) in [
            ("{subject.0}", "from 1"),
            ("{subject.x}", "from 1"),
            ("{nothing}", "{subject.2}"),
            ("{payload.a}", "{payload./a/b}"),
            ("{header.}", "{header.NAME}"),
            ("{subject.1", "not closed"),
            ("{subject.4}", "no token 4"),
            ("{header.Y}", "no header Y"),
            ("{payload./data/list}", "/data/list"),
        ] {
            let error = filled(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
