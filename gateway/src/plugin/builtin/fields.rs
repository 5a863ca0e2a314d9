//! Fields that are renamed or removed, named by JSON pointers (RFC 6901) into the payload as it came. The payload is read
//! along the pointers only: everything else keeps its bytes, its order, and the digits of its numbers.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

/// Tokens of a pointer.
const DEEPEST: usize = 32;
/// Bytes of a pointer, or of a name.
const LONGEST: usize = 512;

/// What is to be done below one place of a payload.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    here: Option<Change>,
    below: BTreeMap<String, Self>,
}

#[derive(Clone, Debug)]
enum Change {
    Remove,
    Rename(String),
}

impl Fields {
    /// The error is for people.
    pub(super) fn remove(&mut self, pointer: &str) -> Result<(), String> {
        self.add(pointer, Change::Remove)
    }

    /// The error is for people.
    pub(super) fn rename(&mut self, pointer: &str, name: &str) -> Result<(), String> {
        if name.len() > LONGEST {
            return Err(format!("must be a name of at most {LONGEST} bytes"));
        }
        self.add(pointer, Change::Rename(name.to_owned()))
    }

    fn add(&mut self, pointer: &str, change: Change) -> Result<(), String> {
        let Some(rest) = pointer.strip_prefix('/') else {
            return Err("must be a JSON pointer that begins with `/`".into());
        };
        let tokens: Vec<_> = rest.split('/').collect();
        if tokens.len() > DEEPEST || pointer.len() > LONGEST {
            return Err(format!("must have at most {DEEPEST} parts and {LONGEST} bytes"));
        }
        let mut place = self;
        for token in tokens {
            let token = unescaped(token)
                .ok_or("must be a JSON pointer, in which only `~0` and `~1` may follow `~`")?;
            place = place.below.entry(token).or_default();
        }
        if place.here.is_some() {
            return Err("is named twice".into());
        }
        place.here = Some(change);
        Ok(())
    }

    /// Levels of a payload that are read.
    pub(super) fn levels(&self) -> u64 {
        self.below.values().map(|below| 1 + below.levels()).max().unwrap_or(0)
    }

    /// The payload with the changes, or none if nothing is to change in it.
    pub(super) fn change(&self, payload: &[u8]) -> serde_json::Result<Option<String>> {
        if self.below.is_empty() {
            return Ok(None);
        }
        let raw: &RawValue = serde_json::from_slice(payload)?;
        self.rewritten(raw)
    }

    fn rewritten(&self, raw: &RawValue) -> serde_json::Result<Option<String>> {
        match raw.get().as_bytes().first() {
            Some(b'{') => self.object(serde_json::from_str(raw.get())?),
            Some(b'[') => self.list(&serde_json::from_str::<Vec<&RawValue>>(raw.get())?),
            _ => Ok(None),
        }
    }

    fn object(&self, Members(members): Members<'_>) -> serde_json::Result<Option<String>> {
        let mut changed = false;
        let mut kept: Vec<(String, Written<'_>)> = Vec::with_capacity(members.len());
        // Each new name, and where the last field is that got it.
        let mut renamed: HashMap<&str, usize> = HashMap::new();
        for (name, raw) in members {
            let Some(fields) = self.below.get(&name) else {
                kept.push((name, Written::As(raw)));
                continue;
            };
            let value = match fields.rewritten(raw)? {
                Some(text) if !matches!(fields.here, Some(Change::Remove)) => {
                    changed = true;
                    Written::New(text)
                }
                _ => Written::As(raw),
            };
            match &fields.here {
                None => kept.push((name, value)),
                Some(Change::Remove) => changed = true,
                Some(Change::Rename(new)) => {
                    changed = true;
                    renamed.insert(new, kept.len());
                    kept.push((new.clone(), value));
                }
            }
        }
        if !changed {
            return Ok(None);
        }
        // What had the new name gives way: of equal names the renamed one counts.
        let mut text = String::from("{");
        for (index, (name, value)) in kept.iter().enumerate() {
            if renamed.get(name.as_str()).is_none_or(|last| *last == index) {
                push(&mut text, &format!("{}:{}", serde_json::to_string(name)?, value.text()));
            }
        }
        text.push('}');
        Ok(Some(text))
    }

    fn list(&self, elements: &[&RawValue]) -> serde_json::Result<Option<String>> {
        let mut changed = false;
        let mut text = String::from("[");
        for (index, raw) in elements.iter().enumerate() {
            let fields = self.below.get(&index.to_string());
            // An element has no name to change.
            if fields.is_some_and(|fields| matches!(fields.here, Some(Change::Remove))) {
                changed = true;
                continue;
            }
            let new = fields.map(|fields| fields.rewritten(raw)).transpose()?.flatten();
            changed |= new.is_some();
            push(&mut text, new.as_deref().unwrap_or(raw.get()));
        }
        text.push(']');
        Ok(changed.then_some(text))
    }
}

enum Written<'a> {
    As(&'a RawValue),
    New(String),
}

impl Written<'_> {
    fn text(&self) -> &str {
        match self {
            Self::As(raw) => raw.get(),
            Self::New(text) => text,
        }
    }
}

fn push(text: &mut String, part: &str) {
    if text.len() > 1 {
        text.push(',');
    }
    text.push_str(part);
}

/// A pointer's token as a name; none if it is not one.
fn unescaped(token: &str) -> Option<String> {
    let mut name = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(character) = rest.next() {
        match character {
            '~' => name.push(match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            }),
            other => name.push(other),
        }
    }
    Some(name)
}

/// An object's members in their order, with what each says as it stands.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}
