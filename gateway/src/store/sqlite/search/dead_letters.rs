//! Pages of an application's dead letters: what failed at each of its endpoints, along the index of what is not delivered, and
//! what died in its plugins, along that of what is held. They are put together by the number of their message.

use super::{
    super::{
        held::{self, HELD},
        rows::{self, HEAD, signed},
    },
    between, summary,
};
use crate::{
    model::{
        delivery::{DeliveryKey, State},
        id::{ApplicationId, EndpointId, EnvironmentId},
        message::Sequence,
    },
    store::{DeadLetter, DeadLetterFilter, Page, log::SCAN},
};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

/// A dead letter by its key; the order is that of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Message(Sequence),
    Delivery(DeliveryKey),
}

impl Key {
    const fn message(self) -> Sequence {
        match self {
            Self::Message(sequence) => sequence,
            Self::Delivery(key) => key.message,
        }
    }
}

/// What a walk found, and the last message that it saw whole if it did not see all.
type Walked = (Vec<Key>, Option<Sequence>);

/// A page, newest message first.
pub fn page(
    c: &Connection,
    environment: EnvironmentId,
    application: ApplicationId,
    filter: &DeadLetterFilter,
    limit: usize,
) -> Result<Page<DeadLetter, Sequence>> {
    let (from, to) = between(c, filter.after, filter.until)?;
    let before = filter.before.map_or(to, |sequence| signed(sequence.0).min(to));
    let mut walks = Vec::with_capacity(filter.endpoints.len() + 1);
    for endpoint in &filter.endpoints {
        walks.push(failed(c, *endpoint, filter, (from, before), limit)?);
    }
    if filter.messages {
        walks.push(died(c, (environment, application), filter, (from, before), limit)?);
    }
    // Below the highest place at which a walk stopped, others may have more.
    let mut next = walks.iter().filter_map(|(_, stopped)| *stopped).max();
    let mut keys: Vec<Key> = walks.into_iter().flat_map(|(keys, _)| keys).collect();
    keys.retain(|key| next.is_none_or(|next| key.message() >= next));
    keys.sort_unstable_by_key(|key| (std::cmp::Reverse(key.message()), *key));
    if let Some(last) = keys.get(limit.saturating_sub(1)).map(|key| key.message()) {
        let whole = keys.partition_point(|key| key.message() >= last);
        if whole < keys.len() || next.is_some() {
            next = Some(last);
        }
        keys.truncate(whole);
    }
    let mut records = Vec::with_capacity(keys.len());
    for key in keys {
        // One may have been sent again meanwhile.
        records.extend(match key {
            Key::Delivery(key) => summary(c, key)?.map(DeadLetter::Delivery),
            Key::Message(sequence) => message(c, sequence)?,
        });
    }
    Ok(Page { records, next })
}

/// The endpoint's dead letters.
fn failed(
    c: &Connection,
    endpoint: EndpointId,
    filter: &DeadLetterFilter,
    (from, before): (i64, i64),
    limit: usize,
) -> Result<Walked> {
    let sql = format!(
        "SELECT {HEAD}, d.ordinal FROM delivery d INDEXED BY delivery_not_delivered
         CROSS JOIN message m ON m.sequence = d.message
         WHERE d.endpoint = ? AND d.state = ? AND d.state <> 2 AND d.message >= ? AND d.message < ?
         ORDER BY d.message DESC"
    );
    let mut found = c.prepare_cached(&sql)?;
    let of = params![endpoint.0.as_bytes(), State::Failed as u8, from, before];
    walk(found.query(of)?, filter, limit, |row, message| {
        let ordinal = row.get(rows::BEHIND_HEAD)?;
        Ok(Key::Delivery(DeliveryKey { message, ordinal, endpoint }))
    })
}

/// The application's messages that died.
fn died(
    c: &Connection,
    (environment, application): (EnvironmentId, ApplicationId),
    filter: &DeadLetterFilter,
    (from, before): (i64, i64),
    limit: usize,
) -> Result<Walked> {
    let sql = format!(
        "SELECT {HEAD} FROM held h CROSS JOIN message m USING (sequence)
         WHERE h.environment = ? AND h.application = ? AND h.state = 'dead' AND h.sequence >= ? AND h.sequence < ?
         ORDER BY h.sequence DESC"
    );
    let mut found = c.prepare_cached(&sql)?;
    let of = params![environment.0, application.0.as_bytes(), from, before];
    walk(found.query(of)?, filter, limit, |_, message| Ok(Key::Message(message)))
}

/// Walks rows that begin with a message's head, until enough are found or looked at. A message is never parted.
fn walk(
    mut rows: rusqlite::Rows<'_>,
    filter: &DeadLetterFilter,
    limit: usize,
    key: impl Fn(&Row<'_>, Sequence) -> Result<Key>,
) -> Result<Walked> {
    let (mut keys, mut seen, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let (message, head) = rows::head(row)?;
        let enough = keys.len() >= limit || seen >= SCAN;
        if enough && last.is_some_and(|last| last != message) {
            return Ok((keys, last));
        }
        (last, seen) = (Some(message), seen + 1);
        if filter.fits(&head) {
            keys.push(key(row, message)?);
        }
    }
    Ok((keys, None))
}

fn message(c: &Connection, sequence: Sequence) -> Result<Option<DeadLetter>> {
    let sql = format!(
        "SELECT {HEAD}, {HELD} FROM held h CROSS JOIN message m USING (sequence)
         WHERE h.sequence = ? AND h.state = 'dead'"
    );
    let found = c.prepare_cached(&sql)?.query_row([signed(sequence.0)], |row| {
        let held = held::held(row, rows::BEHIND_HEAD)?;
        let head = rows::head(row)?.1;
        Ok(held.map(|(held, noted)| DeadLetter::Message(head, held, noted)))
    });
    Ok(found.optional()?.flatten())
}
