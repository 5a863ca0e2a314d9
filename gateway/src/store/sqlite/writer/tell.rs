//! What the writer tells: once a commit is durable, the senders their answers and the stages what is theirs now; once
//! it has failed, the senders why.

use super::{Applied, Op, Reply, Writer};
use crate::{
    model::{catalog::Snapshot, delivery::State},
    store::{Accepted, StoreError},
};
use rusqlite::ErrorCode;

impl Writer {
    /// Tells the stages and the senders what is durable now.
    pub(super) fn tell(&self, batch: Vec<Op>, applied: Vec<Applied>, draft: Option<Snapshot>) {
        if let Some(draft) = draft {
            self.handover.publish(draft);
        }
        let mut committed = Vec::new();
        let mut replies = Vec::new();
        for (op, applied) in batch.into_iter().zip(applied) {
            match (op, applied) {
                (Op::Accept(messages, _, reply), Applied::Accepted(accepted)) => {
                    let new = messages.into_iter().zip(&accepted);
                    committed.extend(new.filter_map(|(submission, (accepted, sequence))| {
                        (*accepted == Accepted::New).then_some((*sequence, submission.message))
                    }));
                    replies.push((reply, accepted.into_iter().map(|(a, _)| a).collect()));
                }
                (Op::Change(_, _, reply), Applied::Changed(effects, told)) => {
                    committed.extend(told);
                    self.handover.changed(&effects);
                    answer(reply, Ok(()));
                }
                (Op::Change(_, _, reply), Applied::Refused(error)) => answer(reply, Err(error)),
                (Op::Keep(_, reply) | Op::Flush(reply), _) => {
                    answer(reply, Ok(()));
                }
                (Op::Forget(_, _, _, reply), Applied::Forgotten(count, emptied)) => {
                    self.handover.emptied(emptied);
                    answer(reply, Ok(count));
                }
                (
                    Op::ForgetAnswers(_, _, reply) | Op::ForgetValues(_, _, reply),
                    Applied::Count(count),
                ) => answer(reply, Ok(count)),
                (Op::Remember(_, reply), Applied::Remembered(written)) => {
                    answer(reply, Ok(written));
                }
                (Op::Remember(_, reply), Applied::Refused(error)) => answer(reply, Err(error)),
                (Op::Again(_, _, _, reply), Applied::Resent(resent)) => {
                    let count = resent.len() as u64;
                    self.handover.resent(resent);
                    answer(reply, Ok(count));
                }
                (Op::Again(_, _, _, reply), Applied::Refused(error)) => answer(reply, Err(error)),
                (Op::Begin(_, _, reply), Applied::Began(began)) => answer(reply, Ok(began)),
                (Op::Settle(settlement), Applied::Settled(follows, told, onward)) => {
                    let message = settlement.notice.clone();
                    committed.extend(told.zip(message));
                    self.handover.settled(settlement, follows);
                    if let Some((onward, state)) = onward {
                        self.handover.written(&onward, state);
                    }
                }
                (Op::Cancel(message, reply), Applied::Cancelled(due)) => {
                    if let Some(due) = due {
                        self.handover.cancelled(message, due);
                    }
                    answer(reply, Ok(due.is_some()));
                }
                (Op::Health(note), Applied::Noted(told)) => {
                    committed.extend(told.zip(note.notice));
                }
                (op, applied) => self.tell_stages(op, &applied),
            }
        }
        self.handover.committed(committed);
        for (reply, accepted) in replies {
            answer(reply, Ok(accepted));
        }
    }

    fn tell_stages(&self, op: Op, applied: &Applied) {
        match (op, applied) {
            (Op::Wait(delivery, _), Applied::Ended) => {
                self.handover.written(&delivery, State::Disabled);
            }
            (Op::Wait(delivery, state), _) => self.handover.written(&delivery, state),
            (Op::Note(delivery), _) => {
                self.handover.noted(&delivery);
                self.handover.front.settled(&delivery.key);
            }
            (Op::Hold(leased, ..), Applied::Held(held)) => {
                self.handover.held(leased.message.application, leased.sequence, held);
            }
            (Op::Unhold(sequence, ready, later), _) => {
                ready.iter().for_each(|delivery| self.handover.noted(delivery));
                self.handover.unheld(sequence, later);
            }
            _ => {}
        }
    }
}

/// Tells whoever asked that it was not done, and why.
pub fn refuse(op: Op, error: &rusqlite::Error) {
    match op {
        Op::Accept(_, _, reply) => answer(reply, Err(failure(error))),
        Op::Change(_, _, reply) | Op::Keep(_, reply) | Op::Flush(reply) => {
            answer(reply, Err(failure(error)));
        }
        Op::Remember(_, reply) => answer(reply, Err(failure(error))),
        Op::Cancel(_, reply) => answer(reply, Err(failure(error))),
        Op::Begin(_, _, reply) => answer(reply, Err(failure(error))),
        Op::Forget(_, _, _, reply)
        | Op::ForgetAnswers(_, _, reply)
        | Op::ForgetValues(_, _, reply)
        | Op::Again(_, _, _, reply) => {
            answer(reply, Err(failure(error)));
        }
        Op::Settle(_)
        | Op::Health(_)
        | Op::Wait(..)
        | Op::Note(_)
        | Op::NoteFailure(..)
        | Op::Hold(..)
        | Op::Unhold(..)
        | Op::Stop => {}
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
