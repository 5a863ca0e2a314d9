//! The checkpointer: a thread with a connection of its own that copies the write-ahead log into the database, so
//! that no sender waits for it. Most of the log is copied while the writer goes on; when the log has grown past its
//! limit, what little is left is copied with the writer held for that moment, and the log starts over.

use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The log starts over past this size in bytes.
const LIMIT: u64 = 64 << 20;
/// Smaller than this it is left alone while there is traffic.
const WORTH: u64 = 8 << 20;
/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Past this size the writer waits for readers, so long at most.
const MUCH: u64 = 4 * LIMIT;
const ONCE: Duration = Duration::from_millis(500);
/// How long the last copy waits for readers.
const LAST: Duration = Duration::from_secs(5);

/// What the writer and the checkpointer share.
#[derive(Debug, Default)]
pub struct Wal {
    gate: Mutex<()>,
    stop: AtomicBool,
    sleep: (Mutex<()>, Condvar),
}

impl Wal {
    /// Held by the writer during a transaction.
    pub fn writing(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the checkpointer.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.sleep.1.notify_all();
    }

    fn pause(&self) {
        let guard = self.sleep.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.stop.load(Ordering::Relaxed) {
            let _woken = self.sleep.1.wait_timeout(guard, EVERY);
        }
    }
}

/// Runs until stopped; leaves an empty log behind.
pub fn run(connection: &Connection, database: &Path, wal: &Arc<Wal>) {
    let log: PathBuf = {
        let mut name = database.as_os_str().to_owned();
        name.push("-wal");
        name.into()
    };
    let gauge = metrics::gauge!("octohooks_store_wal_bytes");
    while !wal.stop.load(Ordering::Relaxed) {
        wal.pause();
        let size = std::fs::metadata(&log).map_or(0, |file| file.len());
        gauge.set(size as f64);
        if size < WORTH {
            continue;
        }
        checkpoint(connection, "PASSIVE", Duration::ZERO);
        if size > LIMIT {
            // Who reads may take long: the writer does not wait for readers, the next look will do. Unless there is
            // always somebody who reads, and the log would grow for ever.
            let patience = if size > MUCH { ONCE } else { Duration::ZERO };
            let _gate = wal.writing();
            checkpoint(connection, "TRUNCATE", patience);
        }
    }
    checkpoint(connection, "TRUNCATE", LAST);
}

/// `patience` is how long it waits for readers.
fn checkpoint(connection: &Connection, mode: &str, patience: Duration) {
    let done = connection.busy_timeout(patience).and_then(|()| {
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
    });
    if let Err(error) = done {
        tracing::warn!(%error, mode, "the write-ahead log could not be copied; tried again later");
    }
}
