//! The one writer: a thread that takes what the stages hand over, in batches, and makes each batch durable with one
//! commit and one fsync (group commit). How many senders wait decides the batch; nobody tunes it.
//!
//! Work that a sender waits for is written at once. Settlements alone are written a moment later (`LAZY`), since an
//! accept or more settlements will usually share their commit; if the process dies in that moment, the deliveries
//! are made again.
//!
//! When a commit fails (a full disk, say), senders are told so, and what the gateway owes itself (settlements, holds)
//! stays in memory and is tried again with every later batch, so that nothing recorded is lost when there is room.

use super::{checkpoint::Wal, rows};
use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Snapshot},
        delivery::{Delivery, Next, State},
        id::{ApplicationId, Digest, EndpointId},
        message::{Held, Message, Sequence},
    },
    store::{Accepted, LeasedMessage, Settlement, StoreError, handover::Handover},
};
use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, params};
use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// At most this many operations share a commit.
const BATCH: usize = 1024;
/// How long settlements wait for company.
const LAZY: Duration = Duration::from_millis(8);
/// How long the writer waits before it tries again what it owes.
const OWED: Duration = Duration::from_millis(250);

/// Who waits for an answer.
pub type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One operation of the writer.
pub enum Op {
    /// Append messages.
    Accept(Vec<Arc<Message>>, Reply<Vec<Accepted>>),
    /// Record an attempt and what follows.
    Settle(Settlement),
    /// Give a delivery a row in which it waits.
    Wait(Arc<Delivery>, State),
    /// Note why a message goes nowhere for now.
    Hold(LeasedMessage, Held),
    /// Give a held message's deliveries their rows and end the hold.
    Unhold(Sequence, Vec<Arc<Delivery>>),
    /// Change the catalog.
    Change(Box<Change>, Reply<()>),
    /// Keep a component.
    PutCode(Digest, Bytes, Reply<()>),
    /// Delete old messages.
    Forget(Millis, usize, Reply<u64>),
    /// Answer when all before is durable.
    Flush(Reply<()>),
    /// End the thread.
    Stop,
}

impl Op {
    const fn urgent(&self) -> bool {
        !matches!(self, Self::Settle(_))
    }

    /// Whether the gateway owes it to itself, and it must not be given up.
    const fn owed(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::Wait(..) | Self::Hold(..) | Self::Unhold(..))
    }
}

/// What an operation's statements gave, to be told once they are durable.
enum Applied {
    Done,
    Accepted(Vec<(Accepted, Sequence)>),
    Refused(StoreError),
    Count(u64),
}

/// The writer's thread and what it needs.
pub struct Writer {
    /// The connection that writes.
    pub connection: Connection,
    /// What the stages hand over.
    pub ops: Receiver<Op>,
    /// What is told to the stages.
    pub handover: Arc<Handover>,
    /// Shared with the checkpointer.
    pub wal: Arc<Wal>,
    /// Operations that could not be written yet.
    pub owed: Vec<Op>,
}

impl Writer {
    /// Runs until told to stop, or until nobody can hand over any more.
    pub fn run(mut self) {
        let commits = metrics::counter!("octohooks_store_commits_total");
        let failures = metrics::counter!("octohooks_store_commit_failures_total");
        let sizes = metrics::histogram!("octohooks_store_commit_operations");
        let seconds = metrics::histogram!("octohooks_store_commit_seconds");
        let mut running = true;
        while running {
            let mut batch = self.gather();
            running = !batch.iter().any(|op| matches!(op, Op::Stop)) && !batch.is_empty();
            self.append_overdue(&mut batch);
            let start = clock::instant();
            match self.commit(&batch) {
                Ok((applied, draft)) => {
                    commits.increment(1);
                    sizes.record(batch.len() as f64);
                    seconds.record(start.elapsed().as_secs_f64());
                    self.tell(batch, applied, draft);
                }
                Err(error) => {
                    failures.increment(1);
                    self.fail(batch, &error);
                }
            }
        }
        self.handover.close();
    }

