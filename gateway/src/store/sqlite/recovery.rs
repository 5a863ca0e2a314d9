//! What is sent again: the statements that make it due, and the search for an operation's candidates.

use super::{
    held,
    rows::{self, HEAD, signed},
    search::between,
    writer::put_row,
};
use crate::{
    model::{
        Millis,
        catalog::Snapshot,
        dead_letter::FIRST,
        delivery::{Delivery, DeliveryKey, State},
        id::{ApplicationId, EndpointId, EnvironmentId, OperationId},
        message::{Head, Sequence},
        operation::{self, Mode, Operation},
    },
    store::{
        Again, Candidate, Page, StoreError,
        handover::{Found, Handover, Resent, again_reason},
        log::SCAN,
        recovery::dead_reason,
    },
};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

/// Makes one due again, if there is something to do.
pub fn again(
    c: &Connection,
    catalog: &Snapshot,
    again: Again,
    handover: &Handover,
    now: Millis,
) -> Result<Found> {
    let enabled = |id| catalog.endpoint(id).is_some_and(|endpoint| endpoint.enabled);
    match again {
        Again::Delivery(key) if enabled(key.endpoint) => {
            Ok(delivery(c, key, handover, now)?.map_or(Found::Nothing, Found::Due))
        }
        Again::Message(sequence, endpoint)
            if enabled(endpoint) && handover.front.is_settled(sequence) =>
        {
            message(c, sequence, endpoint, handover, now)
        }
        Again::Dead(sequence) if handover.front.is_settled(sequence) => dead(c, sequence, now),
        _ => Ok(Found::Nothing),
    }
}

fn delivery(
    c: &Connection,
    key: DeliveryKey,
    handover: &Handover,
    now: Millis,
) -> Result<Option<Resent>> {
    let mut find = c.prepare_cached(
        "SELECT d.state, d.due, length(m.payload), m.expires_at IS NULL OR m.expires_at > ?
         FROM delivery d JOIN message m ON m.sequence = d.message
         WHERE d.message = ? AND d.endpoint = ? AND d.ordinal = ?",
    )?;
    let of = params![signed(now), signed(key.message.0), key.endpoint.0.as_bytes(), key.ordinal];
    let found = find.query_row(of, |row| {
        let due = row.get::<_, i64>(1)?.unsigned_abs();
        let may_be_sent = row.get::<_, i64>(2)? > 0 && row.get(3)?;
        Ok((State::from_number(row.get(0)?), due, may_be_sent))
    });
    let (state, due) = match found.optional()? {
        Some((Some(state), due, true)) => (state, due),
        Some(_) => return Ok(None),
        None => return under_way(c, key, handover, now),
    };
    if state == State::Aside {
        return Ok(None);
    }
    c.prepare_cached(
        "UPDATE delivery SET state = 0, due = ?1, updated = ?1, spent = attempts
         WHERE message = ?2 AND endpoint = ?3 AND ordinal = ?4",
    )?
    .execute(params![
        signed(now),
        signed(key.message.0),
        key.endpoint.0.as_bytes(),
        key.ordinal
    ])?;
    Ok(Some(Resent::Delivery(key, (state == State::Waiting).then_some(due), now)))
}

/// Gives a delivery a row whose first attempt is under way, so that a start finds it resent.
fn under_way(
    c: &Connection,
    key: DeliveryKey,
    handover: &Handover,
    now: Millis,
) -> Result<Option<Resent>> {
    let open = handover.front.open(key.message);
    let found = open.iter().find(|open| open.key == key);
    let Some(delivery) = found.filter(|open| !open.message.has_expired(now)) else {
        return Ok(None);
    };
    let delivery = Delivery { due: now, ..Delivery::clone(delivery) };
    put_row(c, &delivery, State::Waiting, now)?;
    Ok(Some(Resent::Delivery(key, Some(now), now)))
}

