//! What plugins remember: keys and values of one application, and the rules of a write. Both store engines decide a write
//! with [`Write::decide`], so the rules stand once.

use super::{Millis, id::ApplicationId};
use bytes::Bytes;

/// The longest key, in bytes.
pub const KEY: usize = 512;
/// The largest value, in bytes.
pub const VALUE: usize = 64 << 10;

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Bytes,
    /// Counts the application's writes: another one means that the key was written in between.
    pub version: u64,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose.
    pub application: ApplicationId,
    /// The key.
    pub key: String,
    /// What to write; none: the key is removed.
    pub value: Option<Bytes>,
    /// When it goes again; none: it stays.
    pub expires: Option<Millis>,
    /// What must be there.
    pub expected: Expected,
    /// How much the application may have.
    pub quota: Size,
}

/// What a write expects to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever.
    Any,
    /// Nothing, or this version.
    Version(Option<u64>),
}

/// How many keys, and how many bytes in keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Size {
    /// Of one key with a value of that many bytes.
    #[must_use]
    pub const fn of(key: &str, value: u64) -> Self {
        Self { keys: 1, bytes: key.len() as u64 + value }
    }

    /// Both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { keys: self.keys + other.keys, bytes: self.bytes + other.bytes }
    }

    /// The first without the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            keys: self.keys.saturating_sub(other.keys),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable, under this version.
    Done(u64),
    /// The key was removed, or was not there.
    Removed(bool),
    /// Another version was there.
    Conflict(Option<u64>),
    /// The application has as much as it may.
    Full,
}

impl Write {
    /// What comes of the write where `current` is the key's version and size, `used` what the application has in all, and
    /// `next` the version that a write gets.
    #[must_use]
    pub fn decide(&self, current: Option<(u64, Size)>, used: Size, next: u64) -> Written {
        let version = current.map(|(version, _)| version);
        if let Expected::Version(expected) = self.expected
            && expected != version
        {
            return Written::Conflict(version);
        }
        let Some(value) = &self.value else { return Written::Removed(version.is_some()) };
        let before = current.map(|(_, size)| size).unwrap_or_default();
        let after = used.minus(before).plus(Size::of(&self.key, value.len() as u64));
        // What makes it smaller is good even where the quota was lowered.
        let grows = after.keys > used.keys || after.bytes > used.bytes;
        match grows && (after.keys > self.quota.keys || after.bytes > self.quota.bytes) {
            true => Written::Full,
            false => Written::Done(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_write_is_decided_by_version_and_quota() {
        let quota = Size { keys: 2, bytes: 10 };
        let write = |value: Option<&'static str>, expected| Write {
            application: ApplicationId(Uuid::nil()),
            key: "k".into(),
            value: value.map(Bytes::from),
            expires: None,
            expected,
            quota,
        };
        let is = |version| Some((version, Size { keys: 1, bytes: 5 }));
        let size = |keys, bytes| Size { keys, bytes };
        let (any, absent) = (Expected::Any, Expected::Version(None));
        let version = |n| Expected::Version(Some(n));
        for (write, current, used, expected) in [
            (write(Some("v"), any), None, size(0, 0), Written::Done(9)),
            (write(Some("v"), absent), None, size(0, 0), Written::Done(9)),
            (write(Some("v"), absent), is(3), size(1, 5), Written::Conflict(Some(3))),
            (write(Some("v"), version(3)), is(3), size(1, 5), Written::Done(9)),
            (write(Some("v"), version(2)), is(3), size(1, 5), Written::Conflict(Some(3))),
            (write(Some("v"), version(2)), None, size(0, 0), Written::Conflict(None)),
            (write(Some("v"), any), None, size(2, 4), Written::Full),
            (write(Some("123456789"), any), None, size(0, 0), Written::Done(9)),
            (write(Some("1234567890"), any), None, size(0, 0), Written::Full),
            (write(Some("123456789"), any), is(3), size(1, 5), Written::Done(9)),
            (write(Some("1"), any), is(3), size(9, 99), Written::Done(9)),
            (write(None, any), is(3), size(9, 99), Written::Removed(true)),
            (write(None, any), None, size(9, 99), Written::Removed(false)),
            (write(None, version(1)), is(3), size(1, 5), Written::Conflict(Some(3))),
        ] {
            assert_eq!(write.decide(current, used, 9), expected, "{write:?} {current:?} {used:?}");
        }
    }
}
