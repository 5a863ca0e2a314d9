//! A catalog change's statements, with what it means for deliveries and messages that wait: one step, so that no
//! crash can fall between the two.

use super::{health, keyvalue, rows, sealing};
use crate::{
    model::{
        Millis,
        catalog::{Change, Snapshot},
        delivery::State,
        endpoint::{Endpoint, Version},
        environment::Environment,
        id::{ApplicationId, Digest, EndpointId, EnvironmentId},
        message::Sequence,
        name::PluginName,
        plugin::Plugin,
    },
    store::{
        handover::{Effects, Handover, orphaned},
        vault::Vault,
    },
};
use rusqlite::{Connection, Result, Row, params};

/// The kinds of `object`.
pub const APPLICATION: u8 = 1;
/// An endpoint's kind.
pub const ENDPOINT: u8 = 2;
/// A plugin's kind; its id is its application's, and its name.
pub const PLUGIN: u8 = 3;
/// A key's kind.
pub const KEY: u8 = 4;
/// An environment's kind.
pub const ENVIRONMENT: u8 = 5;
/// An event type's kind.
pub const EVENT_TYPE: u8 = 6;
/// The kind of what an application's plugins may use; its id is its application's.
pub const GRANTS: u8 = 7;

/// Applies a change that was checked to the tables and to the draft of the next snapshot.
pub fn apply(
    c: &Connection,
    vault: &Vault,
    draft: &mut Snapshot,
    change: &Change,
    (handover, now): (&Handover, Millis),
) -> Result<Effects> {
    let mut effects = Effects::default();
    match change {
        Change::PutEnvironment(e) => put_environment(c, e)?,
        Change::PutApplication(a) => {
            put(c, APPLICATION, a.environment, a.id.0.as_bytes(), &rows::json(a))?;
        }
        Change::PutEndpoint(e) => {
            put(c, ENDPOINT, e.environment, e.id.0.as_bytes(), &sealing::document(vault, e))?;
            put_version(c, e)?;
            if e.renewed == e.revision {
                health::forget(c, e.id)?;
            }
            if !e.enabled {
                effects.ended.push(e.id);
            }
        }
        Change::PutPlugin(p, code) => {
            put_plugin(c, p)?;
            code.iter().try_for_each(|(digest, bytes)| put_code(c, digest, bytes))?;
            if draft.releases(p) {
                effects.released = release(c, p.environment, p.application, now)?;
            }
        }
        Change::PutGrants(g) => {
            put(c, GRANTS, g.environment, g.application.0.as_bytes(), &sealing::grants(vault, g))?;
            // What was parked because something was not granted goes on.
            effects.released = release(c, g.environment, g.application, now)?;
        }
        Change::QuarantinePlugin(id, name, digest, reason) => {
            // What the plugin parked stays parked; what a canary did is for the active version.
            if let Some(plugin) = draft.plugin(*id, name) {
                let plugin = plugin.in_quarantine(*digest, reason.clone());
                put_plugin(c, &plugin)?;
                if draft.releases(&plugin) {
                    effects.released = release(c, plugin.environment, *id, now)?;
                }
            }
        }
        Change::DeleteEnvironment(id) => delete_environment(c, draft, *id)?,
        Change::PutKey(k) => put(c, KEY, k.environment, k.id.0.as_bytes(), &rows::json(k))?,
        Change::DeleteKey(id) => delete(c, KEY, id.0.as_bytes())?,
        Change::PutEventType(new) => {
            let e = &new.entry;
            put(c, EVENT_TYPE, e.environment, e.id.0.as_bytes(), &rows::json(e))?;
        }
        Change::DeleteEventType(environment, name) => {
            if let Some(listed) = draft.event_type(*environment, name) {
                delete(c, EVENT_TYPE, listed.entry.id.0.as_bytes())?;
            }
        }
        Change::DeleteApplication(id) => effects = delete_application(c, draft, *id, now)?,
        Change::DeleteEndpoint(_, id) => {
            delete(c, ENDPOINT, id.0.as_bytes())?;
            health::forget(c, *id)?;
            effects.ended.push(*id);
        }
        Change::DeletePlugin(id, name) => delete(c, PLUGIN, &plugin_id(*id, name))?,
    }
    effects.at = now;
    for endpoint in &effects.ended {
        effects.far += disable(c, *endpoint, handover, now)?;
    }
    let gone = draft.lets_go(change);
    draft.apply(change.clone());
    for digest in draft.without_use(gone) {
        c.prepare_cached("DELETE FROM code WHERE digest = ?")?.execute([&digest.0[..]])?;
    }
    Ok(effects)
}

fn put(
    c: &Connection,
    kind: u8,
    environment: EnvironmentId,
    id: &[u8],
    document: &str,
) -> Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)")?
        .execute(params![kind, environment.0, id, document])
        .map(|_| ())
}

/// Keeps what the endpoint's requests look like from this revision on, if that is new.
fn put_version(c: &Connection, endpoint: &Endpoint) -> Result<()> {
    let document = rows::json(&Version::from(endpoint));
    let id = endpoint.id.0.as_bytes();
    c.prepare_cached(
        "INSERT OR REPLACE INTO endpoint_version SELECT ?1, ?2, ?3 WHERE ?3 IS NOT
             (SELECT document FROM endpoint_version WHERE endpoint = ?1 ORDER BY revision DESC LIMIT 1)",
    )?
    .execute(params![id, rows::signed(endpoint.revision), document])
    .map(|_| ())
}

fn plugin_id(application: ApplicationId, name: &PluginName) -> Vec<u8> {
    [application.0.as_bytes(), name.as_bytes()].concat()
}

fn put_plugin(c: &Connection, plugin: &Plugin) -> Result<()> {
    let id = plugin_id(plugin.application, &plugin.name);
    put(c, PLUGIN, plugin.environment, &id, &rows::json(plugin))
}

