//! The world outside for a plugin's own tests: what capabilities and a signer's keys answer. One per thread, as the
//! [`Host`](super::Host) is.
//!
//! ```
//! use octohooks_plugin::{keyvalue, secret, testing::outside::Outside};
//!
//! Outside::new().secret("crm", "t-1").place();
//! assert_eq!(secret("crm").as_deref(), Some("t-1"));
//! keyvalue::set("a", b"1", None).expect("there is room");
//! assert_eq!(keyvalue::get("a").expect("is there").expect("is there").value, b"1");
//! ```

use crate::http::{Error as HttpError, Request, Response};
use crate::keyvalue::{Entry, Error};
use crate::sign::{Key, KeyError, Kind};
use std::cell::RefCell;
use std::collections::BTreeMap;

type Signs = Box<dyn Fn(&[u8]) -> Vec<u8>>;
type Answers = Box<dyn FnMut(Request) -> Result<Response, HttpError>>;

/// What answers. A new one has no secrets, no keys, stands at time 0 and lets no request out.
pub struct Outside {
    values: BTreeMap<String, (Entry, Option<u64>)>,
    version: u64,
    secrets: BTreeMap<String, String>,
    now: u64,
    drawn: u8,
    keys: Vec<(Kind, Signs)>,
    answers: Answers,
}

thread_local! {
    static OUTSIDE: RefCell<Outside> = RefCell::new(Outside::new());
}

impl Default for Outside {
    fn default() -> Self {
        Self::new()
    }
}

impl Outside {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            values: BTreeMap::new(),
            version: 0,
            secrets: BTreeMap::new(),
            now: 0,
            drawn: 0,
            keys: Vec::new(),
            answers: Box::new(|request| {
                Err(HttpError::Refused(format!("{} is not granted", request.url)))
            }),
        }
    }

    /// One named secret more.
    #[must_use]
    pub fn secret(mut self, name: &str, text: &str) -> Self {
        self.secrets.insert(name.to_owned(), text.to_owned());
        self
    }

    /// The time, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn now(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    /// One key more, and what it makes of bytes.
    #[must_use]
    pub fn key(mut self, kind: Kind, signs: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Self {
        self.keys.push((kind, Box::new(signs)));
        self
    }

    /// What requests are answered.
    #[must_use]
    pub fn http(
        mut self,
        answers: impl FnMut(Request) -> Result<Response, HttpError> + 'static,
    ) -> Self {
        self.answers = Box::new(answers);
        self
    }

    /// Makes it this thread's.
    pub fn place(self) {
        OUTSIDE.set(self);
    }

    /// Lets that many milliseconds pass on this thread.
    pub fn pass(milliseconds: u64) {
        OUTSIDE.with_borrow_mut(|outside| outside.now += milliseconds);
    }

    fn write(
        &mut self,
        key: &str,
        expected: Option<Option<u64>>,
        value: &[u8],
        ttl: Option<u64>,
    ) -> Result<u64, Error> {
        let current = self.value(key).map(|entry| entry.version);
        if expected.is_some_and(|expected| expected != current) {
            return Err(Error::Conflict(current));
        }
        if key.is_empty() || key.len() > 512 {
            return Err(Error::Key);
        }
        if value.len() > 65_536 {
            return Err(Error::Value);
        }
        self.version += 1;
        let entry = Entry { value: value.to_vec(), version: self.version };
        self.values.insert(key.to_owned(), (entry, ttl.map(|ttl| self.now + ttl)));
        Ok(self.version)
    }

    fn value(&self, key: &str) -> Option<&Entry> {
        let (entry, until) = self.values.get(key)?;
        until.is_none_or(|until| until > self.now).then_some(entry)
    }

    fn signed(&self, handle: u32, kind: Kind, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = usize::try_from(handle).ok().and_then(|index| self.keys.get(index));
        let (known, signs) = key.ok_or(KeyError::Unknown)?;
        if *known == kind { Ok(signs(bytes)) } else { Err(KeyError::WrongKind) }
    }
}

