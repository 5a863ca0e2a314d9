//! Statements: nouns to rows and back. One function per statement, each prepared once per connection.

use crate::invariant::{Invariant, check};
use crate::model::{
    Millis,
    attempt::{Answer, Attempt, Failure, Outcome},
    delivery::{Content, Delivery, DeliveryKey, State},
    id::{ApplicationId, Digest, EndpointId, EnvironmentId, MessageId},
    message::{Attributes, Head, Message, Sequence},
    name::{Channel, EventType, OrderingKey, Uid},
};
use crate::store::{Accepted, Submission, waiting::ahead::Place};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

/// SQLite's integers are signed; ours here never reach the sign.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number in that column.
pub fn unsigned(row: &Row<'_>, index: usize) -> Result<u64> {
    row.get::<_, i64>(index).map(|n| u64::try_from(n).unwrap_or(0))
}

/// What is in that column is not what it must be.
pub fn bad(index: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Blob, what.into())
}

/// The id in that column.
pub fn uuid(row: &Row<'_>, index: usize) -> Result<Uuid> {
    let bytes = row.get_ref(index)?.as_blob().map_err(|_| bad(index, "an id is a blob"))?;
    Uuid::from_slice(bytes).map_err(|_| bad(index, "an id has 16 bytes"))
}

/// Appends a message, unless its key or its uid is taken.
pub fn insert_message(c: &Connection, sequence: Sequence, sent: &Submission) -> Result<Accepted> {
    let Submission { message: m, idempotency_key, .. } = sent;
    let channels = (!m.channels.is_empty()).then(|| json(&m.channels));
    let attributes = m.attributes_text();
    let inserted = c
        .prepare_cached(
            "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
                 ?13, ?14, ?15)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            signed(sequence.0),
            m.id.0.as_bytes(),
            m.environment.0,
            m.application.0.as_bytes(),
            m.uid.as_deref(),
            &*m.event_type,
            channels,
            signed(m.accepted),
            &m.payload[..],
            idempotency_key.as_deref(),
            attributes,
            m.content_until.map(signed),
            m.deliver_at.map(signed),
            m.expires_at.map(signed),
            m.ordering_key.as_deref(),
        ])?;
    if inserted == 1 {
        return Ok(Accepted::New);
    }
    let mut find = c.prepare_cached(
        "SELECT id FROM message
         WHERE environment = ? AND application = ? AND idempotency_key = ?",
    )?;
    let key = params![m.environment.0, m.application.0.as_bytes(), idempotency_key.as_deref()];
    if let Some(first) = find.query_row(key, |row| uuid(row, 0)).optional()? {
        return Ok(Accepted::Repeated(MessageId(first)));
    }
    let mut find = c.prepare_cached(
        "SELECT id FROM message WHERE environment = ? AND application = ? AND uid = ?",
    )?;
    let key = params![m.environment.0, m.application.0.as_bytes(), m.uid.as_deref()];
    find.query_row(key, |row| uuid(row, 0).map(|id| Accepted::Duplicate(MessageId(id))))
}

/// The columns `message` reads, for every statement that gives messages.
pub const MESSAGE: &str = "m.sequence, m.id, m.environment, m.application, m.uid, m.event_type, \
                           m.channels, m.accepted, m.payload, m.attributes, m.content_until, \
                           m.deliver_at, m.expires_at, m.ordering_key";
/// The first column behind them.
pub const BEHIND: usize = 14;

