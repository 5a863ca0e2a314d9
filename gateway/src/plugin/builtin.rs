//! Transforms without code, for the simplest wishes: a filter on the payload, fields that are renamed or removed, headers
//! made of what the message says. A [`Definition`] is JSON, checked as a whole where it comes in; [`apply`] then gives a
//! verdict as any plugin does. Pure.
//!
//! Nothing here runs anybody's code, so nothing counts its time: instead a definition is held to what takes a time in
//! proportion to the payload, whatever the payload says, and that has a bound. [`filter`] has the rule for expressions; of
//! the fields of a payload each level is read once, and what is not named is handed on byte for byte ([`fields`]);
//! [`template`] only copies.

use super::{call::CallFailure, check};
use crate::model::{
    dispatch::{Dispatch, Target, Verdict},
    message::Message,
};
use fields::Fields;
use filter::Filter;
use serde_json::Value;
use template::Template;

mod fields;
mod filter;
mod template;
#[cfg(test)]
mod tests;

/// Pointers of a definition, and headers.
const MOST: usize = 64;

/// Bytes of a definition.
const LONGEST: usize = 128 << 10;

/// Steps at a payload that take a fraction of a millisecond.
const QUICK: u64 = 1 << 19;
/// Steps at a byte that is read.
const READ: u64 = 4;

/// What is to be done with every message.
///
/// ```json
/// {
///   "filter": "@.status == 'delivered' && @.parts > 1",
///   "rename": { "/customer/msisdn": "phone" },
///   "remove": ["/internal", "/customer/email"],
///   "headers": { "x-tenant": "{/customer/tenant}", "x-event": "{eventType}" }
/// }
/// ```
///
/// The filter sees the payload as it came, and so do the headers: what is removed can still be in one. A header that the
/// message fills with nothing, with what no header can carry, or with more than there is room for is left out.
#[derive(Clone, Debug)]
pub struct Definition {
    filter: Option<Filter>,
    fields: Fields,
    headers: Vec<(String, Template)>,
}

impl Definition {
    /// Whether a payload of so many bytes takes no longer than a thread can be spared.
    #[must_use]
    pub fn is_quick(&self, bytes: usize) -> bool {
        let filter = self.filter.as_ref().map_or(0, Filter::steps_a_byte);
        let reads = 2 + self.fields.levels();
        (READ * reads).saturating_add(filter).saturating_mul(bytes as u64) <= QUICK
    }
}

/// Where a definition is not as it must be: a JSON pointer, and what would be right.
pub type Wrong = (String, String);

/// Whether an upload is a definition, good or bad: no component begins like an object.
#[must_use]
pub fn is_definition(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// Reads a definition's text, of at most [`LONGEST`] bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Definition, Vec<Wrong>> {
    let root = |text: String| vec![(String::new(), text)];
    if bytes.len() > LONGEST {
        return Err(root(format!("must have at most {LONGEST} bytes")));
    }
    let value = serde_json::from_slice(bytes);
    Definition::new(&value.map_err(|error| root(format!("must be JSON: {error}")))?)
}

impl Definition {
    /// Reads a definition, or says everything that is wrong with it.
    pub fn new(value: &Value) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let made = Self::read(value, &mut wrong);
        match wrong.is_empty() {
            true => Ok(made),
            false => Err(wrong),
        }
    }

    fn read(value: &Value, wrong: &mut Vec<Wrong>) -> Self {
        let mut made = Self { filter: None, fields: Fields::default(), headers: Vec::new() };
        let Some(object) = value.as_object() else {
            wrong.push((String::new(), "must be an object".into()));
            return made;
        };
        if object.is_empty() {
            let text = "must have at least one of filter, rename, remove and headers";
            wrong.push((String::new(), text.into()));
        }
        for (key, value) in object {
            match key.as_str() {
                "filter" => match value.as_str().map(Filter::new) {
                    Some(Ok(filter)) => made.filter = Some(filter),
                    Some(Err(why)) => wrong.push(("/filter".into(), why)),
                    None => wrong.push(("/filter".into(), "must be a string".into())),
                },
                "rename" => read_rename(value, &mut made.fields, wrong),
                "remove" => read_remove(value, &mut made.fields, wrong),
                "headers" => made.headers = read_headers(value, wrong),
                _ => {
                    let text = "is not known: there are filter, rename, remove and headers";
                    wrong.push((format!("/{}", token(key)), text.into()));
                }
            }
        }
        made
    }
}

