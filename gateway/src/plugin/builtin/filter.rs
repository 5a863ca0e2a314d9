//! The filter: an expression of JSONPath (RFC 9535) as it stands inside `[?…]`, in which `@` is the payload. JSONPath and
//! not CEL, whose loops within loops over a payload have no bound that could be seen beforehand.
//!
//! The rule that bounds it: no `$`, one selector in a bracket, and `..` once. So nothing is selected twice: each part of
//! the expression looks at each value of the payload at most once, and a comparison below `..` once for each level that
//! the value is deep. What that comes to is known before it begins, from the expression and the payload's size, and a
//! payload for which it is more than [`STEPS`] is not looked at. Patterns (`match`, `search`) are left out: a payload
//! could bring its own.

use serde_json::Value;
use serde_json_path::JsonPath;

/// Bytes of an expression.
const LONGEST: usize = 512;
/// Brackets within brackets: the parser tries several ways at each.
const DEEPEST: usize = 6;
/// Steps on one payload: a step is one value of two that are compared, of which some 400 take a microsecond.
const STEPS: u64 = 40_000_000;
/// Steps that a part of an expression takes at a value: it makes a list of what it selects.
const PART: u64 = 16;
/// Levels that JSON can have here.
const LEVELS: u64 = 128;
/// Bytes of a text that take a step.
const TEXT: usize = 64;

/// An expression that was read.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    path: JsonPath,
    shape: Shape,
}

/// How much an expression does.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// `@`, and what follows it: names, brackets.
    parts: u64,
    comparisons: u64,
    /// Whether a part may select more than one value.
    many: bool,
    descends: bool,
}

impl Filter {
    /// The error is for people.
    pub(super) fn new(expression: &str) -> Result<Self, String> {
        let shape = Shape::of(expression)?;
        // The payload is the only element of a list, of which a filter selects.
        let path = JsonPath::parse(&format!("$[?{expression}]")).map_err(|error| {
            let at = error.position().saturating_sub("$[?".len());
            format!("is not an expression of JSONPath: {}, at byte {at}", error.message())
        })?;
        Ok(Self { path, shape })
    }

    /// Whether it matches the payload, the only element of the list. The error is for people.
    pub(super) fn lets_through(&self, list: &Value) -> Result<bool, String> {
        let steps = self.shape.steps(Size::of(list));
        if steps > STEPS {
            return Err(format!(
                "the filter would take up to {steps} steps on this payload, where {STEPS} are the most"
            ));
        }
        Ok(!self.path.query(list).is_empty())
    }

    /// The most steps that it can take for each byte of a payload.
    pub(super) fn steps_a_byte(&self) -> u64 {
        // A value and what parts it from the next have two bytes.
        self.shape.steps(Size { values: 2, levels: LEVELS }).div_ceil(4)
    }
}

impl Shape {
    /// Of one expression that cannot take long; the error is for people.
    fn of(expression: &str) -> Result<Self, String> {
        if expression.len() > LONGEST {
            return Err(format!("must have at most {LONGEST} bytes"));
        }
        let (mut shape, mut depth, mut descents, mut previous) = (Self::default(), 0_usize, 0, ' ');
        let mut rest = expression.chars();
        while let Some(character) = rest.next() {
            match character {
                '\'' | '"' => skip_text(character, &mut rest)?,
                '$' => return Err("must not name `$`: `@` is the payload".into()),
                ')' | ']' if depth == 0 => return Err("has a closing bracket too many".into()),
                ')' | ']' => depth -= 1,
                // What is selected twice, again and again, is selected any number of times.
                ',' => return Err("must be one expression, with one selector in a bracket".into()),
                '.' if previous == '.' => descents += 1,
                '=' if matches!(previous, '=' | '!') => shape.comparisons += 1,
                '<' | '>' => shape.comparisons += 1,
                '*' | '?' | ':' => shape.many = true,
                _ => {}
            }
            if matches!(character, '@' | '.' | '[' | '(') {
                shape.parts += 1;
            }
            if matches!(character, '[' | '(') {
                depth += 1;
            }
            previous = character;
            if depth > DEEPEST {
                return Err(format!("must not have more than {DEEPEST} brackets in each other"));
            }
        }
        if descents > 1 {
            return Err("must have `..` at most once".into());
        }
        shape.descends = descents > 0;
        Ok(shape)
    }

    /// The most steps that it takes.
    fn steps(self, Size { values, levels }: Size) -> u64 {
        let visits = if self.many || self.descends { values } else { 1 };
        // What is found below is handed up from level to level, as a comparison looks down.
        let (looks, times) = match self.descends {
            true => (self.comparisons + 1, levels),
            false => (self.comparisons, 1),
        };
        let parts = (self.parts + self.comparisons).saturating_mul(PART).saturating_mul(visits);
        parts.saturating_add(looks.saturating_mul(times).saturating_mul(values))
    }
}

/// How large a payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    /// Values, of which a long text counts as several.
    values: u64,
    /// The most that are in each other.
    levels: u64,
}

impl Size {
    /// No deeper than [`LEVELS`], which is where reading ends.
    fn of(value: &Value) -> Self {
        let text = |text: &str| 1 + (text.len() / TEXT) as u64;
        let mut size = Self { values: 1, levels: 0 };
        let mut add = |name: u64, inner: &Value| {
            let inner = Self::of(inner);
            size.values += name + inner.values;
            size.levels = size.levels.max(inner.levels);
        };
        match value {
            Value::Array(list) => list.iter().for_each(|inner| add(0, inner)),
            Value::Object(map) => map.iter().for_each(|(name, inner)| add(text(name), inner)),
            Value::String(value) => size.values = text(value),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        size.levels += 1;
        size
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
