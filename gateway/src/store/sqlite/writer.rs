//! The one writer: a thread that takes what the stages hand over, in batches, and makes each batch durable with one
//! commit and one fsync (group commit). How many senders wait decides the batch; nobody tunes it.
//!
//! Work that a sender waits for is written at once. Settlements alone are written a moment later ([`gather`]), since an
//! accept or more settlements will usually share their commit; if the process dies in that moment, the deliveries
//! are made again.
//!
//! When a commit fails (a full disk, say), senders are told so and the rest is tried without theirs, so that what finds
//! no room keeps nothing else out. What the gateway owes itself (settlements, holds) stays in memory and is tried
//! again with every later batch, so that nothing recorded is lost when there is room.

use super::{answers, checkpoint::Wal, disorder, held, keyvalue, retention, rows};
use crate::{
    clock,
    model::{
        Millis,
        catalog::{Change, Snapshot},
        delivery::{Delivery, DeliveryKey, State},
        failure::Failure,
        id::EnvironmentId,
        keyvalue::{Write, Written},
        message::{Held, Message, Sequence},
        operation::Operation,
    },
    store::{
        Accepted, Again, AnswerBy, BatchAnswer, Began, Cause, Forgotten, HealthNote, KeptAnswer,
        LeasedMessage, Settlement, StoreError, Submission,
        handover::{Effects, Follows, Handover, Resent, held_as},
        vault::Vault,
    },
};
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
};
use tokio::sync::oneshot;

mod apply;
mod ahead;
mod gather;
mod tell;
#[cfg(test)]
mod tests;

pub use apply::put_row;
use apply::{alter, begin, forget, insert_messages, keep_health, remember, resend, settle, wait};
pub use tell::failure;

/// Who waits for an answer.
pub type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One operation of the writer.
pub enum Op {
    /// Append messages.
    Accept(Vec<Submission>, Option<BatchAnswer>, Reply<Vec<Accepted>>),
    /// Record an attempt and what follows.
    Settle(Settlement),
    /// Keep how an endpoint's health is.
    Health(Box<HealthNote>),
    /// Give a delivery a row in which it waits: for its due time, or for room in its lane.
    Wait(Arc<Delivery>, State),
    /// Give a delivery that is leased a row, for the next start only.
    Note(Arc<Delivery>),
    /// Note how a plugin failed on a message that goes on without it.
    NoteFailure(Sequence, Box<Failure>),
    /// Note why a message goes nowhere for now.
    Hold(LeasedMessage, Held, Option<Box<Cause>>),
    /// Give a held message's deliveries their rows, those that were offered and the rest, and end the hold.
    Unhold(Sequence, Vec<Arc<Delivery>>, Vec<Arc<Delivery>>),
    /// Take a scheduled message back.
    Cancel(Sequence, Reply<bool>),
    /// Change the catalog.
    Change(Box<Change>, Option<Box<KeptAnswer>>, Reply<()>),
    /// Keep an answer.
    Keep(Box<KeptAnswer>, Reply<()>),
    /// Make these due again, and keep the operation that found them.
    Again(Vec<Again>, Option<Box<Operation>>, Option<Box<KeptAnswer>>, Reply<u64>),
    /// Begin those of these operations that may, and keep the answer by that.
    Begin(Vec<Operation>, Option<AnswerBy<Began>>, Reply<Vec<Began>>),
    /// Forget that of these messages, and note how far an environment's have come.
    Forget(Forgotten, Vec<Sequence>, Option<(EnvironmentId, Sequence)>, Reply<u64>),
    /// Forget old answers and operations.
    ForgetAnswers((Millis, Millis), usize, Reply<u64>),
    /// Write what a plugin remembers.
    Remember(Box<Write>, Reply<Written>),
    /// Forget at most so many of what plugins remembered until then.
    ForgetValues(Millis, usize, Reply<u64>),
    /// Answer when all before is durable.
    Flush(Reply<()>),
    /// End the thread.
    Stop,
}

impl Op {
    const fn urgent(&self) -> bool {
        !matches!(self, Self::Settle(_) | Self::Health(_) | Self::NoteFailure(..))
    }

    /// The delivery that gets a row.
    fn delivery(&self) -> Option<DeliveryKey> {
        match self {
            Self::Settle(settlement) => Some(settlement.delivery.key),
            Self::Wait(delivery, _) | Self::Note(delivery) => Some(delivery.key),
            _ => None,
        }
    }

