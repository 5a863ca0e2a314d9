//! Event types as an environment lists them, and the JSON Schemas (draft 2020-12) that payloads are held to. A schema is
//! compiled once, when it comes into the catalog; doors only ask [`Listed::violations`].
//!
//! Schemas come from callers, and are kept from doing harm: nothing is fetched, a pattern is matched in linear time, and
//! what a schema becomes once its references are followed has an end ([`bounds`]).

use super::{
    Millis,
    id::{EnvironmentId, EventTypeId},
    name::EventType,
};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

mod bounds;

/// How many versions of a schema are kept, the newest among them.
pub const VERSIONS: usize = 20;
/// How many violations of a payload are told.
pub const VIOLATIONS: usize = 20;
/// The longest text of a violation, in bytes: it may quote the payload.
const TEXT: usize = 256;
/// Of a payload of more bytes only the first violation is told: the search for all of them takes memory for each.
const SEARCHED: usize = 16 << 10;
/// The largest payload that is held against a schema in no time, in bytes.
const QUICK: usize = 16 << 10;
/// The same, in bytes times what the schema says: less than a few milliseconds.
const QUICK_PRODUCT: usize = 1 << 20;
/// The size of one compiled pattern, in bytes.
const PATTERN: usize = 1 << 20;
/// The only draft there is, as `$schema` names it.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// One version of a schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventTypeVersion)]
pub struct Version {
    /// From 1.
    pub version: u32,
    /// What payloads should be.
    pub schema: Value,
    /// When it came.
    pub created: Millis,
}

/// An event type as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The environment that lists it.
    pub environment: EnvironmentId,
    /// The gateway's id of it.
    pub id: EventTypeId,
    /// As messages name it.
    pub name: EventType,
    /// For people.
    pub description: String,
    /// Whether payloads are held to the schema.
    pub enforce: bool,
    /// A payload, for people.
    pub example: Option<Value>,
    /// Oldest first; the last is what counts.
    pub versions: Vec<Version>,
    /// Counts the changes, from 1.
    pub revision: u64,
    /// When it was created.
    pub created: Millis,
    /// When it last changed.
    pub updated: Millis,
}

impl Entry {
    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Makes this schema the newest version, unless it is already.
    pub fn renew(&mut self, schema: Value, now: Millis) {
        if self.newest().is_some_and(|newest| newest.schema == schema) {
            return;
        }
        let version = self.newest().map_or(1, |newest| newest.version + 1);
        self.versions.push(Version { version, schema, created: now });
        let surplus = self.versions.len().saturating_sub(VERSIONS);
        self.versions.drain(..surplus);
    }
}

/// What is wrong, and where in the schema or the payload, as a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The place.
    pub path: String,
    /// What would be right.
    pub message: String,
}

impl Violation {
    fn new(error: &ValidationError<'_>) -> Self {
        let mut message = error.to_string();
        if message.len() > TEXT {
            message.truncate(message.floor_char_boundary(TEXT));
            message.push('…');
        }
        Self { path: error.instance_path().as_str().to_owned(), message }
    }
}

/// An event type in the catalog, ready for payloads.
#[derive(Clone, Debug)]
pub struct Listed {
    /// As it is stored.
    pub entry: Entry,
    /// Of the newest version, where that is enforced.
    validator: Option<Validator>,
    /// What it says, in schemas and what takes as long as one.
    weight: usize,
}

impl Listed {
    /// Checks the newest schema, and compiles it. An error is what is wrong in it.
    pub fn new(entry: Entry) -> Result<Self, Violation> {
        Self::bounded(entry, bounds::check)
    }

    /// One that was checked when it came in.
    pub fn stored(entry: Entry) -> Result<Self, Violation> {
        match entry.enforce {
            true => Self::bounded(entry, bounds::check_stored),
            false => Ok(Self { entry, validator: None, weight: 0 }),
        }
    }