    /// What is owed, and what was handed over: at least one, unless nobody is left to hand over.
    fn gather(&mut self) -> Vec<Op> {
        let mut batch = std::mem::take(&mut self.owed);
        let mut wait = if batch.is_empty() { None } else { Some(OWED) };
        let mut urgent = false;
        loop {
            while batch.len() < BATCH
                && let Ok(op) = self.ops.try_recv()
            {
                urgent |= op.urgent();
                batch.push(op);
            }
            if urgent || batch.len() >= BATCH {
                return batch;
            }
            let received = match wait {
                None => self.ops.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.ops.recv_timeout(wait),
            };
            match received {
                Ok(op) => {
                    urgent = op.urgent();
                    // One clock read per batch: the first settlement sets how long it waits.
                    wait = wait.or(Some(LAZY));
                    batch.push(op);
                }
                Err(_) => return batch,
            }
        }
    }

    /// Deliveries that have held back the low-water mark for too long get rows.
    fn append_overdue(&self, batch: &mut Vec<Op>) {
        let overdue = self.handover.front.overdue();
        batch.extend(overdue.into_iter().map(|delivery| Op::Wait(delivery, State::Waiting)));
    }

    fn commit(&mut self, batch: &[Op]) -> rusqlite::Result<(Vec<Applied>, Option<Snapshot>)> {
        let now = clock::now();
        let mark = self.handover.front.mark();
        let mut next = self.handover.front.head();
        let mut draft = None;
        let _gate = self.wal.writing();
        let transaction = self.connection.transaction()?;
        let mut applied = Vec::with_capacity(batch.len());
        for op in batch {
            applied.push(match op {
                Op::Accept(messages, _) => {
                    Applied::Accepted(insert_messages(&transaction, messages, &mut next)?)
                }
                Op::Settle(settlement) => settle(&transaction, settlement, now)?,
                Op::Wait(delivery, state) => put_waiting(&transaction, delivery, *state, now)?,
                Op::Hold(leased, held) => {
                    rows::put_held(&transaction, leased.sequence, &leased.message, held, now)?;
                    Applied::Done
                }
                Op::Unhold(sequence, deliveries) => {
                    for delivery in deliveries {
                        put_waiting(&transaction, delivery, State::Waiting, now)?;
                    }
                    transaction
                        .prepare_cached("DELETE FROM held WHERE sequence = ?")?
                        .execute([rows::signed(sequence.0)])?;
                    Applied::Done
                }
                Op::Change(change, _) => {
                    let draft =
                        draft.get_or_insert_with(|| Snapshot::clone(&self.handover.snapshot()));
                    apply_change(&transaction, draft, change, now)?
                }
                Op::PutCode(digest, bytes, _) => {
                    transaction
                        .prepare_cached("INSERT OR IGNORE INTO code VALUES (?, ?)")?
                        .execute(params![&digest.0[..], &bytes[..]])?;
                    Applied::Done
                }
                Op::Forget(before, max, _) => {
                    Applied::Count(super::retention::forget(&transaction, *before, *max, mark)?)
                }
                Op::Flush(_) | Op::Stop => Applied::Done,
            });
        }
        transaction
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('mark', ?)")?
            .execute([rows::signed(mark.0)])?;
        transaction.commit()?;
        Ok((applied, draft))
    }

    /// Tells the stages and the senders what is durable now.
    fn tell(&self, batch: Vec<Op>, applied: Vec<Applied>, draft: Option<Snapshot>) {
        if let Some(draft) = draft {
            self.handover.publish(draft);
        }
        let mut committed = Vec::new();
        let mut replies = Vec::new();
        for (op, applied) in batch.into_iter().zip(applied) {
            match (op, applied) {
                (Op::Accept(messages, reply), Applied::Accepted(accepted)) => {
                    let new = messages.into_iter().zip(&accepted);
                    committed.extend(new.filter_map(|(message, (accepted, sequence))| {
                        (*accepted == Accepted::New).then_some((*sequence, message))
                    }));
                    replies.push((reply, accepted.into_iter().map(|(a, _)| a).collect()));
                }
                (Op::Change(change, reply), Applied::Done) => {
                    self.follow(&change);
                    answer(reply, Ok(()));
                }
                (Op::Change(_, reply), Applied::Refused(error)) => answer(reply, Err(error)),
                (Op::PutCode(_, _, reply) | Op::Flush(reply), _) => answer(reply, Ok(())),
                (Op::Forget(_, _, reply), Applied::Count(count)) => answer(reply, Ok(count)),
                (op, _) => self.tell_queue(op),
            }
        }
        self.handover.front.committed(committed);
        for (reply, accepted) in replies {
            answer(reply, Ok(accepted));
        }
    }

