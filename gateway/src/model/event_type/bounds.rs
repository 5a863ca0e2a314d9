//! What keeps a schema from taking more time or memory than there is, before it is compiled. A small one may say a lot:
//! each reference stands for a whole schema, two of them in each of thirty steps for 2^30, and one to itself for as many
//! as the payload is deep. So references stay within the schema, never lead back, and what they stand for is counted.
//! What is held against every element of a payload is counted apart: it takes time for each of them.

use super::Violation;
use serde_json::Value;

/// How many schemas it may be once its references are followed.
const SCHEMAS: usize = 5_000;
/// How many schemas, and values to compare with, may be held against each element of a payload: of the largest payload,
/// which may have a hundred thousand, each takes about a millisecond. What takes longer counts as several.
const REPEATED: usize = 1_000;
/// As how many schemas a division counts, which is exact.
const DIVISION: usize = 50;
/// As how many schemas the search for a pattern counts.
const SEARCH: usize = 10;
/// How many values to compare with there may be in all, counted with what is in them.
const VALUES: usize = 50_000;
/// How many references may follow one another.
const DEPTH: usize = 32;

/// Keywords whose value is an object of schemas.
const MAPS: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];
/// Keywords whose value is no schema, or only for others to refer to.
const SKIPPED: [&str; 6] = ["const", "enum", "default", "examples", "$defs", "definitions"];
/// Keywords whose schemas are held against each element or each property.
const REPEATING: [&str; 7] = [
    "items",
    "contains",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a reference.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// What the schema says once its references are followed, in schemas and what takes as long as one. An error is where it
/// exceeds its bounds.
pub fn check(schema: &Value) -> Result<usize, Violation> {
    weigh(schema, (REPEATED, VALUES))
}

/// The same of a schema that was taken when fewer things were bounded.
pub fn check_stored(schema: &Value) -> Result<usize, Violation> {
    weigh(schema, (usize::MAX, usize::MAX))
}

fn weigh(schema: &Value, (repeated, values): (usize, usize)) -> Result<usize, Violation> {
    let nested = match schema {
        Value::Object(fields) => fields.values().any(has_id),
        _ => false,
    };
    if nested {
        let message =
            "may have an `$id` only at the top: references below would mean something else";
        return Err(Violation { path: String::new(), message: message.into() });
    }
    let left = Left { schemas: SCHEMAS, repeated, values };
    let mut walk = Walk {
        root: schema,
        left,
        weight: 0,
        repeating: false,
        followed: vec![""],
        place: Vec::new(),
    };
    walk.schema(schema)?;
    Ok(walk.weight)
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

/// How many there may still be.
struct Left {
    schemas: usize,
    repeated: usize,
    values: usize,
}

struct Walk<'a> {
    root: &'a Value,
    left: Left,
    /// What was counted.
    weight: usize,
    /// Whether what the walk is in is held against each element.
    repeating: bool,
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
        self.left.schemas = match self.left.schemas.checked_sub(1) {
            Some(left) => left,
            None => {
                let message =
                    format!("is more than {SCHEMAS} schemas once references are followed");
                return Err(Violation { path: String::new(), message });
            }
        };
        self.count(1)?;
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
            let outside = self.repeating;
            self.repeating |= REPEATING.contains(&&**keyword);
            match (&**keyword, value) {
                (reference, Value::String(to)) if REFERENCES.contains(&reference) => {
                    self.follow(to)?;
                }
                ("multipleOf", _) => self.count(DIVISION)?,
                ("pattern", _) => self.count(SEARCH)?,
                (map, Value::Object(schemas)) if MAPS.contains(&map) => {
                    if map == "patternProperties" {
                        self.count(SEARCH * schemas.len())?;
                    }
                    schemas.iter().try_for_each(|(name, schema)| self.at(name, schema))?;
                }
                ("enum" | "const", values) => self.values(values)?,
                (skipped, _) if SKIPPED.contains(&skipped) => {}
                (_, nested @ (Value::Object(_) | Value::Array(_))) => self.schema(nested)?,
                _ => {}
            }
            self.repeating = outside;
            self.place.pop();
        }
        Ok(())
    }

    /// Counts values to compare with.
    fn values(&mut self, value: &'a Value) -> Result<(), Violation> {
        self.left.values = match self.left.values.checked_sub(1) {
            Some(left) => left,
            None => {
                let message = format!("is one of more than {VALUES} values to compare with");
                return Err(self.wrong(message));
            }
        };
        self.count(1)?;
        match value {
            Value::Array(list) => list.iter().try_for_each(|one| self.values(one)),
            Value::Object(fields) => fields.values().try_for_each(|one| self.values(one)),
            _ => Ok(()),
        }
    }

    /// Counts what takes as long as that many schemas.
    fn count(&mut self, schemas: usize) -> Result<(), Violation> {
        self.weight = self.weight.saturating_add(schemas);
        if !self.repeating {
            return Ok(());
        }
        self.left.repeated = match self.left.repeated.checked_sub(schemas) {
            Some(left) => left,
            None => {
                let message = format!(
                    "is one of more than {REPEATED} schemas and values to hold against each element"
                );
                return Err(self.wrong(message));
            }
        };
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

    #[test]
    fn what_takes_time_for_each_element_is_bounded_more_closely_than_the_rest() {
        let values = |n: usize| (0..n).map(|n| json!([n])).collect::<Vec<_>>();
        let many: serde_json::Map<_, _> = (0..100).map(|n| (n.to_string(), json!(true))).collect();
        let consts = |n: usize| (0..n).map(|n| json!({ "const": n })).collect::<Vec<_>>();
        for schema in [
            json!({ "properties": { "city": { "enum": values(8_800) } } }),
            json!({ "items": { "enum": values(400) } }),
            json!({ "items": { "anyOf": consts(400) } }),
            json!({ "anyOf": consts(1_200), "items": true }),
            json!({ "items": { "allOf": vec![json!({ "pattern": "a$" }); 80] } }),
            json!({ "allOf": vec![json!({ "multipleOf": 0.5 }); 30] }),
        ] {
            check(&schema).unwrap_or_else(|wrong| panic!("{schema}: {wrong:?}"));
        }
        for (schema, path) in [
            (json!({ "items": { "enum": values(8_800) } }), "/items/enum"),
            (json!({ "contains": { "anyOf": consts(1_200) } }), "/contains/anyOf/499"),
            (
                json!({ "additionalProperties": { "$ref": "#/$defs/a" },
                    "$defs": { "a": { "properties": { "b": { "enum": values(8_800) } } } } }),
                "/$defs/a/properties/b/enum",
            ),
            (
                json!({ "items": { "allOf": vec![json!({ "multipleOf": 0.5 }); 30] } }),
                "/items/allOf/19/multipleOf",
            ),
            (
                json!({ "items": { "allOf": vec![json!({ "pattern": "a$" }); 100] } }),
                "/items/allOf/90/pattern",
            ),
            (json!({ "items": { "patternProperties": many } }), "/items/patternProperties"),
            (
                json!({ "allOf": vec![json!({ "$ref": "#/$defs/a" }); 10],
                    "$defs": { "a": { "const": values(8_800) } } }),
                "/$defs/a/const",
            ),
        ] {
            let wrong = check(&schema).expect_err(&schema.to_string());
            assert_eq!(wrong.path, path, "{}", wrong.message);
            check_stored(&schema).expect("it was taken once");
        }
    }

    #[test]
    fn a_schema_weighs_what_its_references_stand_for() {
        let twice = json!({ "$ref": "#/$defs/a" });
        let schema = json!({ "properties": { "b": twice, "c": twice },
            "$defs": { "a": { "enum": [1, 2, 3] } } });
        // The schema, and twice a reference, what it leads to, and a list of three.
        assert_eq!(check(&schema).expect("a schema"), 1 + 2 * (1 + 1 + 4));
    }
}
