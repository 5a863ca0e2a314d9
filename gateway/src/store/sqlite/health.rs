//! What is kept of endpoints that are not well: a row for each of those, and none for the others.

use super::rows;
use crate::model::{
    health::{Kept, Trouble},
    id::EndpointId,
};
use rusqlite::{Connection, Result, params};

/// Keeps that the endpoint is in trouble, or that it is not.
pub fn put(c: &Connection, endpoint: EndpointId, trouble: &Trouble) -> Result<()> {
    if !trouble.is_some() {
        return forget(c, endpoint);
    }
    c.prepare_cached("INSERT OR REPLACE INTO endpoint_health VALUES (?, ?)")?
        .execute(params![endpoint.0.as_bytes(), rows::json(trouble)])
        .map(|_| ())
}

/// Forgets what is kept of an endpoint.
pub fn forget(c: &Connection, endpoint: EndpointId) -> Result<()> {
    c.prepare_cached("DELETE FROM endpoint_health WHERE endpoint = ?")?
        .execute([endpoint.0.as_bytes()])
        .map(|_| ())
}

/// What is kept of all.
pub fn all(c: &Connection) -> Result<Vec<Kept>> {
    let mut find = c.prepare_cached("SELECT endpoint, document FROM endpoint_health")?;
    let rows = find.query_map([], |row| {
        let document: String = row.get(1)?;
        // What another version wrote and this one cannot read is no reason not to start.
        let trouble = serde_json::from_str::<Trouble>(&document).unwrap_or_default();
        Ok((EndpointId(rows::uuid(row, 0)?), trouble))
    })?;
    rows.collect()
}
