//! Answers that are given again, as rows.

use super::{
    Sqlite,
    rows::{self, signed},
    writer::Op,
};
use crate::{
    model::{
        Millis,
        id::{Digest, EnvironmentId},
        message::Sequence,
    },
    store::{Answers, KeptAnswer, Once, StoreError, complete, vault::Vault},
};
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Result, params};

/// Keeps an answer; that to a message with its number. Others are sealed: some show a key or a secret, this once.
pub fn put(
    c: &Connection,
    vault: &Vault,
    answer: &KeptAnswer,
    message: Option<Sequence>,
    now: Millis,
) -> Result<()> {
    let Once { environment, key, fingerprint } = answer.once;
    let body = match message {
        Some(_) => answer.body.to_vec(),
        None => vault.seal(&key.0, &answer.body),
    };
    c.prepare_cached("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            environment.0,
            &key.0[..],
            &fingerprint.0[..],
            signed(now),
            answer.status,
            body,
            message.map(|sequence| signed(sequence.0)),
        ])
        .map(|_| ())
}

fn find(
    c: &Connection,
    vault: &Vault,
    environment: EnvironmentId,
    key: Digest,
    since: Millis,
) -> Result<Option<KeptAnswer>> {
    let mut find = c.prepare_cached(
        "SELECT a.fingerprint, a.status, a.body, a.message IS NOT NULL, m.payload, m.attributes
         FROM answer a LEFT JOIN message m ON m.sequence = a.message
         WHERE a.environment = ? AND a.key = ? AND a.created >= ?",
    )?;
    let of = params![environment.0, &key.0[..], signed(since)];
    let found = find.query_row(of, |row| {
        let mut body: Vec<u8> = row.get(2)?;
        if !row.get::<_, bool>(3)? {
            body = vault.open(&key.0, &body).map_err(|_| rows::bad(2, "a sealed answer"))?;
        } else {
            // Its content may be gone.
            let payload: Option<Vec<u8>> = row.get(4)?;
            let attributes: Option<String> = row.get(5)?;
            complete(&mut body, attributes.as_deref(), payload.as_deref().unwrap_or_default());
        }
        let once = Once { environment, key, fingerprint: Digest(row.get(0)?) };
        Ok(KeptAnswer { once, status: row.get(1)?, body: Bytes::from(body) })
    });
    found.optional()
}

/// Deletes at most `max` answers that were kept before that time; how many.
pub fn forget(c: &Connection, before: Millis, max: usize) -> Result<u64> {
    let mut delete = c.prepare_cached(
        "DELETE FROM answer WHERE (environment, key) IN
             (SELECT environment, key FROM answer WHERE created < ? ORDER BY created LIMIT ?)",
    )?;
    delete.execute(params![signed(before), signed(max as u64)]).map(|count| count as u64)
}

#[async_trait]
impl Answers for Sqlite {
    async fn answer(
        &self,
        environment: EnvironmentId,
        key: Digest,
        since: Millis,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let vault = self.vault.clone();
        self.readers.read(move |c| find(c, &vault, environment, key, since)).await
    }

    async fn keep(&self, answer: KeptAnswer) -> Result<(), StoreError> {
        self.ask(|reply| Op::Keep(Box::new(answer), reply)).await
    }
}
