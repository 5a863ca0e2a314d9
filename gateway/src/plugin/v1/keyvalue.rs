//! The key-value store, within its bounds.

use super::transform::bindings::octohooks::plugin::keyvalue::{self as wire, KeyvalueError};
use crate::{
    clock,
    model::keyvalue::{Expected, KEY, Size, VALUE, Write, Written},
    plugin::{outside::NotGranted, state::State},
};
use std::time::Duration;
use wasmtime::Result;

/// How often one call may use the store: each write waits for the disk.
const CALLS: u32 = 128;
/// How long one call may wait for the store in all. It is ours, so that more is a fault.
const PATIENCE: Duration = Duration::from_secs(5);

type Answer<T> = Result<Result<T, KeyvalueError>>;

impl State {
    /// Counts one use; how much the application may have.
    fn uses(&mut self, key: &str) -> Result<Result<Size, KeyvalueError>> {
        let grant = self.granted().keyvalue.ok_or(NotGranted("keyvalue"))?;
        if !(1..=KEY).contains(&key.len()) {
            return Ok(Err(KeyvalueError::Key));
        }
        if self.spent.values >= CALLS {
            return Ok(Err(KeyvalueError::Calls));
        }
        self.spent.values += 1;
        Ok(Ok(Size { keys: grant.keys, bytes: grant.bytes }))
    }

    /// Waits for the store, as long as the call still may.
    async fn stored<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let (start, left) = (clock::instant(), PATIENCE.saturating_sub(self.spent.stored));
        let came = self.waits(left, what).await;
        self.spent.stored += start.elapsed();
        came
    }

    async fn write(
        &mut self,
        key: String,
        value: Option<Vec<u8>>,
        ttl: Option<u64>,
        expected: Expected,
    ) -> Answer<Written> {
        let quota = match self.uses(&key)? {
            Ok(quota) => quota,
            Err(error) => return Ok(Err(error)),
        };
        if value.as_ref().is_some_and(|value| value.len() > VALUE) {
            return Ok(Err(KeyvalueError::Value));
        }
        let write = Write {
            application: self.tenant.application.id,
            key,
            value: value.map(Into::into),
            expires: ttl.map(|ttl| clock::now().saturating_add(ttl)),
            expected,
            quota,
        };
        let outlet = self.outlet.clone();
        Ok(match self.stored(outlet.outside.write(write)).await {
            None => Err(slow()),
            Some(Err(why)) => Err(KeyvalueError::Unavailable(why)),
            Some(Ok(Written::Conflict(version))) => Err(KeyvalueError::Conflict(version)),
            Some(Ok(Written::Full)) => Err(KeyvalueError::Full),
            Some(Ok(written)) => Ok(written),
        })
    }
}

fn slow() -> KeyvalueError {
    KeyvalueError::Unavailable(format!("no answer within {} ms", PATIENCE.as_millis()))
}

fn version(written: Written) -> u64 {
    match written {
        Written::Done(version) => version,
        _ => 0,
    }
}

impl wire::Host for State {
    async fn get(&mut self, key: String) -> Answer<Option<wire::Entry>> {
        if let Err(error) = self.uses(&key)? {
            return Ok(Err(error));
        }
        let (application, outlet) = (self.tenant.application.id, self.outlet.clone());
        Ok(match self.stored(outlet.outside.value(application, key)).await {
            None => Err(slow()),
            Some(Err(why)) => Err(KeyvalueError::Unavailable(why)),
            Some(Ok(found)) => Ok(found
                .map(|entry| wire::Entry { value: entry.value.to_vec(), version: entry.version })),
        })
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u64>) -> Answer<u64> {
        Ok(self.write(key, Some(value), ttl, Expected::Any).await?.map(version))
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> Answer<u64> {
        let expected = Expected::Version(expected);
        Ok(self.write(key, Some(value), ttl, expected).await?.map(version))
    }

    async fn delete(&mut self, key: String) -> Answer<bool> {
        let written = self.write(key, None, None, Expected::Any).await?;
        Ok(written.map(|written| written == Written::Removed(true)))
    }
}
