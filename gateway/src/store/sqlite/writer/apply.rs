//! What the writer's operations are in statements.

use super::{
    super::{answers, changes, health, held, keyvalue, recovery, retention, rows},
    Applied,
};
use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Conflict, Snapshot},
        delivery::{Delivery, DeliveryKey, Next, State},
        id::{EnvironmentId, MessageId},
        keyvalue::Write,
        message::{Message, Sequence},
        notice::{self, Notice},
        operation::Operation,
    },
    store::{
        self, Accepted, Again, AnswerBy, BatchAnswer, Began, Forgotten, HealthNote, KeptAnswer,
        Settlement, Submission,
        front::Front,
        handover::{Found, Handover, Resent, follows},
        onward::onward,
        vault::Vault,
    },
};
use rusqlite::Connection;
use std::{collections::HashSet, sync::Arc};

/// Makes these due, and keeps the operation, unless it has ended or may not begin; and the answer.
pub fn resend(
    c: &Connection,
    catalog: &Snapshot,
    vault: &Vault,
    (again, operation, answer): (&[Again], Option<&Operation>, Option<&KeptAnswer>),
    (handover, resent): (&Handover, &mut HashSet<DeliveryKey>),
    now: Millis,
) -> rusqlite::Result<Applied> {
    if let Some(operation) = operation {
        if let Some(refusal) = recovery::refusal(c, operation)? {
            return Ok(Applied::Refused(refusal));
        }
        if recovery::has_ended(c, operation)? {
            return Ok(Applied::Resent(Vec::new()));
        }
    }
    if let Some(answer) = answer {
        answers::put(c, vault, answer, None, now)?;
    }
    let mut due = Vec::with_capacity(again.len());
    let mut busy = None;
    for one in again {
        match recovery::again(c, catalog, *one, handover, now)? {
            Found::Due(one) => {
                // Its attempt may end in this very batch.
                if let Resent::Delivery(key, Some(before), _) = one
                    && !handover.waiting().waits(key, before)
                {
                    resent.insert(key);
                }
                due.push(one);
            }
            Found::Nothing => {}
            Found::Busy => {
                busy = Some(*one);
                break;
            }
        }
    }
    if let Some(operation) = operation {
        recovery::put(c, &operation.after(due.len() as u64, busy.map(|one| one.message())))?;
    }
    Ok(Applied::Resent(due))
}

/// Begins those of these operations that may, and keeps the answer that says which.
pub fn begin(
    c: &Connection,
    vault: &Vault,
    (operations, answer): (&[Operation], Option<&AnswerBy<Began>>),
    now: Millis,
) -> rusqlite::Result<Applied> {
    let mut running = recovery::running(c)?;
    let mut began = Vec::with_capacity(operations.len());
    for operation in operations {
        let refusal = store::recovery::refusal(operation, &running);
        if refusal.is_none() {
            recovery::put(c, operation)?;
            running.push(operation.clone());
        }
        began.push(refusal.map_or(Ok(()), Err));
    }
    if let Some(answer) = answer {
        answers::put(c, vault, &answer.kept(&began), None, now)?;
    }
    Ok(Applied::Began(began))
}

/// Appends messages, from the number `next` on, and keeps the answer to all of them.
pub fn insert_messages(
    c: &Connection,
    vault: &Vault,
    (messages, answer): (&[Submission], Option<&BatchAnswer>),
    next: &mut u64,
    now: Millis,
) -> rusqlite::Result<Vec<(Accepted, Sequence)>> {
    let mut accepted = Vec::with_capacity(messages.len());
    for message in messages {
        let sequence = Sequence(*next);
        let result = rows::insert_message(c, sequence, message)?;
        if result == Accepted::New
            && let Some(due) = message.message.deliver_at
        {
            held::schedule(c, sequence, &message.message, due, now)?;
        }
        if result == Accepted::New
            && let Some(answer) = &message.answer
        {
            answers::put(c, vault, answer, Some(sequence), now)?;
        }
        *next += u64::from(result == Accepted::New);
        accepted.push((result, sequence));
    }
    if let Some(answer) = answer {
        let each: Vec<_> = accepted.iter().map(|(accepted, _)| *accepted).collect();
        answers::put(c, vault, &answer.kept(&each), None, now)?;
    }
    Ok(accepted)
}

/// Appends a message of the gateway's own; its number.
fn tell(c: &Connection, message: &Arc<Message>, next: &mut u64) -> rusqlite::Result<Sequence> {
    let sequence = Sequence(*next);
    // Its id is new, and it has no uid that could be taken.
    let _new = rows::insert_message(c, sequence, &message.clone().into())?;
    *next += 1;
    Ok(sequence)
}

