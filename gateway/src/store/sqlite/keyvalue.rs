//! What plugins remember, as rows. How much an application has is kept beside them, so that a write need not count.

use super::{Sqlite, rows::signed, writer::Op};
use crate::{
    model::{
        Millis,
        id::ApplicationId,
        keyvalue::{Entry, Size, Write, Written},
    },
    store::{KeyValue, StoreError},
};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params};

/// How many expired rows make room for a write that finds none.
const ROOM: usize = 1000;

/// What an application has, and the version of its last write.
fn total(c: &Connection, application: ApplicationId) -> Result<(Size, u64)> {
    let mut find =
        c.prepare_cached("SELECT keys, bytes, version FROM value_total WHERE application = ?")?;
    let found = find.query_row([application.0.as_bytes()], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok((Size { keys: number(0)?, bytes: number(1)? }, number(2)?))
    });
    Ok(found.optional()?.unwrap_or_default())
}

fn put_total(c: &Connection, application: ApplicationId, size: Size, version: u64) -> Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO value_total VALUES (?, ?, ?, ?)")?
        .execute(params![
            application.0.as_bytes(),
            signed(size.keys),
            signed(size.bytes),
            signed(version)
        ])
        .map(|_| ())
}

/// A row: its version and size, and whether its time is up.
fn current(c: &Connection, write: &Write, now: Millis) -> Result<Option<(u64, Size, bool)>> {
    let mut find = c.prepare_cached(
        "SELECT version, length(value), expires FROM value WHERE application = ? AND key = ?",
    )?;
    let found = find.query_row(params![write.application.0.as_bytes(), write.key], |row| {
        let version = row.get::<_, i64>(0)?.unsigned_abs();
        let size = Size::of(&write.key, row.get::<_, i64>(1)?.unsigned_abs());
        let expires = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
        Ok((version, size, expires.is_some_and(|at| at <= now)))
    });
    found.optional()
}

/// Does one write, if the rules let it.
pub fn write(c: &Connection, write: &Write, now: Millis) -> Result<Written> {
    let written = try_write(c, write, now)?;
    if written != Written::Full {
        return Ok(written);
    }
    // What has expired and is not deleted yet takes no room.
    match forget(c, Some(write.application), now, ROOM)? {
        0 => Ok(Written::Full),
        _ => try_write(c, write, now),
    }
}

fn try_write(c: &Connection, write: &Write, now: Millis) -> Result<Written> {
    let application = write.application;
    let id = application.0.as_bytes();
    let (used, last) = total(c, application)?;
    let row = current(c, write, now)?;
    let before = row.map(|(_, size, _)| size).unwrap_or_default();
    let (used, there) = match row {
        // It is overwritten or removed, and was not there for anybody.
        Some((_, size, true)) => (used.minus(size), None),
        Some((version, size, false)) => (used, Some((version, size))),
        None => (used, None),
    };
    let written = write.decide(there, used, last + 1);
    match (written, &write.value) {
        (Written::Done(version), Some(value)) => {
            c.prepare_cached("INSERT OR REPLACE INTO value VALUES (?, ?, ?, ?, ?)")?.execute(
                params![id, write.key, &value[..], signed(version), write.expires.map(signed)],
            )?;
            let rest = total(c, application)?.0.minus(before);
            put_total(
                c,
                application,
                rest.plus(Size::of(&write.key, value.len() as u64)),
                version,
            )?;
        }
        (Written::Removed(_), _) if row.is_some() => {
            c.prepare_cached("DELETE FROM value WHERE application = ? AND key = ?")?
                .execute(params![id, write.key])?;
            put_total(c, application, total(c, application)?.0.minus(before), last)?;
        }
        _ => {}
    }
    Ok(written)
}

/// Deletes what has expired, of one application or of all, at most `max`; how many.
pub fn forget(c: &Connection, of: Option<ApplicationId>, now: Millis, max: usize) -> Result<u64> {
    let id = of.map(|application| application.0.as_bytes().to_vec());
    let mut find = c.prepare_cached(match of {
        Some(_) => {
            "SELECT application, key, length(value) FROM value INDEXED BY value_own_expires
             WHERE expires <= ?1 AND application = ?2 LIMIT ?3"
        }
        None => {
            "SELECT application, key, length(value) FROM value INDEXED BY value_expires
             WHERE expires <= ?1 AND ?2 IS NULL LIMIT ?3"
        }
    })?;
    let found = find.query_map(params![signed(now), id, signed(max as u64)], |row| {
        let (key, length): (String, i64) = (row.get(1)?, row.get(2)?);
        Ok((ApplicationId(super::rows::uuid(row, 0)?), Size::of(&key, length.unsigned_abs()), key))
    })?;
    let expired = found.collect::<Result<Vec<_>>>()?;
    let mut delete = c.prepare_cached("DELETE FROM value WHERE application = ? AND key = ?")?;
    for (application, size, key) in &expired {
        delete.execute(params![application.0.as_bytes(), key])?;
        let (used, version) = total(c, *application)?;
        put_total(c, *application, used.minus(*size), version)?;
    }
    Ok(expired.len() as u64)
}

/// All of an application's goes.
pub fn delete_all(c: &Connection, application: ApplicationId) -> Result<()> {
    for table in ["value", "value_total"] {
        c.prepare_cached(&format!("DELETE FROM {table} WHERE application = ?"))?
            .execute([application.0.as_bytes()])?;
    }
    Ok(())
}

#[async_trait]
impl KeyValue for Sqlite {
    async fn value(
        &self,
        application: ApplicationId,
        key: String,
        now: Millis,
    ) -> Result<Option<Entry>, StoreError> {
        let find = move |c: &Connection| {
            let mut find = c.prepare_cached(
                "SELECT value, version FROM value
                 WHERE application = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)",
            )?;
            let of = params![application.0.as_bytes(), key, signed(now)];
            let found = find.query_row(of, |row| {
                let value = Bytes::from(row.get::<_, Vec<u8>>(0)?);
                Ok(Entry { value, version: row.get::<_, i64>(1)?.unsigned_abs() })
            });
            found.optional()
        };
        self.readers.read(find).await
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        self.ask(|reply| Op::Remember(Box::new(write), reply)).await
    }

    async fn forget_values(&self, now: Millis, max: usize) -> Result<u64, StoreError> {
        self.ask(|reply| Op::ForgetValues(now, max, reply)).await
    }
}