fn message(
    c: &Connection,
    sequence: Sequence,
    endpoint: EndpointId,
    handover: &Handover,
    now: Millis,
) -> Result<Found> {
    let (number, id) = (signed(sequence.0), endpoint.0.as_bytes());
    let mut find = c.prepare_cached("SELECT state, endpoint, due FROM held WHERE sequence = ?")?;
    let held = find
        .query_row([number], |row| {
            let due = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
            Ok((row.get::<_, String>(0)?, held::endpoints(row, 1)?, due))
        })
        .optional()?;
    // Nobody leases it until this is written.
    let keep =
        |due: Option<u64>| due.is_some_and(|due| handover.waiting().keep_message(sequence, due));
    match held {
        Some((state, ..)) if state == "dropped" || state == "dead" => {}
        // It reaches the endpoint when it is dispatched or released.
        Some((_, only, _)) if only.is_empty() || only.contains(&endpoint) => {
            return Ok(Found::Nothing);
        }
        Some((state, _, due)) if state == "parked" || keep(due) => {
            c.prepare_cached(
                "UPDATE held SET endpoint = CAST(endpoint || ? AS BLOB) WHERE sequence = ?",
            )?
            .execute(params![id, number])?;
            return Ok(Found::Due(Resent::Held));
        }
        Some(_) => return Ok(Found::Busy),
        None => {}
    }
    let inserted = c
        .prepare_cached(
            "INSERT OR REPLACE INTO held
             SELECT m.sequence, m.environment, m.application, 'retry', ?3, 0, NULL, ?4, ?3, ?2, NULL
             FROM message m
             WHERE m.sequence = ?1 AND length(m.payload) > 0
               AND (m.expires_at IS NULL OR m.expires_at > ?3)
               AND NOT EXISTS (SELECT 1 FROM delivery d
                   WHERE d.message = ?1 AND d.endpoint = ?2 AND d.ordinal < ?5)",
        )?
        .execute(params![number, id, signed(now), again_reason(), FIRST])?;
    Ok(if inserted == 1 { Found::Due(Resent::Message(sequence, now)) } else { Found::Nothing })
}

/// Has a message that died dispatched again.
fn dead(c: &Connection, sequence: Sequence, now: Millis) -> Result<Found> {
    let updated = c
        .prepare_cached(
            "UPDATE held SET state = 'retry', due = ?2, calls = 0, kind = NULL, reason = ?3, noted = ?2,
                 endpoint = NULL, failure = NULL
             WHERE sequence = ?1 AND state = 'dead'
               AND EXISTS (SELECT 1 FROM message m WHERE m.sequence = ?1 AND length(m.payload) > 0)",
        )?
        .execute(params![signed(sequence.0), signed(now), dead_reason()])?;
    Ok(if updated == 1 { Found::Due(Resent::Message(sequence, now)) } else { Found::Nothing })
}

/// Whether somebody, or it itself, has ended the operation.
pub fn has_ended(c: &Connection, operation: &Operation) -> Result<bool> {
    c.prepare_cached("SELECT 1 FROM operation WHERE id = ? AND NOT running")?
        .exists([operation.id.0.as_bytes()])
}

/// Why the operation may not begin, if it does.
pub fn refusal(c: &Connection, new: &Operation) -> Result<Option<StoreError>> {
    let mut known = c.prepare_cached("SELECT 1 FROM operation WHERE id = ?")?;
    if new.state != operation::State::Running || known.exists([new.id.0.as_bytes()])? {
        return Ok(None);
    }
    Ok(crate::store::recovery::refusal(new, &running(c)?))
}

/// Keeps the operation as it is now.
pub fn put(c: &Connection, operation: &Operation) -> Result<()> {
    let running = operation.state == operation::State::Running;
    c.prepare_cached("INSERT OR REPLACE INTO operation VALUES (?, ?, ?, ?)")?
        .execute(params![
            operation.id.0.as_bytes(),
            operation.environment.0,
            running,
            rows::json(operation)
        ])
        .map(|_| ())
}