pub(crate) fn get(key: &str) -> Result<Option<Entry>, Error> {
    OUTSIDE.with_borrow(|outside| Ok(outside.value(key).cloned()))
}

pub(crate) fn set(key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, Error> {
    OUTSIDE.with_borrow_mut(|outside| outside.write(key, None, value, ttl))
}

pub(crate) fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl: Option<u64>,
) -> Result<u64, Error> {
    OUTSIDE.with_borrow_mut(|outside| outside.write(key, Some(expected), value, ttl))
}

pub(crate) fn delete(key: &str) -> Result<bool, Error> {
    OUTSIDE.with_borrow_mut(|outside| {
        let was = outside.value(key).is_some();
        outside.values.remove(key);
        Ok(was)
    })
}

pub(crate) fn secret(name: &str) -> Option<String> {
    OUTSIDE.with_borrow(|outside| outside.secrets.get(name).cloned())
}

pub(crate) fn now_ms() -> u64 {
    OUTSIDE.with_borrow(|outside| outside.now)
}

/// Different at each call, and the same in each test.
pub(crate) fn random(count: u32) -> Vec<u8> {
    OUTSIDE.with_borrow_mut(|outside| {
        outside.drawn = outside.drawn.wrapping_add(1);
        (0..count.min(65_536))
            .map(|n| outside.drawn.wrapping_mul(31).wrapping_add(n as u8))
            .collect()
    })
}

pub(crate) fn send(request: Request) -> Result<Response, HttpError> {
    OUTSIDE.with_borrow_mut(|outside| (outside.answers)(request))
}

pub(crate) fn keys() -> Vec<Key> {
    let key = |(handle, (kind, _)): (u32, &(Kind, Signs))| Key { handle, kind: *kind };
    OUTSIDE.with_borrow(|outside| (0..).zip(&outside.keys).map(key).collect())
}

pub(crate) fn hmac_sha256(handle: u32, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    OUTSIDE.with_borrow(|outside| outside.signed(handle, Kind::Symmetric, bytes))
}

pub(crate) fn ed25519(handle: u32, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    OUTSIDE.with_borrow(|outside| outside.signed(handle, Kind::Ed25519, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keyvalue, sign};

    #[test]
    fn a_value_has_a_version_and_a_time() {
        Outside::new().now(1000).place();
        let first = keyvalue::compare_and_set("a", None, b"1", Some(10)).expect("is written");
        assert_eq!(
            keyvalue::compare_and_set("a", None, b"2", None),
            Err(Error::Conflict(Some(first)))
        );
        Outside::pass(10);
        assert_eq!(keyvalue::get("a"), Ok(None));
        assert_eq!(keyvalue::delete("a"), Ok(false));
        assert!(keyvalue::set("a", b"3", None).expect("is written") > first);
        assert_eq!(keyvalue::set("", b"", None), Err(Error::Key));
    }

    #[test]
    fn keys_sign_what_they_are_for() {
        Outside::new().key(Kind::Symmetric, |bytes| [b"mac:", bytes].concat()).place();
        let keys = sign::keys();
        assert_eq!(keys[0].hmac_sha256(b"x"), Ok(b"mac:x".to_vec()));
        assert_eq!(keys[0].ed25519(b"x"), Err(KeyError::WrongKind));
        assert_eq!(Key { handle: 9, ..keys[0] }.hmac_sha256(b"x"), Err(KeyError::Unknown));
    }

    #[test]
    fn requests_are_answered_as_the_test_says() {
        Outside::new().place();
        assert!(matches!(Request::get("http://a/").send(), Err(HttpError::Refused(_))));
        Outside::new()
            .http(|request| Ok(Response { body: request.body, ..Response::default() }))
            .place();
        let answer = Request::post("http://a/", "text/plain", "hi").send().expect("an answer");
        assert_eq!(answer.body, b"hi");
    }
}
