//! Capabilities of the contract, as this crate's words. What a plugin does not call is not in its component.

use crate::http::{Error as HttpError, Request, Response};
use crate::keyvalue::{Entry, Error};

#[allow(unsafe_code, missing_docs, reason = "generated: the canonical ABI speaks in pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit/since-v0.1", world: "capabilities" });
}

use bindings::octohooks::plugin::{
    clock, http,
    keyvalue::{self, KeyvalueError},
    random, secrets,
};

fn error(error: KeyvalueError) -> Error {
    match error {
        KeyvalueError::Key => Error::Key,
        KeyvalueError::Value => Error::Value,
        KeyvalueError::Full => Error::Full,
        KeyvalueError::Conflict(version) => Error::Conflict(version),
        KeyvalueError::Calls => Error::Calls,
        KeyvalueError::Unavailable(why) => Error::Unavailable(why),
    }
}

pub(crate) fn get(key: &str) -> Result<Option<Entry>, Error> {
    let found = keyvalue::get(key).map_err(error)?;
    Ok(found.map(|entry| Entry { value: entry.value, version: entry.version }))
}

pub(crate) fn set(key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, Error> {
    keyvalue::set(key, value, ttl).map_err(error)
}

pub(crate) fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl: Option<u64>,
) -> Result<u64, Error> {
    keyvalue::compare_and_set(key, expected, value, ttl).map_err(error)
}

pub(crate) fn delete(key: &str) -> Result<bool, Error> {
    keyvalue::delete(key).map_err(error)
}

pub(crate) fn secret(name: &str) -> Option<String> {
    secrets::get(name)
}

pub(crate) fn now_ms() -> u64 {
    clock::now_ms()
}

pub(crate) fn random(count: u32) -> Vec<u8> {
    random::bytes(count)
}

pub(crate) fn send(request: Request) -> Result<Response, HttpError> {
    let Request { method, url, headers, body, timeout_ms } = request;
    let sent = http::send(&http::Request { method, url, headers, body, timeout: timeout_ms });
    match sent {
        Ok(http::Response { status, headers, body }) => Ok(Response { status, headers, body }),
        Err(http::HttpError::Refused(why)) => Err(HttpError::Refused(why)),
        Err(http::HttpError::Budget(why)) => Err(HttpError::Budget(why)),
        Err(http::HttpError::Timeout) => Err(HttpError::Timeout),
        Err(http::HttpError::Failed(why)) => Err(HttpError::Failed(why)),
    }
}
