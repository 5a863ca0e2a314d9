//! Names that callers choose: uids, event types and channels. Each is checked once, where it comes in,
//! and is what its type says from then on.

use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};
use utoipa::ToSchema;

/// Why a name was refused, as the caller reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub &'static str);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident checked by $check:ident;)*) => {$(
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        $(#[$doc])*
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and makes the name.
            pub fn new(text: &str) -> Result<Self, BadName> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

names! {
    /// The caller's own identifier of an application, an endpoint or a message: 1 to 256 characters, none a control.
    #[schema(value_type = String, pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,256}$", example = "acme")]
    Uid checked by visible;
    /// `^[a-zA-Z0-9\-_.]+$`, at most 256 bytes.
    #[schema(value_type = String, as = EventTypeName, pattern = r"^[a-zA-Z0-9\-_.]{1,256}$", example = "sms.status")]
    EventType checked by event_type;
    /// 1 to 128 characters, none a control. Compared case-sensitively.
    #[schema(value_type = String, pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$", example = "north")]
    Channel checked by channel;
    /// An environment's name: small letters, digits and hyphens, at most 64.
    #[schema(value_type = String, pattern = r"^[a-z0-9\-]{1,64}$", example = "production")]
    EnvironmentName checked by environment_name;
    /// A plugin's name: small letters, digits and hyphens, the first a letter, at most 64.
    #[schema(value_type = String, pattern = r"^[a-z][a-z0-9-]{0,63}$", example = "main")]
    PluginName checked by plugin_name;
    /// What an attribute is called: `^[a-zA-Z0-9\-_.]+$`, at most 128 bytes.
    #[schema(value_type = String, pattern = r"^[a-zA-Z0-9\-_.]{1,128}$", example = "tenant")]
    AttributeName checked by attribute_name;
    /// What an attribute says: at most 1024 bytes, none a control.
    #[schema(value_type = String, pattern = r"^[^\x00-\x1f\x7f-\x9f]{0,1024}$", example = "a1")]
    AttributeValue checked by attribute_value;
    /// What is sent in order, where an endpoint asks for it: 1 to 256 bytes.
    #[schema(value_type = String, pattern = r"^[\s\S]{1,256}$", example = "account-7")]
    OrderingKey checked by ordering_key;
    /// What a named secret is called: `^[a-zA-Z0-9\-_.]+$`, at most 64 bytes.
    #[schema(value_type = String, pattern = r"^[a-zA-Z0-9\-_.]{1,64}$", example = "crm-token")]
    SecretName checked by secret_name;
}

fn visible(text: &str) -> Result<(), BadName> {
    match text.chars().count() {
        0 => Err(BadName("must not be empty")),
        1..=256 if !text.chars().any(char::is_control) => Ok(()),
        1..=256 => Err(BadName("must not contain control characters")),
        _ => Err(BadName("must have at most 256 characters")),
    }
}

fn channel(text: &str) -> Result<(), BadName> {
    match text.chars().count() {
        129.. => Err(BadName("must have at most 128 characters")),
        _ => visible(text),
    }
}

fn event_type(text: &str) -> Result<(), BadName> {
    match text.len() {
        257.. => Err(BadName("must have at most 256 characters")),
        _ => plain(text),
    }
}

fn environment_name(text: &str) -> Result<(), BadName> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match text.len() {
        1..=64 if text.bytes().all(legal) => Ok(()),
        _ => Err(BadName("must have 1 to 64 small letters, digits and hyphens")),
    }
}

fn plugin_name(text: &str) -> Result<(), BadName> {
    match text.as_bytes().first() {
        Some(b'a'..=b'z') if environment_name(text).is_ok() => Ok(()),
        _ => Err(BadName("must match ^[a-z][a-z0-9-]{0,63}$")),
    }
}

fn attribute_name(text: &str) -> Result<(), BadName> {
    match text.len() {
        129.. => Err(BadName("must have at most 128 characters")),
        _ => plain(text),
    }
}

fn attribute_value(text: &str) -> Result<(), BadName> {
    match text.len() {
        1025.. => Err(BadName("must have at most 1024 bytes")),
        _ if text.chars().any(char::is_control) => {
            Err(BadName("must not contain control characters"))
        }
        _ => Ok(()),
    }
}

fn ordering_key(text: &str) -> Result<(), BadName> {
    match text.len() {
        1..=256 => Ok(()),
        _ => Err(BadName("must have 1 to 256 bytes")),
    }
}

fn secret_name(text: &str) -> Result<(), BadName> {
    match text.len() {
        65.. => Err(BadName("must have at most 64 characters")),
        _ => plain(text),
    }
}

fn plain(text: &str) -> Result<(), BadName> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    match !text.is_empty() && text.bytes().all(legal) {
        true => Ok(()),
        false => Err(BadName("must match ^[a-zA-Z0-9\\-_.]+$")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once_where_they_come_in() {
        for good in ["a", "sms.status", "A-1_b.C"] {
            assert_eq!(&*EventType::new(good).expect("legal"), good);
        }
        for bad in ["", "sms status", "é", "a/b", &"x".repeat(257)] {
            assert!(EventType::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "main", "to-slack-2", &"a".repeat(64)] {
            assert_eq!(&*PluginName::new(good).expect("legal"), good);
        }
        for bad in ["", "2a", "-a", "A", "a_b", "a.b", "a/b", "é", &"a".repeat(65)] {
            assert!(PluginName::new(bad).is_err(), "{bad:?}");
        }
        assert!(Uid::new("anything visible, éven this").is_ok());
        assert!(Uid::new("a\nb").is_err());
        assert!(Channel::new(&"c".repeat(128)).is_ok());
        assert!(Channel::new(&"c".repeat(129)).is_err());
        assert!(AttributeName::new(&"n".repeat(128)).is_ok());
        assert!(AttributeName::new(&"n".repeat(129)).is_err());
        assert!(AttributeName::new("a b").is_err());
        assert!(AttributeValue::new("").is_ok(), "a value may be empty");
        assert!(AttributeValue::new(&"v".repeat(1025)).is_err());
        assert!(AttributeValue::new("a\r\nb").is_err());
    }
}