    /// Whether it needs room, and somebody is there to be told that there is none.
    const fn sent(&self) -> bool {
        match self {
            Self::Accept(..) | Self::Remember(..) => true,
            Self::Change(change, ..) => matches!(**change, Change::PutPlugin(_, Some(_))),
            _ => false,
        }
    }

    /// Whether the gateway owes it to itself, and it must not be given up.
    const fn owed(&self) -> bool {
        matches!(
            self,
            Self::Settle(_)
                | Self::Health(_)
                | Self::Wait(..)
                | Self::Note(_)
                | Self::NoteFailure(..)
                | Self::Hold(..)
                | Self::Unhold(..)
        )
    }
}

/// What an operation's statements gave, to be told once they are durable.
pub enum Applied {
    /// It is done.
    Done,
    /// What became of each message, with its number.
    Accepted(Vec<(Accepted, Sequence)>),
    /// What waits is concerned like this, and operators are told by these messages.
    Changed(Effects, Vec<(Sequence, Arc<Message>)>),
    /// The attempt is recorded, this follows, and operators are told of it by the message of that number; a dead letter
    /// goes on as that delivery, which is in that state.
    Settled(Follows, Option<Sequence>, Option<(Arc<Delivery>, State)>),
    /// It is kept, and operators are told of it by the message of that number.
    Noted(Option<Sequence>),
    /// What was asked for does not keep the rules; nothing else of the batch is concerned.
    Refused(StoreError),
    /// The delivery does not wait, since its endpoint is disabled or gone.
    Ended,
    /// The message is held as this.
    Held(Held),
    /// A scheduled message that was due then was taken back; none: it was too late.
    Cancelled(Option<Millis>),
    /// How many were deleted.
    Count(u64),
    /// Of how many something was forgotten, and how many of them were parked.
    Forgotten(u64, u64),
    /// What came of a plugin's write.
    Remembered(Written),
    /// These are due again.
    Resent(Vec<Resent>),
    /// Which operations began.
    Began(Vec<Began>),
}

/// The writer's thread and what it needs.
pub struct Writer {
    /// The connection that writes.
    pub connection: Connection,
    /// Seals what is secret.
    pub vault: Arc<Vault>,
    /// What the stages hand over.
    pub ops: Receiver<Op>,
    /// What is told to the stages.
    pub handover: Arc<Handover>,
    /// Shared with the checkpointer.
    pub wal: Arc<Wal>,
    /// The latest time of acceptance since times last went back.
    pub latest: Millis,
    /// Operations that could not be written yet.
    pub owed: Vec<Op>,
}

