//! Why messages are held: a row for each that waits, was dropped or has died.

use super::{
    rows::{bad, json, signed, unsigned},
    writer::{Applied, put_row},
};
use crate::{
    model::{
        Millis,
        delivery::{Delivery, State},
        failure::Failure,
        id::EndpointId,
        message::{Held, Message, Sequence},
    },
    store::{LeasedMessage, handover::Handover},
};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::sync::Arc;
use uuid::Uuid;

/// Notes why a message waits or has ended, and how a plugin failed on it.
pub fn put(
    c: &Connection,
    leased: &LeasedMessage,
    held: &Held,
    failure: Option<&Failure>,
    now: Millis,
) -> Result<()> {
    let LeasedMessage { sequence, message: m, only, .. } = leased;
    let (due, calls, kind) = match held {
        Held::Parked { kind, .. } | Held::Dead { kind, .. } => (None, 0, Some(kind)),
        Held::Retry { due, calls, .. } => (Some(signed(*due)), *calls, None),
        Held::Crowded { calls } => (None, *calls, None),
        Held::Scheduled { due } => (Some(signed(*due)), 0, None),
        Held::Dropped { .. } | Held::Cancelled | Held::Expired => (None, 0, None),
    };
    // One after the other. What has ended is for nobody any more.
    let only = only.iter().flat_map(|endpoint| endpoint.0.into_bytes()).collect::<Vec<u8>>();
    let only = Some(only).filter(|only| !only.is_empty() && !held.is_final());
    c.prepare_cached(
        "INSERT OR REPLACE INTO held VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        signed(sequence.0),
        m.environment.0,
        m.application.0.as_bytes(),
        held.state(),
        due,
        calls,
        kind,
        held.reason(),
        signed(now),
        only,
        failure.map(json),
    ])?;
    Ok(())
}

/// Notes that a message is sent later.
pub fn schedule(
    c: &Connection,
    sequence: Sequence,
    message: &Message,
    due: Millis,
    now: Millis,
) -> Result<()> {
    let held = Held::Scheduled { due };
    c.prepare_cached("INSERT INTO held VALUES (?1, ?2, ?3, ?4, ?5, 0, NULL, ?6, ?7, NULL, NULL)")?
        .execute(params![
            signed(sequence.0),
            message.environment.0,
            message.application.0.as_bytes(),
            held.state(),
            signed(due),
            held.reason(),
            signed(now),
        ])?;
    Ok(())
}

/// Takes a scheduled message back that nobody has leased, and of which nobody does until this is written; when it was due.
pub fn cancel(
    c: &Connection,
    message: Sequence,
    handover: &Handover,
    now: Millis,
) -> Result<Option<Millis>> {
    let mut find =
        c.prepare_cached("SELECT due FROM held WHERE sequence = ? AND state = 'scheduled'")?;
    let due: Option<i64> = find.query_row([signed(message.0)], |row| row.get(0)).optional()?;
    let Some(due) = due.map(i64::unsigned_abs) else { return Ok(None) };
    if !handover.waiting().keep_message(message, due) {
        return Ok(None);
    }
    let cancelled = Held::Cancelled;
    c.prepare_cached(
        "UPDATE held SET state = ?, due = NULL, reason = ?, noted = ? WHERE sequence = ?",
    )?
    .execute(params![
        cancelled.state(),
        cancelled.reason(),
        signed(now),
        signed(message.0)
    ])?;
    Ok(Some(due))
}

/// Gives a held message's deliveries their rows, and ends the hold.
pub fn end<'a>(
    c: &Connection,
    message: Sequence,
    mut deliveries: impl Iterator<Item = &'a Arc<Delivery>>,
    now: Millis,
) -> Result<Applied> {
    deliveries.try_for_each(|delivery| put_row(c, delivery, State::Waiting, now))?;
    c.prepare_cached("DELETE FROM held WHERE sequence = ?")?
        .execute([signed(message.0)])
        .map(|_| Applied::Done)
}

/// The endpoints that a held message is for: their ids one after the other.
pub fn endpoints(row: &Row<'_>, at: usize) -> Result<Vec<EndpointId>> {
    let bytes = row.get::<_, Option<Vec<u8>>>(at)?.unwrap_or_default();
    let ids = bytes.chunks(16).map(|id| Uuid::from_slice(id).map(EndpointId));
    ids.collect::<std::result::Result<_, _>>().map_err(|_| bad(at, "ids have 16 bytes each"))
}

/// Notes how a plugin failed on a message that goes on without it.
pub fn pass_over(c: &Connection, message: Sequence, failure: &Failure) -> Result<Applied> {
    c.prepare_cached(
        "INSERT OR REPLACE INTO passed_over SELECT sequence, ?2 FROM message WHERE sequence = ?1",
    )?
    .execute(params![signed(message.0), json(failure)])?;
    Ok(Applied::Done)
}

/// The columns `held` and `failure` read, of the message `m` and what is noted of it in `h`.
pub const HELD: &str = "h.state, h.due, h.calls, h.kind, h.reason, h.noted,
    coalesce(h.failure, (SELECT p.failure FROM passed_over p WHERE p.message = m.sequence))";

/// What is noted in the columns [`HELD`] from `at` on. None if no row was joined.
pub fn held(row: &Row<'_>, at: usize) -> Result<Option<(Held, Millis)>> {
    let Some(state) = row.get::<_, Option<String>>(at)? else { return Ok(None) };
    let reason: String = row.get(at + 4)?;
    let kind = || row.get::<_, Option<String>>(at + 3).map(Option::unwrap_or_default);
    let held = match state.as_str() {
        "parked" => Held::Parked { kind: kind()?, reason },
        "dead" => Held::Dead { kind: kind()?, reason },
        "retry" => {
            let due = row.get::<_, Option<i64>>(at + 1)?.unwrap_or(0);
            Held::Retry { due: due.unsigned_abs(), calls: row.get(at + 2)?, reason }
        }
        "crowded" => Held::Crowded { calls: row.get(at + 2)? },
        "scheduled" => Held::Scheduled { due: unsigned(row, at + 1)? },
        "cancelled" => Held::Cancelled,
        "expired" => Held::Expired,
        _ => Held::Dropped { reason },
    };
    Ok(Some((held, unsigned(row, at + 5)?)))
}

/// How a plugin failed on the message, from the columns [`HELD`] from `at` on.
pub fn failure(row: &Row<'_>, at: usize) -> Result<Option<Failure>> {
    let text = row.get::<_, Option<String>>(at + 6)?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| bad(at + 6, "a failure"))).transpose()
}