/// Keeps a component's bytes.
fn put_code(c: &Connection, digest: &Digest, bytes: &[u8]) -> Result<()> {
    c.prepare_cached("INSERT OR IGNORE INTO code VALUES (?, ?)")?
        .execute(params![&digest.0[..], bytes])
        .map(|_| ())
}

fn delete(c: &Connection, kind: u8, id: &[u8]) -> Result<()> {
    c.prepare_cached("DELETE FROM object WHERE kind = ? AND id = ?")?
        .execute(params![kind, id])
        .map(|_| ())
}

fn put_environment(c: &Connection, environment: &Environment) -> Result<()> {
    let mut id = [0; 16];
    id[12..].copy_from_slice(&environment.id.0.to_be_bytes());
    put(c, ENVIRONMENT, environment.id, &id, &rows::json(environment))
}

/// Its record stays, as that of a deleted one.
fn delete_environment(c: &Connection, draft: &Snapshot, id: EnvironmentId) -> Result<()> {
    c.prepare_cached("DELETE FROM object WHERE environment = ? AND kind IN (?, ?)")?
        .execute(params![id.0, KEY, EVENT_TYPE])?;
    match draft.environment_record(id) {
        Some(known) => put_environment(c, &Environment { deleted: true, ..(**known).clone() }),
        None => Ok(()),
    }
}

fn delete_application(
    c: &Connection,
    draft: &Snapshot,
    id: ApplicationId,
    now: Millis,
) -> Result<Effects> {
    let mut effects = Effects { gone: Some(id), ..Effects::default() };
    delete(c, APPLICATION, id.0.as_bytes())?;
    delete(c, GRANTS, id.0.as_bytes())?;
    keyvalue::delete_all(c, id)?;
    if let Some(tenant) = draft.tenant(id) {
        for plugin in &tenant.plugins {
            delete(c, PLUGIN, &plugin_id(id, &plugin.name))?;
        }
        for endpoint in tenant.endpoints.keys() {
            delete(c, ENDPOINT, endpoint.0.as_bytes())?;
            health::forget(c, *endpoint)?;
            effects.ended.push(*endpoint);
        }
        for key in draft.keys_of(id) {
            delete(c, KEY, key.id.0.as_bytes())?;
        }
        effects.dropped = drop_held(c, tenant.application.environment, id, now)?;
    }
    Ok(effects)
}

/// Ends the endpoint's waiting deliveries; how many of them waited far ahead.
fn disable(c: &Connection, endpoint: EndpointId, handover: &Handover, now: Millis) -> Result<u64> {
    let disabled = State::Disabled as u8;
    let horizon = handover.waiting().horizon();
    let far = match horizon {
        None => 0,
        Some(horizon) => {
            let mut update = c.prepare_cached(
                "UPDATE delivery SET state = ?1, updated = ?2
                 WHERE endpoint = ?3 AND state = 0 AND state <> 2
                     AND (due, message, ordinal, endpoint) >= (?4, ?5, ?6, ?7)",
            )?;
            let (due, message, ordinal, from) = rows::place(horizon);
            update.execute(params![
                disabled,
                rows::signed(now),
                endpoint.0.as_bytes(),
                due,
                message,
                ordinal,
                from
            ])? as u64
        }
    };
    // A row is found by the index of what is not delivered: each waiting state is a range of it.
    let mut update = c.prepare_cached(
        "UPDATE delivery SET state = ?1, updated = ?2
         WHERE endpoint = ?3 AND state IN (0, 1) AND state <> 2",
    )?;
    update.execute(params![disabled, rows::signed(now), endpoint.0.as_bytes()])?;
    Ok(far)
}

/// Makes the application's parked messages due; which ones.
fn release(
    c: &Connection,
    environment: EnvironmentId,
    application: ApplicationId,
    now: Millis,
) -> Result<Vec<Sequence>> {
    let mut update = c.prepare_cached(
        "UPDATE held SET state = 'retry', due = ?, calls = 0
         WHERE environment = ? AND application = ? AND state = 'parked' RETURNING sequence",
    )?;
    let of = params![rows::signed(now), environment.0, application.0.as_bytes()];
    update.query_map(of, sequence)?.collect()
}

/// Drops the application's held messages; which ones of those parked or due, and when they were due.
fn drop_held(
    c: &Connection,
    environment: EnvironmentId,
    application: ApplicationId,
    now: Millis,
) -> Result<Vec<(Sequence, Option<Millis>)>> {
    let mut find = c.prepare_cached(
        "SELECT sequence, due, state = 'crowded' FROM held
         WHERE environment = ? AND application = ? AND state NOT IN ('dropped', 'dead', 'cancelled', 'expired')",
    )?;
    let found = find.query_map(params![environment.0, application.0.as_bytes()], |row| {
        let due = row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs);
        Ok((sequence(row)?, due, row.get::<_, bool>(2)?))
    })?;
    let held = found.collect::<Result<Vec<_>>>()?;
    let dropped = orphaned();
    let mut update = c.prepare_cached(
        "UPDATE held SET state = ?, due = NULL, calls = 0, kind = NULL, reason = ?, noted = ?
         WHERE sequence = ?",
    )?;
    for (sequence, ..) in &held {
        let number = rows::signed(sequence.0);
        update.execute(params![dropped.state(), dropped.reason(), rows::signed(now), number])?;
    }
    let counted = held.into_iter().filter(|(_, _, crowded)| !crowded);
    Ok(counted.map(|(sequence, due, _)| (sequence, due)).collect())
}

fn sequence(row: &Row<'_>) -> Result<Sequence> {
    row.get::<_, i64>(0).map(|number| Sequence(number.unsigned_abs()))
}
