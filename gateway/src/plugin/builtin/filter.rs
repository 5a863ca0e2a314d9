//! The filter: an expression of JSONPath (RFC 9535) as it stands inside `[?…]`, in which `@` is the payload. JSONPath and
//! not CEL, whose loops within loops over a payload have no bound that could be seen beforehand.
//!
//! The rule that bounds it: no `$`, one selector in a bracket, and `..` once. So nothing is selected twice: what is under
//! `@` is looked at in parts that do not overlap, and those below `..` once for each level they are deep, which JSON here
//! has at most 128 of. Patterns (`match`, `search`)
//! are left out: a payload could bring its own.

use serde_json::Value;
use serde_json_path::JsonPath;

/// Bytes of an expression.
const LONGEST: usize = 512;
/// Brackets within brackets: the parser tries several ways at each.
const DEEPEST: usize = 6;

/// An expression that was read.
#[derive(Clone, Debug)]
pub(super) struct Filter(JsonPath);

impl Filter {
    /// The error is for people.
    pub(super) fn new(expression: &str) -> Result<Self, String> {
        bounded(expression)?;
        // The payload is the only element of a list, of which a filter selects.
        let path = JsonPath::parse(&format!("$[?{expression}]")).map_err(|error| {
            let at = error.position().saturating_sub("$[?".len());
            format!("is not an expression of JSONPath: {}, at byte {at}", error.message())
        })?;
        Ok(Self(path))
    }

    pub(super) fn lets_through(&self, payload: &Value) -> bool {
        let list = Value::Array(vec![payload.clone()]);
        !self.0.query(&list).is_empty()
    }
}

/// Whether it is one expression, that cannot take long.
fn bounded(expression: &str) -> Result<(), String> {
    if expression.len() > LONGEST {
        return Err(format!("must have at most {LONGEST} bytes"));
    }
    let (mut depth, mut descents, mut previous) = (0_usize, 0, ' ');
    let mut rest = expression.chars();
    while let Some(character) = rest.next() {
        match character {
            '\'' | '"' => skip_text(character, &mut rest)?,
            '$' => return Err("must not name `$`: `@` is the payload".into()),
            '(' | '[' => depth += 1,
            ')' | ']' if depth == 0 => return Err("has a closing bracket too many".into()),
            ')' | ']' => depth -= 1,
            // What is selected twice, again and again, is selected any number of times.
            ',' => return Err("must be one expression, with one selector in a bracket".into()),
            '.' if previous == '.' => descents += 1,
            _ => {}
        }
        previous = character;
        if depth > DEEPEST {
            return Err(format!("must not have more than {DEEPEST} brackets in each other"));
        }
    }
    match descents {
        0 | 1 => Ok(()),
        _ => Err("must have `..` at most once".into()),
    }
}

fn skip_text(quote: char, rest: &mut std::str::Chars<'_>) -> Result<(), String> {
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                let _escaped = rest.next();
            }
            _ if character == quote => return Ok(()),
            _ => {}
        }
    }
    Err("has a text that does not end".into())
}
