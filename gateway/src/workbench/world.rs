//! The world outside of a plugin that is tried: a key-value store in memory, new for each case, and nobody to send requests
//! to. For `trial`; quotas and versions are decided as a gateway decides them.

use crate::{
    clock,
    model::{
        id::ApplicationId,
        keyvalue::{Entry, Size, Write, Written},
    },
    plugin::{Outside, Request, Response, Unsent},
};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What plugins of one application remember.
#[derive(Debug, Default)]
pub struct World(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    kept: HashMap<String, (Entry, Option<u64>)>,
    writes: u64,
}

impl World {
    /// Nothing is remembered any more.
    pub fn forget(&self) {
        *self.memory() = Memory::default();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// What is there now.
    fn entry(&self, key: &str) -> Option<&Entry> {
        let (entry, expires) = self.kept.get(key)?;
        expires.is_none_or(|at| at > clock::now()).then_some(entry)
    }
}

#[async_trait]
impl Outside for World {
    async fn value(&self, _: ApplicationId, key: String) -> Result<Option<Entry>, String> {
        Ok(self.memory().entry(&key).cloned())
    }

    async fn write(&self, write: Write) -> Result<Written, String> {
        let mut memory = self.memory();
        let size = |key: &str, entry: &Entry| Size::of(key, entry.value.len() as u64);
        let used = memory.kept.iter().map(|(key, (entry, _))| size(key, entry));
        let used = used.fold(Size::default(), Size::plus);
        let current =
            memory.entry(&write.key).map(|entry| (entry.version, size(&write.key, entry)));
        let version = memory.writes + 1;
        let written = write.decide(current, used, version);
        match (written, write.value) {
            (Written::Done(version), Some(value)) => {
                memory.writes = version;
                memory.kept.insert(write.key, (Entry { value, version }, write.expires));
            }
            (Written::Removed(_), _) => {
                memory.kept.remove(&write.key);
            }
            _ => {}
        }
        Ok(written)
    }

    async fn send(&self, request: Request) -> Result<Response, Unsent> {
        Err(Unsent::Refused(format!("{} is not asked: a case has no network", request.url)))
    }
}