fn operation(row: &Row<'_>) -> Result<Operation> {
    let document: String = row.get(0)?;
    serde_json::from_str(&document).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

/// The environment's operation of that id.
pub fn find(
    c: &Connection,
    environment: EnvironmentId,
    id: OperationId,
) -> Result<Option<Operation>> {
    c.prepare_cached("SELECT document FROM operation WHERE id = ? AND environment = ?")?
        .query_row(params![id.0.as_bytes(), environment.0], operation)
        .optional()
}

/// The environment's operations, newest first.
pub fn list(
    c: &Connection,
    environment: EnvironmentId,
    application: Option<ApplicationId>,
    max: usize,
) -> Result<Vec<Operation>> {
    let mut walk =
        c.prepare_cached("SELECT document FROM operation WHERE environment = ? ORDER BY id DESC")?;
    let found = walk.query_map([environment.0], operation)?;
    let wanted = |operation: &Operation| application.is_none_or(|id| operation.application == id);
    found.filter(|found| found.as_ref().map_or(true, wanted)).take(max).collect()
}

/// Every operation that goes on.
pub fn running(c: &Connection) -> Result<Vec<Operation>> {
    let mut walk = c.prepare_cached("SELECT document FROM operation WHERE running ORDER BY id")?;
    walk.query_map([], operation)?.collect()
}

/// How many of the endpoint's deliveries are to be sent now, or are to be made by dispatch, up to `max`.
pub fn backlog(c: &Connection, endpoint: EndpointId, now: Millis, max: usize) -> Result<usize> {
    let mut count = c.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM delivery
             WHERE endpoint = ?1 AND state IN (0, 1) AND state <> 2 AND due <= ?2
             UNION ALL SELECT 1 FROM held WHERE endpoint = ?1 AND state IN ('retry', 'crowded') LIMIT ?3)",
    )?;
    let of = params![endpoint.0.as_bytes(), signed(now), signed(max as u64)];
    count.query_row(of, |row| row.get::<_, i64>(0)).map(|count| usize::try_from(count).unwrap_or(0))
}

/// The operation's candidates after its cursor that are below `mark`.
pub fn candidates(
    c: &Connection,
    operation: &Operation,
    mark: Sequence,
    max: usize,
) -> Result<Page<Candidate, Sequence>> {
    let wanted = &operation.wanted;
    let (from, to) = between(c, Some(wanted.since), wanted.until)?;
    let from = from.max(signed(operation.cursor.0 + 1));
    let end = signed(operation.upto.0.min(mark.0)).min(to);
    let more = max + 1;
    let (mut records, seen) = match (&wanted.mode, operation.endpoint) {
        (Mode::Ended(states), Some(to)) => (ended(c, to, states, (from, end), more)?, None),
        (Mode::Missing, Some(to)) => {
            let page = missing(c, operation.application, to, (from, end), max)?;
            let mut records = ended(c, to, wanted.states(), (from, end), more)?;
            records.extend(page.records);
            (records, page.next)
        }
        (Mode::Dead, _) => (died(c, operation, (from, end), more)?, None),
        (_, None) => (Vec::new(), None),
    };
    // Further on it was not looked everywhere.
    records.retain(|(sequence, _)| seen.is_none_or(|seen| *sequence <= seen));
    records.sort_by_key(|(sequence, found)| (*sequence, found.as_ref().map_or(0, ordinal)));
    // A message is never parted: the cursor is a message.
    let next = match records.len() > max {
        false => seen,
        true => {
            let last = records[max].0;
            let whole = records.partition_point(|(sequence, _)| *sequence < last);
            records.truncate(whole);
            if let Some(to) = operation.endpoint.filter(|_| whole == 0) {
                let one = (signed(last.0), signed(last.0 + 1));
                records = ended(c, to, wanted.states(), one, usize::MAX)?;
            }
            records.last().map(|(sequence, _)| *sequence)
        }
    };
    // Those without content were found, and are nothing to send.
    Ok(Page { records: records.into_iter().filter_map(|(_, found)| found).collect(), next })
}

/// A message, and what there is to send again of it: nothing, if its content is gone.
type Place = (Sequence, Option<Candidate>);