/// A message from the columns `MESSAGE`, which stand first.
pub fn message(row: &Row<'_>) -> Result<(Sequence, Message)> {
    let name = |_| bad(5, "a name is legal");
    let attributes = match row.get_ref(9)?.as_str_or_null().map_err(|_| bad(9, "text"))? {
        None => Attributes::new(),
        Some(text) => serde_json::from_str(text).map_err(|_| bad(9, "attributes"))?,
    };
    let (uid, ordering_key): (Option<String>, Option<String>) = (row.get(4)?, row.get(13)?);
    let message = Message {
        environment: EnvironmentId(row.get(2)?),
        application: ApplicationId(uuid(row, 3)?),
        id: MessageId(uuid(row, 1)?),
        uid: uid.map(|text| Uid::new(&text)).transpose().map_err(name)?,
        event_type: EventType::new(&row.get::<_, String>(5)?).map_err(name)?,
        channels: channels(row, 6)?,
        accepted: unsigned(row, 7)?,
        payload: row.get::<_, Vec<u8>>(8)?.into(),
        attributes,
        content_until: row.get::<_, Option<i64>>(10)?.map(i64::unsigned_abs),
        deliver_at: row.get::<_, Option<i64>>(11)?.map(i64::unsigned_abs),
        expires_at: row.get::<_, Option<i64>>(12)?.map(i64::unsigned_abs),
        ordering_key: ordering_key.map(|text| OrderingKey::new(&text)).transpose().map_err(name)?,
    };
    Ok((Sequence(unsigned(row, 0)?), message))
}

/// The columns `head` reads: what tells a message from others. They stand first.
pub const HEAD: &str = "m.sequence, m.id, m.uid, m.event_type, m.channels, m.accepted";
/// The first column behind them.
pub const BEHIND_HEAD: usize = 6;

/// A message's head from the columns `HEAD`.
pub fn head(row: &Row<'_>) -> Result<(Sequence, Head)> {
    let uid: Option<String> = row.get(2)?;
    let name = |_| bad(3, "a name is legal");
    let head = Head {
        id: MessageId(uuid(row, 1)?),
        uid: uid.map(|text| Uid::new(&text)).transpose().map_err(name)?,
        event_type: EventType::new(&row.get::<_, String>(3)?).map_err(name)?,
        channels: channels(row, 4)?,
        accepted: unsigned(row, 5)?,
    };
    Ok((Sequence(unsigned(row, 0)?), head))
}

fn channels(row: &Row<'_>, at: usize) -> Result<Vec<Channel>> {
    match row.get_ref(at)?.as_str_or_null().map_err(|_| bad(at, "text"))? {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(|_| bad(at, "channels")),
    }
}

/// How a delivery's row changes.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Which delivery.
    pub delivery: &'a Delivery,
    /// Its state from now on.
    pub state: State,
    /// When it is due, while it waits.
    pub due: Millis,
    /// How many attempts the retry schedule does not count.
    pub spent: u32,
    /// The attempt that led here.
    pub attempt: Option<&'a Attempt>,
    /// Now.
    pub now: Millis,
}

#[derive(Serialize, Deserialize, Default)]
struct StoredContent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<EventType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
}

/// Writes a delivery's row: a new one, or the one it had.
pub fn put_delivery(c: &Connection, change: Change<'_>) -> Result<()> {
    let Change { delivery, state, due, spent, attempt, now } = change;
    let key = delivery.key;
    let retry = attempt.filter(|attempt| attempt.number > 1);
    if let Some(attempt) = retry {
        check_number(c, key, attempt.number)?;
    }
    let content = delivery.content.as_deref();
    let stored = content.map(|content| {
        json(&StoredContent {
            event_type: content.event_type.clone(),
            content_type: content.content_type.clone(),
            headers: content.headers.clone(),
            ordering_key: content.ordering_key.clone(),
        })
    });
    let payload = content.and_then(|content| content.payload.as_deref());
    let first = attempt.filter(|attempt| attempt.number == 1);
    let (status, failure, detail, headers) =
        first.map_or((None, None, None, None), |a| outcome_columns(&a.outcome));
    c.prepare_cached(
        "INSERT INTO delivery VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
             ?16, ?17, ?18)
         ON CONFLICT DO UPDATE SET state = excluded.state, attempts = excluded.attempts,
             due = excluded.due, updated = excluded.updated, spent = max(spent, excluded.spent), sent = coalesce(excluded.sent, sent),
             latency = coalesce(excluded.latency, latency), status = coalesce(excluded.status, status),
             failure = coalesce(excluded.failure, failure), detail = coalesce(excluded.detail, detail),
             revision = coalesce(excluded.revision, revision),
             headers = coalesce(excluded.headers, headers)",
    )?
    .execute(params![
        signed(key.message.0),
        key.endpoint.0.as_bytes(),
        key.ordinal,
        state as u8,
        attempt.map_or(delivery.attempts, |attempt| attempt.number),
        signed(due),
        signed(now),
        delivery.plugin.as_ref().map(|digest| &digest.0[..]),
        stored,
        payload,
        first.map(|attempt| signed(attempt.at)),
        first.map(|attempt| attempt.latency),
        status,
        failure,
        detail,
        first.and_then(|attempt| attempt.revision).map(signed),
        headers,
        spent,
    ])?;
    match retry {
        Some(attempt) => insert_attempt(c, key, attempt),
        None => Ok(()),
    }
}

