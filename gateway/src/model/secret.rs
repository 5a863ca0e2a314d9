//! A signing secret: its text, and until when it signs.

use super::Millis;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt;

/// A signing secret. Its text never reaches a log, and is not serialised: the store seals it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// As its owner writes it.
    pub text: String,
    /// From then on it does not sign; none: it does until it is replaced.
    pub expires: Option<Millis>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A secret that does not expire.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), expires: None }
    }

    /// A new secret of these random bytes, as the Standard Webhooks write it.
    #[must_use]
    pub fn generated(bytes: &[u8; 32]) -> Self {
        Self::new(format!("whsec_{}", STANDARD.encode(bytes)))
    }

    /// Whether it signs what is sent now.
    #[must_use]
    pub fn signs(&self, now: Millis) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}
