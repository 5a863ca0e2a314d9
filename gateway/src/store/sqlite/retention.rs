//! What is deleted because it is old or unwanted: the search for it, and the statements.

use super::{Sqlite, answers, disorder, rows::signed, writer::Op};
use crate::{
    model::{Millis, id::EnvironmentId, message::Sequence},
    store::{Aged, Forgotten, Retention, StoreError, front::Front, handover::emptied, log::SCAN},
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result, params};

/// How many an answer to the search holds, which bounds a share of a commit.
const CHUNK: usize = 200;

/// After so many messages in a row that are too young, all are: one from a clock that was wrong stops nothing.
const YOUNG: usize = 1_000;

/// Nothing of the message `m` waits, and it does not itself, but for a person or a new plugin.
const ENDED: &str =
    "NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.sequence AND d.state < 2)
     AND NOT EXISTS (SELECT 1 FROM held h WHERE h.sequence = m.sequence
         AND h.state NOT IN ('dropped', 'dead', 'cancelled', 'expired', 'parked'))";

/// Whether the message is there and settled, and nothing of it waits.
fn has_ended(c: &Connection, message: Sequence, front: &Front) -> Result<bool> {
    if !front.is_settled(message) {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM message m WHERE m.sequence = ? AND {ENDED}");
    c.prepare_cached(&sql)?.exists([signed(message.0)])
}

/// Forgets that of these messages; how many, and how many of them were parked and are not any more.
pub fn forget(
    c: &Connection,
    what: Forgotten,
    messages: &[Sequence],
    front: &Front,
    now: Millis,
) -> Result<(u64, u64)> {
    let statements: &[&str] = match what {
        Forgotten::Content => &[
            "UPDATE delivery SET payload = NULL WHERE message = ? AND payload IS NOT NULL",
            "UPDATE held SET failure = NULL WHERE sequence = ? AND failure IS NOT NULL",
            "DELETE FROM passed_over WHERE message = ?",
            "UPDATE message SET payload = x'', attributes = NULL, content_until = NULL WHERE sequence = ?",
        ],
        Forgotten::Attempts => &[
            "DELETE FROM attempt WHERE message = ?",
            "UPDATE delivery SET sent = NULL, latency = NULL, status = NULL, failure = NULL, detail = NULL,
                 revision = NULL, headers = NULL WHERE message = ?",
        ],
        Forgotten::All => &[
            "DELETE FROM attempt WHERE message = ?",
            "DELETE FROM delivery WHERE message = ?",
            "DELETE FROM held WHERE sequence = ?",
            "DELETE FROM passed_over WHERE message = ?",
            "DELETE FROM message WHERE sequence = ?",
        ],
    };
    let (mut count, mut emptied) = (0, 0);
    for message in messages {
        if !has_ended(c, *message, front)? {
            continue;
        }
        count += 1;
        if what != Forgotten::Attempts {
            emptied += empty(c, *message, now)?;
        }
        for sql in statements {
            c.prepare_cached(sql)?.execute([signed(message.0)])?;
        }
    }
    Ok((count, emptied))
}

/// Drops the message if it is parked; whether it was.
fn empty(c: &Connection, message: Sequence, now: Millis) -> Result<u64> {
    let dropped = emptied();
    let mut update = c.prepare_cached(
        "UPDATE held SET state = ?, kind = NULL, reason = ?, noted = ?, endpoint = NULL
         WHERE sequence = ? AND state = 'parked'",
    )?;
    let of = params![dropped.state(), dropped.reason(), signed(now), signed(message.0)];
    update.execute(of).map(|count| count as u64)
}

fn note(what: Forgotten, environment: EnvironmentId) -> String {
    format!("forgotten {} {}", what.name(), environment.0)
}

/// Notes how far the environment's messages have come.
pub fn put_upto(
    c: &Connection,
    what: Forgotten,
    environment: EnvironmentId,
    upto: Sequence,
) -> Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")?
        .execute(params![note(what, environment), signed(upto.0)])
        .map(|_| ())
}

