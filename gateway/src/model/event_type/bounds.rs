//! What keeps a schema from taking more time or memory than there is, before it is compiled. A small one may say a lot:
//! each reference stands for a whole schema, two of them in each of thirty steps for 2^30, and one to itself for as many
//! as the payload is deep. So references stay within the schema, never lead back, and what they stand for is counted.

use super::Violation;
use serde_json::Value;

/// How many schemas it may be once its references are followed.
const SCHEMAS: usize = 5_000;
/// How many references may follow one another.
const DEPTH: usize = 32;

/// Keywords whose value is an object of schemas.
const MAPS: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];
/// Keywords whose value is no schema, or only for others to refer to.
const SKIPPED: [&str; 6] = ["const", "enum", "default", "examples", "$defs", "definitions"];
/// Keywords whose value is a reference.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Whether the schema stays within its bounds.
pub fn check(schema: &Value) -> Result<(), Violation> {
    let nested = match schema {
        Value::Object(fields) => fields.values().any(has_id),
        _ => false,
    };
    if nested {
        let message =
            "may have an `$id` only at the top: references below would mean something else";
        return Err(Violation { path: String::new(), message: message.into() });
    }
    Walk { root: schema, left: SCHEMAS, followed: vec![""], place: Vec::new() }.schema(schema)
}

fn has_id(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("$id").is_some_and(Value::is_string) || fields.values().any(has_id)
        }
        Value::Array(list) => list.iter().any(has_id),
        _ => false,
    }
}

struct Walk<'a> {
    root: &'a Value,
    left: usize,
    /// The pointers of the schemas that references led into.
    followed: Vec<&'a str>,
    /// Where the walk is, from the last reference.
    place: Vec<String>,
}

impl<'a> Walk<'a> {
    fn wrong(&self, message: impl Into<String>) -> Violation {
        let below = self.place.iter().map(|part| part.replace('~', "~0").replace('/', "~1"));
        let base = (*self.followed.last().unwrap_or(&"")).to_owned();
        let path = below.fold(base, |path, part| path + "/" + &part);
        Violation { path, message: message.into() }
    }

    fn at(&mut self, part: &str, schema: &'a Value) -> Result<(), Violation> {
        self.place.push(part.to_owned());
        self.schema(schema)?;
        self.place.pop();
        Ok(())
    }

    fn schema(&mut self, schema: &'a Value) -> Result<(), Violation> {
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => {
                let message =
                    format!("is more than {SCHEMAS} schemas once references are followed");
                return Err(Violation { path: String::new(), message });
            }
        };
        let fields = match schema {
            Value::Object(fields) => fields,
            Value::Array(list) => {
                let mut all = list.iter().enumerate();
                return all.try_for_each(|(index, one)| self.at(&index.to_string(), one));
            }
            _ => return Ok(()),
        };
        for (keyword, value) in fields {
            self.place.push(keyword.clone());
            match (&**keyword, value) {
                (reference, Value::String(to)) if REFERENCES.contains(&reference) => {
                    self.follow(to)?;
                }
                (map, Value::Object(schemas)) if MAPS.contains(&map) => {
                    schemas.iter().try_for_each(|(name, schema)| self.at(name, schema))?;
                }
                (skipped, _) if SKIPPED.contains(&skipped) => {}
                (_, nested @ (Value::Object(_) | Value::Array(_))) => self.schema(nested)?,
                _ => {}
            }
            self.place.pop();
        }
        Ok(())
    }

    fn follow(&mut self, to: &'a str) -> Result<(), Violation> {
        let pointer = to.strip_prefix('#').filter(|p| p.is_empty() || p.starts_with('/'));
        let Some(pointer) = pointer.filter(|pointer| !pointer.contains('%')) else {
            return Err(self.wrong("must be a JSON pointer into this schema, such as #/$defs/name"));
        };
        if self.followed.contains(&pointer) {
            return Err(self.wrong("leads back to itself"));
        }
        if self.followed.len() > DEPTH {
            return Err(self.wrong(format!("is one of more than {DEPTH} that follow one another")));
        }
        let Some(target) = self.root.pointer(pointer) else {
            return Err(self.wrong("leads nowhere"));
        };
        let place = std::mem::take(&mut self.place);
        self.followed.push(pointer);
        self.schema(target)?;
        self.followed.pop();
        self.place = place;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A chain of references, each step with that many to the next.
    fn chain(steps: usize, each: usize) -> Value {
        let step = |n: usize| match n {
            n if n == steps => json!({ "type": "string" }),
            n => {
                let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
                json!({ "anyOf": vec![next; each] })
            }
        };
        let steps = (0..=steps).map(|n| (n.to_string(), step(n)));
        let defs: serde_json::Map<_, _> = steps.collect();
        json!({ "$ref": "#/$defs/0", "$defs": defs })
    }

    #[test]
    fn what_has_an_end_is_a_schema() {
        for schema in [
            json!(true),
            chain(25, 1),
            chain(8, 2),
            json!({ "$id": "https://example.com/s", "properties": { "$ref": { "type": "string" } } }),
            // A reference that is a value, and no reference.
            json!({ "const": { "$ref": "#" }, "enum": [{ "$ref": "#" }], "default": { "$ref": "x" } }),
            json!({
                "properties": { "a": { "$ref": "#/$defs/x~1y" }, "b": { "$ref": "#/$defs/x~1y" } },
                "$defs": { "x/y": { "type": "string" } },
            }),
        ] {
            check(&schema).unwrap_or_else(|wrong| panic!("{schema}: {wrong:?}"));
        }
    }

    #[test]
    fn what_has_no_end_in_time_is_refused_with_its_place() {
        for (schema, path) in [
            (json!({ "$ref": "#" }), "/$ref"),
            (json!({ "allOf": [{ "$ref": "#" }] }), "/allOf/0/$ref"),
            (json!({ "properties": { "default": { "$ref": "#" } } }), "/properties/default/$ref"),
            (
                json!({ "properties": { "a": { "items": { "$dynamicRef": "#" } } } }),
                "/properties/a/items/$dynamicRef",
            ),
            (
                json!({ "$ref": "#/$defs/a", "$defs": { "a": { "not": { "$ref": "#/$defs/a" } } } }),
                "/$defs/a/not/$ref",
            ),
            (json!({ "prefixItems": [{ "$ref": "#/$defs/none" }] }), "/prefixItems/0/$ref"),
            (json!({ "$ref": "https://example.com/s" }), "/$ref"),
            (json!({ "$ref": "file:///etc/passwd" }), "/$ref"),
            (json!({ "$ref": "other.json#/a" }), "/$ref"),
            (json!({ "$ref": "#anchor" }), "/$ref"),
            (json!({ "$ref": "#/%24defs/a" }), "/$ref"),
            (json!({ "not": { "$id": "https://example.com/s" } }), ""),
            (chain(24, 2), ""),
            (chain(40, 1), "/$defs/31/anyOf/0/$ref"),
        ] {
            let wrong = check(&schema).expect_err(&schema.to_string());
            assert_eq!(wrong.path, path, "{schema}: {wrong:?}");
        }
    }
}
