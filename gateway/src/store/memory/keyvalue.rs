//! What plugins remember, in memory.

use super::{Memory, tables::Tables};
use crate::{
    clock,
    model::{
        Millis,
        catalog::Conflict,
        id::ApplicationId,
        keyvalue::{Entry, Size, Write, Written},
    },
    store::{KeyValue, StoreError},
};
use async_trait::async_trait;
use std::collections::BTreeMap;

/// What one application's plugins remember.
#[derive(Debug, Default)]
pub struct Values {
    rows: BTreeMap<String, (Entry, Option<Millis>)>,
    /// Of the last write.
    version: u64,
}

impl Values {
    fn write(&mut self, write: Write, now: Millis) -> Written {
        self.rows.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        let size =
            |(key, (entry, _)): (&String, &(Entry, _))| Size::of(key, entry.value.len() as u64);
        let used = self.rows.iter().map(size).fold(Size::default(), Size::plus);
        let current = self.rows.get_key_value(&write.key);
        let current = current.map(|row| (row.1.0.version, size(row)));
        let written = write.decide(current, used, self.version + 1);
        match (written, write.value) {
            (Written::Done(version), Some(value)) => {
                self.version = version;
                self.rows.insert(write.key, (Entry { value, version }, write.expires));
            }
            (Written::Removed(_), _) => {
                self.rows.remove(&write.key);
            }
            _ => {}
        }
        written
    }
}

impl Tables {
    /// All of an application's goes.
    pub fn delete_values(&mut self, application: ApplicationId) {
        self.values.remove(&application);
    }
}

#[async_trait]
impl KeyValue for Memory {
    async fn value(
        &self,
        application: ApplicationId,
        key: String,
        now: Millis,
    ) -> Result<Option<Entry>, StoreError> {
        let tables = self.tables();
        let row = tables.values.get(&application).and_then(|values| values.rows.get(&key));
        let row = row.filter(|(_, expires)| expires.is_none_or(|at| at > now));
        Ok(row.map(|(entry, _)| entry.clone()))
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        self.handover.front.check_open()?;
        let mut tables = self.tables();
        if self.handover.snapshot().tenant(write.application).is_none() {
            return Err(Conflict::NoApplication.into());
        }
        let values = tables.values.entry(write.application).or_default();
        Ok(values.write(write, clock::now()))
    }

    async fn forget_values(&self, now: Millis, _max: usize) -> Result<u64, StoreError> {
        let mut gone = 0;
        for values in self.tables().values.values_mut() {
            let had = values.rows.len();
            values.rows.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
            gone += (had - values.rows.len()) as u64;
        }
        Ok(gone)
    }
}
