//! Reads: what a start needs, what is leased again, and the log. Each on a connection of its own, so that no reader
//! stands in the writer's way.

use super::{
    changes::{APPLICATION, ENDPOINT, ENVIRONMENT, EVENT_TYPE, GRANTS, KEY, PLUGIN},
    held::{self, HELD},
    rows::{self, BEHIND, MESSAGE},
    sealing,
};
use crate::{
    model::{
        Millis,
        catalog::{Bounds, Change, Snapshot},
        delivery::{DeliveryKey, Place, State, ordering_hash},
        endpoint::Version,
        event_type::{Entry, Listed},
        id::{ApplicationId, EndpointId, EnvironmentId},
        message::{Message, Sequence},
    },
    store::{
        DeliveryRecord, LeasedMessage, MessageRecord,
        front::Front,
        vault::Vault,
        waiting::{
            Waiting,
            ahead::{Ahead, PIECE, Piece, Read, Wanted},
        },
    },
};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use std::sync::Arc;

/// The low-water mark and one more than the last message's number.
pub fn bounds(c: &Connection) -> Result<(u64, u64)> {
    let mark: Option<i64> = c
        .query_row("SELECT value FROM meta WHERE name = 'mark'", [], |row| row.get(0))
        .optional()?;
    let last: Option<i64> =
        c.query_row("SELECT max(sequence) FROM message", [], |row| row.get(0))?;
    let mark = mark.unwrap_or(1).unsigned_abs();
    // Numbers of deleted messages are not used again: the mark is never above the next number.
    let head = (last.unwrap_or(0).unsigned_abs() + 1).max(mark);
    Ok((mark, head))
}

/// The front as a start finds it.
pub fn front(c: &Connection) -> Result<Front> {
    bounds(c).map(|(mark, head)| Front::new(mark, head))
}

/// When the last message was accepted; 0 if there is none.
pub fn last_accepted(c: &Connection) -> Result<Millis> {
    let sql = "SELECT accepted FROM message ORDER BY sequence DESC LIMIT 1";
    let last: Option<i64> = c.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(last.map_or(0, i64::unsigned_abs))
}

/// The catalog as it is on disk, in which an application may have that many endpoints.
pub fn catalog(c: &Connection, bounds: Bounds, vault: &Vault) -> Result<Snapshot, String> {
    let mut snapshot = Snapshot::new(bounds);
    let text = |error: rusqlite::Error| error.to_string();
    let mut statement = c
        .prepare("SELECT kind, document FROM object ORDER BY kind, environment, id")
        .map_err(text)?;
    let mut found = statement.query([]).map_err(text)?;
    while let Some(row) = found.next().map_err(text)? {
        let kind: u8 = row.get(0).map_err(text)?;
        let document: String = row.get(1).map_err(text)?;
        let bad = |error: serde_json::Error| format!("a document of kind {kind}: {error}");
        let change = match kind {
            APPLICATION => Change::PutApplication(serde_json::from_str(&document).map_err(bad)?),
            ENDPOINT => Change::PutEndpoint(sealing::endpoint(vault, &document)?),
            PLUGIN => Change::PutPlugin(serde_json::from_str(&document).map_err(bad)?, None),
            KEY => Change::PutKey(serde_json::from_str(&document).map_err(bad)?),
            ENVIRONMENT => Change::PutEnvironment(serde_json::from_str(&document).map_err(bad)?),
            EVENT_TYPE => Change::PutEventType(listed(&document)?),
            GRANTS => Change::PutGrants(sealing::granted(vault, &document)?),
            other => return Err(format!("a document of the unknown kind {other}")),
        };
        snapshot.apply(change);
    }
    Ok(snapshot)
}

/// An event type. Its schema was good when it came in; where this version does not know it any more, the start fails
/// rather than that payloads pass unchecked.
fn listed(document: &str) -> Result<Arc<Listed>, String> {
    let entry: Entry =
        serde_json::from_str(document).map_err(|error| format!("an event type: {error}"))?;
    let name = entry.name.clone();
    let listed = Listed::stored(entry).map_err(|wrong| {
        format!("the schema of the event type {name}: {} {}", wrong.path, wrong.message)
    })?;
    Ok(Arc::new(listed))
}