/// The delivery of a dead letter that goes on, with the next ordinal of its kind.
pub fn numbered(c: &Connection, onward: Delivery) -> Result<Delivery> {
    let mut find = c.prepare_cached(
        "SELECT max(ordinal) FROM delivery WHERE message = ? AND endpoint = ? AND ordinal >= ?",
    )?;
    let DeliveryKey { message, endpoint, ordinal } = onward.key;
    let of = params![signed(message.0), endpoint.0.as_bytes(), ordinal];
    let last: Option<u32> = find.query_row(of, |row| row.get(0))?;
    let ordinal = last.map_or(ordinal, |last| last + 1);
    Ok(Delivery { key: DeliveryKey { ordinal, ..onward.key }, ..onward })
}

/// I2, where it could be broken: a first attempt follows nothing and pays for no reading.
fn check_number(c: &Connection, key: DeliveryKey, number: u32) -> Result<()> {
    let mut find = c.prepare_cached(
        "SELECT attempts FROM delivery WHERE message = ? AND endpoint = ? AND ordinal = ?",
    )?;
    let row = params![signed(key.message.0), key.endpoint.0.as_bytes(), key.ordinal];
    let recorded: Option<u32> = find.query_row(row, |row| row.get(0)).optional()?;
    check(Invariant::AttemptsWithoutGaps, recorded == Some(number - 1), || {
        format!("attempt {number} of {key:?} follows {recorded:?}")
    });
    Ok(())
}

fn insert_attempt(c: &Connection, key: DeliveryKey, attempt: &Attempt) -> Result<()> {
    let (status, failure, detail, headers) = outcome_columns(&attempt.outcome);
    c.prepare_cached(
        "INSERT OR IGNORE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        signed(key.message.0),
        key.endpoint.0.as_bytes(),
        key.ordinal,
        attempt.number,
        signed(attempt.at),
        attempt.latency,
        status,
        failure,
        detail,
        attempt.revision.map(signed),
        headers,
    ])?;
    Ok(())
}

type OutcomeColumns<'a> = (Option<u16>, Option<&'static str>, Option<&'a [u8]>, Option<&'a str>);

fn outcome_columns(outcome: &Outcome) -> OutcomeColumns<'_> {
    match outcome {
        Outcome::Answered(answer) => {
            let body = (!answer.body.is_empty()).then_some(&answer.body[..]);
            let headers = (!answer.headers.is_empty()).then_some(&*answer.headers);
            (Some(answer.status), None, body, headers)
        }
        Outcome::Failed { class, detail } => {
            (None, Some(class.name()), Some(detail.as_bytes()), None)
        }
    }
}

