//! Deletes what is older than it must be kept, in chunks small enough that no sender notices.

use super::rows;
use crate::model::{Millis, message::Sequence};
use rusqlite::{Connection, Result, params};

/// Deletes at most `max` messages that were accepted before that time, with their deliveries and attempts. A message
/// with a delivery that still waits, that waits itself, or that is at or past the low-water mark, stays.
pub fn forget(c: &Connection, before: Millis, max: usize, mark: Sequence) -> Result<u64> {
    let mut find = c.prepare_cached(
        "SELECT sequence FROM message m
         WHERE sequence < ? AND accepted < ?
           AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.sequence AND d.state < 2)
           AND NOT EXISTS (SELECT 1 FROM held h WHERE h.sequence = m.sequence AND h.state <> 'dropped')
         ORDER BY sequence LIMIT ?",
    )?;
    let keys = params![rows::signed(mark.0), rows::signed(before), rows::signed(max as u64)];
    let old: Vec<i64> = find.query_map(keys, |row| row.get(0))?.collect::<Result<_>>()?;
    for sequence in &old {
        for sql in [
            "DELETE FROM attempt WHERE message = ?",
            "DELETE FROM delivery WHERE message = ?",
            "DELETE FROM held WHERE sequence = ?",
            "DELETE FROM message WHERE sequence = ?",
        ] {
            c.prepare_cached(sql)?.execute([sequence])?;
        }
    }
    Ok(old.len() as u64)
}