/// What waits, by key: of what waits for its time the nearest; of what is aside each endpoint's, which is what an index
/// finds.
pub fn waiting(c: &Connection, catalog: &Snapshot, now: Millis) -> Result<Waiting> {
    let mut waiting = Waiting::of_before();
    if let Some(wanted) = waiting.wanted(now) {
        waiting.read(ahead(c, wanted)?);
    }
    let mut statement = c.prepare(
        "SELECT message, endpoint, ordinal FROM delivery INDEXED BY delivery_not_delivered
             WHERE endpoint = ? AND state = ? AND state <> 2 ORDER BY message",
    )?;
    for endpoint in catalog.tenants().flat_map(|tenant| tenant.endpoints.keys()) {
        let mut found = statement.query(params![endpoint.0.as_bytes(), State::Aside as u8])?;
        while let Some(row) = found.next()? {
            waiting.add_aside(rows::key(row, 0)?);
        }
    }
    let mut crowded = c.prepare(
        "SELECT application, sequence FROM held INDEXED BY held_crowded WHERE state = 'crowded'",
    )?;
    let mut found = crowded.query([])?;
    while let Some(row) = found.next()? {
        let application = ApplicationId(rows::uuid(row, 0)?);
        waiting.crowd(application, Sequence(row.get::<_, i64>(1)?.unsigned_abs()));
    }
    Ok(waiting)
}

/// The endpoint's deliveries that have rows, are not done, and whose time has come once, with what stands for their ordering
/// keys.
pub fn outstanding(
    c: &Connection,
    endpoint: EndpointId,
    now: Millis,
) -> Result<Vec<(Place, Option<u64>)>> {
    let mut statement = c.prepare_cached(
        "SELECT d.message, d.ordinal, coalesce(d.content ->> '$.ordering_key', m.ordering_key)
         FROM delivery d INDEXED BY delivery_not_delivered JOIN message m ON m.sequence = d.message
         WHERE d.endpoint = ? AND d.state IN (0, 1) AND d.state <> 2
             AND NOT (d.state = 0 AND d.attempts = 0 AND d.due > ?)",
    )?;
    let found = statement.query_map(params![endpoint.0.as_bytes(), rows::signed(now)], |row| {
        let place = Place { message: Sequence(rows::unsigned(row, 0)?), ordinal: row.get(1)? };
        let key = row.get_ref(2)?.as_str_or_null().map_err(|_| rows::bad(2, "text"))?;
        Ok((place, key.map(ordering_hash)))
    })?;
    found.collect()
}

/// A piece of what waits far ahead.
pub fn ahead(c: &Connection, wanted: Ahead) -> Result<Read> {
    let deliveries = wanted.deliveries.map(|wanted| deliveries_ahead(c, wanted)).transpose()?;
    let messages = wanted.messages.map(|wanted| messages_ahead(c, wanted)).transpose()?;
    Ok(Read { deliveries, messages })
}

fn deliveries_ahead(c: &Connection, (from, to): Wanted<DeliveryKey>) -> Result<Piece<DeliveryKey>> {
    let mut walk = c.prepare_cached(
        "SELECT due, message, endpoint, ordinal FROM delivery INDEXED BY delivery_due
         WHERE state = 0 AND (due, message, ordinal, endpoint) >= (?, ?, ?, ?) AND due < ?
         ORDER BY due, message, ordinal, endpoint LIMIT ?",
    )?;
    let (due, message, ordinal, endpoint) = rows::place(from);
    let of = params![due, message, ordinal, endpoint, rows::signed(to), LIMIT];
    let found = walk.query_map(of, |row| Ok((rows::unsigned(row, 0)?, rows::key(row, 1)?)))?;
    Ok(piece(found.collect::<Result<_>>()?, to))
}

