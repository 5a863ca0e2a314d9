//! What is deleted because it is old or unwanted: the search for it, and the statements.

use super::{Sqlite, answers, rows::signed, writer::Op};
use crate::{
    model::{Millis, id::EnvironmentId, message::Sequence},
    store::{Forgotten, Page, Retention, StoreError, log::SCAN},
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result, params};

/// How many an answer to the search holds, which bounds a share of a commit.
const CHUNK: usize = 200;

/// After so many messages in a row that are too young, all are: one from a clock that was wrong stops nothing.
const YOUNG: usize = 1_000;

/// Nothing of the message `m` waits, and it does not itself.
const ENDED: &str =
    "NOT EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.sequence AND d.state < 2)
     AND NOT EXISTS (SELECT 1 FROM held h WHERE h.sequence = m.sequence AND h.state NOT IN ('dropped', 'dead'))";

/// Whether the message is there and settled, and nothing of it waits.
fn has_ended(c: &Connection, message: Sequence, mark: Sequence) -> Result<bool> {
    if message >= mark {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM message m WHERE m.sequence = ? AND {ENDED}");
    c.prepare_cached(&sql)?.exists([signed(message.0)])
}

/// Forgets that of these messages; how many.
pub fn forget(
    c: &Connection,
    what: Forgotten,
    messages: &[Sequence],
    mark: Sequence,
) -> Result<u64> {
    let statements: &[&str] = match what {
        Forgotten::Content => &[
            "UPDATE delivery SET payload = NULL WHERE message = ? AND payload IS NOT NULL",
            "UPDATE held SET failure = NULL WHERE sequence = ? AND failure IS NOT NULL",
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
            "DELETE FROM message WHERE sequence = ?",
        ],
    };
    let mut count = 0;
    for message in messages {
        if !has_ended(c, *message, mark)? {
            continue;
        }
        count += 1;
        for sql in statements {
            c.prepare_cached(sql)?.execute([signed(message.0)])?;
        }
    }
    Ok(count)
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
) -> Result<Page<Sequence, Sequence>> {
    let sql = format!(
        "SELECT sequence, environment, accepted FROM message
         WHERE sequence > ? AND sequence < ? ORDER BY sequence LIMIT {SCAN}"
    );
    let mut walk = c.prepare_cached(&sql)?;
    let mut rows = walk.query(params![signed(after.0), signed(mark.0)])?;
    let (mut records, mut seen, mut young) = (Vec::new(), 0, 0);
    while let Some(row) = rows.next()? {
        let sequence = Sequence(row.get::<_, i64>(0)?.unsigned_abs());
        seen += 1;
        if row.get::<_, i64>(2)?.unsigned_abs() >= before {
            young += 1;
            if young == YOUNG {
                return Ok(Page { records, next: None });
            }
            continue;
        }
        young = 0;
        if row.get::<_, u32>(1)? == environment.0 {
            records.push(sequence);
        }
        if records.len() == CHUNK || seen == SCAN {
            return Ok(Page { records, next: Some(sequence) });
        }
    }
    Ok(Page { records, next: None })
}

#[async_trait]
impl Retention for Sqlite {
    async fn aged(
        &self,
        environment: EnvironmentId,
        after: Sequence,
        before: Millis,
    ) -> Result<Page<Sequence, Sequence>, StoreError> {
        let mark = self.handover.front.mark();
        self.readers.read(move |c| aged(c, environment, after, before, mark)).await
    }

    async fn outlived(&self, now: Millis, max: usize) -> Result<Vec<Sequence>, StoreError> {
        let mark = self.handover.front.mark();
        let find = move |c: &Connection| {
            let sql = format!(
                "SELECT sequence FROM message m WHERE content_until <= ? AND sequence < ? AND {ENDED}
                 ORDER BY content_until LIMIT ?"
            );
            let mut find = c.prepare_cached(&sql)?;
            let of = params![signed(now), signed(mark.0), signed(max as u64)];
            let found = find.query_map(of, |row| {
                row.get::<_, i64>(0).map(|number| Sequence(number.unsigned_abs()))
            })?;
            found.collect()
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
