//! Subjects of NATS: what may be published to, and the patterns that say which of them an application may use.

use super::application::Application;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Stands in a pattern for the application's id, or for its uid where that is one legal token.
const APPLICATION: &str = "{application}";

/// Stands in a pattern for the name of the application's environment.
const ENVIRONMENT: &str = "{environment}";

/// Whether a text can be one token of a subject that is published to: visible ASCII, no dot, no wildcard.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b".*>%".contains(&b))
}

/// Whether a text can be a stream's or a consumer's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    is_token(text) && !text.contains(['/', '\\'])
}

/// A subject to publish to: tokens with dots between, no wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    /// The subject in that text, if it is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        text.split('.').all(is_token).then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that subject, or one below it.
    #[must_use]
    pub fn is_within(&self, prefix: &str) -> bool {
        self.0.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// Which subjects: tokens, `*` for any one, `>` for one or more at the end, `{application}` and `{environment}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Vec<String>);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tokens: Vec<String> = text.split('.').map(str::to_owned).collect();
        let last = tokens.len() - 1;
        let legal = tokens.iter().enumerate().all(|(index, token)| {
            let wild = ["*", APPLICATION, ENVIRONMENT].contains(&token.as_str())
                || (token == ">" && index == last);
            wild || (is_token(token) && !token.contains(['{', '}']))
        });
        match legal {
            true => Ok(Self(tokens)),
            false => Err(format!("`{text}` is not a subject such as hooks.{APPLICATION}.>")),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.join(".")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl Pattern {
    /// Whether it lets the application, in the environment of that name, publish there.
    #[must_use]
    pub fn allows(&self, subject: &Subject, application: &Application, environment: &str) -> bool {
        // A uid with a dot is never equal to one token.
        let is_application = |token: &str| {
            application.uid.as_deref() == Some(token) || application.id.to_string() == token
        };
        fits(self.0.iter().map(String::as_str), &subject.0, |wanted, token| match wanted {
            APPLICATION => is_application(token),
            ENVIRONMENT => environment == token,
            literal => literal == token,
        })
    }
}

/// Whether a filter with wildcards covers the subject.
#[must_use]
pub fn covers(filter: &str, subject: &str) -> bool {
    fits(filter.split('.'), subject, |wanted, token| wanted == token)
}

/// Whether a text can be a filter: tokens with dots between, `*` for any one, `>` for one or more at the end.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    let last = text.split('.').count() - 1;
    text.split('.').enumerate().all(|(index, token)| {
        let literal = !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte));
        literal || token == "*" || (token == ">" && index == last)
    })
}

/// Whether there is a subject that both filters cover.
#[must_use]
pub fn meet(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// Whether it is the server's own, or an inbox of some client.
#[must_use]
pub fn is_reserved(subject: &str) -> bool {
    subject.starts_with('$') || subject.starts_with("_INBOX")
}

fn fits<'a>(
    wanted: impl Iterator<Item = &'a str>,
    subject: &str,
    is: impl Fn(&str, &str) -> bool,
) -> bool {
    let mut tokens = subject.split('.');
    for wanted in wanted {
        let Some(token) = tokens.next() else { return false };
        let same = match wanted {
            ">" => return true,
            "*" => true,
            wanted => is(wanted, token),
        };
        if !same {
            return false;
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{name::Uid, sample};

    #[test]
    fn patterns_allow_what_they_name() {
        let mut application = sample::application();
        application.uid = Uid::new("hooli").ok();
        let id = application.id.to_string();
        for (pattern, subject, allowed) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "anything.at.all", true),
            ("hooks.{application}.>", "hooks.hooli.sms", true),
            ("hooks.{application}.>", "hooks.other.sms", false),
            ("hooks.{application}", &format!("hooks.{id}"), true),
            ("hooks.{application}", "hooks.Hooli", false),
            ("{environment}.{application}", "staging.hooli", true),
            ("{environment}.{application}", "default.hooli", false),
        ] {
            let found: Pattern = pattern.parse().expect(pattern);
            let subject = Subject::new(subject).expect(subject);
            assert_eq!(
                found.allows(&subject, &application, "staging"),
                allowed,
                "{pattern} {subject:?}"
            );
        }
    }

    #[test]
    fn filters_are_legal_and_meet_where_a_subject_is_in_both() {
        for (text, legal) in [
            ("a.*.>", true),
            (">", true),
            ("a.>.b", false),
            ("a..b", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(is_filter(text), legal, "{text}");
        }
        for (one, other, expected) in [
            ("a.b", "a.b", true),
            ("a.>", "a.b", true),
            ("a.>", "a", false),
            ("a.*", "*.b", true),
            ("a.*", "a.b.c", false),
            ("a.*.c", "a.>", true),
            ("a", "b", false),
        ] {
            assert_eq!((meet(one, other), meet(other, one)), (expected, expected), "{one} {other}");
        }
        assert!(is_reserved("$JS.API") && is_reserved("_INBOX.a") && !is_reserved("a"));
    }

    #[test]
    fn what_is_no_subject_or_pattern_is_refused() {
        for bad in ["", ".", "a.", "a..b", "a.*", "a.>", "a b", "a%20b", "é"] {
            assert!(Subject::new(bad).is_none(), "{bad}");
        }
        for bad in ["", "a.>.b", "a..b", "x{application}", "{tenant}", "a b"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        assert!(covers("a.*.c", "a.b.c") && covers("a.>", "a.b.c") && !covers("a.*", "a.b.c"));
        let subject = Subject::new("a.b.c").expect("legal");
        assert!(subject.is_within("a.b") && subject.is_within("a.b.c"));
        assert!(!subject.is_within("a.bc") && !subject.is_within("a.b.c.d"));
    }
}