    fn tell_queue(&self, op: Op) {
        match op {
            Op::Settle(settlement) => {
                if let Next::RetryAt(due) = settlement.next {
                    let attempts =
                        settlement.attempt.map_or(settlement.delivery.attempts, |a| a.number);
                    let again = Delivery { attempts, due, ..Delivery::clone(&settlement.delivery) };
                    self.handover.wait_until(&Arc::new(again), due);
                }
                self.handover.front.settled(&settlement.delivery.key);
            }
            Op::Wait(delivery, state) => {
                // An overdue delivery is still leased: its row is for the next start only.
                match state {
                    State::Aside => self.handover.waiting().aside_written(delivery.key),
                    _ if delivery.due > clock::now() => {
                        self.handover.wait_until(&delivery, delivery.due);
                    }
                    _ => {}
                }
                self.handover.front.settled(&delivery.key);
            }
            Op::Hold(leased, held) => {
                match held {
                    Held::Retry { due, .. } => self.handover.hold_until(leased.sequence, due),
                    Held::Parked { .. } => {
                        self.handover.parked.fetch_add(1, Ordering::Relaxed);
                    }
                    Held::Dropped { .. } => {}
                }
                self.handover.front.dispatched(leased.sequence, Vec::new());
            }
            Op::Unhold(_, deliveries) => {
                let now = clock::now();
                let (later, ready): (Vec<_>, Vec<_>) =
                    deliveries.into_iter().partition(|delivery| delivery.due > now);
                for delivery in later {
                    self.handover.wait_until(&delivery, delivery.due);
                }
                self.handover.offer(ready);
            }
            _ => {}
        }
    }