impl Writer {
    /// Runs until told to stop, or until nobody can hand over any more. Should it come to harm, the process ends: nothing would be
    /// accepted or recorded any more, and a start finds everything that is durable.
    pub fn run(self) {
        if catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            tracing::error!("the store's writer failed: the gateway ends");
            std::process::abort();
        }
    }

    fn work(mut self) {
        let mut running = true;
        while running {
            self.read_ahead();
            let mut batch = self.gather();
            running = !batch.iter().any(|op| matches!(op, Op::Stop)) && !batch.is_empty();
            self.append_overdue(&mut batch);
            self.write(batch);
        }
        self.handover.close();
    }

    /// Commits the batch and tells of it; or refuses what was asked for and keeps what is owed.
    fn write(&mut self, batch: Vec<Op>) {
        let start = clock::instant();
        let committed = self.commit(&batch);
        self.handover.free_messages();
        let error = match committed {
            Ok((applied, draft)) => {
                metrics::counter!("octohooks_store_commits_total").increment(1);
                metrics::histogram!("octohooks_store_commit_operations").record(batch.len() as f64);
                metrics::histogram!("octohooks_store_commit_seconds")
                    .record(start.elapsed().as_secs_f64());
                return self.tell(batch, applied, draft);
            }
            Err(error) => error,
        };
        metrics::counter!("octohooks_store_commit_failures_total").increment(1);
        let (sent, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(Op::sent);
        tracing::warn!(%error, sent = sent.len(), rest = rest.len(), "a commit failed");
        if !sent.is_empty() {
            sent.into_iter().for_each(|op| tell::refuse(op, &error));
            if !rest.is_empty() {
                self.write(rest);
            }
            return;
        }
        let (owed, asked): (Vec<_>, Vec<_>) = rest.into_iter().partition(Op::owed);
        asked.into_iter().for_each(|op| tell::refuse(op, &error));
        self.owed = owed;
    }

    fn commit(&mut self, batch: &[Op]) -> rusqlite::Result<(Vec<Applied>, Option<Snapshot>)> {
        let now = clock::now();
        let mark = self.handover.front.mark();
        let mut resent = self.handover.waiting().resent();
        let mut next = self.handover.front.head();
        let current = self.handover.snapshot();
        let snapshot: &Snapshot = &current;
        let mut draft = None;
        let _gate = self.wal.writing();
        let transaction = self.connection.transaction()?;
        let mut applied = Vec::with_capacity(batch.len());
        for op in batch {
            applied.push(match op {
                Op::Accept(messages, answer, _) => {
                    let asked = (&messages[..], answer.as_ref());
                    let vault = &self.vault;
                    Applied::Accepted(insert_messages(&transaction, vault, asked, &mut next, now)?)
                }
                Op::Settle(settlement) => {
                    let resent = resent.remove(&settlement.delivery.key);
                    let catalog = draft.as_ref().unwrap_or(snapshot);
                    settle(&transaction, catalog, (settlement, resent), &mut next, now)?
                }
                Op::Health(note) => {
                    keep_health(&transaction, draft.as_ref().unwrap_or(snapshot), note, &mut next)?
                }
                Op::Wait(delivery, state) => {
                    let catalog = draft.as_ref().unwrap_or(snapshot);
                    wait(&transaction, catalog, delivery, *state, now)?
                }
                Op::Note(delivery) => {
                    put_row(&transaction, delivery, State::Waiting, now).map(|()| Applied::Done)?
                }
                Op::NoteFailure(message, failure) => {
                    held::pass_over(&transaction, *message, failure)?
                }
                Op::Hold(leased, held, cause) => {
                    let catalog = draft.as_ref().unwrap_or(snapshot);
                    let called = cause.as_deref().map(|cause| &*cause.tenant);
                    let failure = cause.as_deref().and_then(|cause| cause.failure.as_ref());
                    let held = held_as(catalog, &leased.message, held, called, now);
                    held::put(&transaction, leased, &held, failure, now)?;
                    Applied::Held(held)
                }
                Op::Unhold(sequence, ready, later) => {
                    held::end(&transaction, *sequence, ready.iter().chain(later), now)?
                }
                Op::Cancel(message, _) => {
                    Applied::Cancelled(held::cancel(&transaction, *message, &self.handover, now)?)
                }
                Op::Keep(answer, _) => {
                    answers::put(&transaction, &self.vault, answer, None, now)?;
                    Applied::Done
                }
                Op::Change(change, answer, _) => {
                    match draft.as_ref().unwrap_or(snapshot).check(change) {
                        Err(conflict) => Applied::Refused(conflict.into()),
                        Ok(()) => {
                            if let Some(answer) = answer {
                                answers::put(&transaction, &self.vault, answer, None, now)?;
                            }
                            let draft = draft.get_or_insert_with(|| snapshot.clone());
                            let (vault, at) = (&self.vault, (&*self.handover, now));
                            alter(&transaction, vault, draft, change, &mut next, at)?
                        }
                    }
                }
                Op::Again(again, operation, answer, _) => {
                    let catalog = draft.as_ref().unwrap_or(snapshot);
                    let asked = (&again[..], operation.as_deref(), answer.as_deref());
                    let handed = (&*self.handover, &mut resent);
                    resend(&transaction, catalog, &self.vault, asked, handed, now)?
                }
                Op::Begin(operations, answer, _) => {
                    begin(&transaction, &self.vault, (operations, answer.as_ref()), now)?
                }
                Op::Forget(what, messages, upto, _) => {
                    let asked = (*what, &messages[..], *upto);
                    forget(&transaction, asked, &self.handover.front, now)?
                }
                Op::ForgetAnswers(before, max, _) => {
                    Applied::Count(retention::forget_answers(&transaction, *before, *max)?)
                }
                Op::Remember(write, _) => {
                    remember(&transaction, draft.as_ref().unwrap_or(snapshot), write, now)?
                }
                Op::ForgetValues(until, max, _) => {
                    Applied::Count(keyvalue::forget(&transaction, None, *until, *max)?)
                }
                Op::Flush(_) | Op::Stop => Applied::Done,
            });
        }
        transaction
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('mark', ?)")?
            .execute([rows::signed(mark.0)])?;
        let latest = disorder::note(&transaction, batch, &applied, self.latest)?;
        transaction.commit()?;
        self.latest = latest;
        Ok((applied, draft))
    }
}