/// Applies a change that keeps the rules, and tells operators who listen.
pub fn alter(
    c: &Connection,
    vault: &Vault,
    draft: &mut Snapshot,
    change: &Change,
    next: &mut u64,
    (handover, now): (&Handover, Millis),
) -> rusqlite::Result<Applied> {
    let notices = notice::of_change(draft, change);
    let environment = draft.environment_of(change);
    let effects = changes::apply(c, vault, draft, change, (handover, now))?;
    let told = match environment {
        Some(environment) if !notices.is_empty() => tell_of(c, draft, &notices, environment, next)?,
        _ => Vec::new(),
    };
    Ok(Applied::Changed(effects, told))
}

/// What a change that was applied is to operators who listen, appended as messages.
fn tell_of(
    c: &Connection,
    catalog: &Snapshot,
    notices: &[Notice],
    environment: EnvironmentId,
    next: &mut u64,
) -> rusqlite::Result<Vec<(Sequence, Arc<Message>)>> {
    let Some(listeners) = notice::listeners(catalog, environment) else { return Ok(Vec::new()) };
    let (messages, now) = (notices.iter(), clock::accepted());
    let messages =
        messages.filter_map(|notice| notice.message(listeners, MessageId(clock::id()), now));
    let told = messages.map(Arc::new).map(|message| Ok((tell(c, &message, next)?, message)));
    told.collect()
}

/// Records an attempt and what follows, tells operators who listen, and lets a dead letter go on.
pub fn settle(
    c: &Connection,
    catalog: &Snapshot,
    (settlement, resent): (&Settlement, bool),
    next: &mut u64,
    now: Millis,
) -> rusqlite::Result<Applied> {
    let follows = follows(catalog, settlement, resent, now);
    let due = match follows.next {
        Next::RetryAt(due) => due,
        _ => 0,
    };
    let change = rows::Change {
        delivery: &settlement.delivery,
        state: follows.next.state(),
        due,
        spent: follows.spent,
        attempt: settlement.attempt.as_ref(),
        now,
    };
    rows::put_delivery(c, change)?;
    let told = follows.notice(settlement).map(|message| tell(c, message, next)).transpose()?;
    let onward = match onward(catalog, settlement, follows, now) {
        None => None,
        Some((onward, state)) => {
            let onward = rows::numbered(c, onward)?;
            put_row(c, &onward, state, now)?;
            Some((Arc::new(onward), state))
        }
    };
    Ok(Applied::Settled(follows, told, onward))
}

/// Keeps how an endpoint's health is, and tells operators who listen; unless that is of the past.
pub fn keep_health(
    c: &Connection,
    catalog: &Snapshot,
    HealthNote { endpoint, trouble, notice }: &HealthNote,
    next: &mut u64,
) -> rusqlite::Result<Applied> {
    let known = catalog.endpoint(*endpoint);
    if known.is_none_or(|known| known.renewed != trouble.renewed) {
        return Ok(Applied::Noted(None));
    }
    health::put(c, *endpoint, trouble)?;
    notice.as_ref().map(|message| tell(c, message, next)).transpose().map(Applied::Noted)
}

/// Forgets that of these messages, and notes how far the environment's have come.
pub fn forget(
    c: &Connection,
    (what, messages, upto): (Forgotten, &[Sequence], Option<(EnvironmentId, Sequence)>),
    front: &Front,
    now: Millis,
) -> rusqlite::Result<Applied> {
    if let Some((environment, upto)) = upto {
        retention::put_upto(c, what, environment, upto)?;
    }
    let (count, emptied) = retention::forget(c, what, messages, front, now)?;
    Ok(Applied::Forgotten(count, emptied))
}

/// Writes what a plugin remembers, unless its application is gone.
pub fn remember(
    c: &Connection,
    catalog: &Snapshot,
    write: &Write,
    now: Millis,
) -> rusqlite::Result<Applied> {
    match catalog.tenant(write.application) {
        Some(_) => keyvalue::write(c, write, now).map(Applied::Remembered),
        None => Ok(Applied::Refused(Conflict::NoApplication.into())),
    }
}

/// Gives a delivery a row in which it waits. What waits for an endpoint that is disabled or gone has ended: set aside,
/// it would never be fetched.
pub fn wait(
    c: &Connection,
    catalog: &Snapshot,
    delivery: &Delivery,
    state: State,
    now: Millis,
) -> rusqlite::Result<Applied> {
    let enabled = || catalog.endpoint(delivery.key.endpoint).is_some_and(|e| e.enabled);
    if !enabled() {
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
    let Delivery { due, spent, .. } = *delivery;
    let change = rows::Change { delivery, state, due, spent, attempt: None, now };
    rows::put_delivery(c, change)
}