    /// What a catalog change means for what waits.
    fn follow(&self, change: &Change) {
        match change {
            Change::PutEndpoint(endpoint) if !endpoint.enabled => {
                self.handover.waiting().remove_endpoint(endpoint.id);
            }
            Change::DeleteEndpoint(_, id) => self.handover.waiting().remove_endpoint(*id),
            Change::PutPlugin(plugin) => {
                let due = super::read::held_due(&self.connection, Some(plugin.application));
                let parked = super::read::parked(&self.connection);
                for (sequence, due) in due.unwrap_or_default() {
                    self.handover.hold_until(sequence, due);
                }
                self.handover.parked.store(parked.unwrap_or(0), Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn fail(&mut self, batch: Vec<Op>, error: &rusqlite::Error) {
        let mut told = false;
        for op in batch {
            if op.owed() {
                self.owed.push(op);
                continue;
            }
            told = true;
            match op {
                Op::Accept(_, reply) => answer(reply, Err(failure(error))),
                Op::Change(_, reply) | Op::PutCode(_, _, reply) | Op::Flush(reply) => {
                    answer(reply, Err(failure(error)));
                }
                Op::Forget(_, _, reply) => answer(reply, Err(failure(error))),
                _ => {}
            }
        }
        tracing::warn!(%error, owed = self.owed.len(), told, "a commit failed; what is owed is tried again");
        if !told {
            std::thread::sleep(OWED);
        }
    }
}

/// The store's word for an error of SQLite.
pub fn failure(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        // A short write: what a full or limited file system gives where it does not say so.
        Some(ErrorCode::SystemIoFailure) => StoreError::Full,
        _ => StoreError::Failed(error.to_string()),
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T, StoreError>) {
    // Who asked may have gone; what was done stays done.
    let _gone = reply.send(result);
}

fn insert_messages(
    c: &Connection,
    messages: &[Arc<Message>],
    next: &mut u64,
) -> rusqlite::Result<Vec<(Accepted, Sequence)>> {
    let mut accepted = Vec::with_capacity(messages.len());
    for message in messages {
        let sequence = Sequence(*next);
        let result = rows::insert_message(c, sequence, message)?;
        *next += u64::from(result == Accepted::New);
        accepted.push((result, sequence));
    }
    Ok(accepted)
}

fn settle(c: &Connection, settlement: &Settlement, now: Millis) -> rusqlite::Result<Applied> {
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

fn put_waiting(
    c: &Connection,
    delivery: &Delivery,
    state: State,
    now: Millis,
) -> rusqlite::Result<Applied> {
    let change = rows::Change { delivery, state, due: delivery.due, attempt: None, now };
    rows::put_delivery(c, change)?;
    Ok(Applied::Done)
}

/// The kinds of `object`.
pub const APPLICATION: u8 = 1;
/// An endpoint's kind.
pub const ENDPOINT: u8 = 2;
/// A plugin's kind; its id is its application's.
pub const PLUGIN: u8 = 3;
/// A key's kind.
pub const KEY: u8 = 4;

fn apply_change(
    c: &Connection,
    draft: &mut Snapshot,
    change: &Change,
    now: Millis,
) -> rusqlite::Result<Applied> {
    if let Err(conflict) = draft.check(change) {
        return Ok(Applied::Refused(conflict.into()));
    }
    let put = |kind: u8, environment: u32, id: &[u8; 16], document: String| {
        c.prepare_cached("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)")?
            .execute(params![kind, environment, id, document])
            .map(|_| ())
    };
    match change {
        Change::PutApplication(a) => {
            put(APPLICATION, a.environment.0, a.id.0.as_bytes(), rows::json(a))?;
        }
        Change::PutEndpoint(e) => {
            put(ENDPOINT, e.environment.0, e.id.0.as_bytes(), rows::json(e))?;
            if !e.enabled {
                disable(c, e.id, now)?;
            }
        }
        Change::PutPlugin(p) => {
            put(PLUGIN, p.environment.0, p.application.0.as_bytes(), rows::json(p))?;
            c.prepare_cached(
                "UPDATE held SET state = 'retry', due = ?, calls = 0
                 WHERE environment = ? AND application = ? AND state = 'parked'",
            )?
            .execute(params![
                rows::signed(now),
                p.environment.0,
                p.application.0.as_bytes()
            ])?;
        }
        Change::PutKey(k) => put(KEY, k.environment.0, k.id.0.as_bytes(), rows::json(k))?,
        Change::DeleteApplication(id) => delete_application(c, draft, *id, now)?,
        Change::DeleteEndpoint(_, id) => {
            delete_object(c, ENDPOINT, id.0.as_bytes())?;
            disable(c, *id, now)?;
        }
        Change::DeletePlugin(id) => delete_object(c, PLUGIN, id.0.as_bytes())?,
    }
    draft.apply(change.clone());
    Ok(Applied::Done)
}

fn delete_application(
    c: &Connection,
    draft: &Snapshot,
    id: ApplicationId,
    now: Millis,
) -> rusqlite::Result<()> {
    delete_object(c, APPLICATION, id.0.as_bytes())?;
    delete_object(c, PLUGIN, id.0.as_bytes())?;
    for endpoint in draft.tenant(id).into_iter().flat_map(|tenant| tenant.endpoints.keys()) {
        delete_object(c, ENDPOINT, endpoint.0.as_bytes())?;
        disable(c, *endpoint, now)?;
    }
    Ok(())
}

fn delete_object(c: &Connection, kind: u8, id: &[u8; 16]) -> rusqlite::Result<()> {
    c.prepare_cached("DELETE FROM object WHERE kind = ? AND id = ?")?
        .execute(params![kind, id])
        .map(|_| ())
}

fn disable(c: &Connection, endpoint: EndpointId, now: Millis) -> rusqlite::Result<()> {
    let disabled = State::Disabled as u8;
    c.prepare_cached("UPDATE delivery SET state = ?, updated = ? WHERE endpoint = ? AND state < 2")?
        .execute(params![disabled, rows::signed(now), endpoint.0.as_bytes()])
        .map(|_| ())
}