    fn bounded(entry: Entry, bounds: Bounds) -> Result<Self, Violation> {
        let compiled = entry.newest().map(|newest| compile(&newest.schema, bounds)).transpose()?;
        let enforced = compiled.filter(|_| entry.enforce);
        let (validator, weight) = enforced.map_or((None, 0), |(it, weight)| (Some(it), weight));
        Ok(Self { entry, validator, weight })
    }

    /// Whether [`Self::violations`] of a payload of that many bytes takes next to no time; else it is not for a thread
    /// that others wait for.
    #[must_use]
    pub fn is_quick(&self, payload: usize) -> bool {
        let small = payload <= QUICK && payload.saturating_mul(self.weight) <= QUICK_PRODUCT;
        self.validator.is_none() || small
    }

    /// What is wrong with a payload, at most [`VIOLATIONS`]; nothing where the schema is not enforced.
    #[must_use]
    pub fn violations(&self, payload: &[u8]) -> Vec<Violation> {
        let Some(validator) = &self.validator else { return Vec::new() };
        match serde_json::from_slice(payload) {
            Ok(value) if validator.is_valid(&value) => Vec::new(),
            Ok(value) if payload.len() > SEARCHED => {
                let first = validator.validate(&value).err();
                first.iter().map(Violation::new).collect()
            }
            Ok(value) => {
                validator.iter_errors(&value).take(VIOLATIONS).map(|e| Violation::new(&e)).collect()
            }
            // It is JSON: a number or a depth that a schema cannot be held against.
            Err(error) => {
                let message = format!("cannot be held against a schema: {error}");
                vec![Violation { path: String::new(), message }]
            }
        }
    }
}

/// A schema that something else than a payload is held against: a plugin's settings.
#[derive(Clone, Debug)]
pub struct Form(Validator);

impl Form {
    /// Checks the schema, and compiles it. An error is what is wrong in it.
    pub fn new(schema: &Value) -> Result<Self, Violation> {
        compile(schema, bounds::check).map(|(validator, _)| Self(validator))
    }

    /// What is wrong with the value, at most [`VIOLATIONS`].
    #[must_use]
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.0.iter_errors(value).take(VIOLATIONS);
        errors.map(|error| Violation::new(&error)).collect()
    }
}

/// What a schema says, or where it exceeds its bounds.
type Bounds = fn(&Value) -> Result<usize, Violation>;

