//! The one writer: a thread that takes what the stages hand over, in batches, and makes each batch durable with one
//! commit and one fsync (group commit). How many senders wait decides the batch; nobody tunes it.
//!
//! Work that a sender waits for is written at once. Settlements alone are written a moment later (`LAZY`), since an
//! accept or more settlements will usually share their commit; if the process dies in that moment, the deliveries
//! are made again.
//!
//! When a commit fails (a full disk, say), senders are told so, and what the gateway owes itself (settlements, holds)
//! stays in memory and is tried again with every later batch, so that nothing recorded is lost when there is room.

use super::{changes, checkpoint::Wal, rows};
use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Snapshot},
        delivery::{Delivery, Next, State},
        id::Digest,
        message::{Held, Message, Sequence},
    },
    store::{Accepted, LeasedMessage, Settlement, StoreError, handover::Handover},
};
use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, params};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};
use tell::answer;
use tokio::sync::oneshot;

mod tell;

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
pub enum Applied {
    /// It is done.
    Done,
    /// What became of each message, with its number.
    Accepted(Vec<(Accepted, Sequence)>),
    /// The change does not keep the rules; nothing else of the batch is concerned.
    Refused(StoreError),
    /// How many were deleted.
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
                    changes::apply(&transaction, draft, change, now)?
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