/// A key as a part of a JSON pointer.
fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn too_many(path: &str, count: usize, wrong: &mut Vec<Wrong>) -> bool {
    if count > MOST {
        wrong.push((path.into(), format!("must have at most {MOST} entries")));
    }
    count > MOST
}

fn read_rename(value: &Value, fields: &mut Fields, wrong: &mut Vec<Wrong>) {
    let Some(map) = value.as_object() else {
        return wrong.push(("/rename".into(), "must be an object of pointers to names".into()));
    };
    if too_many("/rename", map.len(), wrong) {
        return;
    }
    for (pointer, name) in map {
        let added = match name.as_str() {
            Some(name) => fields.rename(pointer, name),
            None => Err("must be a name: a string".into()),
        };
        if let Err(why) = added {
            wrong.push((format!("/rename/{}", token(pointer)), why));
        }
    }
}

fn read_remove(value: &Value, fields: &mut Fields, wrong: &mut Vec<Wrong>) {
    let Some(list) = value.as_array() else {
        return wrong.push(("/remove".into(), "must be a list of pointers".into()));
    };
    if too_many("/remove", list.len(), wrong) {
        return;
    }
    for (index, pointer) in list.iter().enumerate() {
        let added = match pointer.as_str() {
            Some(pointer) => fields.remove(pointer),
            None => Err("must be a JSON pointer: a string".into()),
        };
        if let Err(why) = added {
            wrong.push((format!("/remove/{index}"), why));
        }
    }
}

fn read_headers(value: &Value, wrong: &mut Vec<Wrong>) -> Vec<(String, Template)> {
    let Some(map) = value.as_object() else {
        wrong.push(("/headers".into(), "must be an object of names to templates".into()));
        return Vec::new();
    };
    if too_many("/headers", map.len(), wrong) {
        return Vec::new();
    }
    let mut headers = Vec::new();
    for (name, template) in map {
        let legal = check::header(name, "").map_err(|failure| failure.to_string());
        let text = template.as_str().ok_or_else(|| "must be a template: a string".to_owned());
        match legal.and(text).and_then(Template::new) {
            Ok(template) => headers.push((name.clone(), template)),
            Err(why) => wrong.push((format!("/headers/{}", token(name)), why)),
        }
    }
    headers
}

/// What becomes of the message.
pub fn apply(definition: &Definition, message: &Message) -> Result<Verdict, CallFailure> {
    let reads = definition.filter.is_some()
        || definition.headers.iter().any(|(_, template)| template.reads_payload());
    let list = Value::Array(match reads {
        true => vec![serde_json::from_slice(&message.payload).map_err(not_json)?],
        false => Vec::new(),
    });
    let payload = list.get(0).unwrap_or(&Value::Null);
    if let Some(filter) = &definition.filter
        && !filter.lets_through(&list).map_err(CallFailure::Reject)?
    {
        return Ok(Verdict::Drop("the filter does not match".into()));
    }
    let changed = definition.fields.change(&message.payload).map_err(not_json)?;
    let mut room = check::HEADER_BYTES;
    let filled = |(name, template): &(String, Template)| {
        let value = template.fill(message, payload)?;
        room = room.checked_sub(name.len() + value.len())?;
        Some((name.clone(), value))
    };
    let headers: Vec<_> = definition.headers.iter().filter_map(filled).collect();
    if changed.is_none() && headers.is_empty() {
        return Ok(Verdict::Pass);
    }
    Ok(Verdict::Send(vec![Dispatch {
        target: Target::Subscribed,
        event_type: None,
        content_type: None,
        payload: changed.map(Into::into),
        headers,
        ordering_key: None,
        delay: 0,
    }]))
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn not_json(error: serde_json::Error) -> CallFailure {
    CallFailure::Reject(format!("the payload is not JSON that can be read: {error}"))
}
