//! API keys as they are stored, and what each lets its holder do. The key itself is shown once and never kept: it has 256
//! bits of chance of its own, so that its plain SHA-256 tells nothing of it.

use super::{
    Millis,
    id::{ApplicationId, Digest, EnvironmentId, KeyId},
};
use serde::{Deserialize, Serialize};

/// What every key that the gateway makes begins with.
pub const PREFIX: &str = "key_";
/// How many characters of a key are shown after that, for people to tell keys apart.
const SHOWN: usize = 6;

/// What a key lets its holder do, within its environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything, and keys.
    Admin,
    /// Everything but keys.
    #[default]
    Environment,
    /// Create messages.
    Publish,
    /// What belongs to one application, as its owner sees it.
    Application(ApplicationId),
}

/// A secret text's hash that is still good for a while after the key was rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// SHA-256 of the text.
    pub hash: Digest,
    /// Until when.
    pub until: Millis,
}

/// An API key as it is stored. Keys of older versions have an id, an environment and a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key's id.
    pub id: KeyId,
    /// The environment it opens.
    pub environment: EnvironmentId,
    /// SHA-256 of the key.
    pub hash: Digest,
    /// What it was before the last rotation.
    #[serde(default)]
    pub former: Option<Former>,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// What it lets do.
    #[serde(default)]
    pub scope: Scope,
    /// When it ends. None: never.
    #[serde(default)]
    pub expires: Option<Millis>,
    /// Its first characters, for people to tell keys apart.
    #[serde(default)]
    pub prefix: String,
    /// Counts the changes, from 1.
    #[serde(default = "first")]
    pub revision: u64,
    /// When it was created.
    #[serde(default)]
    pub created: Millis,
    /// When it last changed.
    #[serde(default)]
    pub updated: Millis,
}

fn first() -> u64 {
    1
}

impl Key {
    /// Whether it is a token: an application's owner's, for a while.
    #[must_use]
    pub fn is_token(&self) -> bool {
        matches!(self.scope, Scope::Application(_)) && self.expires.is_some()
    }

    /// Until when the key with that hash is good, if that is this one. None inside: for ever.
    #[must_use]
    pub fn ends(&self, hash: &Digest) -> Option<Option<Millis>> {
        if self.hash == *hash {
            return Some(self.expires);
        }
        let former = self.former.filter(|former| former.hash == *hash)?;
        Some(Some(self.expires.map_or(former.until, |expires| expires.min(former.until))))
    }

    /// The hashes under which it is found.
    pub fn hashes(&self) -> impl Iterator<Item = Digest> {
        [Some(self.hash), self.former.map(|former| former.hash)].into_iter().flatten()
    }
}

/// What is shown of a key once nobody can see the whole.
#[must_use]
pub fn prefix(key: &str) -> String {
    key.chars().take(PREFIX.len() + SHOWN).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"id": "01920000-0000-7000-8000-000000000001", "environment": 1,
        "hash": "0101010101010101010101010101010101010101010101010101010101010101"}"#;

    #[test]
    fn a_key_of_an_older_version_opens_its_environment_for_ever() {
        let key: Key = serde_json::from_str(OLD).expect("is read");
        assert_eq!((key.scope, key.revision), (Scope::Environment, 1));
        assert_eq!(key.ends(&Digest([1; 32])), Some(None));
    }

    #[test]
    fn what_a_key_was_before_is_good_until_then_and_never_longer_than_the_key() {
        let former = Former { hash: Digest([2; 32]), until: 50 };
        let key: Key = serde_json::from_str(OLD).expect("is read");
        let key = Key { former: Some(former), ..key };
        for (expires, ends) in [(None, 50), (Some(70), 50), (Some(30), 30)] {
            let key = Key { expires, ..key.clone() };
            assert_eq!(key.ends(&Digest([1; 32])), Some(expires));
            assert_eq!(key.ends(&Digest([2; 32])), Some(Some(ends)));
            assert_eq!(key.ends(&Digest([3; 32])), None);
        }
    }

    #[test]
    fn a_key_is_shown_by_its_first_characters() {
        assert_eq!(prefix("key_ab12cd34ef"), "key_ab12cd…");
    }

    #[test]
    fn a_scope_is_stored_with_what_it_is_of() {
        let application = ApplicationId(uuid::Uuid::nil());
        for scope in
            [Scope::Admin, Scope::Environment, Scope::Publish, Scope::Application(application)]
        {
            let text = serde_json::to_string(&scope).expect("serialises");
            assert_eq!(serde_json::from_str::<Scope>(&text).expect(&text), scope);
        }
    }
}
