//! What personal data looks like. The ready ones would rather miss a strange form than mask what is none.

use octohooks_plugin::Failure;
use regex_lite::{Captures, Regex};
use serde::Deserialize;
use serde_json::Value;

/// A ready pattern by its name, or one of the application's own.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Pattern {
    /// One that is ready.
    Ready(Ready),
    /// One's own.
    Own(Own),
}

/// The ready ones.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// `name@host.tld`.
    Email,
    /// 13 to 19 digits whose check digit is right (ISO/IEC 7812).
    Card,
    /// `+` and 7 to 15 digits (E.164), with spaces, hyphens or brackets between.
    Phone,
}

/// A regular expression, and what stands for what it matches.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    pattern: String,
    replacement: String,
}

/// A pattern that can be looked for.
pub struct Compiled {
    regex: Regex,
    replacement: String,
    is_card: bool,
}

impl Pattern {
    /// An error names the pattern.
    pub fn compile(&self) -> Result<Compiled, Failure> {
        let (pattern, replacement, is_card) = match self {
            Self::Ready(Ready::Email) => (
                r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
                "[email]",
                false,
            ),
            Self::Ready(Ready::Card) => (r"\b[0-9]([ -]?[0-9]){12,18}\b", "[card]", true),
            Self::Ready(Ready::Phone) => (r"\+[0-9]([ ()-]{0,2}[0-9]){6,14}\b", "[phone]", false),
            Self::Own(own) => (own.pattern.as_str(), own.replacement.as_str(), false),
        };
        let regex = Regex::new(pattern).map_err(|error| {
            Failure::Other(format!("settings: the pattern `{pattern}`: {error}"))
        })?;
        Ok(Compiled { regex, replacement: replacement.to_owned(), is_card })
    }
}

impl Compiled {
    /// Masks it in every text of the value: how many times.
    pub fn mask(&self, value: &mut Value) -> usize {
        match value {
            Value::String(text) => {
                let mut masked = 0;
                let new = self.regex.replace_all(text, |found: &Captures<'_>| {
                    let found = &found[0];
                    if self.is_card && !has_check_digit(found) {
                        return found.to_owned();
                    }
                    masked += 1;
                    self.replacement.clone()
                });
                if masked > 0 {
                    *text = new.into_owned();
                }
                masked
            }
            Value::Array(all) => all.iter_mut().map(|one| self.mask(one)).sum(),
            Value::Object(all) => all.values_mut().map(|one| self.mask(one)).sum(),
            _ => 0,
        }
    }
}

/// Luhn's sum over the digits.
fn has_check_digit(text: &str) -> bool {
    let digits = text.bytes().rev().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}