fn compile(schema: &Value, bounds: Bounds) -> Result<(Validator, usize), Violation> {
    if let Some(other) = schema.get("$schema").filter(|draft| *draft != DRAFT) {
        let message = format!("must be {DRAFT}, and not {other}");
        return Err(Violation { path: "/$schema".into(), message });
    }
    let weight = bounds(schema)?;
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN))
        .offline()
        .build(schema)
        .map_err(|error| Violation::new(&error))?;
    Ok((validator, weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn entry(schema: Value) -> Entry {
        let mut entry = Entry {
            environment: EnvironmentId::DEFAULT,
            id: EventTypeId(Uuid::from_u128(1)),
            name: EventType::new("sms.status").expect("legal"),
            description: String::new(),
            enforce: true,
            example: None,
            versions: Vec::new(),
            revision: 1,
            created: 1,
            updated: 1,
        };
        entry.renew(schema, 1);
        entry
    }

    fn paths(schema: Value, payload: &str) -> Vec<String> {
        let listed = Listed::new(entry(schema)).expect("a schema");
        listed.violations(payload.as_bytes()).into_iter().map(|v| v.path).collect()
    }

    #[test]
    fn each_violation_is_told_with_its_place() {
        let schema = json!({
            "type": "object", "required": ["to"],
            "properties": {
                "to": { "type": "string", "pattern": "^\\+[0-9]+$" },
                "parts": { "items": { "type": "integer" } },
                "a/b": { "const": 1 },
            },
        });
        for (payload, expected) in [
            (r#"{"to": "+49"}"#, &[][..]),
            ("{}", &[""]),
            ("[]", &[""]),
            (
                r#"{"to": "49", "parts": [1, "2", 3.5], "a/b": 2}"#,
                &["/a~1b", "/parts/1", "/parts/2", "/to"],
            ),
        ] {
            let mut found = paths(schema.clone(), payload);
            found.sort();
            assert_eq!(found, expected, "{payload}");
        }
    }

    #[test]
    fn only_what_is_small_is_quick() {
        let quick = |schema: Value, payload| {
            Listed::new(entry(schema)).expect("a schema").is_quick(payload)
        };
        let list: Vec<_> = (0..900).collect();
        for (schema, payload, expected) in [
            (json!({ "type": "object" }), 300, true),
            (json!({ "type": "object" }), QUICK, true),
            (json!({ "type": "object" }), QUICK + 1, false),
            (json!({ "items": { "enum": list } }), 300, true),
            (json!({ "items": { "enum": list } }), 4_000, false),
        ] {
            assert_eq!(quick(schema.clone(), payload), expected, "{payload} against {schema}");
        }
        let open = Entry { enforce: false, ..entry(json!({ "type": "object" })) };
        assert!(Listed::new(open).expect("a schema").is_quick(1 << 20), "nothing is checked");
    }

    #[test]
    fn violations_are_few_and_their_texts_short() {
        let listed =
            Listed::new(entry(json!({ "items": { "type": "integer" } }))).expect("a schema");
        let payload = json!(vec!["é".repeat(1000); 100]).to_string();
        let found = listed.violations(payload.as_bytes());
        assert_eq!(found.len(), 1, "the payload is large");
        let payload = json!(vec!["é".repeat(200); 30]).to_string();
        let found = listed.violations(payload.as_bytes());
        assert_eq!(found.len(), VIOLATIONS);
        assert!(found.iter().all(|v| v.message.len() < TEXT + 4), "{found:?}");
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        for (schema, path) in [
            (json!({ "type": "strin" }), "/type"),
            (json!(7), ""),
            (json!({ "properties": { "a": { "minimum": "1" } } }), "/properties/a/minimum"),
            (json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), "/$schema"),
            (json!({ "$ref": "http://127.0.0.1:9/schema.json" }), "/$ref"),
            (json!({ "pattern": "(" }), "/pattern"),
            // These would be matched by trying everything, and take a lot of memory.
            (json!({ "pattern": "(?=a)" }), "/pattern"),
            (json!({ "pattern": "(a{1000}){1000}" }), "/pattern"),
        ] {
            let violation = Listed::new(entry(schema.clone())).expect_err(&schema.to_string());
            assert_eq!(violation.path, path, "{schema}: {violation:?}");
        }
    }

    #[test]
    fn what_a_schema_cannot_be_held_against_is_a_violation() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for payload in ["1e999", &deep] {
            assert_eq!(paths(json!({}), payload), [""], "{payload}");
        }
    }

    #[test]
    fn a_schema_that_is_not_enforced_costs_nothing_and_refuses_nothing() {
        let entry = Entry { enforce: false, ..entry(json!({ "type": "string" })) };
        let listed = Listed::new(entry).expect("a schema");
        assert!(listed.validator.is_none());
        assert_eq!(listed.violations(b"no JSON at all"), []);
    }

    #[test]
    fn a_changed_schema_is_the_next_version_and_old_ones_go() {
        let mut entry = entry(json!({ "minimum": 0 }));
        for n in [0, 1, 1, 2] {
            entry.renew(json!({ "minimum": n }), 5);
        }
        let versions = |entry: &Entry| entry.versions.iter().map(|v| v.version).collect::<Vec<_>>();
        assert_eq!(versions(&entry), [1, 2, 3]);
        for n in 3..40 {
            entry.renew(json!({ "minimum": n }), 5);
        }
        assert_eq!(versions(&entry), (21..=40).collect::<Vec<_>>());
    }
}