fn ordinal(candidate: &Candidate) -> u32 {
    match candidate.again {
        Again::Delivery(key) => key.ordinal,
        Again::Message(..) | Again::Dead(_) => 0,
    }
}

/// The endpoint's deliveries that ended so, of each state at most `max`.
fn ended(
    c: &Connection,
    endpoint: EndpointId,
    states: &[State],
    (from, end): (i64, i64),
    max: usize,
) -> Result<Vec<Place>> {
    let mut records = Vec::new();
    let limit = signed(max as u64);
    for state in states {
        let (index, condition) = match state {
            State::Success => ("delivery_endpoint", "d.state = 2"),
            _ => ("delivery_not_delivered", "d.state <> 2"),
        };
        let sql = format!(
            "SELECT {HEAD}, d.ordinal, length(m.payload) > 0 FROM delivery d INDEXED BY {index}
             CROSS JOIN message m ON m.sequence = d.message
             WHERE d.endpoint = ? AND d.state = ? AND {condition} AND d.message >= ? AND d.message < ?
             ORDER BY d.message LIMIT ?"
        );
        let mut walk = c.prepare_cached(&sql)?;
        let of = params![endpoint.0.as_bytes(), *state as u8, from, end, limit];
        let found = walk.query_map(of, |row| {
            let (message, head) = rows::head(row)?;
            let ordinal = row.get(rows::BEHIND_HEAD)?;
            let again = Again::Delivery(DeliveryKey { message, ordinal, endpoint });
            let full: bool = row.get(rows::BEHIND_HEAD + 1)?;
            Ok((message, full.then_some(Candidate { again, head })))
        })?;
        for one in found {
            records.push(one?);
        }
    }
    Ok(records)
}

/// The application's messages that died, at most `max`.
fn died(
    c: &Connection,
    operation: &Operation,
    (from, end): (i64, i64),
    max: usize,
) -> Result<Vec<Place>> {
    let sql = format!(
        "SELECT {HEAD}, length(m.payload) > 0 FROM held h CROSS JOIN message m USING (sequence)
         WHERE h.environment = ? AND h.application = ? AND h.state = 'dead' AND h.sequence >= ? AND h.sequence < ?
         ORDER BY h.sequence LIMIT ?"
    );
    let mut walk = c.prepare_cached(&sql)?;
    let (environment, application) = (operation.environment.0, operation.application);
    let of = params![environment, application.0.as_bytes(), from, end, signed(max as u64)];
    let found = walk.query_map(of, |row| {
        let (sequence, head) = rows::head(row)?;
        let full: bool = row.get(rows::BEHIND_HEAD)?;
        let again = Again::Dead(sequence);
        Ok((sequence, full.then_some(Candidate { again, head })))
    })?;
    found.collect()
}

/// The application's messages that the endpoint has no delivery of, and that have their content.
fn missing(
    c: &Connection,
    application: ApplicationId,
    endpoint: EndpointId,
    (from, end): (i64, i64),
    max: usize,
) -> Result<Page<Place, Sequence>> {
    let sql = format!(
        "SELECT {HEAD}, length(m.payload) = 0
             OR EXISTS (SELECT 1 FROM delivery d
                 WHERE d.message = m.sequence AND d.endpoint = ?1 AND d.ordinal < {FIRST})
         FROM message m INDEXED BY message_application
         WHERE m.application = ?2 AND m.sequence >= ?3 AND m.sequence < ?4 ORDER BY m.sequence LIMIT {SCAN}"
    );
    let mut walk = c.prepare_cached(&sql)?;
    let of = params![endpoint.0.as_bytes(), application.0.as_bytes(), from, end];
    let mut rows = walk.query(of)?;
    let (mut records, mut seen, mut next) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let (sequence, head): (Sequence, Head) = rows::head(row)?;
        seen += 1;
        if !row.get::<_, bool>(rows::BEHIND_HEAD)? {
            let again = Again::Message(sequence, endpoint);
            records.push((sequence, Some(Candidate { again, head })));
        }
        if records.len() == max || seen == SCAN {
            next = Some(sequence);
            break;
        }
    }
    Ok(Page { records, next })
}
