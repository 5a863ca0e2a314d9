//! What the writer's operations are in statements.

use super::{
    super::{answers, recovery, rows},
    Applied,
};
use crate::{
    model::{
        Millis,
        catalog::Snapshot,
        delivery::{Delivery, Next, State},
        message::Sequence,
        operation::Operation,
    },
    store::{Accepted, Again, Settlement, Submission, handover::Resent, vault::Vault},
};
use rusqlite::Connection;

/// Makes these due, and keeps the operation, unless it has ended.
pub fn resend(
    c: &Connection,
    catalog: &Snapshot,
    (again, operation): (&[Again], Option<&Operation>),
    mark: Sequence,
    now: Millis,
) -> rusqlite::Result<Vec<Resent>> {
    if let Some(operation) = operation
        && recovery::has_ended(c, operation)?
    {
        return Ok(Vec::new());
    }
    let mut due = Vec::with_capacity(again.len());
    for one in again {
        due.extend(recovery::again(c, catalog, *one, mark, now)?);
    }
    if let Some(operation) = operation {
        recovery::put(c, operation)?;
    }
    Ok(due)
}

/// Appends messages, from the number `next` on.
pub fn insert_messages(
    c: &Connection,
    vault: &Vault,
    messages: &[Submission],
    next: &mut u64,
    now: Millis,
) -> rusqlite::Result<Vec<(Accepted, Sequence)>> {
    let mut accepted = Vec::with_capacity(messages.len());
    for message in messages {
        let sequence = Sequence(*next);
        let result = rows::insert_message(c, sequence, message)?;
        if result == Accepted::New
            && let Some(answer) = &message.answer
        {
            answers::put(c, vault, answer, Some(sequence), now)?;
        }
        *next += u64::from(result == Accepted::New);
        accepted.push((result, sequence));
    }
    Ok(accepted)
}

/// Records an attempt and what follows.
pub fn settle(c: &Connection, settlement: &Settlement, now: Millis) -> rusqlite::Result<Applied> {
    let due = match settlement.next {
        Next::RetryAt(due) => due,
        _ => 0,
    };
    let change = rows::Change {
        delivery: &settlement.delivery,
        state: settlement.next.state(),
        due,
        attempt: settlement.attempt.as_ref(),
        now,
    };
    rows::put_delivery(c, change)?;
    Ok(Applied::Done)
}

/// Gives a delivery a row in which it waits. One that is set aside would never be fetched once its endpoint is
/// disabled or gone: it has ended.
pub fn wait(
    c: &Connection,
    catalog: &Snapshot,
    delivery: &Delivery,
    state: State,
    now: Millis,
) -> rusqlite::Result<Applied> {
    let enabled = || catalog.endpoint(delivery.key.endpoint).is_some_and(|e| e.enabled);
    if state == State::Aside && !enabled() {
        put_row(c, delivery, State::Disabled, now)?;
        return Ok(Applied::Ended);
    }
    put_row(c, delivery, state, now)?;
    Ok(Applied::Done)
}

/// Gives a delivery a row in that state.
pub fn put_row(
    c: &Connection,
    delivery: &Delivery,
    state: State,
    now: Millis,
) -> rusqlite::Result<()> {
    let change = rows::Change { delivery, state, due: delivery.due, attempt: None, now };
    rows::put_delivery(c, change)
}
