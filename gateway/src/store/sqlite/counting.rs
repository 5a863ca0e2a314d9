//! How much waits for its time at the start. A start reads the nearest of it alone ([`read`](super::read)), and must not
//! wait for a million rows to be counted either.

use super::spawn;
use crate::store::handover::Handover;
use rusqlite::{Connection, Result as Read};
use std::{path::Path, sync::Arc, thread::JoinHandle};

/// As many as are counted before the start goes on.
pub const FEW: i64 = 50_000;

/// Counts what waits for its time, as of now: before the writer writes. If there is much, in a thread, from a snapshot.
pub fn count(path: &Path, handover: &Arc<Handover>) -> Result<Option<JoinHandle<()>>, String> {
    let text = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let snapshot = Connection::open(path).map_err(text)?;
    snapshot.execute_batch("BEGIN").map_err(text)?;
    let (deliveries, messages) = waiting(&snapshot, FEW).map_err(text)?;
    if deliveries.max(messages) < FEW {
        handover.waiting().count(deliveries, messages);
        return Ok(None);
    }
    let handover = handover.clone();
    let counted = move || match waiting(&snapshot, i64::MAX) {
        Ok((deliveries, messages)) => handover.waiting().count(deliveries, messages),
        Err(error) => tracing::error!(%error, "what waits could not be counted"),
    };
    spawn("store-count", counted).map(Some)
}

/// How many deliveries and messages wait for their time; of each at most so many are counted.
fn waiting(c: &Connection, most: i64) -> Read<(i64, i64)> {
    let count = |sql: &str| c.query_row(sql, [most], |row| row.get::<_, i64>(0));
    Ok((
        count(
            "SELECT count(*) FROM
                 (SELECT 1 FROM delivery INDEXED BY delivery_due WHERE state = 0 LIMIT ?)",
        )?,
        count(
            "SELECT count(*) FROM
                 (SELECT 1 FROM held INDEXED BY held_due WHERE due IS NOT NULL LIMIT ?)",
        )?,
    ))
}