fn messages_ahead(c: &Connection, ((due, key), to): Wanted<Sequence>) -> Result<Piece<Sequence>> {
    let mut walk = c.prepare_cached(
        "SELECT due, sequence FROM held INDEXED BY held_due
         WHERE due IS NOT NULL AND (due, sequence) >= (?, ?) AND due < ? ORDER BY due, sequence LIMIT ?",
    )?;
    let from = key.map_or(-1, |key| rows::signed(key.0));
    let of = params![rows::signed(due), from, rows::signed(to), LIMIT];
    let found =
        walk.query_map(of, |row| Ok((rows::unsigned(row, 0)?, Sequence(rows::unsigned(row, 1)?))))?;
    Ok(piece(found.collect::<Result<_>>()?, to))
}

/// One more than a piece: where the next one begins.
const LIMIT: i64 = PIECE as i64 + 1;

fn piece<K: Copy>(mut found: Vec<(Millis, K)>, to: Millis) -> Piece<K> {
    let upto = found.get(PIECE).map_or((to, None), |(due, key)| (*due, Some(*key)));
    found.truncate(PIECE);
    (found, upto)
}

/// How many messages are parked.
pub fn parked(c: &Connection) -> Result<u64> {
    c.query_row(
        "SELECT count(*) FROM held INDEXED BY held_parked WHERE state = 'parked'",
        [],
        |row| row.get::<_, i64>(0),
    )
    .map(i64::unsigned_abs)
}

