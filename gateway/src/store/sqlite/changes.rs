//! A catalog change's statements, with what it means for deliveries and messages that wait: one step, so that no
//! crash can fall between the two.

use super::{rows, writer::Applied};
use crate::model::{
    Millis,
    catalog::{Change, Snapshot},
    delivery::State,
    id::{ApplicationId, EndpointId},
};
use rusqlite::{Connection, params};

/// The kinds of `object`.
pub const APPLICATION: u8 = 1;
/// An endpoint's kind.
pub const ENDPOINT: u8 = 2;
/// A plugin's kind; its id is its application's.
pub const PLUGIN: u8 = 3;
/// A key's kind.
pub const KEY: u8 = 4;

/// Applies a change that keeps the rules to the tables and to the draft of the next snapshot.
pub fn apply(
    c: &Connection,
    draft: &mut Snapshot,
    change: &Change,
    now: Millis,
) -> rusqlite::Result<Applied> {
    if let Err(conflict) = draft.check(change) {
        return Ok(Applied::Refused(conflict.into()));
    }
    let put = |kind: u8, environment: u32, id: &[u8; 16], document: String| {
        c.prepare_cached("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)")?
            .execute(params![kind, environment, id, document])
            .map(|_| ())
    };
    match change {
        Change::PutApplication(a) => {
            put(APPLICATION, a.environment.0, a.id.0.as_bytes(), rows::json(a))?;
        }
        Change::PutEndpoint(e) => {
            put(ENDPOINT, e.environment.0, e.id.0.as_bytes(), rows::json(e))?;
            if !e.enabled {
                disable(c, e.id, now)?;
            }
        }
        Change::PutPlugin(p) => {
            put(PLUGIN, p.environment.0, p.application.0.as_bytes(), rows::json(p))?;
            c.prepare_cached(
                "UPDATE held SET state = 'retry', due = ?, calls = 0
                 WHERE environment = ? AND application = ? AND state = 'parked'",
            )?
            .execute(params![
                rows::signed(now),
                p.environment.0,
                p.application.0.as_bytes()
            ])?;
        }
        Change::PutKey(k) => put(KEY, k.environment.0, k.id.0.as_bytes(), rows::json(k))?,
        Change::DeleteApplication(id) => delete_application(c, draft, *id, now)?,
        Change::DeleteEndpoint(_, id) => {
            delete_object(c, ENDPOINT, id.0.as_bytes())?;
            disable(c, *id, now)?;
        }
        Change::DeletePlugin(id) => delete_object(c, PLUGIN, id.0.as_bytes())?,
    }
    draft.apply(change.clone());
    Ok(Applied::Done)
}

fn delete_application(
    c: &Connection,
    draft: &Snapshot,
    id: ApplicationId,
    now: Millis,
) -> rusqlite::Result<()> {
    delete_object(c, APPLICATION, id.0.as_bytes())?;
    delete_object(c, PLUGIN, id.0.as_bytes())?;
    for endpoint in draft.tenant(id).into_iter().flat_map(|tenant| tenant.endpoints.keys()) {
        delete_object(c, ENDPOINT, endpoint.0.as_bytes())?;
        disable(c, *endpoint, now)?;
    }
    Ok(())
}

fn delete_object(c: &Connection, kind: u8, id: &[u8; 16]) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM object WHERE kind = ? AND id = ?")?
        .execute(params![kind, id])
        .map(|_| ())
}

fn disable(c: &Connection, endpoint: EndpointId, now: Millis) -> rusqlite::Result<()> {
    let disabled = State::Disabled as u8;
    c.prepare_cached("UPDATE delivery SET state = ?, updated = ? WHERE endpoint = ? AND state < 2")?
        .execute(params![disabled, rows::signed(now), endpoint.0.as_bytes()])
        .map(|_| ())
}