/// Deletes answers and operations of before their times; how many.
pub fn forget_answers(
    c: &Connection,
    (answers, operations): (Millis, Millis),
    max: usize,
) -> Result<u64> {
    let count = answers::forget(c, answers, max)?;
    let mut delete = c.prepare_cached(
        "DELETE FROM operation WHERE id IN (SELECT id FROM operation
             WHERE NOT running AND json_extract(document, '$.updated') < ? LIMIT ?)",
    )?;
    let operations = delete.execute(params![signed(operations), signed(max as u64)])?;
    Ok(count + operations as u64)
}

fn aged(
    c: &Connection,
    environment: EnvironmentId,
    after: Sequence,
    before: Millis,
    mark: Sequence,
) -> Result<Aged> {
    let sql = format!(
        "SELECT sequence, environment, accepted FROM message
         WHERE sequence > ? AND sequence < ? ORDER BY sequence LIMIT {SCAN}"
    );
    let mut walk = c.prepare_cached(&sql)?;
    let mut rows = walk.query(params![signed(after.0), signed(mark.0)])?;
    let (mut aged, mut seen, mut young) = (Aged::default(), 0, 0);
    while let Some(row) = rows.next()? {
        let sequence = Sequence(row.get::<_, i64>(0)?.unsigned_abs());
        seen += 1;
        let is_young = row.get::<_, i64>(2)?.unsigned_abs() >= before;
        if is_young {
            young += 1;
        } else {
            aged.passed_over |= young > 0;
            young = 0;
            if row.get::<_, u32>(1)? == environment.0 {
                aged.records.push(sequence);
            }
        }
        if young == YOUNG {
            // A clock that was set right has older ones behind.
            let back = disorder::all(c)?.into_iter();
            let back = back.filter(|at| (sequence.0 + 1..mark.0).contains(at)).min();
            aged.next = back.map(|at| Sequence(at - 1));
        } else if aged.records.len() == CHUNK || seen == SCAN {
            aged.next = Some(sequence);
        } else {
            continue;
        }
        aged.passed_over |= young > 0 && aged.next.is_some();
        return Ok(aged);
    }
    Ok(aged)
}

#[async_trait]
impl Retention for Sqlite {
    async fn aged(
        &self,
        environment: EnvironmentId,
        after: Sequence,
        before: Millis,
    ) -> Result<Aged, StoreError> {
        let mark = self.handover.front.mark();
        self.readers.read(move |c| aged(c, environment, after, before, mark)).await
    }

    async fn outlived(&self, now: Millis, max: usize) -> Result<Vec<Sequence>, StoreError> {
        let handover = self.handover.clone();
        let find = move |c: &Connection| {
            let sql = format!(
                "SELECT sequence FROM message m WHERE content_until <= ? AND {ENDED}
                 ORDER BY content_until"
            );
            let mut find = c.prepare_cached(&sql)?;
            let found = find.query_map([signed(now)], |row| {
                row.get::<_, i64>(0).map(|number| Sequence(number.unsigned_abs()))
            })?;
            let settled = |found: &Result<Sequence>| {
                found.as_ref().map_or(true, |message| handover.front.is_settled(*message))
            };
            found.filter(settled).take(max).collect()
        };
        self.readers.read(find).await
    }

    async fn forget(
        &self,
        what: Forgotten,
        messages: Vec<Sequence>,
        upto: Option<(EnvironmentId, Sequence)>,
    ) -> Result<u64, StoreError> {
        self.ask(|reply| Op::Forget(what, messages, upto, reply)).await
    }

    async fn forgotten_upto(
        &self,
        what: Forgotten,
        environment: EnvironmentId,
    ) -> Result<Sequence, StoreError> {
        let find = move |c: &Connection| {
            let mut find = c.prepare_cached("SELECT value FROM meta WHERE name = ?")?;
            find.query_row([note(what, environment)], |row| row.get::<_, i64>(0)).optional()
        };
        let found = self.readers.read(find).await?;
        Ok(Sequence(found.unwrap_or(0).unsigned_abs()))
    }

    async fn forget_answers(
        &self,
        answers: Millis,
        operations: Millis,
        max: usize,
    ) -> Result<u64, StoreError> {
        self.ask(|reply| Op::ForgetAnswers((answers, operations), max, reply)).await
    }
}
