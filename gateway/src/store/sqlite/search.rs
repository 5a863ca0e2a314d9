//! Pages of messages and deliveries. A walk reads keys and what filters look at, along an index and a bounded number of
//! rows; only what fits is read whole.

use super::{
    disorder::{self, DISORDER},
    held::HELD,
    rows::{self, HEAD, MESSAGE, signed},
};
use crate::{
    model::{
        Millis,
        delivery::{DeliveryKey, State},
        id::{ApplicationId, EndpointId, EnvironmentId},
        message::Sequence,
    },
    store::{
        DeliveryFilter, MessageFilter, MessageRecord, Page, Summary,
        log::{PAGE_BYTES, SCAN},
    },
};
use rusqlite::{Connection, OptionalExtension, Result, params};

pub mod dead_letters;

/// The number of the first message between these that was accepted at that time or later: their times are in order.
fn first_at(c: &Connection, at: Millis, (mut low, mut high): (u64, u64)) -> Result<u64> {
    let mut next = c.prepare_cached(
        "SELECT sequence, accepted FROM message WHERE sequence >= ? ORDER BY sequence LIMIT 1",
    )?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found = next.query_row([signed(middle)], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
        });
        match found.optional()? {
            Some((sequence, accepted)) if sequence < high && accepted < at => low = sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// From where to where times are in order, and all messages are in one of these.
fn stretches(c: &Connection) -> Result<Vec<(u64, u64)>> {
    let ends = "SELECT coalesce(min(sequence), 1), coalesce(max(sequence), 0) + 1 FROM message";
    let (low, high) = c.prepare_cached(ends)?.query_row([], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    let between = disorder::all(c)?.into_iter().filter(|at| (low + 1..high).contains(at));
    let starts: Vec<_> = std::iter::once(low).chain(between).collect();
    let ends = starts[1..].iter().copied().chain([high]);
    Ok(starts.iter().copied().zip(ends).collect())
}

/// Between which numbers all messages of that time are.
pub fn between(c: &Connection, after: Option<Millis>, until: Option<Millis>) -> Result<(i64, i64)> {
    if after.is_none() && until.is_none() {
        return Ok((0, i64::MAX));
    }
    let stretches = stretches(c)?;
    let (mut from, mut to) = (0, u64::MAX);
    if let Some(after) = after.map(|at| at.saturating_sub(DISORDER)) {
        for (low, high) in &stretches {
            from = first_at(c, after, (*low, *high))?;
            if from < *high {
                break;
            }
        }
    }
    if let Some(until) = until.map(|at| at.saturating_add(DISORDER)) {
        for (low, high) in stretches.iter().rev() {
            to = first_at(c, until, (*low, *high))?;
            if to > *low {
                break;
            }
        }
    }
    Ok((signed(from), signed(to)))
}

/// A page of the application's messages, newest first.
pub fn messages(
    c: &Connection,
    environment: EnvironmentId,
    application: ApplicationId,
    filter: &MessageFilter,
    limit: usize,
) -> Result<Page<MessageRecord, Sequence>> {
    let (from, to) = between(c, filter.after, filter.until)?;
    let before = filter.before.map_or(to, |sequence| signed(sequence.0).min(to));
    // What is held has an index of its own.
    let (table, condition) = match filter.held {
        Some(_) => (
            "held h CROSS JOIN message m USING (sequence)",
            "h.environment = ?1 AND h.application = ?2 AND h.state = ?5 AND h.sequence >= ?3 \
             AND h.sequence < ?4 ORDER BY h.sequence",
        ),
        None => (
            "message m",
            "?1 IS NOT NULL AND m.application = ?2 AND ?5 IS NULL AND m.sequence >= ?3 \
             AND m.sequence < ?4 ORDER BY m.sequence",
        ),
    };
    let sql = format!("SELECT {HEAD} FROM {table} WHERE {condition} DESC LIMIT {SCAN}");
    let mut walk = c.prepare_cached(&sql)?;
    let of = params![environment.0, application.0.as_bytes(), from, before, filter.held];
    let mut rows = walk.query(of)?;
    let (mut found, mut seen, mut next) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let (sequence, head) = rows::head(row)?;
        seen += 1;
        if filter.fits(&head.event_type, &head.channels, head.accepted) {
            found.push(sequence);
        }
        if found.len() == limit || seen == SCAN {
            next = Some(sequence);
            break;
        }
    }
    let sql = format!(
        "SELECT {MESSAGE}, {HELD} FROM message m LEFT JOIN held h USING (sequence) WHERE m.sequence = ?"
    );
    let mut whole = c.prepare_cached(&sql)?;
    let (mut records, mut bytes): (Vec<MessageRecord>, _) = (Vec::new(), 0);
    for sequence in found {
        // One may have been deleted meanwhile.
        let Some(record) = whole.query_row([signed(sequence.0)], super::read::record).optional()?
        else {
            continue;
        };
        bytes += record.message.payload.len();
        if bytes > PAGE_BYTES
            && let Some(last) = records.last()
        {
            next = Some(last.sequence);
            break;
        }
        records.push(record);
    }
    Ok(Page { records, next })
}

type Place = (Sequence, u32);

/// A page of the endpoint's recorded deliveries, newest message first.
pub fn deliveries_to(
    c: &Connection,
    endpoint: EndpointId,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Page<Summary, Place>> {
    let (from, to) = between(c, filter.after, filter.until)?;
    let before = filter.before.unwrap_or((Sequence(u64::MAX), 0));
    let before = (signed(before.0.0).min(to), if signed(before.0.0) < to { before.1 } else { 0 });
    let all = filter.states.is_empty() || filter.states.contains(&State::Success);
    let (places, next) = match all {
        true => walk_all(c, endpoint, &filter.states, (from, before), limit)?,
        false => walk_states(c, endpoint, &filter.states, (from, before), limit)?,
    };
    let mut records = Vec::with_capacity(places.len());
    for (message, ordinal) in places {
        records.extend(summary(c, DeliveryKey { message, ordinal, endpoint })?);
    }
    records.retain(|summary| {
        let accepted = summary.message.accepted;
        filter.after.is_none_or(|after| accepted >= after)
            && filter.until.is_none_or(|until| accepted < until)
    });
    Ok(Page { records, next })
}

type Range = (i64, (i64, u32));

/// Along the index of all of the endpoint's deliveries; most are in the state that is looked for.
fn walk_all(
    c: &Connection,
    endpoint: EndpointId,
    states: &[State],
    (from, before): Range,
    limit: usize,
) -> Result<(Vec<Place>, Option<Place>)> {
    let sql = format!(
        "SELECT message, ordinal, state FROM delivery INDEXED BY delivery_endpoint
         WHERE endpoint = ? AND message >= ? AND (message, ordinal) < (?, ?)
         ORDER BY message DESC, ordinal DESC LIMIT {SCAN}"
    );
    let mut walk = c.prepare_cached(&sql)?;
    let mut rows = walk.query(params![endpoint.0.as_bytes(), from, before.0, before.1])?;
    let (mut found, mut seen) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let place = (Sequence(row.get::<_, i64>(0)?.unsigned_abs()), row.get(1)?);
        let state = State::from_number(row.get(2)?);
        seen += 1;
        if states.is_empty() || state.is_some_and(|state| states.contains(&state)) {
            found.push(place);
        }
        if found.len() == limit || seen == SCAN {
            return Ok((found, Some(place)));
        }
    }
    Ok((found, None))
}

/// Along the index of what is not delivered, state by state.
fn walk_states(
    c: &Connection,
    endpoint: EndpointId,
    states: &[State],
    (from, before): Range,
    limit: usize,
) -> Result<(Vec<Place>, Option<Place>)> {
    let mut found: Vec<Place> = Vec::new();
    let mut walk = c.prepare_cached(
        "SELECT message, ordinal FROM delivery INDEXED BY delivery_not_delivered
         WHERE endpoint = ? AND state = ? AND state <> 2 AND message >= ? AND (message, ordinal) < (?, ?)
         ORDER BY message DESC, ordinal DESC LIMIT ?",
    )?;
    for state in states {
        let of = params![
            endpoint.0.as_bytes(),
            *state as u8,
            from,
            before.0,
            before.1,
            signed(limit as u64)
        ];
        let places = walk.query_map(of, |row| {
            Ok((Sequence(row.get::<_, i64>(0)?.unsigned_abs()), row.get(1)?))
        })?;
        for place in places {
            found.push(place?);
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.truncate(limit);
    let next = found.last().copied().filter(|_| found.len() == limit);
    Ok((found, next))
}

/// A delivery as a list shows it; none if it was deleted meanwhile.
pub fn summary(c: &Connection, key: DeliveryKey) -> Result<Option<Summary>> {
    let sql = format!(
        "SELECT {HEAD}, d.state, d.due, d.updated, d.attempts,
             1, d.sent, d.latency, d.status, d.failure, d.detail, d.revision, d.headers, d.content
         FROM delivery d JOIN message m ON m.sequence = d.message
         WHERE d.message = ? AND d.endpoint = ? AND d.ordinal = ?"
    );
    let of = params![signed(key.message.0), key.endpoint.0.as_bytes(), key.ordinal];
    let found = c.prepare_cached(&sql)?.query_row(of, |row| {
        let at = rows::BEHIND_HEAD;
        let state = State::from_number(row.get(at)?).unwrap_or(State::Disabled);
        let due = row.get::<_, i64>(at + 1)?.unsigned_abs();
        let sent: Option<i64> = row.get(at + 5)?;
        let message = rows::head(row)?.1;
        let content = rows::content(row, at + 12, None)?;
        let own = content.and_then(|content| content.event_type.clone());
        Ok(Summary {
            key,
            event_type: own.unwrap_or_else(|| message.event_type.clone()),
            message,
            state,
            due: (state == State::Waiting).then_some(due),
            updated: row.get::<_, i64>(at + 2)?.unsigned_abs(),
            attempts: row.get(at + 3)?,
            last: sent.map(|_| rows::attempt(row, at + 4)).transpose()?,
        })
    });
    let Some(mut found) = found.optional()? else { return Ok(None) };
    if found.attempts > 1 {
        let mut last = c.prepare_cached(
            "SELECT number, sent, latency, status, failure, detail, revision, headers FROM attempt
             WHERE message = ?1 AND endpoint = ?2 AND ordinal = ?3 AND number = ?4",
        )?;
        let of =
            params![signed(key.message.0), key.endpoint.0.as_bytes(), key.ordinal, found.attempts];
        found.last = last.query_row(of, |row| rows::attempt(row, 0)).optional()?;
    }
    Ok(Some(found))
}