/// Messages to dispatch in `from..to`, at most `max`, and how far the reading got.
pub fn messages_behind(
    c: &Connection,
    from: Sequence,
    to: Sequence,
    max: usize,
) -> Result<(Vec<LeasedMessage>, Sequence)> {
    let sql = format!(
        "SELECT {MESSAGE}, h.sequence IS NOT NULL FROM message m LEFT JOIN held h USING (sequence)
         WHERE m.sequence >= ? AND m.sequence < ? ORDER BY m.sequence LIMIT ?"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let range = params![rows::signed(from.0), rows::signed(to.0), rows::signed(max as u64)];
    let found =
        statement.query_map(range, |row| Ok((rows::message(row)?, row.get::<_, bool>(BEHIND)?)))?;
    let mut leased = Vec::new();
    let mut read = 0;
    let mut upto = to;
    for row in found {
        let ((sequence, message), held) = row?;
        read += 1;
        if read == max {
            upto = Sequence(sequence.0 + 1);
        }
        // What is expunged was settled, and is not sent empty.
        if !held && !message.payload.is_empty() {
            leased.push(lease(c, sequence, message, None)?);
        }
    }
    Ok((leased, upto))
}

/// Held messages that are due, to be dispatched again.
pub fn messages_due(c: &Connection, sequences: &[Sequence]) -> Result<Vec<LeasedMessage>> {
    let sql = format!(
        "SELECT {MESSAGE}, h.calls, h.endpoint FROM message m JOIN held h USING (sequence)
         WHERE m.sequence = ? AND h.due IS NOT NULL"
    );
    leases(c, &sql, sequences)
}

/// Crowded messages, to be dispatched again. Their rows may not be written yet.
pub fn messages_crowded(c: &Connection, sequences: &[Sequence]) -> Result<Vec<LeasedMessage>> {
    let sql = format!(
        "SELECT {MESSAGE}, coalesce(h.calls, 0), h.endpoint
         FROM message m LEFT JOIN held h USING (sequence)
         WHERE m.sequence = ?"
    );
    leases(c, &sql, sequences)
}

fn leases(c: &Connection, sql: &str, sequences: &[Sequence]) -> Result<Vec<LeasedMessage>> {
    let mut leased = Vec::new();
    for sequence in sequences {
        let found = c
            .prepare_cached(sql)?
            .query_row([rows::signed(sequence.0)], |row| {
                let only = held::endpoints(row, BEHIND + 1)?;
                Ok((rows::message(row)?.1, (row.get(BEHIND)?, only)))
            })
            .optional()?;
        if let Some((message, held)) = found {
            leased.push(lease(c, *sequence, message, Some(held))?);
        }
    }
    Ok(leased)
}

/// A lease of the message; of what is `held`, after that many calls and for these endpoints alone, if for some.
fn lease(
    c: &Connection,
    sequence: Sequence,
    message: Message,
    held: Option<(u32, Vec<EndpointId>)>,
) -> Result<LeasedMessage> {
    let mut statement =
        c.prepare_cached("SELECT message, endpoint, ordinal FROM delivery WHERE message = ?")?;
    let done = statement.query_map([rows::signed(sequence.0)], |row| rows::key(row, 0))?;
    let done: Vec<DeliveryKey> = done.collect::<Result<_>>()?;
    let (message, is_held) = (Arc::new(message), held.is_some());
    let (calls, only) = held.unwrap_or_default();
    Ok(LeasedMessage { sequence, message, done, only, calls, held: is_held })
}

/// A message from the columns `MESSAGE` and `HELD`.
pub fn record(row: &Row<'_>) -> Result<MessageRecord> {
    let (sequence, message) = rows::message(row)?;
    let (held, failure) = (held::held(row, BEHIND)?, held::failure(row, BEHIND)?);
    Ok(MessageRecord { sequence, message, held, failure })
}

/// The application's message with that id or uid.
pub fn message(
    c: &Connection,
    environment: EnvironmentId,
    application: ApplicationId,
    id_or_uid: &str,
) -> Result<Option<MessageRecord>> {
    let from = format!("SELECT {MESSAGE}, {HELD} FROM message m LEFT JOIN held h USING (sequence)");
    if let Ok(id) = uuid::Uuid::try_parse(id_or_uid) {
        let sql = format!("{from} WHERE m.id = ? AND m.environment = ? AND m.application = ?");
        let key = params![id.as_bytes(), environment.0, application.0.as_bytes()];
        let found = c.prepare_cached(&sql)?.query_row(key, record).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let sql = format!("{from} WHERE m.environment = ? AND m.application = ? AND m.uid = ?");
    let key = params![environment.0, application.0.as_bytes(), id_or_uid];
    c.prepare_cached(&sql)?.query_row(key, record).optional()
}

/// The message's deliveries that have rows, with their attempts.
pub fn deliveries(c: &Connection, of: Sequence) -> Result<Vec<DeliveryRecord>> {
    let mut statement = c.prepare_cached(
        "SELECT message, endpoint, ordinal, state, due, updated, 1, sent, latency, status, failure, detail,
             revision, headers, content
         FROM delivery WHERE message = ? ORDER BY endpoint, ordinal",
    )?;
    let found = statement.query_map([rows::signed(of.0)], |row| {
        let state = State::from_number(row.get(3)?);
        let sent: Option<i64> = row.get(7)?;
        Ok(DeliveryRecord {
            key: rows::key(row, 0)?,
            state,
            due: (state == Some(State::Waiting)).then_some(row.get::<_, i64>(4)?.unsigned_abs()),
            updated: row.get::<_, i64>(5)?.unsigned_abs(),
            content: rows::content(row, 14, None)?,
            attempts: sent.map(|_| rows::attempt(row, 6)).transpose()?.into_iter().collect(),
        })
    })?;
    let mut records: Vec<DeliveryRecord> = found.collect::<Result<_>>()?;
    let mut statement = c.prepare_cached(
        "SELECT number, sent, latency, status, failure, detail, revision, headers FROM attempt
         WHERE message = ? AND endpoint = ? AND ordinal = ? ORDER BY number",
    )?;
    for record in &mut records {
        let key = params![rows::signed(of.0), record.key.endpoint.0.as_bytes(), record.key.ordinal];
        for attempt in statement.query_map(key, |row| rows::attempt(row, 0))? {
            record.attempts.push(attempt?);
        }
    }
    Ok(records)
}

/// What the endpoint's requests looked like as of that revision.
pub fn version(c: &Connection, endpoint: EndpointId, revision: u64) -> Result<Option<Version>> {
    let mut find = c.prepare_cached(
        "SELECT document FROM endpoint_version WHERE endpoint = ? AND revision <= ?
         ORDER BY revision DESC LIMIT 1",
    )?;
    let of = params![endpoint.0.as_bytes(), rows::signed(revision)];
    let document: Option<String> = find.query_row(of, |row| row.get(0)).optional()?;
    Ok(document.and_then(|text| serde_json::from_str(&text).ok()))
}
