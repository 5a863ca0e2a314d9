//! New keys, for whoever makes one: the API, and the gateway itself at its first start. The text is returned beside the
//! record, which has only its hash, and is to be shown once.

use super::auth::hash;
use crate::{
    clock,
    model::{
        Millis,
        id::{EnvironmentId, KeyId},
        key::{Former, Key, PREFIX, Scope, prefix},
    },
};

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The environment it opens.
    pub environment: EnvironmentId,
    /// For people.
    pub name: String,
    /// What it lets do.
    pub scope: Scope,
    /// When it ends. None: never.
    pub expires: Option<Millis>,
}

fn text() -> String {
    format!("{PREFIX}{}", hex::encode(clock::random_bytes()))
}

impl NewKey {
    /// The record and the key.
    #[must_use]
    pub fn make(self) -> (Key, String) {
        let Self { environment, name, scope, expires } = self;
        let (text, now) = (text(), clock::now());
        let key = Key {
            id: KeyId(clock::id()),
            environment,
            hash: hash(&text),
            former: None,
            name,
            scope,
            expires,
            prefix: prefix(&text),
            revision: 1,
            created: now,
            updated: now,
        };
        (key, text)
    }
}

/// The key with another text, and that text. The text before is good for `grace` more milliseconds; one from before a
/// rotation that is still under way is not good any more.
#[must_use]
pub fn rotated(key: &Key, grace: Millis) -> (Key, String) {
    let (text, now) = (text(), clock::now());
    let until = now.saturating_add(grace);
    let new = Key {
        hash: hash(&text),
        former: (grace > 0).then_some(Former { hash: key.hash, until }),
        prefix: prefix(&text),
        revision: key.revision + 1,
        updated: now,
        ..key.clone()
    };
    (new, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_key_is_the_same_key_with_another_text() {
        let (environment, scope) = (EnvironmentId::DEFAULT, Scope::Publish);
        let new = NewKey { environment, name: "a".into(), scope, expires: Some(u64::MAX) };
        let (key, text) = new.make();
        assert!(text.starts_with(PREFIX) && text.len() == PREFIX.len() + 64, "{text}");
        assert_eq!(key.ends(&hash(&text)), Some(Some(u64::MAX)));

        let (at_once, other) = rotated(&key, 0);
        assert_ne!(other, text);
        assert_eq!((at_once.id, at_once.revision, at_once.scope), (key.id, 2, scope));
        assert_eq!(at_once.ends(&hash(&text)), None);

        let (later, third) = rotated(&at_once, 1000);
        assert_eq!(later.ends(&hash(&other)), Some(Some(later.updated + 1000)));
        let (fourth, _) = rotated(&later, 1000);
        assert!(fourth.ends(&hash(&third)).is_some());
        assert_eq!(fourth.ends(&hash(&other)), None, "only the last before");
    }
}