/// The attempt in the columns from `at` on: number, sent, latency, status, failure, detail, revision, headers.
pub fn attempt(row: &Row<'_>, at: usize) -> Result<Attempt> {
    let detail: Option<Vec<u8>> = row.get(at + 5)?;
    let failure: Option<String> = row.get(at + 4)?;
    let outcome = match failure {
        Some(name) => Outcome::Failed {
            class: Failure::from_name(&name).unwrap_or(Failure::Protocol),
            detail: String::from_utf8_lossy(&detail.unwrap_or_default()).into_owned(),
        },
        None => Outcome::Answered(Answer {
            status: row.get::<_, Option<u16>>(at + 3)?.unwrap_or(0),
            retry_after: None,
            headers: row.get::<_, Option<String>>(at + 7)?.unwrap_or_default(),
            body: detail.unwrap_or_default(),
        }),
    };
    Ok(Attempt {
        number: row.get(at)?,
        at: unsigned(row, at + 1)?,
        latency: row.get(at + 2)?,
        revision: row.get::<_, Option<i64>>(at + 6)?.map(i64::unsigned_abs),
        outcome,
    })
}

/// A delivery's key in the columns from `at` on: message, endpoint, ordinal.
pub fn key(row: &Row<'_>, at: usize) -> Result<DeliveryKey> {
    Ok(DeliveryKey {
        message: Sequence(unsigned(row, at)?),
        endpoint: EndpointId(uuid(row, at + 1)?),
        ordinal: row.get(at + 2)?,
    })
}

/// A place in the order in which deliveries are due, as the columns due, message, ordinal and endpoint.
pub fn place((due, key): Place<DeliveryKey>) -> (i64, i64, u32, Vec<u8>) {
    match key {
        // Before all that are due then.
        None => (signed(due), -1, 0, Vec::new()),
        Some(key) => {
            (signed(due), signed(key.message.0), key.ordinal, key.endpoint.0.as_bytes().to_vec())
        }
    }
}

/// A delivery that has not ended.
pub static READ_DELIVERY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {MESSAGE}, d.attempts, d.due, d.plugin, d.content, d.payload, d.spent
         FROM delivery d JOIN message m ON m.sequence = d.message
         WHERE d.message = ? AND d.endpoint = ? AND d.ordinal = ? AND d.state < 2"
    )
});

/// Reads a delivery's row back, to attempt it again. None if it has been deleted or has ended.
pub fn read_delivery(c: &Connection, wanted: DeliveryKey) -> Result<Option<Arc<Delivery>>> {
    let mut statement = c.prepare_cached(&READ_DELIVERY)?;
    let wanted_row =
        params![signed(wanted.message.0), wanted.endpoint.0.as_bytes(), wanted.ordinal];
    let delivery = statement.query_row(wanted_row, |row| {
        let plugin: Option<[u8; 32]> = row.get(BEHIND + 2)?;
        Ok(Arc::new(Delivery {
            key: wanted,
            message: Arc::new(message(row)?.1),
            content: content(row, BEHIND + 3, row.get(BEHIND + 4)?)?,
            plugin: plugin.map(Digest),
            attempts: row.get(BEHIND)?,
            spent: row.get(BEHIND + 5)?,
            due: unsigned(row, BEHIND + 1)?,
        }))
    });
    delivery.optional()
}

/// What the plugin wanted different, from the column `at`, with that payload.
pub fn content(row: &Row<'_>, at: usize, payload: Option<Vec<u8>>) -> Result<Option<Arc<Content>>> {
    let Some(stored) = row.get::<_, Option<String>>(at)? else { return Ok(None) };
    let stored: StoredContent = serde_json::from_str(&stored).map_err(|_| bad(at, "content"))?;
    Ok(Some(Arc::new(Content {
        event_type: stored.event_type,
        content_type: stored.content_type,
        payload: payload.map(Into::into),
        headers: stored.headers,
        ordering_key: stored.ordering_key,
    })))
}

/// A document of ours as JSON text; ours always serialise.
pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
