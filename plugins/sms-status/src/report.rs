//! A delivery report as the SMS platform publishes it. For `on_message`.
//!
//! What a partner must not see (`price`, `internalRoute`, `operator` and whatever the platform adds
//! tomorrow) has no field here, so it cannot leak.

use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// One report. The names are the platform's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    /// The platform's id of the SMS.
    #[serde(borrow)]
    pub message_id: Text<'a>,
    /// The recipient, `+` and digits.
    #[serde(borrow)]
    pub to: Text<'a>,
    /// The sender: a number or a name.
    #[serde(borrow, default)]
    pub from: Option<Text<'a>>,
    /// The partner's own reference, if it gave one when it sent the SMS.
    #[serde(borrow, default)]
    pub reference: Option<Text<'a>>,
    /// An SMPP message state, as in a delivery receipt's `stat`.
    #[serde(borrow)]
    pub status: Text<'a>,
    /// A delivery receipt's `err`: text or a number.
    #[serde(borrow, default, deserialize_with = "code")]
    pub error_code: Option<Text<'a>>,
    /// When the state was reached.
    #[serde(borrow, default)]
    pub done_date: Option<Text<'a>>,
    /// How many parts the SMS had.
    #[serde(default)]
    pub segments: Option<u32>,
}

/// Text that borrows from the payload unless it is escaped there.
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor { numbers: false })
    }
}

/// A code, which platforms write as text or as a number; `null` and the empty text are none.
fn code<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text<'a>>, D::Error> {
    let code = deserializer.deserialize_any(TextVisitor { numbers: true })?;
    Ok((!code.is_empty()).then_some(code))
}

struct TextVisitor {
    /// Whether a number or `null` is as good as a text.
    numbers: bool,
}

impl<'de> de::Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.numbers { "a text or a number" } else { "a text" })
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        if self.numbers {
            return Ok(Text(Cow::Owned(number.to_string())));
        }
        Err(E::invalid_type(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        if self.numbers {
            return Ok(Text(Cow::Borrowed("")));
        }
        Err(E::invalid_type(de::Unexpected::Unit, &self))
    }
}
