//! Connections that read. A few: what reads at once is bounded by the disk, and each holds files and memory.

use super::{rows, schema, writer};
use crate::{
    model::delivery::{Delivery, DeliveryKey},
    store::StoreError,
};
use rusqlite::{Connection, OpenFlags};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// How many connections there are at most; more queries wait.
const READERS: usize = 8;
/// How many bytes of deliveries are read at once, unless it is one.
const BYTES: usize = 8 << 20;

/// Connections that read.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

impl Readers {
    /// Readers of that file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), places: Semaphore::new(READERS) }
    }

    /// Runs a query on a blocking thread.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _place = self.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().map_err(|error| writer::failure(&error))?,
        };
        let run = move || (query(&connection), connection);
        let (result, connection) = tokio::task::spawn_blocking(run)
            .await
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result.map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        // One thread at a time has it: there is nothing to lock.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        schema::plan_once(&connection)?;
        connection.execute_batch("PRAGMA query_only = TRUE; PRAGMA cache_size = -8192;")?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    /// These deliveries, read back until they are many bytes, and the keys of those that were not read. What has ended
    /// meanwhile is left out.
    pub async fn deliveries(
        &self,
        keys: &[DeliveryKey],
    ) -> Result<(Vec<Arc<Delivery>>, Vec<DeliveryKey>), StoreError> {
        if keys.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut keys = keys.to_vec();
        self.read(move |c| {
            let (mut read, mut bytes, mut done) = (Vec::new(), 0, 0);
            while bytes < BYTES
                && let Some(key) = keys.get(done)
            {
                if let Some(delivery) = rows::read_delivery(c, *key)? {
                    bytes += delivery.bytes();
                    read.push(delivery);
                }
                done += 1;
            }
            Ok((read, keys.split_off(done)))
        })
        .await
    }
}
